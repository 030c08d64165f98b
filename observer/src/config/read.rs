//! The tree of `observer.yaml` comes in, a [`Config`] goes out: one function a key, the keys in the order of the file.

use std::path::Path;

use observer_core::context::{TenantSource, WeightSource};
use observer_core::limits::Limits;
use regex::Regex;

use super::field::{Field, Section};
use super::values;
use super::{
    Audit, Capture, Config, ConfigError, Declared, DeclaredFile, External, Requirement, ServiceRule, SourceName,
};
use crate::pattern::Pattern;

const KEYS: &[&str] = &[
    "environment",
    "services",
    "tenant",
    "weight",
    "external",
    "ignore",
    "requirements",
    "declared",
    "tolerance",
    "false_alarm_rate",
    "limits",
    "capture",
    "prometheus",
    "otlp",
    "audit",
];
/// Room for one record at least; and what brokers take at most unless they are told otherwise is 1 MiB (message.max.bytes).
const BATCH_BYTES: std::ops::RangeInclusive<usize> = 1024..=16 << 20;
/// Ten times the default; beyond it the series alone would exceed the memory limit.
const NAMES_MAX: u32 = 10_000;
/// Below this the reorder buffers of a handful of connections no longer fit.
const MEMORY_BYTES_MIN: usize = 8 * 1024 * 1024;

type Read<T> = Result<T, ConfigError>;

/// Reads the whole file.
pub(super) fn config(root: &Field<'_>, directory: &Path) -> Read<Config> {
    let section = root.section(KEYS)?;
    let mut config = Config::default();
    if let Some(field) = section.get("environment") {
        config.environment = Some(field.text()?.to_owned());
    }
    config.services = each(&section, "services", service)?.unwrap_or(config.services);
    config.tenant = each(&section, "tenant", tenant)?.unwrap_or(config.tenant);
    config.weight = each(&section, "weight", weight)?.unwrap_or(config.weight);
    config.external = each(&section, "external", external)?.unwrap_or(config.external);
    config.ignore = each(&section, "ignore", ignore)?.unwrap_or(config.ignore);
    if let Some(field) = section.get("requirements") {
        config.requirements = each(&section, "requirements", requirement)?.unwrap_or_default();
        if config.requirements.iter().any(|required| required.ratio_at_least.is_some() || required.all_errors) {
            let notice = "ratio_at_least and all_errors are read but not yet checked";
            config.notices.push(field.wrong(notice).to_string());
        }
    }
    if let Some(field) = section.get("declared") {
        config.declared = declared(&field, directory, &mut config.notices)?;
    }
    if let Some(field) = section.get("tolerance") {
        config.tolerance = field.number("a number from 0 to 1", |number| (0.0..=1.0).contains(&number))?;
    }
    if let Some(field) = section.get("false_alarm_rate") {
        let accepts = |number: f64| number > 0.0 && number < 1.0;
        config.false_alarm_rate = field.number("a number between 0 and 1, for example 0.001", accepts)?;
    }
    if let Some(field) = section.get("limits") {
        config.limits = limits(&field)?;
    }
    if let Some(field) = section.get("capture") {
        config.capture = capture(&field)?;
    }
    if let Some(field) = section.get("prometheus") {
        config.listen = if field.is_false() {
            None
        } else {
            match field.section(&["listen"])?.get("listen") {
                Some(listen) => Some(listen.read(values::listen)?),
                None => config.listen,
            }
        };
    }
    if let Some(field) = section.get("otlp") {
        field.section(&["listen", "endpoint"])?;
        return Err(field.wrong("OTLP comes with a later version; remove this key"));
    }
    if let Some(field) = section.get("audit") {
        config.audit = if field.is_false() { None } else { Some(audit(&field, directory)?) };
    }
    Ok(config)
}

fn each<T>(section: &Section<'_>, key: &'static str, read: fn(&Field<'_>) -> Read<T>) -> Read<Option<Vec<T>>> {
    let Some(field) = section.get(key) else { return Ok(None) };
    field.list()?.iter().map(read).collect::<Read<Vec<T>>>().map(Some)
}

fn service(field: &Field<'_>) -> Read<ServiceRule> {
    let section = field.section(&["name", "port", "executable", "cgroup", "address"])?;
    let rule = ServiceRule {
        name: section.require("name")?.text()?.to_owned(),
        port: section.get("port").map(|field| port(&field)).transpose()?,
        executable: section.get("executable").map(|field| field.text().map(str::to_owned)).transpose()?,
        cgroup: section.get("cgroup").map(|field| cgroup(&field)).transpose()?,
        address: section.get("address").map(|field| field.read(values::network)).transpose()?,
    };
    if rule == (ServiceRule { name: rule.name.clone(), ..ServiceRule::default() }) {
        return Err(field.wrong("matches nothing; give port, executable, cgroup or address"));
    }
    Ok(rule)
}

fn port(field: &Field<'_>) -> Read<u16> {
    field.count(1, u16::MAX.into()).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
}

fn cgroup(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    if text.starts_with('/') {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(field.wrong(format!("\"{text}\" must begin with /, for example /system.slice/{text}")))
    }
}

fn tenant(field: &Field<'_>) -> Read<TenantSource> {
    const KINDS: &[&str] = &["header", "baggage", "tracestate", "host", "path", "namespace"];
    let (key, value) = field.section(KINDS)?.one_of(KINDS)?;
    Ok(match key {
        "header" => TenantSource::Header(header_name(&value)?),
        "baggage" => TenantSource::Baggage(value.text()?.to_owned()),
        "tracestate" => TenantSource::Tracestate(value.text()?.to_owned()),
        "host" => TenantSource::Host(tenant_regex(&value)?),
        "path" => TenantSource::Path(tenant_regex(&value)?),
        _ if value.boolean()? => TenantSource::Namespace,
        _ => return Err(value.wrong("only `namespace: true` means something; remove this entry instead")),
    })
}

fn tenant_regex(field: &Field<'_>) -> Read<Regex> {
    let text = field.text()?;
    let regex = Regex::new(text).map_err(|error| {
        // The last line of the message says what is wrong; those above it draw where.
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        field.wrong(format!("\"{text}\" is no regular expression: {reason}"))
    })?;
    if regex.capture_names().flatten().any(|name| name == "tenant") {
        Ok(regex)
    } else {
        Err(field.wrong(format!("\"{text}\" has no group called tenant; write the tenant's part as (?<tenant>…)")))
    }
}

fn header_name(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    // token of RFC 9110 section 5.6.2.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(token) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(field.wrong(format!("\"{text}\" is no header name; write for example x-tenant-id")))
    }
}

fn weight(field: &Field<'_>) -> Read<WeightSource> {
    const KINDS: &[&str] = &["header", "baggage"];
    let (key, value) = field.section(KINDS)?.one_of(KINDS)?;
    Ok(match key {
        "header" => WeightSource::Header(header_name(&value)?),
        _ => WeightSource::Baggage(value.text()?.to_owned()),
    })
}

fn external(field: &Field<'_>) -> Read<External> {
    let text = field.text()?;
    // A host name never holds a slash or colon and never ends in a digit (RFC 1123 section 2.1: the last label is a name).
    let looks_like_address = text.contains(['/', ':']) || text.ends_with(|letter: char| letter.is_ascii_digit());
    if looks_like_address {
        field.read(values::network).map(External::Network)
    } else {
        Ok(External::Host(Pattern::new(&text.to_ascii_lowercase())))
    }
}

fn ignore(field: &Field<'_>) -> Read<Pattern> {
    let path = field.section(&["path"])?.require("path")?;
    let text = path.text()?;
    if text.starts_with(['/', '*']) {
        Ok(Pattern::new(text))
    } else {
        Err(path.wrong(format!("\"{text}\" must begin with / (a * stands for anything)")))
    }
}

fn requirement(field: &Field<'_>) -> Read<Requirement> {
    let section = field.section(&["service", "tenant", "ratio_at_least", "all_errors", "all_slower_than"])?;
    let text = |key| section.get(key).map(|field| field.text().map(str::to_owned)).transpose();
    let ratio_at_least = section.get("ratio_at_least").map(|field| ratio(&field)).transpose()?;
    let all_errors = section.get("all_errors").map(|field| field.boolean()).transpose()?.unwrap_or(false);
    let all_slower_than = section.get("all_slower_than").map(|field| field.read(values::duration)).transpose()?;
    if ratio_at_least.is_none() && !all_errors && all_slower_than.is_none() {
        return Err(field.wrong("requires nothing; give ratio_at_least, all_errors: true or all_slower_than"));
    }
    Ok(Requirement { service: text("service")?, tenant: text("tenant")?, ratio_at_least, all_errors, all_slower_than })
}

fn ratio(field: &Field<'_>) -> Read<f64> {
    field.number("a ratio from 0 to 1", |number| (0.0..=1.0).contains(&number))
}

fn declared(field: &Field<'_>, directory: &Path, notices: &mut Vec<String>) -> Read<Declared> {
    let section = field.section(&["process_environment", "files", "databases"])?;
    let process_environment =
        section.get("process_environment").map(|field| field.boolean()).transpose()?.unwrap_or(true);
    let mut files = Vec::new();
    for item in section.get("files").map(|field| field.list()).transpose()?.unwrap_or_default() {
        let name = item.text()?.to_owned();
        let path = directory.join(&name);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let problem = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file; give its path from the configuration file on".to_owned(),
                std::io::ErrorKind::IsADirectory => "is a directory; name each file in it".to_owned(),
                std::io::ErrorKind::InvalidData => "not UTF-8 text; name a file of tenant rules".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            item.wrong(format!("{}: {problem}", path.display()))
        })?;
        files.push(DeclaredFile { name, path, text });
    }
    let databases = each(&section, "databases", database)?.unwrap_or_default();
    if let (Some(field), false) = (section.get("databases"), databases.is_empty()) {
        notices.push(field.wrong("rules in databases are not yet read").to_string());
    }
    Ok(Declared { process_environment, files, databases })
}

fn database(field: &Field<'_>) -> Read<String> {
    let text = field.text()?;
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    // The address may hold a password: it is not repeated.
    if known { Ok(text.to_owned()) } else { Err(field.wrong("must begin with sqlite: or postgres://")) }
}

fn limits(field: &Field<'_>) -> Read<Limits> {
    let section = field.section(&["tenants", "services", "memory"])?;
    let mut limits = Limits::default();
    let count = |field: Field<'_>| field.count(1, NAMES_MAX).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    if let Some(field) = section.get("tenants") {
        limits.tenants = count(field)?;
    }
    if let Some(field) = section.get("services") {
        limits.services = count(field)?;
    }
    if let Some(field) = section.get("memory") {
        limits.memory_bytes = field.read(values::size)?;
        if limits.memory_bytes < MEMORY_BYTES_MIN {
            return Err(field.wrong("must be at least 8MiB"));
        }
    }
    Ok(limits)
}

fn capture(field: &Field<'_>) -> Read<Capture> {
    let section = field.section(&["sources", "ports", "cgroup", "batch", "tls_leave", "tls_budget"])?;
    let sources = each(&section, "sources", source)?.unwrap_or_default();
    if let (Some(field), [SourceName::Tls]) = (section.get("sources"), &sources[..]) {
        return Err(field.wrong("tls alone does not tell whose connections are; add cgroup or socket-filter"));
    }
    let cgroup = section.get("cgroup").map(|field| cgroup(&field)).transpose()?;
    let ports = each(&section, "ports", port)?.unwrap_or_default();
    let mut capture = Capture { sources, ports, cgroup, ..Capture::default() };
    if let Some(field) = section.get("batch") {
        capture.batch_bytes = field.read(values::size)?;
        if !BATCH_BYTES.contains(&capture.batch_bytes) {
            return Err(field.wrong("must be from 1KiB to 16MiB"));
        }
    }
    capture.tls_leave = each(&section, "tls_leave", command)?.unwrap_or_default();
    if let Some(field) = section.get("tls_budget") {
        capture.tls_budget = ratio(&field)?;
    }
    Ok(capture)
}

fn command(field: &Field<'_>) -> Read<Pattern> {
    let text = field.text()?;
    // TASK_COMM_LEN (include/linux/sched.h) with its zero; a * may stand for nothing.
    if text.replace('*', "").len() > 15 {
        return Err(field.wrong(format!("\"{text}\" is longer than any command name (15 bytes); end it with a *")));
    }
    Ok(Pattern::new(text))
}

fn source(field: &Field<'_>) -> Read<SourceName> {
    let text = field.text()?;
    let names = SourceName::ALL.map(SourceName::as_str);
    SourceName::ALL.into_iter().find(|source| source.as_str() == text).ok_or_else(|| {
        let advice =
            super::nearest::nearest(text, &names).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        field.wrong(format!("\"{text}\" is no source (known: {}){advice}", names.join(", ")))
    })
}

fn audit(field: &Field<'_>, directory: &Path) -> Read<Audit> {
    let section = field.section(&["directory", "interval", "keep"])?;
    let mut audit = Audit::default();
    if let Some(field) = section.get("directory") {
        audit.directory = directory.join(field.text()?);
    }
    if let Some(field) = section.get("interval") {
        audit.interval = field.read(values::duration)?;
        if audit.interval.as_secs() < 1 {
            return Err(field.wrong("must be at least 1s"));
        }
    }
    if let Some(field) = section.get("keep") {
        audit.keep = field.read(values::duration)?;
    }
    Ok(audit)
}
