//! A service of the laboratory with a future for each request: hyper at both ends, the SDK of OpenTelemetry by hand, as its
//! instrumentation does it.
//!
//! MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:
//!
//! - `spawn`: calls in a task of its own, which takes the context along
//! - `spawn-forgets`: the same, and it does not
//! - `no-propagator`: none was set, which is the SDK's default
//! - `ignores-parent`: the sampler asks nobody what was decided
//! - `baggage`: baggage is among the propagators
//! - `drops-weight`, `changes-weight`: what it does to the weight, which it else hands on

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::{Extractor, Injector, TextMapCompositePropagator, TextMapPropagator};
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};

const LOGGED: [&str; 5] = ["traceparent", "tracestate", "baggage", "x-tenant-id", "x-trace-weight"];

/// Headers as the propagator reads and writes them.
struct Carrier<'h>(&'h mut HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

type Upstream = SendRequest<Empty<Bytes>>;

struct Service {
    manner: Vec<String>,
    peers: Vec<(String, SocketAddr)>,
    log: Mutex<File>,
    /// Connections that nobody uses.
    idle: Mutex<Vec<(SocketAddr, Upstream)>>,
}

fn kept(headers: &HeaderMap) -> Map<String, Value> {
    let named = LOGGED.into_iter().filter_map(|name| Some((name, headers.get(name)?)));
    named.filter_map(|(name, value)| Some((name.to_owned(), value.to_str().ok()?.into()))).collect()
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

impl Service {
    fn has(&self, manner: &str) -> bool {
        self.manner.iter().any(|each| each == manner)
    }

    fn write(&self, record: &Value) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(log, "{record}")?)
    }

    async fn serve(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        if request.uri().path() == "/healthz" {
            return Ok(Response::new(Full::default()));
        }
        let (path, cause) = (request.uri().path().to_owned(), kept(request.headers()));
        self.write(&json!({"kind": "in", "at_ns": now_ns()?, "path": path, "headers": cause, "status": 200}))?;
        let arrived = global::get_text_map_propagator(|propagator| propagator.extract(&Carrier(request.headers_mut())));
        let span = global::tracer("laboratory").start_with_context("work", &arrived);
        let context = arrived.with_span(span);
        let work = Arc::clone(&self).call_everybody(cause);
        if self.has("spawn-forgets") {
            tokio::spawn(work).await??;
        } else if self.has("spawn") {
            tokio::spawn(work.with_context(context)).await??;
        } else {
            work.with_context(context).await?;
        }
        Ok(Response::new(Full::from("done")))
    }

    async fn call_everybody(self: Arc<Self>, cause: Map<String, Value>) -> Result<()> {
        for (peer, address) in &self.peers {
            let context = Context::current();
            let context = context.with_span(global::tracer("laboratory").start_with_context("call", &context));
            let mut request = Request::get("/work").header("host", address.to_string()).body(Empty::new())?;
            let headers = request.headers_mut();
            global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Carrier(headers)));
            if let Some(weight) = cause.get("x-trace-weight").and_then(Value::as_str)
                && !self.has("drops-weight")
            {
                let weight = if self.has("changes-weight") { "0.25" } else { weight };
                request.headers_mut().insert("x-trace-weight", weight.try_into()?);
            }
            let (sent, at_ns) = (kept(request.headers()), now_ns()?);
            let mut upstream = self.upstream(*address).await?;
            let answer = upstream.send_request(request).await?;
            let status = answer.status().as_u16();
            answer.into_body().collect().await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((*address, upstream));
            self.write(&json!({
                "kind": "out", "at_ns": at_ns, "path": "/work", "peer": peer, "headers": sent, "cause": cause, "status": status
            }))?;
        }
        Ok(())
    }

    /// A connection that is ready, made where none is.
    async fn upstream(&self, address: SocketAddr) -> Result<Upstream> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let at = idle.iter().position(|(to, _)| *to == address);
            at.map(|at| idle.swap_remove(at).1)
        };
        if let Some(mut upstream) = idle
            && upstream.ready().await.is_ok()
        {
            return Ok(upstream);
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut upstream, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        upstream.ready().await?;
        Ok(upstream)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let variable = |name: &str| std::env::var(name).context(format!("{name} is not set"));
    let listed = |text: String| text.split(',').filter(|each| !each.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let manner = listed(variable("MANNER")?);
    let mut peers = Vec::new();
    for peer in listed(variable("CALLS")?) {
        let url = variable(&format!("URL_{}", peer.to_uppercase()))?;
        peers.push((peer, url.strip_prefix("http://").context("plain HTTP")?.parse()?));
    }
    let log = OpenOptions::new().create(true).append(true).open(variable("TRUTH_FILE")?)?;
    let service = Arc::new(Service { manner, peers, log: Mutex::new(log), idle: Mutex::default() });
    let ratio = Sampler::TraceIdRatioBased(0.5);
    let sampler = if service.has("ignores-parent") { ratio } else { Sampler::ParentBased(Box::new(ratio)) };
    global::set_tracer_provider(SdkTracerProvider::builder().with_sampler(sampler).build());
    if !service.has("no-propagator") {
        let mut propagators: Vec<Box<dyn TextMapPropagator + Send + Sync>> =
            vec![Box::new(TraceContextPropagator::new())];
        if service.has("baggage") {
            propagators.push(Box::new(BaggagePropagator::new()));
        }
        global::set_text_map_propagator(TextMapCompositePropagator::new(propagators));
    }
    std::thread::spawn(|| {
        // Standard input is a pipe that only the parent holds.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let listener = TcpListener::bind(variable("LISTEN")?).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = Arc::clone(&service);
        let serve = service_fn(move |request| Arc::clone(&service).serve(request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
    }
}
