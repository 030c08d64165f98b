//! Where build output lies.

use std::path::PathBuf;

/// Cargo's target directory; everything that a task caches or leaves behind goes below it.
pub(crate) fn target() -> PathBuf {
    let root = testbed::workspace();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |directory| root.join(directory))
}
