//! A finding and what its culprit runs come in; what to change, in the culprit's language, goes out. What is not known to be
//! missing is not called missing.

use super::super::breaks::REJECTS_FLAGS;
use super::super::dropped::KEEP_TENANT;
use super::super::report::{Code, Finding};
use super::super::runs::{Runs, Runtime};
use super::libraries::{Carried, NODE_ALL, PYTHON_THREADS, Speaks, gaps, has_no_tracing, has_sdk, vendor};

/// The remedy; `None`: what the finding says already is all that is known.
pub(super) fn remedy(finding: &Finding, runs: &Runs, speaks: &[Speaks]) -> Option<String> {
    let from = super::culprit(finding)?;
    match finding.code {
        Code::ContextLost => lost(from, runs, speaks),
        // Whether that is a fault depends on where traces are meant to begin, which the finding says.
        Code::ContextMissing => lost(from, runs, speaks).map(|how| format!("{}: {how}", finding.remedy)),
        Code::TraceRestarted if finding.message.contains(REJECTS_FLAGS) => accepting(from, runs),
        Code::TraceRestarted => restarted(from, runs, speaks),
        Code::DecisionFlipped => flipped(from, runs),
        Code::ContextMalformed => malformed(from, runs),
        Code::ContextDuplicated => duplicated(from, runs),
        Code::BaggageDropped if finding.remedy.ends_with(KEEP_TENANT) => None,
        Code::TracestateDropped | Code::BaggageDropped => dropped(finding.code, from, runs),
        _ => None,
    }
}

/// Nothing goes out: no tracing library, nothing that carries the context of a client, no propagator, another thread.
fn lost(from: &str, runs: &Runs, speaks: &[Speaks]) -> Option<String> {
    if has_no_tracing(runs) {
        return install(runs, speaks).map(|install| format!("{from} has no tracing library: {install}"));
    }
    if let Some(vendor) = vendor(runs) {
        return Some(of_vendor(from, vendor));
    }
    if !has_sdk(runs) {
        return None;
    }
    let gaps = gaps(runs, speaks);
    let mut steps = Vec::new();
    if let Some(step) = missing(&gaps) {
        steps.push(step);
    }
    steps.extend(propagator(runs));
    steps.extend(handed_over(runs));
    joined(from, &steps)
}

/// A new trace goes out: the context was not taken from the request, or not handed over to where the call is made.
fn restarted(from: &str, runs: &Runs, speaks: &[Speaks]) -> Option<String> {
    if let Some(vendor) = vendor(runs) {
        return Some(of_vendor(from, vendor));
    }
    let mut steps = Vec::new();
    if let Some(step) = missing(&gaps(runs, &[Speaks::Serves])) {
        steps.push(step);
    }
    if !has_sdk(runs) || speaks.is_empty() && steps.is_empty() {
        return None;
    }
    steps.extend(handed_over(runs));
    joined(from, &steps)
}

/// Which release accepts the random flag: opentelemetry-go takes flags up to 03 since v1.42.0 (#7834).
fn accepting(from: &str, runs: &Runs) -> Option<String> {
    (runs.runtime == Runtime::Go && has_sdk(runs))
        .then(|| format!("update go.opentelemetry.io/otel of {from} to v1.42.0 or later: it accepts the random flag"))
}

fn flipped(from: &str, runs: &Runs) -> Option<String> {
    let sampler = match runs.runtime {
        Runtime::Python => "TracerProvider(sampler=ParentBased(root=…))",
        Runtime::Node => "new ParentBasedSampler({ root: … })",
        Runtime::Go => "sdktrace.WithSampler(sdktrace.ParentBased(…))",
        Runtime::Java => "Sampler.parentBased(…)",
        Runtime::Rust => "Sampler::ParentBased(Box::new(…))",
        Runtime::Dotnet => "new ParentBasedSampler(…)",
        _ => return None,
    };
    has_sdk(runs).then(|| {
        format!(
            "set a parent-based sampler in {from}: {sampler} in its code, or OTEL_TRACES_SAMPLER=parentbased_traceidratio where \
             the code sets none"
        )
    })
}

fn malformed(from: &str, runs: &Runs) -> Option<String> {
    let inject = match runs.runtime {
        Runtime::Python => "opentelemetry.propagate.inject(headers)",
        Runtime::Node => "propagation.inject(context.active(), headers)",
        Runtime::Go => "otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(header))",
        Runtime::Java => "W3CTraceContextPropagator.getInstance().inject(…)",
        Runtime::Rust => "get_text_map_propagator(|propagator| propagator.inject_context(…))",
        _ => return None,
    };
    Some(format!("let {from} write traceparent by {inject}, not by hand (W3C Trace Context, section 3.2)"))
}

fn duplicated(from: &str, runs: &Runs) -> Option<String> {
    let vendor = vendor(runs).filter(|_| has_sdk(runs))?;
    Some(format!("{from} has two tracers, {vendor} and OpenTelemetry: let one of them alone write headers"))
}

fn dropped(code: Code, from: &str, runs: &Runs) -> Option<String> {
    if !has_sdk(runs) || runs.runtime == Runtime::Nginx {
        return None;
    }
    let baggage = match runs.runtime {
        Runtime::Go => {
            "otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))"
        }
        Runtime::Rust => {
            "TextMapCompositePropagator::new(vec![Box::new(TraceContextPropagator::new()), Box::new(BaggagePropagator::new())])"
        }
        _ => "OTEL_PROPAGATORS=tracecontext,baggage",
    };
    Some(match code {
        Code::BaggageDropped => format!("let {from} pass baggage on: {baggage}"),
        _ => format!(
            "let the propagator of {from} write tracestate beside traceparent, where its code copies traceparent by hand"
        ),
    })
}

fn of_vendor(from: &str, vendor: &str) -> String {
    let is_datadog = vendor.starts_with("dd") || vendor.contains("DataDog");
    let setting =
        if is_datadog { ", and that DD_TRACE_PROPAGATION_STYLE names tracecontext (its default does)" } else { "" };
    format!("{from} is traced by {vendor}: see that it knows the client in use{setting}")
}

fn install(runs: &Runs, speaks: &[Speaks]) -> Option<String> {
    let gaps = gaps(runs, &[speaks, &[Speaks::Serves]].concat());
    let mut packages: Vec<&str> = Vec::new();
    for by in gaps.iter().filter_map(|carried| carried.by.first()) {
        if !packages.contains(by) {
            packages.push(by);
        }
    }
    Some(match runs.runtime {
        Runtime::Python => {
            let packages: Vec<&str> = std::iter::once("opentelemetry-distro").chain(packages).collect();
            format!("pip install {} and start it under opentelemetry-instrument", packages.join(" "))
        }
        Runtime::Node => {
            format!("npm install @opentelemetry/api {NODE_ALL} and start it with --require {NODE_ALL}/register")
        }
        Runtime::Go => {
            let packages: Vec<&str> = std::iter::once("go.opentelemetry.io/otel/sdk").chain(packages).collect();
            format!("add {} and otel.SetTextMapPropagator(propagation.TraceContext{{}})", packages.join(", "))
        }
        Runtime::Java => "start it with -javaagent:opentelemetry-javaagent.jar".to_owned(),
        Runtime::Rust => {
            "add opentelemetry_sdk and opentelemetry-http, set global::set_text_map_propagator and inject the \
                          context into the headers of its calls"
                .to_owned()
        }
        Runtime::Nginx => "load ngx_otel_module and set otel_trace_context propagate".to_owned(),
        _ => return None,
    })
}

/// What to add for clients or servers of which nothing carries the context.
fn missing(gaps: &[&Carried]) -> Option<String> {
    let each: Vec<String> = gaps
        .iter()
        .filter_map(|Carried { package, name, by, .. }| {
            let by = by.first()?;
            Some(match package {
                Some(_) => format!("{by} ({name} is there without it)"),
                None => format!("{by} (for {name})"),
            })
        })
        .collect();
    (!each.is_empty()).then(|| format!("add {}", each.join(", ")))
}

/// SDKs that carry nothing until they are told what to write.
fn propagator(runs: &Runs) -> Option<String> {
    let step = match runs.runtime {
        Runtime::Go => {
            "call otel.SetTextMapPropagator(propagation.TraceContext{}) at its start (without that nothing is written)"
        }
        Runtime::Rust => {
            "call global::set_text_map_propagator(TraceContextPropagator::new()) at its start (without that nothing is written)"
        }
        Runtime::Python => "switch on the instrumentation of its client, with tracecontext in OTEL_PROPAGATORS",
        Runtime::Node => {
            "register the instrumentation of its client before the client is loaded, with tracecontext in OTEL_PROPAGATORS"
        }
        _ => return None,
    };
    Some(step.to_owned())
}

/// How the context comes to another thread, task or callback.
fn handed_over(runs: &Runs) -> Option<String> {
    Some(match runs.runtime {
        Runtime::Python => {
            let threads = if runs.lacks(PYTHON_THREADS) { "install" } else { "switch on" };
            format!(
                "hand the context over to threads: submit(contextvars.copy_context().run, …), or {threads} {PYTHON_THREADS}"
            )
        }
        Runtime::Node => String::from(
            "bind what runs later to the request: context.bind(context.active(), callback), or AsyncResource.bind for queues \
             and pools",
        ),
        Runtime::Go => String::from(
            "pass the ctx of the request on to http.NewRequestWithContext or the call, in goroutines context.WithoutCancel(ctx), \
             never context.Background()",
        ),
        Runtime::Java => String::from(
            "hand the context over to threads: Context.taskWrapping(executor) or Context.current().wrap(task)",
        ),
        Runtime::Rust => String::from(
            "hand the context over to spawned tasks: FutureExt::with_context(Context::current()), or Instrument::in_current_span \
             with tracing",
        ),
        _ => return None,
    })
}

fn joined(from: &str, steps: &[String]) -> Option<String> {
    (!steps.is_empty()).then(|| format!("in {from}: {}", steps.join("; else ")))
}
