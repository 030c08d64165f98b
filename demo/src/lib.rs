//! The test bed: a shop of real instrumented services in Python and Node, what they need installed, their traffic, an
//! observer beside them, and the truth from the services' own logs to hold its report against.
//!
//! Used by `cargo xtask demo` and by the end-to-end tests. Not here: anything of the observer itself; it is only run.

pub mod install;
pub mod observer;
pub mod process;
pub mod shop;
pub mod site;
pub mod sources;
pub mod traffic;
pub mod truth;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where everything that the test bed installs and writes lies: one place, known to demo/observer.yaml too.
pub fn scratch() -> PathBuf {
    workspace().join("target/demo")
}
