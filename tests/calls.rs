//! A service that is called over gRPC, and calls the next one over a connection that it keeps, as calls.py does.
//!
//!     calls NAME LISTEN NEXT PEER LOG
//!
//! Every call is passed on to NEXT ("-": answered here), but for the context, which it carries on as instrumentation does. With the
//! files CERTIFICATE and KEY everything goes over TLS.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::iter::repeat_n;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use serde_json::{Map, Value, json};
use tokio_stream::{Stream, StreamExt as _, iter};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// Answers of a call, and the error that it ends with, if it does.
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Messages are bytes, sent as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

struct Service {
    next: Option<Channel>,
    peer: String,
    log: Mutex<File>,
}

impl Service {
    fn write(&self, kind: &str, path: &str, headers: &Map<String, Value>, status: u16, cause: Option<&Value>) {
        let at_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let at_ns = u64::try_from(at_ns).unwrap_or(u64::MAX);
        let line = json!({
            "kind": kind, "at_ns": at_ns, "path": path, "headers": headers, "status": status, "peer": self.peer, "cause": cause
        });
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(log, "{line}").expect("the log can be written");
    }

    async fn serve(&self, path: &str, request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
        let headers = logged(request.metadata());
        let method = path.rsplit('/').next().unwrap_or_default();
        let messages = request.into_inner();
        let answers = if let Some(next) = &self.next {
            self.write("in", path, &headers, 200, None);
            self.pass_on(next.clone(), method, headers, messages).await?
        } else {
            let fails = matches!(method, "Fails" | "Breaks" | "Quits");
            self.write("in", path, &headers, if fails { 500 } else { 200 }, None);
            answer(method, messages).await?
        };
        Ok(Response::new(answers))
    }

    /// Calls the next service and answers as it does; a call that fails as it was told to has ended.
    async fn pass_on(
        &self,
        next: Channel,
        method: &str,
        cause: Map<String, Value>,
        messages: Streaming<Bytes>,
    ) -> Result<Answers, Status> {
        let mut headers = cause.clone();
        if method == "Loses" {
            headers.remove("traceparent");
        } else if let Some(Value::String(parent)) = headers.get_mut("traceparent") {
            let fields: Vec<&str> = parent.split('-').collect();
            let [version, trace, _, flags] = fields[..] else { return Err(Status::invalid_argument("traceparent")) };
            *parent = format!("{version}-{trace}-{:016x}-{flags}", random());
        }
        let path = format!("/shop.Back/{}", if method == "Loses" { "Works" } else { method });
        self.write("out", &path, &headers, 200, Some(&Value::Object(cause)));
        let mut request = Request::new(messages.map_while(Result::ok));
        for (name, value) in headers {
            let name: AsciiMetadataKey = name.parse().expect("the name of a header");
            let value = value.as_str().and_then(|value| value.parse().ok()).expect("the value of a header");
            request.metadata_mut().insert(name, value);
        }
        let mut client = tonic::client::Grpc::new(next);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::try_from(path).expect("a path");
        let told_to_fail = |status: &Status| status.code() == Code::Internal;
        // One answer, where a call without streams has none.
        let instead = iter(matches!(method, "Fails" | "Breaks").then(|| Ok(Bytes::new())));
        match client.streaming(request, path, Raw).await {
            Ok(response) => {
                let answers = response.into_inner().filter(move |answer| !answer.as_ref().is_err_and(told_to_fail));
                Ok(Box::pin(answers.chain(instead)))
            }
            Err(status) if told_to_fail(&status) => Ok(Box::pin(instead)),
            Err(status) => Err(status),
        }
    }
}

/// What the last service answers.
async fn answer(method: &str, mut messages: Streaming<Bytes>) -> Result<Answers, Status> {
    let failure = Status::internal("as it was told to");
    match method {
        // The only head of the response tells the status.
        "Fails" => Err(failure),
        // It is under way when the call fails.
        "Breaks" => Ok(Box::pin(iter([Err(failure)]))),
        "Gathers" => {
            let mut sum = 0;
            while let Some(message) = messages.message().await? {
                sum += message.len();
            }
            Ok(Box::pin(iter([Ok(Bytes::from(vec![0; sum]))])))
        }
        "Pours" => {
            let message = messages.message().await?.unwrap_or_default();
            Ok(Box::pin(iter(repeat_n(Ok(message), 5))))
        }
        _ => {
            let end = iter((method == "Quits").then_some(Err(failure)));
            // Now and then more than one frame.
            let sized = |message: Bytes| if random().is_multiple_of(20) { vec![0; 50_000].into() } else { message };
            Ok(Box::pin(messages.map(move |message| message.map(sized)).chain(end)))
        }
    }
}

/// The headers that the log tells of.
fn logged(metadata: &MetadataMap) -> Map<String, Value> {
    let named = ["traceparent", "x-tenant-id"].into_iter().filter_map(|name| Some((name, metadata.get(name)?)));
    named.filter_map(|(name, value)| Some((name.to_owned(), value.to_str().ok()?.into()))).collect()
}

/// A number that is hardly ever there twice: the keys of every hash map are random.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [_, listen, next, peer, log] = &arguments[..] else { anyhow::bail!("calls NAME LISTEN NEXT PEER LOG") };
    let certificate = std::env::var_os("CERTIFICATE").map(std::fs::read).transpose()?;
    let key = std::env::var_os("KEY").map(std::fs::read).transpose()?;
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let mut next = (next != "-").then(|| Endpoint::from_shared(format!("{scheme}://{next}"))).transpose()?;
    let mut builder = Server::builder();
    if let (Some(certificate), Some(key)) = (certificate, key) {
        let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&certificate));
        next = next.map(|next| next.tls_config(trusted)).transpose()?;
        builder = builder.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))?;
    }
    let service = Arc::new(Service {
        next: next.map(|endpoint| endpoint.connect_lazy()),
        peer: peer.clone(),
        log: Mutex::new(File::create(log)?),
    });
    let incoming = TcpIncoming::bind(listen.parse()?).context("the port is taken")?.with_nodelay(Some(true));
    let served = tower::service_fn(move |request: http::Request<Body>| {
        let service = Arc::clone(&service);
        async move {
            let path: Arc<str> = request.uri().path().into();
            let serve = tower::service_fn(move |request| {
                let (service, path) = (Arc::clone(&service), Arc::clone(&path));
                async move { service.serve(&path, request).await }
            });
            Ok::<_, Infallible>(tonic::server::Grpc::new(Raw).streaming(serve, request).await)
        }
    });
    println!("ready");
    builder.serve_with_incoming(served, incoming).await?;
    Ok(())
}
