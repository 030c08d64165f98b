//! A service over TLS in Rust; its arguments, files and log are those of service.py, but it is no customer. HTTP/1 over rustls, a
//! thread for each connection.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Map, Value, json};

/// The bytes of an answer.
const BODY: [u8; 3000] = [b'x'; 3000];

type Headers = Map<String, Value>;
type Upstream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

struct Service {
    next: Option<String>,
    peer: String,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    log: Mutex<File>,
    /// Connections that are kept and not in use.
    idle: Mutex<Vec<Upstream>>,
}

/// A start line and headers with names in lower case; none where the connection ends before.
fn head(stream: &mut BufReader<impl Read>) -> Result<Option<(String, Headers)>> {
    let mut first = String::new();
    if stream.read_line(&mut first).is_err() || first.is_empty() {
        return Ok(None);
    }
    let mut headers = Headers::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first, headers)));
        }
        let (name, value) = line.split_once(": ").context("a header has a name and a value")?;
        headers.insert(name.to_ascii_lowercase(), value.into());
    }
}

/// The headers that the log tells of.
fn logged(headers: &Headers) -> Headers {
    headers.iter().filter(|(name, _)| matches!(&***name, "traceparent" | "x-tenant-id")).map(own).collect()
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

impl Service {
    fn write(&self, record: &Value) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(log, "{record}")?)
    }

    fn serve(&self, connection: TcpStream) -> Result<()> {
        let tls = ServerConnection::new(Arc::clone(&self.server))?;
        let mut stream = BufReader::new(StreamOwned::new(tls, connection));
        while let Some((first, headers)) = head(&mut stream)? {
            let path = first.split(' ').nth(1).context("a request has a path")?;
            let cause = &logged(&headers);
            self.write(&json!({"kind": "in", "at_ns": now_ns()?, "path": path, "headers": cause, "status": 200}))?;
            if let Some(next) = &self.next {
                self.call(next, path, cause)?;
            }
            let answer = stream.get_mut();
            write!(answer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY.len())?;
            answer.write_all(&BODY)?;
        }
        Ok(())
    }

    /// Calls the next service over a connection that is kept.
    fn call(&self, next: &str, path: &str, cause: &Headers) -> Result<()> {
        let mut headers = cause.clone();
        let parent = headers.remove("traceparent");
        if let Some(Value::String(parent)) = parent.filter(|_| path != "/loses") {
            let fields: Vec<&str> = parent.split('-').collect();
            let [version, trace, _, flags] = fields[..] else { bail!("no traceparent: {parent}") };
            // The keys of every hash map are random.
            let span = RandomState::new().build_hasher().finish();
            headers.insert("traceparent".to_owned(), format!("{version}-{trace}-{span:016x}-{flags}").into());
        }
        let at_ns = now_ns()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = idle.map_or_else(|| self.connect(next), Ok)?;
        let lines = headers.iter().filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value.as_str()?)));
        let lines: String = lines.collect();
        stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: {next}\r\n{lines}\r\n").as_bytes())?;
        let (first, _) = head(&mut stream)?.context("no answer")?;
        // HTTP/1.0 or 1.1.
        ensure!(first.contains(" 200 "), "{first}");
        stream.read_exact(&mut [0; BODY.len()])?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        self.write(&json!({
            "kind": "out", "at_ns": at_ns, "path": path, "headers": headers, "status": 200, "peer": self.peer, "cause": cause
        }))
    }

    fn connect(&self, next: &str) -> Result<Upstream> {
        let tls = ClientConnection::new(Arc::clone(&self.client), ServerName::try_from("localhost")?)?;
        let connection = TcpStream::connect(next)?;
        connection.set_nodelay(true)?;
        Ok(BufReader::new(StreamOwned::new(tls, connection)))
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [_, listen, next, peer, log] = &arguments[..] else { bail!("secure-service NAME LISTEN NEXT PEER LOG") };
    let certificate = CertificateDer::from_pem_file(std::env::var("CERTIFICATE")?)?;
    let key = PrivateKeyDer::from_pem_file(std::env::var("KEY")?)?;
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.clone())?;
    let service = Arc::new(Service {
        next: (next != "-").then(|| next.clone()),
        peer: peer.clone(),
        client: Arc::new(ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth()),
        server: Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?),
        log: Mutex::new(File::create(log)?),
        idle: Mutex::default(),
    });
    let listener = TcpListener::bind(listen)?;
    println!("ready");
    for connection in listener.incoming() {
        let connection = connection?;
        connection.set_nodelay(true)?;
        let service = Arc::clone(&service);
        std::thread::spawn(move || {
            // A call that fails shows at the customer, whose connection ends without an answer.
            if let Err(error) = service.serve(connection) {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(())
}
