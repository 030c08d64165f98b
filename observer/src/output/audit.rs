//! Reports come in, audit files go out: the newest under its fixed name, older ones under their time, too old ones removed.
//! A directory that cannot be written is one line in the log; the observer goes on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use observer_core::audit::report::{FILE_NAME, Report};

use super::json;
use crate::config::Audit;

const STEM: &str = "trace_sampling_audit_report";

/// Writes audits into one directory.
#[derive(Debug)]
pub struct AuditWriter {
    settings: Audit,
    /// Whether the last write failed: the log names a trouble once, not at every interval.
    failing: bool,
}

impl AuditWriter {
    /// A writer with these settings. Nothing is touched yet.
    pub fn new(settings: Audit) -> Self {
        Self { settings, failing: false }
    }

    /// Writes one audit; a failure is one line in the log until it works again. Returns whether it was written.
    pub fn write(&mut self, report: &Report, now: SystemTime) -> bool {
        let directory = self.settings.directory.clone();
        match self.try_write(report, now) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("{}: audits are written again", directory.display());
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        "{}: the audit cannot be written: {error}; make room or set audit.directory; observing goes on",
                        directory.display()
                    );
                }
                false
            }
        }
    }

    fn try_write(&self, report: &Report, now: SystemTime) -> io::Result<()> {
        let directory = &self.settings.directory;
        fs::create_dir_all(directory)?;
        // Room is made first: on a full disk it is what the new audit needs.
        self.remove_old(now);
        let newest = directory.join(FILE_NAME);
        let fresh = directory.join(format!(".{FILE_NAME}.tmp"));
        let text = json::render(report)?;
        let written = write_synced(&fresh, text.as_bytes())
            .and_then(|()| keep_previous(&newest))
            .and_then(|()| fs::rename(&fresh, &newest))
            .and_then(|()| File::open(directory)?.sync_all());
        if written.is_err() {
            // What is half written is of no use, and on a full disk it is in the way.
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    fn remove_old(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.settings.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = name.strip_prefix(STEM).is_some_and(|rest| rest.starts_with('-'))
                && entry.path().extension().is_some_and(|end| end == "json");
            let Some(written) = ours.then(|| modified(&entry.path())).flatten() else { continue };
            if now.duration_since(written).is_ok_and(|age| age > self.settings.keep) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the newest audit so far its time as a name. It keeps the fixed name too until the next one takes that over, so that
/// a reader always finds one.
fn keep_previous(newest: &Path) -> io::Result<()> {
    let Some(written) = modified(newest) else { return Ok(()) };
    match fs::hard_link(newest, timed(newest, written)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // File systems without hard links.
        Err(_) => fs::rename(newest, timed(newest, written)),
        Ok(()) => Ok(()),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// `trace_sampling_audit_report-20260101T000000.123Z.json`: sorts by time, and no character that some file system forbids.
fn timed(newest: &Path, written: SystemTime) -> PathBuf {
    let time = jiff::Timestamp::try_from(written).unwrap_or_default();
    newest.with_file_name(format!("{STEM}-{}.json", time.strftime("%Y%m%dT%H%M%S.%3fZ")))
}
