//! Requests that are no hops: a request on its way out comes in; whether it is telemetry or a probe goes out.
//!
//! Known by path, gRPC service, content type or user agent, never by port. A path that only looks like a health check is a
//! hop like any other.

/// Why a request is no hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoHop {
    /// Telemetry on its way out, or fetched.
    Telemetry,
    /// A probe of whether somebody is alive.
    Probe,
}

/// Beginnings of the paths of POST and PUT that mean telemetry or a probe by themselves.
const BEGINNINGS: [(&str, NoHop); 14] = [
    // gRPC services.
    ("/opentelemetry.proto.collector.", NoHop::Telemetry),
    ("/jaeger.api_v2.", NoHop::Telemetry),
    ("/jaeger.api_v3.", NoHop::Telemetry),
    ("/zipkin.proto3.SpanService/", NoHop::Telemetry),
    ("/datadog.trace", NoHop::Telemetry),
    ("/grpc.health.v1.Health/", NoHop::Probe),
    ("/grpc.reflection.", NoHop::Probe),
    ("/otlp/v1/", NoHop::Telemetry),           // OTLP/HTTP behind Prometheus, Mimir, Loki
    ("/api/v1/otlp/v1/", NoHop::Telemetry),    // Prometheus' own OTLP receiver
    ("/metrics/job/", NoHop::Telemetry),       // Prometheus Pushgateway
    ("/telemetry/proxy/", NoHop::Telemetry),   // Datadog instrumentation telemetry
    ("/evp_proxy/", NoHop::Telemetry),         // Datadog event proxy
    ("/profiling/v1/input", NoHop::Telemetry), // Datadog profiler
    ("/dogstatsd/v2/proxy", NoHop::Telemetry), // Datadog metrics over HTTP
];
/// Ends of such paths: collectors are often mounted below some prefix.
const ENDS: [&str; 12] = [
    "/api/v2/spans", // Zipkin (zipkin-api.yaml)
    "/api/v1/spans",
    "/v0.3/traces", // Datadog agent (trace-agent API)
    "/v0.4/traces",
    "/v0.5/traces",
    "/v0.7/traces",
    "/v0.6/stats",
    "/api/v1/write", // Prometheus remote write
    "/api/v1/push",  // the same in Mimir and Cortex
    "/api/prom/push",
    "/loki/api/v1/push",
    "/api/v0.2/traces", // Datadog intake
];
/// OTLP/HTTP (OpenTelemetry protocol specification, "OTLP/HTTP Request"): the standing paths.
const OTLP: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"];
/// Jaeger over HTTP.
const JAEGER: &str = "/api/traces";
/// Prometheus' default scrape path and that of federation; the sampling strategies of Jaeger's agent.
const FETCHED: [&str; 3] = ["/metrics", "/federate", "/sampling"];

/// Topics of collectors and of brokers themselves: those that the Kafka exporters of the OpenTelemetry Collector and of Jaeger
/// and Zipkin's collector use unless they are told otherwise.
const TOPICS: [&str; 5] = ["otlp_spans", "otlp_metrics", "otlp_logs", "jaeger-spans", "zipkin"];

/// Whether what is sent to a topic is telemetry, or the broker's own (Kafka's names begin with two underscores).
pub fn is_telemetry_topic(topic: &str) -> bool {
    TOPICS.contains(&topic) || topic.starts_with("__")
}

/// Beginnings of user agents.
const AGENTS: [(&str, NoHop); 14] = [
    ("kube-probe/", NoHop::Probe),
    ("ELB-HealthChecker/", NoHop::Probe),
    ("GoogleHC/", NoHop::Probe),
    ("Envoy/HC", NoHop::Probe),
    ("Consul Health Check", NoHop::Probe),
    ("Amazon-Route53-Health-Check-Service", NoHop::Probe),
    ("Edge Health Probe", NoHop::Probe),
    ("Load Balancer Agent", NoHop::Probe),
    ("Blackbox Exporter/", NoHop::Probe),
    ("Prometheus/", NoHop::Telemetry),
    ("vm_promscrape", NoHop::Telemetry),
    ("OTel-OTLP-Exporter-", NoHop::Telemetry),
    ("OTel OTLP Exporter", NoHop::Telemetry),
    ("Datadog Agent/", NoHop::Telemetry),
];

/// Whether a request is telemetry or a probe rather than a hop; `None` for a hop. `path` without its query.
pub fn no_hop(method: &str, path: &str, content_type: Option<&[u8]>, user_agent: Option<&[u8]>) -> Option<NoHop> {
    if let Some(kind) = user_agent.and_then(|agent| beginning(agent, 0, &AGENTS, AGENT_LETTERS)) {
        return Some(kind);
    }
    match method {
        "POST" | "PUT" => sent(path, content_type.unwrap_or_default()),
        "GET" if FETCHED.contains(&path) => Some(NoHop::Telemetry),
        _ => None,
    }
}

fn sent(path: &str, content_type: &[u8]) -> Option<NoHop> {
    if let Some(kind) = beginning(path.as_bytes(), 1, &BEGINNINGS, PATH_LETTERS) {
        return Some(kind);
    }
    if path.bytes().last().is_none_or(|last| LAST_LETTERS & bit(last) == 0) {
        return None;
    }
    let protobuf = has_type(content_type, "application/x-protobuf");
    let thrift = has_type(content_type, "application/x-thrift")
        || has_type(content_type, "application/vnd.apache.thrift.binary");
    let telemetry = OTLP.contains(&path)
        || (protobuf && OTLP.iter().any(|suffix| path.ends_with(suffix)))
        || (thrift && path.ends_with(JAEGER))
        || ENDS.iter().any(|suffix| path.ends_with(suffix));
    telemetry.then_some(NoHop::Telemetry)
}

/// What the beginning of `text` in a table means. Most texts differ from all of them in the letter at `letter`, by which they
/// are told apart first.
fn beginning(text: &[u8], letter: usize, table: &[(&str, NoHop)], letters: u64) -> Option<NoHop> {
    text.get(letter).filter(|&&letter| letters & bit(letter) != 0)?;
    table.iter().find(|(start, _)| text.starts_with(start.as_bytes())).map(|&(_, kind)| kind)
}

/// The second letters of [`BEGINNINGS`], behind the slash.
const PATH_LETTERS: u64 = letters(&BEGINNINGS, 1);
/// The first letters of [`AGENTS`].
const AGENT_LETTERS: u64 = letters(&AGENTS, 0);
/// The last letters of [`ENDS`], [`OTLP`] and [`JAEGER`].
const LAST_LETTERS: u64 = last_letters(&ENDS) | last_letters(&OTLP) | last_letters(&[JAEGER]);

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs in the compiler, over constants")]
const fn letters(table: &[(&str, NoHop)], letter: usize) -> u64 {
    let (mut letters, mut at) = (0, 0);
    while at < table.len() {
        letters |= bit(table[at].0.as_bytes()[letter]);
        at += 1;
    }
    letters
}

#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "runs in the compiler, over constants")]
const fn last_letters(words: &[&str]) -> u64 {
    let (mut letters, mut at) = (0, 0);
    while at < words.len() {
        letters |= bit(words[at].as_bytes()[words[at].len() - 1]);
        at += 1;
    }
    letters
}

/// A bit of its own for each letter.
const fn bit(letter: u8) -> u64 {
    1_u64.wrapping_shl(letter as u32 & 63)
}

/// Whether a `Content-Type` names a media type, with or without parameters, in any case (RFC 9110 section 8.3.1).
fn has_type(content_type: &[u8], wanted: &str) -> bool {
    let end = content_type.iter().position(|&byte| byte == b';').unwrap_or(content_type.len());
    content_type.get(..end).is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_and_probes_are_no_hops_and_look_alikes_are() {
        let (telemetry, probe) = (Some(NoHop::Telemetry), Some(NoHop::Probe));
        for (request, expected) in [
            ("POST /v1/traces application/x-protobuf", telemetry),
            ("POST /v1/metrics application/json", telemetry),
            ("POST /collector/v1/logs application/x-protobuf;charset=x", telemetry),
            ("POST /shop/v1/logs application/json", None),
            ("GET /v1/traces", None),
            ("POST /opentelemetry.proto.collector.trace.v1.TraceService/Export application/grpc", telemetry),
            ("POST /api/v2/spans application/json", telemetry),
            ("POST /api/traces application/vnd.apache.thrift.binary", telemetry),
            ("POST /api/traces application/json", None),
            ("POST /jaeger.api_v2.CollectorService/PostSpans application/grpc", telemetry),
            ("PUT /v0.4/traces application/msgpack", telemetry),
            ("POST /telemetry/proxy/api/v2/apmtelemetry application/json", telemetry),
            ("POST /api/v1/write application/x-protobuf", telemetry),
            ("PUT /metrics/job/batch", telemetry),
            ("GET /metrics", telemetry),
            ("GET /metrics/7", None),
            ("GET /anything - Prometheus/2.42.0", telemetry),
            ("POST /anything application/x-protobuf OTel-OTLP-Exporter-Python/1.45.2", telemetry),
            ("GET /healthz - kube-probe/1.31", probe),
            ("GET / - ELB-HealthChecker/2.0", probe),
            ("GET / - GoogleHC/1.0", probe),
            ("POST /grpc.health.v1.Health/Check application/grpc", probe),
            ("GET /healthz", None),
            ("GET /healthz - curl/7.88.1", None),
            ("POST /orders application/x-protobuf", None),
            ("POST /shop.Cart/Add application/grpc", None),
        ] {
            let words: Vec<&str> = request.split(' ').collect();
            let optional = |index: usize| words.get(index).filter(|word| **word != "-").map(|word| word.as_bytes());
            assert_eq!(no_hop(words[0], words[1], optional(2), optional(3)), expected, "{request}");
        }
    }

    #[test]
    fn every_beginning_and_end_of_the_tables_is_found() {
        for (path, kind) in BEGINNINGS {
            assert_eq!(no_hop("POST", path, None, None), Some(kind), "{path}");
        }
        for (agent, kind) in AGENTS {
            assert_eq!(no_hop("GET", "/", None, Some(agent.as_bytes())), Some(kind), "{agent}");
        }
        for path in ENDS.into_iter().chain(OTLP) {
            assert_eq!(no_hop("PUT", path, None, None), Some(NoHop::Telemetry), "{path}");
        }
        assert_eq!(no_hop("POST", "", None, Some(b"")), None);
    }
}
