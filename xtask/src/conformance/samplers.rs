//! Decisions of samplers, as the SDKs and the collector made them.

use anyhow::{Context, Result, bail};
use observer_core::ids::TraceId;
use observer_core::sampling::arithmetic::{SdkSampler, Threshold, collector_hash_seed, collector_tail, randomness};
use serde_json::Value;

use super::{Tally, TraceIds};

/// The sampler that a file is about, by how it names the SDK and its version.
fn sampler(sdk: &str, version: &str) -> Option<SdkSampler> {
    Some(match (sdk, version) {
        ("go go.opentelemetry.io/otel/sdk", "1.1.0") => SdkSampler::GoOld,
        ("go go.opentelemetry.io/otel/sdk" | "rust opentelemetry_sdk", _) => SdkSampler::Go,
        ("python opentelemetry-sdk", _) => SdkSampler::Python,
        ("ruby opentelemetry-sdk", _) => SdkSampler::Ruby,
        ("java opentelemetry-sdk-trace", _) => SdkSampler::Java,
        ("opentelemetry-erlang main", _) => SdkSampler::Erlang,
        ("jaeger-client-go ProbabilisticSampler", _) => SdkSampler::Jaeger,
        ("js @opentelemetry/sdk-trace-base", version) if version.starts_with("1.") => SdkSampler::JsOld,
        ("js @opentelemetry/sdk-trace-base" | "js @opentelemetry/sdk-trace", _) => SdkSampler::Js,
        ("php open-telemetry/sdk", version) if version.starts_with("before") => SdkSampler::PhpOld,
        ("php open-telemetry/sdk", _) => SdkSampler::Php,
        ("cpp opentelemetry-cpp", version) if version.starts_with("main") => SdkSampler::Cpp,
        ("cpp opentelemetry-cpp", _) => SdkSampler::CppOld,
        ("OpenTelemetry .NET >= 1.15.1", _) => SdkSampler::DotNet,
        (sdk, _) if sdk.starts_with("OpenTelemetry .NET <= 1.15.0") => SdkSampler::DotNetOld,
        ("datadog ddtrace (python)", _) => SdkSampler::Datadog,
        ("python composite/probability (experimental)" | "js @opentelemetry/sampler-composite", _) => {
            SdkSampler::Composite
        }
        _ => return None,
    })
}

/// One file of `ratio_*.json`: by ratio, one character an id, `X` where the SDK throws.
pub(super) fn ratios(content: &Value, ids: &TraceIds, tally: &mut Tally) -> Result<()> {
    let text = |key: &str| content[key].as_str().unwrap_or_default();
    let (sdk, version) = (text("sdk"), text("version"));
    let Some(sampler) = sampler(sdk, version) else { bail!("{sdk} {version}: no such sampler is known") };
    let ids: Vec<TraceId> = ids.random.iter().chain(&ids.edge).copied().collect();
    for (ratio, decisions) in content["decisions"].as_object().context("no decisions")? {
        let decisions = decisions.as_str().context("decisions are no text")?.as_bytes();
        if decisions.len() != ids.len() {
            bail!("{} decisions for {} ids", decisions.len(), ids.len());
        }
        let ratio: f64 = ratio.parse()?;
        for (&id, &decision) in ids.iter().zip(decisions) {
            let own = match sampler.decides(id, ratio) {
                Some(true) => b'1',
                Some(false) => b'0',
                None => b'X',
            };
            tally.case(own == decision, || {
                format!(
                    "{id} at {ratio}: {} is {}, the SDK says {}",
                    sampler.family().as_str(),
                    char::from(own),
                    char::from(decision)
                )
            });
        }
    }
    Ok(())
}

/// Thresholds of consistent probability sampling in several precisions.
pub(super) fn thresholds(content: &Value, tally: &mut Tally) -> Result<()> {
    for row in content["rows"].as_array().context("no rows")? {
        let ratio = row["p"].as_f64().context("p is no number")?;
        let Some(threshold) = Threshold::of(ratio) else { bail!("{ratio} has no threshold") };
        let own = [
            ("full", threshold),
            ("php_prec4", threshold.rounded(4)),
            ("collector_prec3", threshold.rounded_as_collector(3)),
            ("collector_prec4", threshold.rounded_as_collector(4)),
            ("collector_prec5", threshold.rounded_as_collector(5)),
        ];
        for (column, own) in own {
            let expected = row[column].as_str().with_context(|| format!("no column {column}"))?;
            tally.case(own.to_string() == expected, || format!("{column} of {ratio}: {own}, not {expected}"));
        }
    }
    Ok(())
}

/// Decisions of the collector's samplers on the random ids.
pub(super) fn collector(content: &Value, ids: &TraceIds, tally: &mut Tally) -> Result<()> {
    let mut each = |set: &str, decides: &dyn Fn(&str, TraceId) -> Result<bool>| -> Result<()> {
        for (settings, decisions) in content[set].as_object().with_context(|| format!("no {set}"))? {
            for (&id, decision) in ids.random.iter().zip(decisions.as_str().context("no text")?.bytes()) {
                let own = decides(settings, id)?;
                tally.case(own == (decision == b'1'), || format!("{set} {settings}: {id} is {own}"));
            }
        }
        Ok(())
    };
    each("probabilistic_sampler_hash_seed", &|settings, id| {
        Ok(collector_hash_seed(id, setting(settings, "seed")?.parse()?, setting(settings, "pct")?.parse()?))
    })?;
    each("tail_sampling_probabilistic", &|settings, id| {
        Ok(collector_tail(id, setting(settings, "salt")?, setting(settings, "pct")?.parse()?))
    })
}

/// The value of `key=value` among words.
fn setting<'a>(settings: &'a str, key: &str) -> Result<&'a str> {
    let found = settings.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    found.with_context(|| format!("no {key} in {settings}"))
}

/// Whole SDKs with a sampler, an incoming and the outgoing context: the sampled flag follows from the sampler, where the trace
/// goes on.
pub(super) fn in_and_out(content: &Value, tally: &mut Tally) -> Result<()> {
    for (language, results) in content.as_object().context("no languages")? {
        for row in results["rows"].as_array().context("no rows")? {
            if row["same_trace"] != true {
                continue;
            }
            let incoming = row["in_traceparent"].as_str().context("no in_traceparent")?;
            let fields: Vec<&str> = incoming.split('-').collect();
            let [_, id, _, flags] = fields[..] else { bail!("{incoming} has not four fields") };
            let id = TraceId(u128::from_str_radix(id, 16)?);
            let is_sampled = |flags: &str| -> Result<bool> { Ok(u8::from_str_radix(flags, 16)? & 1 == 1) };
            let parent = is_sampled(flags)?;
            let sampler = row["sampler"].as_str().context("no sampler")?;
            // Python's composite samplers never get the parent's tracestate (opentelemetry-python#5578).
            let state = row["in_tracestate"].as_str().filter(|_| language != "python").unwrap_or_default();
            let Some(own) = decision(language, sampler, id, parent, state) else {
                bail!("{sampler} of {language} is not known")
            };
            let theirs = is_sampled(row["out_flags"].as_str().context("no out_flags")?)?;
            tally.case(own == theirs, || format!("{language} {sampler}: {incoming} {state} leaves with {theirs}"));
        }
    }
    Ok(())
}

fn decision(language: &str, sampler: &str, id: TraceId, parent: bool, state: &str) -> Option<bool> {
    let member = |key: &str| {
        let ot = state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
        let value = ot.split(';').find_map(|part| part.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.to_owned())
    };
    let randomness = member("rv").and_then(|rv| u64::from_str_radix(&rv, 16).ok()).unwrap_or(randomness(id));
    let sdk = match language {
        "python" => SdkSampler::Python,
        "js" => SdkSampler::Js,
        "rust" | "go" => SdkSampler::Go,
        _ => return None,
    };
    Some(match sampler {
        "always_on" => true,
        "always_off" => false,
        "traceidratio_0.1" => sdk.decides(id, 0.1)?,
        _ if sampler.starts_with("parentbased_") => parent,
        "composite_prob_0.1" => Threshold::of(0.1)?.admits(randomness),
        // The parent's threshold decides, whatever its flag says.
        "composite_parentthreshold_0.1" => match member("th") {
            Some(th) => randomness >= u64::from_str_radix(&format!("{th:0<14}"), 16).ok()?,
            None => parent,
        },
        _ => return None,
    })
}
