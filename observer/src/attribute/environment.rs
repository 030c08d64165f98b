//! The environment of a process comes in; its `OTEL_*` settings and what they say of the service's name go out. No other
//! variable is looked at, but the one that marks a worker of a Node cluster.

use std::collections::BTreeMap;

/// The largest environment that is read, in bytes: a quarter of the kernel's bound for arguments and environment together
/// on the usual 8 MiB stack (`_STK_LIM / 4`, fs/exec.c).
pub const ENVIRONMENT_BYTES_MAX: usize = 512 * 1024;
/// Settings kept of one process; the specification knows about sixty.
const SETTINGS_MAX: usize = 96;
/// The longest value kept, in bytes.
const VALUE_BYTES_MAX: usize = 4096;
/// Words in the names of settings that may carry secrets: never kept.
const SECRET_WORDS: [&str; 7] = ["HEADERS", "KEY", "CERTIFICATE", "PASSWORD", "SECRET", "TOKEN", "CREDENTIAL"];

/// What is kept of an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The `OTEL_*` settings, but those that may be secret.
    pub otel: BTreeMap<Box<str>, Box<str>>,
    /// Whether Node's cluster module started it (`NODE_UNIQUE_ID`): its connections come from its parent.
    pub node_worker: bool,
}

impl Environment {
    /// Reads `/proc/PID/environ`: entries that end with a zero byte. The first entry of a name holds, as in `getenv`.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut environment = Self::default();
        for entry in bytes.split(|&byte| byte == 0) {
            if entry.starts_with(b"NODE_UNIQUE_ID=") {
                environment.node_worker = true;
            }
            if !entry.starts_with(b"OTEL_") {
                continue;
            }
            let Some((name, value)) = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once('=')) else {
                continue;
            };
            let secret = SECRET_WORDS.iter().any(|word| name.contains(word));
            if !secret && value.len() <= VALUE_BYTES_MAX && environment.otel.len() < SETTINGS_MAX {
                environment.otel.entry(name.into()).or_insert_with(|| value.into());
            }
        }
        environment
    }

    /// `OTEL_SERVICE_NAME`, unless it is empty (the specification takes empty as unset).
    pub fn service_name(&self) -> Option<&str> {
        self.otel.get("OTEL_SERVICE_NAME").map(|name| name.trim()).filter(|name| !name.is_empty())
    }

    /// An attribute of `OTEL_RESOURCE_ATTRIBUTES`: `key=value` pairs between commas, the value percent-encoded
    /// (OpenTelemetry resource SDK specification; of a key that is repeated the last pair holds, as in the SDKs).
    pub fn resource_attribute(&self, key: &str) -> Option<String> {
        let list = self.otel.get("OTEL_RESOURCE_ATTRIBUTES")?;
        list.split(',')
            .filter_map(|pair| pair.split_once('='))
            .rfind(|(name, _)| name.trim() == key)
            .map(|(_, value)| percent_decoded(value.trim()))
            .filter(|value| !value.is_empty())
    }
}

/// Undoes RFC 3986 percent-encoding; what is no valid escape, or no UTF-8 once undone, stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let escape = bytes.get(index + 1..index + 3).filter(|_| byte == b'%');
        let value = escape.and_then(|hex| {
            let high = char::from(hex[0]).to_digit(16)?;
            let low = char::from(hex[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        });
        if let Some(value) = value {
            decoded.push(value);
            index += 3;
        } else {
            decoded.push(byte);
            index += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(entries: &[&str]) -> Environment {
        Environment::parse(entries.join("\0").as_bytes())
    }

    #[test]
    fn only_otel_settings_without_secrets_are_kept() {
        let kept = environment(&[
            "PATH=/bin",
            "AWS_SECRET=x",
            "OTEL_SERVICE_NAME=checkout",
            "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
            "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer x",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY=/k",
            "OTEL_SERVICE_NAME=second",
            "OTEL_BROKEN",
            "",
        ]);
        let names: Vec<&str> = kept.otel.keys().map(|name| &**name).collect();
        assert_eq!(names, ["OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER"]);
        assert_eq!(kept.service_name(), Some("checkout"));
        assert!(!kept.node_worker);
        assert!(environment(&["NODE_UNIQUE_ID=1"]).node_worker);
    }

    #[test]
    fn the_service_name_in_resource_attributes_is_decoded() {
        let cases = [
            ("service.name=checkout", Some("checkout")),
            ("a=b, service.name = check%20out%2C1 ,c=d", Some("check out,1")),
            ("service.name=a,service.name=b", Some("b")),
            ("service.name=100%", Some("100%")),
            ("service.name=%zz%4", Some("%zz%4")),
            ("service.name=%ff", Some("%ff")),
            ("service.name=", None),
            ("xservice.name=a", None),
            ("", None),
        ];
        for (list, expected) in cases {
            let entry = format!("OTEL_RESOURCE_ATTRIBUTES={list}");
            assert_eq!(environment(&[&entry]).resource_attribute("service.name").as_deref(), expected, "{list}");
        }
    }

    #[test]
    fn an_empty_service_name_is_none() {
        assert_eq!(environment(&["OTEL_SERVICE_NAME= "]).service_name(), None);
    }
}
