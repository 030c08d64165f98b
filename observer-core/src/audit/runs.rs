//! What a service runs, as its processes tell: runtime, version, and the libraries that make, carry or lose trace contexts.
//! Whoever may read processes fills it in; nothing is read here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::causes;

/// Libraries of one program that a person reads; all of them are in the JSON.
const LIBRARIES_SHOWN_MAX: usize = 12;

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// CPython.
    Python,
    /// Node.js.
    Node,
    /// Go.
    Go,
    /// A Java virtual machine.
    Java,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// .NET.
    Dotnet,
    /// Rust.
    Rust,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
    /// Machine code of which no more is known.
    Native,
    /// Nothing could be read of it.
    Unknown,
}

impl Runtime {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "CPython",
            Self::Node => "Node.js",
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Ruby => "Ruby",
            Self::Php => "PHP",
            Self::Dotnet => ".NET",
            Self::Rust => "Rust",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Native => "native code",
            Self::Unknown => "unknown",
        }
    }
}

/// What one process of a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// What runs it.
    pub runtime: Runtime,
    /// The runtime's version; null where the process does not tell it.
    pub version: Option<String>,
    /// Libraries that make, carry or lose trace contexts, with their versions where these are told. Of interpreters and of Java those
    /// that are installed where the process looks for them, of machine code those that it was built from or has loaded.
    pub libraries: BTreeMap<String, Option<String>>,
    /// The command name.
    pub command: String,
    /// The process; of several that run the same, the one that was looked at.
    pub pid: u32,
    /// Why the list of libraries is not all: null where what is not in it is not there.
    pub unread: Option<String>,
}

impl Runs {
    /// A process of which nothing could be read.
    pub fn unknown(pid: u32, command: String, why: String) -> Self {
        Self { runtime: Runtime::Unknown, version: None, libraries: BTreeMap::new(), command, pid, unread: Some(why) }
    }

    /// Whether a library is there.
    pub fn has(&self, library: &str) -> bool {
        self.libraries.contains_key(library)
    }

    /// Whether a library is known not to be there.
    pub fn lacks(&self, library: &str) -> bool {
        self.unread.is_none() && !self.has(library)
    }

    /// One line for a person, what traces first and not all of a long list: `CPython 3.11.2 with flask 3.1.3, opentelemetry-sdk 1.45.1`.
    pub fn line(&self) -> String {
        let Self { runtime, version, libraries, command, pid, unread } = self;
        let name = version
            .as_ref()
            .map_or_else(|| runtime.as_str().to_owned(), |version| format!("{} {version}", runtime.as_str()));
        let (mut listed, others): (Vec<_>, Vec<_>) =
            libraries.iter().partition(|(library, _)| causes::is_tracing(*runtime, library));
        listed.extend(others);
        let left_out = listed.len().saturating_sub(LIBRARIES_SHOWN_MAX);
        let named = listed.iter().take(LIBRARIES_SHOWN_MAX).map(|(library, version)| match version {
            Some(version) => format!("{library} {version}"),
            None => (*library).clone(),
        });
        let more = (left_out > 0).then(|| format!("{left_out} more"));
        let named: Vec<String> = named.chain(more).collect();
        let with = if named.is_empty() { String::new() } else { format!(" with {}", named.join(", ")) };
        let unread = unread.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        format!("{command} (pid {pid}): {name}{with}{unread}")
    }
}
