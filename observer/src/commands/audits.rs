//! Reports come in and are written as audits by a thread of its own: a slow disk must not hold up the line.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use observer_core::audit::report::Report;

use crate::cli::exit::Failure;
use crate::config::Audit;
use crate::output::audit::AuditWriter;

/// The thread, and the way to it.
pub(super) struct Audits {
    sender: Option<SyncSender<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Audits {
    pub(super) fn start(settings: Audit) -> Result<Self, Failure> {
        let (sender, receiver): (_, Receiver<Report>) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let mut writer = AuditWriter::new(settings);
                for report in receiver {
                    writer.write(&report, SystemTime::now());
                }
            })
            .map_err(|error| Failure::not_allowed(format!("a thread cannot start: {error}")))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Writes the report unless the disk is still busy with the last two.
    pub(super) fn offer(&self, report: &Report) {
        if let Some(sender) = &self.sender
            && sender.try_send(report.clone()).is_err()
        {
            tracing::warn!("an audit was left out: the disk is still busy with the one before");
        }
    }

    pub(super) fn last(mut self, report: Report) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(report);
        }
    }
}

impl Drop for Audits {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
