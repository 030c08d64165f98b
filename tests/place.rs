//! Where a test takes place: alone on this host, with its files in a directory of its own.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use testbed::scratch;

/// An observer sees the whole host, and these tests tell their services apart by name alone: one test at a time.
static ONLY: Mutex<()> = Mutex::new(());

/// Waits until no other test runs.
pub(crate) fn only() -> MutexGuard<'static, ()> {
    ONLY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a test keeps its files; empty.
pub(crate) fn place(name: &str) -> Result<PathBuf> {
    let place: PathBuf = scratch().join("tests").join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    Ok(place)
}
