//! What one hit of a probe costs on this host: the loaded programs come in, a time goes out.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use super::probes::Probes;
use crate::tls::{Prober as _, Scope};

/// Calls that are timed together, and how often: the shortest of these was disturbed least.
const CALLS: u32 = 50;
const ROUNDS: usize = 8;
/// How long it may take at most: a virtual machine without hardware help is slow.
const PATIENCE: Duration = Duration::from_millis(20);
/// A call hits a probe where it begins and one where it returns.
const HITS_PER_CALL: u32 = 2;

type Probed = extern "C" fn(u64, u64, u64, u64) -> i32;

/// What is probed: nothing comes of it, for it returns that it did nothing. It calls nothing, so that it does not begin with a
/// `push`: the kernel emulates that and a few others, all else is stepped over with a second exception, which in a virtual machine
/// costs twenty times as much (12.9 µs a hit, not 0.6; 2026-11-22).
#[inline(never)]
#[expect(clippy::bool_to_int_with_if, reason = "a conversion is a call where the compiler does not optimise")]
extern "C" fn probed(session: u64, _buffer: u64, _len: u64, _count: u64) -> i32 {
    if session == 0 { 1 } else { 0 }
}

/// Times calls of a function of this program with the probes of a library's read on it, and without: the mean of beginning and
/// return. What is read and told of bytes that a call carries is not in it.
///
/// # Errors
///
/// Why the function cannot be probed.
pub(super) fn measure(probes: &mut Probes) -> Result<Duration, String> {
    // Otherwise the compiler could call a copy.
    let function: Probed = black_box(probed);
    let place = place_of(function as usize as u64)?;
    let bare = time(function);
    let links = ["tls_begins", "tls_reads"]
        .map(|program| probes.probe(program, Path::new("/proc/self/exe"), place, Scope::All));
    let links = links.into_iter().collect::<Result<Vec<_>, _>>()?;
    let cost = time(function).saturating_sub(bare) / HITS_PER_CALL;
    // The kernel takes its time.
    let _ = std::thread::Builder::new().name("tls-cost".to_owned()).spawn(move || drop(links));
    Ok(cost)
}

/// The time of a call.
fn time(function: Probed) -> Duration {
    let begun = Instant::now();
    let mut shortest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(function(1, 0, 0, 0));
        }
        shortest = shortest.min(start.elapsed());
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    shortest / CALLS
}

/// Where in this program a function is.
pub(super) fn place_of(function: u64) -> Result<u64, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    place(&maps, function).ok_or_else(|| "where this program is in memory is not told".to_owned())
}

/// Where in its file an address is that a line of /proc/PID/maps has (man 5 `proc_pid_maps`).
fn place(maps: &str, address: u64) -> Option<u64> {
    maps.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let [start, end, offset] = [start, end, fields.nth(1)?].map(|text| u64::from_str_radix(text, 16).ok());
        let (start, end) = (start?, end?);
        (start..end).contains(&address).then(|| address - start + offset.unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    use super::*;

    #[test]
    fn what_is_probed_does_not_begin_with_what_the_kernel_emulates() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let place = usize::try_from(place_of(black_box(probed as Probed) as usize as u64).unwrap()).unwrap();
        let first = Decoder::new(64, &program[place..], DecoderOptions::NONE).decode();
        assert!(
            !matches!(first.mnemonic(), Mnemonic::Push | Mnemonic::Nop | Mnemonic::Jmp | Mnemonic::Call),
            "{first:?}"
        );
    }

    #[test]
    fn a_line_leads_from_an_address_to_its_place_in_the_file() {
        let maps = "5500-5600 r--p 00000000 fe:01 7 /a\n5600-5700 r-xp 00000100 fe:01 7 /a\n";
        assert_eq!(place(maps, 0x5612), Some(0x112));
        assert_eq!(place(maps, 0x5500), Some(0));
        assert_eq!(place(maps, 0x5700), None);
        assert_eq!(place("nonsense\n\n", 0), None);
    }
}
