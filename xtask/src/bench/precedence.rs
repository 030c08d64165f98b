//! Precedence over other work of this machine, for measuring where it cannot be had for oneself: a nice value comes in; it
//! holds for the server, its client and the tools alike, until the guard that goes out is dropped.

use anyhow::{Context, Result};
use std::fs;

/// Where the kernel groups tasks by session, nice values weigh within the session only, and this file weighs the session
/// (sched(7), "The autogroup feature").
const SESSION: &str = "/proc/self/autogroup";

/// Gives it back.
pub(crate) struct Precedence;

impl Precedence {
    /// For this process, what it starts from now on, and its session.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn take(nice: i32) -> Result<Self> {
        rustix::process::setpriority_process(None, nice).context("the nice value")?;
        if fs::metadata(SESSION).is_ok() {
            fs::write(SESSION, nice.to_string()).context(SESSION)?;
        }
        Ok(Self)
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        // The process ends; its session may go on, and should as it was.
        let _ = fs::write(SESSION, "0");
    }
}
