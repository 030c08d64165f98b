//! The environment of an observed process: `OTEL_TRACES_SAMPLER` and its argument come in, the sampler that its SDK really
//! makes of them goes out, with what is wrong where that is not what the values say.
//!
//! An environment that sets nothing declares nothing: the SDK's default is a default, not a declaration.

use super::{Declarations, Problem, Rule, Sampler, SourceKind};

/// The language of the SDK in a process, for what it makes of odd values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Language {
    #[default]
    Unknown,
    Cpp,
    DotNet,
    Go,
    Java,
    JavaScript,
    Php,
    Python,
    Ruby,
    Rust,
}

/// What a process was started with.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment<'a> {
    /// The process.
    pub pid: u32,
    /// The service that it belongs to.
    pub service: &'a str,
    /// The language of its SDK.
    pub language: Language,
    /// `OTEL_TRACES_SAMPLER`.
    pub sampler: Option<&'a str>,
    /// `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler_arg: Option<&'a str>,
}

/// The name of the variable that chooses the sampler.
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
/// The name of the variable that holds its ratio.
const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The rule that the environment of a process sets, with its effective ratio.
pub fn process_environment(process: &ProcessEnvironment<'_>) -> Declarations {
    let mut declared = Declarations::default();
    let source = |key: &str| format!("process {} ({}): {key}", process.pid, process.service);
    let mut problem = |key: String, what: String, remedy: &str| {
        declared.problems.push(Problem {
            source: format!("process {} ({})", process.pid, process.service),
            service: Some(process.service.to_owned()),
            key,
            what,
            remedy: remedy.to_owned(),
        });
    };
    let arg = process.sampler_arg.filter(|arg| !arg.is_empty());
    let Some(name) = process.sampler.filter(|name| !name.is_empty()) else {
        if let Some(arg) = arg {
            let what = format!("has no effect without {SAMPLER}: everything is sampled");
            problem(with_value(ARG, arg), what, "set OTEL_TRACES_SAMPLER=parentbased_traceidratio beside it");
        }
        return declared;
    };

    let effective = match known(process.language, name) {
        Some(Known::Plain(sampler)) => Some((sampler, fixed_ratio(sampler))),
        Some(Known::Ratio(sampler)) => match ratio(process.language, arg) {
            Ok(ratio) => Some((sampler, Some(ratio))),
            Err(fallback) => {
                let key = arg.map_or_else(|| ARG.to_owned(), |arg| with_value(ARG, arg));
                let given = if arg.is_some() { "means" } else { "is not set, which means" };
                let what = format!("{given} {}", fallback.effect());
                problem(key, what, "set OTEL_TRACES_SAMPLER_ARG to a ratio from 0 to 1; ten percent is 0.1");
                fallback.sampler(sampler)
            }
        },
        // Its ratio comes from elsewhere while the process runs.
        Some(Known::Remote) => Some((Sampler::Unknown, None)),
        None => {
            let fallback = if fails_to_start(process.language) { Fallback::NoStart } else { Fallback::Default };
            let what = format!("names no sampler of this SDK and means {}", fallback.effect());
            problem(
                with_value(SAMPLER, name),
                what,
                "set OTEL_TRACES_SAMPLER to a name of the OpenTelemetry specification, in lower case",
            );
            fallback.sampler(Sampler::ParentBasedAlwaysOn)
        }
    };
    if let Some((sampler, ratio)) = effective {
        declared.rules.push(Rule {
            environment: None,
            service: Some(process.service.to_owned()),
            tenant: None,
            sampler,
            ratio,
            kind: SourceKind::ProcessEnvironment,
            source: source(SAMPLER),
        });
    }
    declared
}

/// A name of `OTEL_TRACES_SAMPLER` that an SDK knows.
enum Known {
    Plain(Sampler),
    Ratio(Sampler),
    Remote,
}

/// What an SDK does with a value that it cannot use.
#[derive(Clone, Copy)]
enum Fallback {
    /// The named sampler with this ratio.
    Ratio(f64),
    /// Its default, `parentbased_always_on`.
    Default,
    /// An error or exception at the start.
    NoStart,
}

impl Fallback {
    fn effect(self) -> &'static str {
        match self {
            Self::Ratio(0.0) => "0 %: this SDK samples nothing",
            Self::Ratio(_) => "100 %: this SDK samples everything",
            Self::Default => "100 %: this SDK falls back to parentbased_always_on",
            Self::NoStart => "that this SDK refuses to start: no trace at all",
        }
    }

    fn sampler(self, named: Sampler) -> Option<(Sampler, Option<f64>)> {
        match self {
            Self::Ratio(ratio) => Some((named, Some(ratio))),
            Self::Default => Some((Sampler::ParentBasedAlwaysOn, Some(1.0))),
            Self::NoStart => None,
        }
    }
}

/// The sampler that `name` stands for. Only some SDKs ignore case, and one the white space (source and runs of the SDKs:
/// Python 1.45, JS 2.12, Rust 0.33, Go 1.16; .NET by source).
fn known(language: Language, name: &str) -> Option<Known> {
    let lower = match language {
        Language::Python | Language::DotNet => name.to_ascii_lowercase(),
        Language::Go => name.trim().to_ascii_lowercase(),
        _ => name.to_owned(),
    };
    Some(match lower.as_str() {
        "always_on" => Known::Plain(Sampler::AlwaysOn),
        "always_off" => Known::Plain(Sampler::AlwaysOff),
        "parentbased_always_on" => Known::Plain(Sampler::ParentBasedAlwaysOn),
        "parentbased_always_off" => Known::Plain(Sampler::ParentBasedAlwaysOff),
        "traceidratio" => Known::Ratio(Sampler::TraceIdRatio),
        "parentbased_traceidratio" => Known::Ratio(Sampler::ParentBasedTraceIdRatio),
        "jaeger_remote" | "parentbased_jaeger_remote" | "xray" => Known::Remote,
        _ => return None,
    })
}

fn fixed_ratio(sampler: Sampler) -> Option<f64> {
    match sampler {
        Sampler::AlwaysOn | Sampler::ParentBasedAlwaysOn => Some(1.0),
        Sampler::AlwaysOff | Sampler::ParentBasedAlwaysOff => Some(0.0),
        Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio | Sampler::Unknown => None,
    }
}

fn fails_to_start(language: Language) -> bool {
    matches!(language, Language::Java | Language::Php)
}

/// The ratio that an SDK reads from the argument; what it does instead where it reads none.
fn ratio(language: Language, arg: Option<&str>) -> Result<f64, Fallback> {
    let Some(arg) = arg else {
        return Err(Fallback::Ratio(1.0));
    };
    // Rust alone does not strip white space.
    let text = if language == Language::Rust { arg } else { arg.trim() };
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        // Rust takes any number: one below zero, and not-a-number, leave no trace id under the threshold.
        Ok(ratio) if language == Language::Rust && (ratio < 0.0 || ratio.is_nan()) => Err(Fallback::Ratio(0.0)),
        _ => Err(match language {
            Language::Java | Language::Php => Fallback::NoStart,
            Language::Ruby => Fallback::Default,
            _ => Fallback::Ratio(1.0),
        }),
    }
}

/// A variable and its value as they are shown: cut, and without control characters.
fn with_value(key: &str, value: &str) -> String {
    const SHOWN_MAX: usize = 24;
    let shown: String =
        value.chars().take(SHOWN_MAX).map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    if shown.trim() == shown { format!("{key}={shown}") } else { format!("{key}=\"{shown}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(language: Language, sampler: Option<&str>, sampler_arg: Option<&str>) -> Declarations {
        process_environment(&ProcessEnvironment { pid: 4711, service: "checkout", language, sampler, sampler_arg })
    }

    /// The effective sampler as one word, `-` without a rule.
    fn effective(language: Language, sampler: Option<&str>, arg: Option<&str>) -> String {
        declared(language, sampler, arg).rules.first().map_or_else(
            || String::from("-"),
            |rule| {
                rule.ratio
                    .map_or_else(|| String::from(rule.sampler.as_str()), |r| format!("{} {r}", rule.sampler.as_str()))
            },
        )
    }

    #[test]
    fn each_sdk_makes_of_odd_values_what_it_really_does() {
        use Language::{Go, Java, JavaScript, Php, Python, Ruby, Rust};
        const DEFAULT: &str = "parentbased_always_on 1";
        let all = "traceidratio 1";
        let cases: &[(Language, &str, Option<&str>, &str)] = &[
            // Runs of the SDKs: Python 1.45.2, JS 2.12.1, Rust 0.33.1.
            (Python, "always_on", None, "always_on 1"),
            (Python, "ALWAYS_OFF", None, "always_off 0"),
            (JavaScript, "ALWAYS_OFF", None, DEFAULT),
            (Rust, "ALWAYS_OFF", None, DEFAULT),
            (Python, " always_on ", None, DEFAULT),
            (JavaScript, " always_on ", None, DEFAULT),
            (Python, "traceidratio", None, all),
            (Python, "traceidratio", Some(""), all),
            (Python, "traceidratio", Some(" 0.1 "), "traceidratio 0.1"),
            (JavaScript, "traceidratio", Some(" 0.1 "), "traceidratio 0.1"),
            (Rust, "traceidratio", Some(" 0.1 "), all),
            (Rust, "traceidratio", Some("10"), all),
            (Rust, "traceidratio", Some("-1"), "traceidratio 0"),
            (Rust, "traceidratio", Some("nan"), "traceidratio 0"),
            (Rust, "traceidratio", Some("inf"), all),
            (Python, "traceidratio", Some("-1"), all),
            (Python, "traceidratio", Some("nan"), all),
            (JavaScript, "traceidratio", Some("0,1"), all),
            (JavaScript, "traceidratio", Some("1e-1"), "traceidratio 0.1"),
            (Rust, "traceidratio", Some(".1"), "traceidratio 0.1"),
            (Python, "parentbased_traceidratio", Some("0.25"), "parentbased_traceidratio 0.25"),
            (Python, "bogus", Some("0.1"), DEFAULT),
            // By source.
            (Go, " Always_On ", None, "always_on 1"),
            (Go, "traceidratio", Some("nan"), all),
            (Java, "traceidratio", Some("10"), "-"),
            (Java, "bogus", None, "-"),
            (Php, "traceidratio", Some("10%"), "-"),
            (Ruby, "traceidratio", Some("10%"), DEFAULT),
            (Python, "parentbased_jaeger_remote", Some("endpoint=http://x:1"), "unknown"),
        ];
        for &(language, sampler, arg, expected) in cases {
            let actual = effective(language, Some(sampler), arg);
            assert_eq!(actual, expected, "{language:?} {sampler:?} {arg:?}");
        }
    }

    #[test]
    fn an_environment_that_sets_nothing_declares_nothing() {
        assert_eq!(declared(Language::Python, None, None), Declarations::default());
        assert_eq!(declared(Language::Python, Some(""), Some("")), Declarations::default());
    }

    #[test]
    fn a_value_that_does_not_do_what_it_says_is_told_with_its_effect() {
        use Language::{Go, Java, JavaScript, Python, Rust, Unknown};
        let cases = [
            (
                Unknown,
                Some("parentbased_traceidratio"),
                Some("10"),
                "OTEL_TRACES_SAMPLER_ARG=10 means 100 %: this SDK samples everything",
            ),
            (Rust, Some("traceidratio"), Some("-1"), "OTEL_TRACES_SAMPLER_ARG=-1 means 0 %: this SDK samples nothing"),
            (
                Java,
                Some("traceidratio"),
                Some("10%"),
                "OTEL_TRACES_SAMPLER_ARG=10% means that this SDK refuses to start: no trace at all",
            ),
            (
                JavaScript,
                Some("Always_Off"),
                None,
                "OTEL_TRACES_SAMPLER=Always_Off names no sampler of this SDK and means 100 %: \
                 this SDK falls back to parentbased_always_on",
            ),
            (
                Go,
                None,
                Some("0.1 "),
                "OTEL_TRACES_SAMPLER_ARG=\"0.1 \" has no effect without OTEL_TRACES_SAMPLER: everything is sampled",
            ),
            (
                Go,
                Some("traceidratio"),
                None,
                "OTEL_TRACES_SAMPLER_ARG is not set, which means 100 %: this SDK samples everything",
            ),
        ];
        for (language, sampler, arg, expected) in cases {
            let problems: Vec<_> = declared(language, sampler, arg).problems.iter().map(ToString::to_string).collect();
            assert_eq!(problems, [format!("process 4711 (checkout): {expected}")]);
        }
        assert_eq!(declared(Python, Some("traceidratio"), Some("0.1")).problems, []);
    }
}
