//! HTTP requests come in; metrics, health checks and a page with links go out. What they show is made elsewhere.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use observer_core::time::Timestamp;
use prometheus::Registry;

use super::prometheus as metrics;
use super::snapshot::Shared;

/// After how long without a sign of life the line counts as stuck: it shows one several times a second, and a machine that is
/// busy or was suspended for a moment is not a fault.
const STUCK_AFTER: Duration = Duration::from_secs(30);

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><title>Sampling observer</title>\n<h1>Runtime sampling observer</h1>\n\
<ul>\n<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n\
<li><a href=\"/report\">/report</a>: the report as of now, as JSON</li>\n\
<li><a href=\"/healthz\">/healthz</a>: whether it is at work</li>\n\
<li><a href=\"/readyz\">/readyz</a>: whether it observes</li>\n</ul>\n</html>\n";

#[derive(Clone)]
struct Served {
    shared: Shared,
    registry: Registry,
}

/// Takes the address; the sooner it fails the better.
///
/// # Errors
///
/// The address is in use, or not this host's.
pub fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop` is done.
///
/// # Errors
///
/// The listener cannot be used by this runtime, or connections can no longer be accepted.
pub async fn serve(
    listener: std::net::TcpListener,
    shared: Shared,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = router(shared).map_err(std::io::Error::other)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Idle keep-alive connections of scrapers would hold up a graceful end: leave when told to.
    tokio::select! {
        served = axum::serve(listener, router) => served,
        () = stop => Ok(()),
    }
}

fn router(shared: Shared) -> Result<Router, prometheus::Error> {
    let served = Served { registry: metrics::registry(shared.clone())?, shared };
    let router = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/metrics", get(scrape))
        .route("/report", get(report))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(served);
    Ok(router)
}

async fn scrape(State(served): State<Served>) -> Response {
    match metrics::render(&served.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")).into_response(),
    }
}

async fn report(State(served): State<Served>) -> Response {
    match served.shared.newest() {
        Some(snapshot) => match super::json::render(&snapshot.report) {
            Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("report: {error}\n")).into_response(),
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing observed yet\n").into_response(),
    }
}

async fn health(State(served): State<Served>) -> Response {
    let silent = now().since(served.shared.last_alive());
    if silent <= STUCK_AFTER {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("no sign of life for {} s\n", silent.as_secs())).into_response()
    }
}

async fn readiness(State(served): State<Served>) -> Response {
    if served.shared.newest().is_some() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not yet observing\n").into_response()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
