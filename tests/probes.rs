//! The probes of an observer in a process: its id comes in, how many there are goes out, read from its memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long to wait for what must come: a machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// The instruction that stands in for one that is probed (x86-64: int3).
const BREAKPOINT: u8 = 0xcc;
const PAGE: usize = 4096;

/// Waits until a process is probed, and no more probes come: those of one library are attached one after the other.
pub(crate) fn until_probed(process: u32) -> Result<()> {
    let (end, mut before, mut same) = (Instant::now() + PATIENCE, 0, 0);
    while same < 5 {
        let now = probes(process)?;
        same = if now > 0 && now == before { same + 1 } else { 0 };
        before = now;
        ensure!(Instant::now() < end, "process {process} is not probed: {now} probes");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// How many instructions in the memory of a process are breakpoints that are none in its files.
pub(crate) fn probes(process: u32) -> Result<usize> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut count = 0;
    for line in std::fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [range, "r-xp", offset, _, inode, _, ..] = fields[..] else { continue };
        // What the kernel maps by itself has none.
        if inode == "0" {
            continue;
        }
        let (begin, end) = range.split_once('-').context("a range has two ends")?;
        let number = |text: &str| u64::from_str_radix(text, 16);
        let (begin, end, offset) = (number(begin)?, number(end)?, number(offset)?);
        // Nor has what is not mapped any more.
        let Ok(file) = File::open(format!("/proc/{process}/map_files/{begin:x}-{end:x}")) else { continue };
        let len = usize::try_from(end - begin)?.min(usize::try_from(file.metadata()?.len().saturating_sub(offset))?);
        let (mut is, mut was) = (vec![0; len], vec![0; len]);
        memory.read_exact_at(&mut is, begin)?;
        file.read_exact_at(&mut was, offset)?;
        for (is, was) in is.chunks(PAGE).zip(was.chunks(PAGE)).filter(|(is, was)| is != was) {
            count += is.iter().zip(was).filter(|(is, was)| **is == BREAKPOINT && is != was).count();
        }
    }
    Ok(count)
}
