//! Which threads read: the wish for some processes comes in; the tracepoint is attached as long as it stands, and no longer than it
//! stays within its budget.
//!
//! A tracepoint runs for every process of the host, whatever the program behind it filters; so it is never attached but on a wish.

use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::{ProgramError, RawTracePoint};
use observer_ebpf::{READERS_MAX, map};

use super::attach::{self, ProgramState};

/// The program's name in the object, and that of the tracepoint (include/trace/events/tcp.h).
pub(crate) const PROGRAM: &str = "reads";
const TRACEPOINT: &str = "tcp_rcv_space_adjust";
/// Records that the tracepoint may tell a second: beyond, the load is such that the ring is needed for packets.
const RECORDS_A_SECOND_MAX: u64 = 50_000;
/// How long it stays away after it exceeded that.
const REST: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// The tracepoint, attached or not.
pub(super) struct Readers {
    processes: HashMap<MapData, u32, u8>,
    link: Option<RawTracePointLink>,
    /// When it was last looked at, and how many records it had told then.
    seen: (Instant, u64),
    rests_until: Instant,
}

impl Readers {
    /// Loads the program, or says why it cannot tell anything here; attaches nothing. `members`: whether it knows where the kernel
    /// keeps what it tells.
    pub(super) fn open(ebpf: &mut Ebpf, members: Result<(), String>) -> (Option<Self>, ProgramState) {
        let loaded = members.and_then(|()| Self::load(ebpf));
        let (readers, outcome) = match loaded {
            Ok(readers) => (Some(readers), Ok(())),
            Err(why) => (None, Err(why)),
        };
        (readers, ProgramState { program: PROGRAM, outcome })
    }

    fn load(ebpf: &mut Ebpf) -> Result<Self, String> {
        program(ebpf)?.load().map_err(|error| attach::reason(&error))?;
        let processes = ebpf.take_map(map::READERS).ok_or("its map is not in the object")?;
        let processes = HashMap::try_from(processes).map_err(|error| error.to_string())?;
        let now = Instant::now();
        Ok(Self { processes, link: None, seen: (now, 0), rests_until: now })
    }

    /// Tells what threads of these processes read from now on; the first ones, where there are too many.
    pub(super) fn wish(&mut self, ebpf: &mut Ebpf, processes: &[u32], now: Instant) {
        let before: Vec<u32> = self.processes.keys().filter_map(Result::ok).collect();
        for process in before.iter().filter(|process| !processes.contains(process)) {
            // One that is gone already is no harm.
            let _ = self.processes.remove(process);
        }
        for process in processes.iter().take(READERS_MAX as usize).filter(|process| !before.contains(process)) {
            if let Err(error) = self.processes.insert(process, 1, 0) {
                tracing::debug!(process, %error, "threads that read are not told");
            }
        }
        if processes.is_empty() {
            if self.link.take().is_some() {
                tracing::info!("threads that read are told no longer");
            }
        } else if self.link.is_none() && now >= self.rests_until {
            match attached(ebpf) {
                Ok(link) => {
                    tracing::info!("threads that read are told of {} processes", processes.len());
                    self.link = Some(link);
                }
                Err(why) => tracing::warn!("threads that read are not told: {why}"),
            }
        }
    }

    /// Looks after the budget; `told`: the records so far.
    pub(super) fn look(&mut self, now: Instant, told: u64) {
        let (at, before) = self.seen;
        if now.saturating_duration_since(at) < SECOND {
            return;
        }
        self.seen = (now, told);
        let a_second = (told - before) as f64 / now.saturating_duration_since(at).as_secs_f64();
        if self.link.is_some() && a_second > RECORDS_A_SECOND_MAX as f64 {
            tracing::warn!(
                "threads that read are not told for {} minutes: there were {a_second:.0} readings a second",
                REST.as_secs() / 60
            );
            self.link = None;
            self.rests_until = now + REST;
        }
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut RawTracePoint, String> {
    let program = ebpf.program_mut(PROGRAM).ok_or("it is not in the object")?;
    program.try_into().map_err(|error: ProgramError| attach::reason(&error))
}

fn attached(ebpf: &mut Ebpf) -> Result<RawTracePointLink, String> {
    let program = program(ebpf)?;
    let attached = program.attach(TRACEPOINT).and_then(|link| program.take_link(link));
    attached.map_err(|error| attach::reason(&error))
}
