//! What the kernel tells of every process of the host as it happens: a software event a CPU that counts nothing, whose ring has a
//! record of each executable mapping, exec, fork and exit.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::BorrowedFd;

use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

use super::records::{self, News};
use crate::capture::kernel_memory::borrowed;

/// Records of one CPU that are read at once: more than its ring holds, so that nothing keeps the reader for ever.
const BATCH_MAX: usize = 1 << 14;

/// The rings of all CPUs that are online.
pub(super) struct Rings {
    bytes: usize,
    of: BTreeMap<u32, Sampler>,
}

impl Rings {
    /// Begins to listen; `bytes` of each ring are a power of two and at least a page.
    pub(super) fn open(bytes: usize) -> io::Result<Self> {
        let mut rings = Self { bytes, of: BTreeMap::new() };
        rings.follow_cpus()?;
        Ok(rings)
    }

    /// Listens on CPUs that came online since, whose rings wake nobody, and gives up those of CPUs that went. Whether any came.
    pub(super) fn follow_cpus(&mut self) -> io::Result<bool> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        self.of.retain(|cpu, _| cpus.contains(cpu));
        let before = self.of.len();
        for cpu in cpus {
            if let Entry::Vacant(vacant) = self.of.entry(cpu) {
                vacant.insert(ring(cpu, self.bytes)?);
            }
        }
        Ok(self.of.len() > before)
    }

    /// What becomes readable when there is news.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.of.values().map(borrowed)
    }

    /// Takes what there is, with its time; in order for each CPU alone.
    pub(super) fn drain(&mut self, news: &mut Vec<(u64, News)>) {
        for ring in self.of.values_mut() {
            for _ in 0..BATCH_MAX {
                let Some(record) = ring.next_record() else { break };
                news.extend(records::read(record.ty(), record.misc(), &record.to_contiguous()));
            }
        }
    }
}

fn ring(cpu: u32, bytes: usize) -> io::Result<Sampler> {
    let mut event = Builder::new(Software::DUMMY);
    event.any_pid().one_cpu(cpu as usize).enabled(true);
    event.mmap(true).mmap2(true).comm(true).comm_exec(true).task(true);
    event.clockid(Clock::MONOTONIC).sample(SampleFlag::TIME).sample_id_all(true);
    // A process must be found before it has done much.
    event.wakeup_watermark(1);
    event.build()?.sampled(bytes)
}
