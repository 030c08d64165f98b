//! Java: the library that is its virtual machine tells that a process has TLS which no probe can see.

use super::symbols::Symbols;
use super::{Examined, Library, Reason, Unfit};

/// What makes a virtual machine (Java Native Interface Specification, "The Invocation API"); libjvm.so defines it.
const CREATES: &str = "JNI_CreateJavaVM";
pub(super) const TEXTS: &[&str] = &[CREATES];

/// Whether a symbol matters here.
pub(super) fn wants(name: &str) -> bool {
    name == CREATES
}

/// Tells whether the file is a virtual machine.
pub(super) fn examine(symbols: &Symbols, examined: &mut Examined) {
    if symbols.functions.iter().any(|function| function.name == CREATES) {
        examined.unfit.push(Unfit { library: Library::Java, version: None, reason: Reason::CompiledAtRunTime });
    }
}
