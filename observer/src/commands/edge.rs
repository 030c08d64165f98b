//! The edge: signals, changes of the configuration and HTTP requests come in, on a thread of their own; the line reads them as
//! flags. tokio lives here and nowhere else.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::cli::exit::Failure;
use crate::config::Config;
use crate::config::watch::Watch;
use crate::output::http;
use crate::output::snapshot::Shared;

/// How often files are looked at for changes.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the edge tells the line.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    stop: Arc<AtomicBool>,
    config: Arc<Mutex<Option<Config>>>,
    finished: Arc<Notify>,
}

impl Told {
    /// Whether someone asked to stop.
    pub(super) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks the line to stop; whether that was asked before.
    pub(super) fn ask_to_stop(&self) -> bool {
        self.stop.swap(true, Ordering::Relaxed)
    }

    /// Gives the line a new configuration.
    pub(super) fn offer(&self, config: Config) {
        if let Ok(mut slot) = self.config.lock() {
            *slot = Some(config);
        }
    }

    /// The configuration, where it has changed since the last call.
    pub(super) fn new_config(&self) -> Option<Config> {
        self.config.lock().ok()?.take()
    }
}

/// What the edge serves and watches.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// Where metrics are served, and from what.
    pub(super) http: Option<(TcpListener, Shared)>,
    /// The configuration to watch.
    pub(super) watch: Option<Watch>,
}

/// The edge's thread; ends with the value.
#[derive(Debug)]
pub(super) struct Edge {
    /// What it tells.
    pub(super) told: Told,
    thread: Option<JoinHandle<()>>,
}

impl Edge {
    /// Starts the thread. From now on the first SIGINT or SIGTERM asks to stop and the second ends the process.
    pub(super) fn start(duties: Duties) -> Result<Self, Failure> {
        let told = Told::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::not_allowed(format!("the event loop cannot start: {error}")))?;
        // Handlers are in place before the line starts, so that no signal is missed.
        let signals = {
            let _inside = runtime.enter();
            Signals::new().map_err(|error| Failure::not_allowed(format!("signals cannot be handled: {error}")))?
        };
        let shared = told.clone();
        let thread = std::thread::Builder::new()
            .name("edge".to_owned())
            .spawn(move || runtime.block_on(attend(signals, duties, shared)))
            .map_err(|error| Failure::not_allowed(format!("a thread cannot start: {error}")))?;
        Ok(Self { told, thread: Some(thread) })
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.told.finished.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn attend(mut signals: Signals, duties: Duties, told: Told) {
    let Duties { http, mut watch } = duties;
    let serving = http.map(|(listener, shared)| {
        tokio::spawn(async move {
            if let Err(error) = http::serve(listener, shared, std::future::pending()).await {
                tracing::error!("metrics are no longer served: {error}");
            }
        })
    });
    let mut looks = tokio::time::interval(WATCH_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let reload = tokio::select! {
            () = told.finished.notified() => break,
            _ = signals.interrupt.recv() => { asked_to_stop(&told, 2); false }
            _ = signals.terminate.recv() => { asked_to_stop(&told, 15); false }
            _ = signals.hangup.recv() => true,
            _ = looks.tick() => watch.as_mut().is_some_and(Watch::changed),
        };
        if let Some(config) = reload.then(|| watch.as_mut().and_then(Watch::reload)).flatten() {
            told.offer(config);
        }
    }
    if let Some(serving) = serving {
        serving.abort();
    }
}

fn asked_to_stop(told: &Told, signal: i32) {
    if told.ask_to_stop() {
        // As a shell reports a process that this signal has ended.
        std::process::exit(128 + signal);
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Waits until `holds`; fails after ten seconds.
    fn wait(what: &str, mut holds: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::yield_now();
        }
    }

    /// One test: signals reach every edge of the process.
    #[test]
    fn a_hangup_or_a_change_reloads_and_an_interrupt_asks_to_stop() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("observer.yaml");
        std::fs::write(&path, "environment: one\n").unwrap();
        let watch = Watch::new(&Config::load(&path).unwrap());
        let edge = Edge::start(Duties { http: None, watch }).unwrap();

        kill_process(getpid(), Signal::HUP).unwrap();
        wait("a hangup reloads", || edge.told.new_config().is_some());
        std::fs::write(&path, "environment: another\n").unwrap();
        wait("a change reloads", || {
            edge.told.new_config().is_some_and(|config| config.environment.as_deref() == Some("another"))
        });
        assert!(!edge.told.stop());
        kill_process(getpid(), Signal::INT).unwrap();
        wait("an interrupt stops", || edge.told.stop());
    }
}
