//! A service over TLS in Rust; its arguments, files and log are those of service.py, but it is no customer. hyper over tokio-rustls, with
//! no box between them: sessions move as connections are made of them, of the server when it has read which HTTP is spoken. What it
//! calls it calls by HTTP/2. The answer to /fails says that it did.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The bytes of an answer.
const BODY: &[u8] = &[b'x'; 3000];

type Headers = Map<String, Value>;

struct Service {
    next: Option<String>,
    peer: String,
    client: TlsConnector,
    log: std::sync::Mutex<File>,
    /// Made by the first call.
    upstream: Mutex<Option<SendRequest<Empty<Bytes>>>>,
}

/// The headers that the log tells of.
fn logged(headers: &HeaderMap) -> Headers {
    let named = ["traceparent", "x-tenant-id"].into_iter().filter_map(|name| Some((name, headers.get(name)?)));
    named.filter_map(|(name, value)| Some((name.to_owned(), value.to_str().ok()?.into()))).collect()
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

impl Service {
    fn write(&self, record: &Value) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(log, "{record}")?)
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (path, cause) = (request.uri().path(), logged(request.headers()));
        let status = if path == "/fails" { 500 } else { 200 };
        self.write(&json!({"kind": "in", "at_ns": now_ns()?, "path": path, "headers": cause, "status": status}))?;
        if let Some(next) = &self.next {
            self.call(next, path, &cause).await?;
        }
        Ok(Response::builder().status(status).body(Full::new(Bytes::from_static(BODY)))?)
    }

    /// Calls the next service over a connection that is kept.
    async fn call(&self, next: &str, path: &str, cause: &Headers) -> Result<()> {
        let mut headers = cause.clone();
        let parent = headers.remove("traceparent");
        if let Some(Value::String(parent)) = parent.filter(|_| path != "/loses") {
            let fields: Vec<&str> = parent.split('-').collect();
            let [version, trace, _, flags] = fields[..] else { bail!("no traceparent: {parent}") };
            // The keys of every hash map are random.
            let span = RandomState::new().build_hasher().finish();
            headers.insert("traceparent".to_owned(), format!("{version}-{trace}-{span:016x}-{flags}").into());
        }
        let mut request = Request::builder().uri(format!("https://{next}{path}"));
        for (name, value) in &headers {
            request = request.header(name, value.as_str().context("a text")?);
        }
        let request = request.body(Empty::new())?;
        let at_ns = now_ns()?;
        let mut upstream = self.upstream.lock().await;
        if upstream.is_none() {
            *upstream = Some(self.connect(next).await?);
        }
        let answer = upstream.as_mut().context("it was made")?.send_request(request).await?;
        ensure!(answer.status() == 200 && answer.into_body().collect().await?.to_bytes().len() == BODY.len());
        self.write(&json!({
            "kind": "out", "at_ns": at_ns, "path": path, "headers": headers, "status": 200, "peer": self.peer, "cause": cause
        }))
    }

    async fn connect(&self, next: &str) -> Result<SendRequest<Empty<Bytes>>> {
        let connection = TcpStream::connect(next).await?;
        connection.set_nodelay(true)?;
        let stream = self.client.connect(ServerName::try_from("localhost")?, connection).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [_, listen, next, peer, log] = &arguments[..] else { bail!("secure-hyper NAME LISTEN NEXT PEER LOG") };
    let certificate = CertificateDer::from_pem_file(std::env::var("CERTIFICATE")?)?;
    let key = PrivateKeyDer::from_pem_file(std::env::var("KEY")?)?;
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.clone())?;
    let mut client = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let service = Arc::new(Service {
        next: (next != "-").then(|| next.clone()),
        peer: peer.clone(),
        client: TlsConnector::from(Arc::new(client)),
        log: std::sync::Mutex::new(File::create(log)?),
        upstream: Mutex::default(),
    });
    let listener = TcpListener::bind(listen).await?;
    println!("ready");
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let (service, acceptor) = (Arc::clone(&service), acceptor.clone());
        tokio::spawn(async move {
            let stream = TokioIo::new(acceptor.accept(connection).await?);
            let serve = service_fn(move |request| {
                let service = Arc::clone(&service);
                async move {
                    // A call that fails shows at the customer.
                    let answer = service.serve(request).await.unwrap_or_else(|error| {
                        eprintln!("{error:#}");
                        Response::builder().status(500).body(Full::default()).expect("a response")
                    });
                    Ok::<_, Infallible>(answer)
                }
            });
            let outcome = auto::Builder::new(TokioExecutor::new()).serve_connection(stream, serve).await;
            outcome.map_err(anyhow::Error::from_boxed)
        });
    }
}
