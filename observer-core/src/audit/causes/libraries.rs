//! Libraries that make, carry or lose trace contexts, by runtime: a table of facts, no traffic.
//!
//! What carries the context of which library goes by the names of the packages of OpenTelemetry's contrib repositories
//! (opentelemetry-python-contrib, opentelemetry-js-contrib, opentelemetry-go-contrib).

use super::super::runs::{Runs, Runtime};

/// What a library speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP as a client.
    Http,
    /// gRPC as a client.
    Grpc,
    /// Records to a broker.
    Records,
    /// Requests that arrive.
    Serves,
}

/// A library, and what carries the context for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) runtime: Runtime,
    /// Its name where it is a package of its own; what is part of the runtime is always there.
    pub(super) package: Option<&'static str>,
    /// What people call it.
    pub(super) name: &'static str,
    pub(super) speaks: Speaks,
    /// Any of these will do; the first is the one to add.
    pub(super) by: &'static [&'static str],
}

const fn package(runtime: Runtime, speaks: Speaks, name: &'static str, by: &'static [&'static str]) -> Carried {
    Carried { runtime, package: Some(name), name, speaks, by }
}

const fn built_in(runtime: Runtime, speaks: Speaks, name: &'static str, by: &'static [&'static str]) -> Carried {
    Carried { runtime, package: None, name, speaks, by }
}

/// Brings along what carries the context of every library that OpenTelemetry knows in Node.js.
pub(super) const NODE_ALL: &str = "@opentelemetry/auto-instrumentations-node";
/// Carries the context to the threads of a Python program.
pub(super) const PYTHON_THREADS: &str = "opentelemetry-instrumentation-threading";

use Runtime::{Go, Java, Nginx, Node, Python, Rust};
use Speaks::{Grpc, Http, Records, Serves};

pub(super) const CARRIED: &[Carried] = &[
    package(
        Python,
        Http,
        "requests",
        &["opentelemetry-instrumentation-requests", "opentelemetry-instrumentation-urllib3"],
    ),
    package(Python, Http, "httpx", &["opentelemetry-instrumentation-httpx"]),
    package(Python, Http, "aiohttp", &["opentelemetry-instrumentation-aiohttp-client"]),
    package(Python, Grpc, "grpcio", &["opentelemetry-instrumentation-grpc"]),
    package(Python, Records, "kafka-python", &["opentelemetry-instrumentation-kafka-python"]),
    package(Python, Records, "aiokafka", &["opentelemetry-instrumentation-aiokafka"]),
    package(Python, Records, "confluent-kafka", &["opentelemetry-instrumentation-confluent-kafka"]),
    package(Python, Records, "pika", &["opentelemetry-instrumentation-pika"]),
    package(Python, Records, "aio-pika", &["opentelemetry-instrumentation-aio-pika"]),
    package(Python, Records, "celery", &["opentelemetry-instrumentation-celery"]),
    package(Python, Serves, "flask", &["opentelemetry-instrumentation-flask", "opentelemetry-instrumentation-wsgi"]),
    package(
        Python,
        Serves,
        "django",
        &[
            "opentelemetry-instrumentation-django",
            "opentelemetry-instrumentation-wsgi",
            "opentelemetry-instrumentation-asgi",
        ],
    ),
    package(
        Python,
        Serves,
        "fastapi",
        &["opentelemetry-instrumentation-fastapi", "opentelemetry-instrumentation-asgi"],
    ),
    package(Python, Serves, "falcon", &["opentelemetry-instrumentation-falcon", "opentelemetry-instrumentation-wsgi"]),
    built_in(Node, Http, "http and https", &["@opentelemetry/instrumentation-http", NODE_ALL]),
    built_in(Node, Http, "fetch", &["@opentelemetry/instrumentation-undici", NODE_ALL]),
    package(Node, Grpc, "@grpc/grpc-js", &["@opentelemetry/instrumentation-grpc", NODE_ALL]),
    package(Node, Records, "kafkajs", &["@opentelemetry/instrumentation-kafkajs", NODE_ALL]),
    package(Node, Records, "amqplib", &["@opentelemetry/instrumentation-amqplib", NODE_ALL]),
    built_in(Node, Serves, "http and https", &["@opentelemetry/instrumentation-http", NODE_ALL]),
    built_in(Go, Http, "net/http", &["go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"]),
    package(
        Go,
        Grpc,
        "google.golang.org/grpc",
        &["go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"],
    ),
    package(Go, Records, "github.com/twmb/franz-go", &["github.com/twmb/franz-go/plugin/kotel"]),
    package(Rust, Http, "reqwest", &["reqwest-tracing", "opentelemetry-http"]),
    package(Rust, Http, "hyper", &["opentelemetry-http"]),
    package(Rust, Grpc, "tonic", &["opentelemetry-http"]),
];

/// Agents and SDKs of vendors: they carry the context of every library that they know by themselves.
pub(super) const VENDORS: &[(Runtime, &str)] = &[
    (Python, "ddtrace"),
    (Python, "elastic-apm"),
    (Python, "newrelic"),
    (Node, "dd-trace"),
    (Node, "elastic-apm-node"),
    (Node, "newrelic"),
    (Go, "gopkg.in/DataDog/dd-trace-go.v1"),
    (Go, "github.com/DataDog/dd-trace-go/v2"),
    (Go, "github.com/newrelic/go-agent/v3"),
    (Go, "go.elastic.co/apm/v2"),
    (Java, "dd-java-agent"),
    (Java, "elastic-apm-agent"),
    (Java, "newrelic"),
];

/// How the name of what begins traces by OpenTelemetry begins.
const SDKS: &[(Runtime, &str)] = &[
    (Python, "opentelemetry-"),
    (Node, "@opentelemetry/"),
    (Go, "go.opentelemetry.io/"),
    (Java, "opentelemetry-"),
    (Rust, "opentelemetry"),
    (Nginx, "ngx_otel_module"),
    (Runtime::Ruby, "opentelemetry-"),
    (Runtime::Php, "open-telemetry/"),
    (Runtime::Dotnet, "OpenTelemetry"),
    (Runtime::Native, "libopentelemetry"),
];

/// What comes along with these and tells nothing.
const PLUMBING: &[&str] = &[
    "@opentelemetry/api-logs",
    "@opentelemetry/core",
    "@opentelemetry/resources",
    "@opentelemetry/semantic-conventions",
    "opentelemetry-proto",
    "opentelemetry-semantic-conventions",
    "opentelemetry-util-http",
];

/// Other tracing libraries.
const TRACERS: &[(Runtime, &str)] = &[
    (Python, "aws-xray-sdk"),
    (Python, "sentry-sdk"),
    (Python, "py-zipkin"),
    (Python, "jaeger-client"),
    (Node, "aws-xray-sdk-core"),
    (Node, "@sentry/node"),
    (Node, "zipkin"),
    (Go, "github.com/getsentry/sentry-go"),
    (Go, "github.com/openzipkin/zipkin-go"),
    (Java, "micrometer-tracing"),
    (Java, "brave"),
    (Rust, "tracing-opentelemetry"),
    (Rust, "reqwest-tracing"),
    (Nginx, "ngx_http_opentracing_module"),
    (Nginx, "ngx_http_datadog_module"),
    (Runtime::Ruby, "datadog"),
    (Runtime::Native, "libdatadog"),
];

/// Libraries that serve, call or run other code, and with it carry a context or lose it.
const FRAMEWORKS: &[(Runtime, &str)] = &[
    (Python, "gunicorn"),
    (Python, "uvicorn"),
    (Python, "hypercorn"),
    (Python, "starlette"),
    (Python, "tornado"),
    (Python, "sanic"),
    (Python, "gevent"),
    (Python, "eventlet"),
    (Python, "rq"),
    (Python, "dramatiq"),
    (Python, "kombu"),
    (Python, "nats-py"),
    (Python, "urllib3"),
    (Python, "boto3"),
    (Node, "express"),
    (Node, "fastify"),
    (Node, "koa"),
    (Node, "next"),
    (Node, "@nestjs/core"),
    (Node, "@hapi/hapi"),
    (Node, "undici"),
    (Node, "axios"),
    (Node, "got"),
    (Node, "node-fetch"),
    (Node, "bull"),
    (Node, "bullmq"),
    (Node, "ioredis"),
    (Node, "nats"),
    (Node, "@platformatic/kafka"),
    (Go, "github.com/gin-gonic/gin"),
    (Go, "github.com/labstack/echo/v4"),
    (Go, "github.com/gofiber/fiber/v2"),
    (Go, "github.com/go-chi/chi/v5"),
    (Go, "github.com/gorilla/mux"),
    (Go, "github.com/valyala/fasthttp"),
    (Go, "github.com/go-resty/resty/v2"),
    (Go, "github.com/IBM/sarama"),
    (Go, "github.com/Shopify/sarama"),
    (Go, "github.com/segmentio/kafka-go"),
    (Go, "github.com/confluentinc/confluent-kafka-go/v2"),
    (Go, "github.com/rabbitmq/amqp091-go"),
    (Go, "github.com/nats-io/nats.go"),
    (Go, "github.com/redis/go-redis/v9"),
    (Java, "spring-boot"),
    (Java, "spring-webmvc"),
    (Java, "spring-webflux"),
    (Java, "spring-kafka"),
    (Java, "okhttp"),
    (Java, "httpclient"),
    (Java, "httpclient5"),
    (Java, "grpc-core"),
    (Java, "grpc-netty"),
    (Java, "grpc-netty-shaded"),
    (Java, "kafka-clients"),
    (Java, "reactor-core"),
    (Java, "reactor-netty-http"),
    (Java, "vertx-core"),
    (Java, "netty-codec-http"),
    (Java, "quarkus-core"),
    (Java, "jetty-server"),
    (Java, "tomcat-embed-core"),
    (Rust, "tokio"),
    (Rust, "tower-http"),
    (Rust, "axum"),
    (Rust, "actix-web"),
    (Rust, "warp"),
    (Rust, "tracing"),
    (Rust, "ureq"),
    (Rust, "isahc"),
    (Rust, "rdkafka"),
    (Rust, "rskafka"),
    (Rust, "lapin"),
    (Rust, "async-nats"),
    (Runtime::Native, "libcurl"),
    (Runtime::Native, "libgrpc++"),
    (Runtime::Native, "libgrpc"),
    (Runtime::Native, "librdkafka"),
    (Runtime::Native, "libnghttp2"),
    (Runtime::Native, "libhiredis"),
    (Runtime::Native, "librabbitmq"),
    (Runtime::Native, "libevent"),
    (Runtime::Native, "libmicrohttpd"),
];

/// Whether a library is worth naming: it makes, carries or loses trace contexts.
pub fn matters(runtime: Runtime, library: &str) -> bool {
    is_tracing(runtime, library) && !PLUMBING.contains(&library)
        || FRAMEWORKS.contains(&(runtime, library))
        || CARRIED.iter().any(|carried| carried.runtime == runtime && carried.package == Some(library))
}

/// The names of libraries that matter, where they are not told by how they begin.
pub fn names(runtime: Runtime) -> impl Iterator<Item = &'static str> {
    let listed = VENDORS.iter().chain(TRACERS).chain(FRAMEWORKS);
    let listed = listed.filter(move |(of, _)| *of == runtime).map(|(_, name)| *name);
    let carried = CARRIED.iter().filter(move |carried| carried.runtime == runtime);
    listed.chain(carried.filter_map(|carried| carried.package))
}

/// Whether a library begins traces or carries their context.
pub(in crate::audit) fn is_tracing(runtime: Runtime, library: &str) -> bool {
    is_sdk(runtime, library) || VENDORS.contains(&(runtime, library)) || TRACERS.contains(&(runtime, library))
}

fn is_sdk(runtime: Runtime, library: &str) -> bool {
    SDKS.iter().any(|(of, begin)| *of == runtime && library.starts_with(begin))
}

/// The agent of a vendor in a process.
pub(super) fn vendor(runs: &Runs) -> Option<&'static str> {
    VENDORS.iter().find(|(of, name)| *of == runs.runtime && runs.has(name)).map(|(_, name)| *name)
}

/// Whether OpenTelemetry is in a process.
pub(super) fn has_sdk(runs: &Runs) -> bool {
    runs.libraries.keys().any(|library| is_sdk(runs.runtime, library))
}

/// Whether no tracing library is in a process, for sure.
pub(super) fn has_no_tracing(runs: &Runs) -> bool {
    runs.unread.is_none() && !runs.libraries.keys().any(|library| is_tracing(runs.runtime, library))
}

/// What speaks so in a process and has nothing that carries its context, for sure.
pub(super) fn gaps(runs: &Runs, speaks: &[Speaks]) -> Vec<&'static Carried> {
    let of_runtime =
        CARRIED.iter().filter(|carried| carried.runtime == runs.runtime && speaks.contains(&carried.speaks));
    of_runtime
        .filter(|carried| carried.package.is_none_or(|package| runs.has(package)))
        .filter(|carried| carried.by.iter().all(|by| runs.lacks(by)))
        .collect()
}
