//! What the kernel object promises, read from its bytes.

use observer::capture::object::OBJECT;
use observer_ebpf::program::{Hook, PROGRAMS};

/// An instruction of eBPF (RFC 9669 section 3): operation, registers, offset, constant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

const EXIT: u8 = 0x95;
const MOVE_CONSTANT: u8 = 0xb7;
const MOVE_CONSTANT_32: u8 = 0xb4;
const CALL: u8 = 0x85;
const WIDE: u8 = 0x18;

/// The function symbols of the object: name, section, offset, size (ELF-64, little-endian).
fn functions() -> Vec<(String, &'static [u8])> {
    let number =
        |at: usize, len: usize| OBJECT[at..at + len].iter().rev().fold(0usize, |all, byte| all << 8 | *byte as usize);
    let (table, entry, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let section = |index: usize| {
        let at = table + index * entry;
        (number(at + 4, 4), number(at + 0x18, 8), number(at + 0x20, 8), number(at + 0x28, 4))
    };
    let symbols = (0..count).map(section).find(|(kind, ..)| *kind == 2).unwrap();
    let names = section(symbols.3).1;
    (0..symbols.2 / 24)
        .map(|index| symbols.1 + index * 24)
        .filter(|at| OBJECT[at + 4] & 15 == 2)
        .map(|at| {
            let name: Vec<u8> = OBJECT[names + number(at, 4)..].iter().copied().take_while(|byte| *byte != 0).collect();
            let start = section(number(at + 6, 2)).1 + number(at + 8, 8);
            (String::from_utf8(name).unwrap(), &OBJECT[start..start + number(at + 16, 8)])
        })
        .collect()
}

fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    bytes
        .chunks_exact(8)
        .map(|each| Instruction {
            code: each[0],
            registers: each[1],
            offset: i16::from_le_bytes([each[2], each[3]]),
            constant: i32::from_le_bytes([each[4], each[5], each[6], each[7]]),
        })
        .collect()
}

/// Asserts that every path to an exit sets the result to `value` last: the instruction before each exit does, and nothing
/// jumps between the two.
fn returns_always(program: &[Instruction], value: i32) {
    let exits: Vec<usize> = (0..program.len())
        .filter(|at| program[*at].code == EXIT && (*at == 0 || program[at - 1].code != WIDE))
        .collect();
    assert!(!exits.is_empty());
    for exit in exits {
        let before = program[exit - 1];
        assert!(
            matches!(before.code, MOVE_CONSTANT | MOVE_CONSTANT_32) && before.registers.trailing_zeros() >= 4,
            "exit at {exit}"
        );
        assert_eq!(before.constant, value, "exit at {exit}");
        for (at, instruction) in program.iter().enumerate() {
            let jumps = matches!(instruction.code & 7, 5 | 6) && !matches!(instruction.code, CALL | EXIT);
            let target = (at + 1).checked_add_signed(isize::from(instruction.offset));
            assert!(!jumps || target != Some(exit), "a jump from {at} to the exit at {exit}");
        }
    }
}

#[test]
fn every_cgroup_program_lets_everything_pass() {
    let functions = functions();
    for program in PROGRAMS {
        let (_, bytes) = functions.iter().find(|(name, _)| name == program.name).expect(program.name);
        // A cgroup program allows with 1; the filter of the packet socket, which wants no packet, refuses with 0, and so do probes
        // what perf would make of them; of a tracepoint nobody asks.
        let allows = !matches!(program.base(), Hook::Filter | Hook::Probe | Hook::Reading);
        returns_always(&instructions(bytes), i32::from(allows));
    }
}

#[test]
fn programs_of_probes_have_a_tail_call() {
    // Without one a preemptible program may get a stack that it shares with others on its CPU (Linux 6.13 and later).
    const TAIL_CALL: i32 = 12;
    let functions = functions();
    for program in PROGRAMS.iter().filter(|program| program.base() == Hook::Probe) {
        let (_, bytes) = functions.iter().find(|(name, _)| name == program.name).unwrap();
        let calls = |each: &Instruction| each.code == CALL && each.registers >> 4 == 0 && each.constant == TAIL_CALL;
        assert!(instructions(bytes).iter().any(calls), "{}", program.name);
    }
}

#[test]
fn programs_that_see_packets_call_no_function() {
    for program in PROGRAMS {
        if matches!(program.base(), Hook::Egress | Hook::Ingress | Hook::Filter) {
            let functions = functions();
            let (_, bytes) = functions.iter().find(|(name, _)| name == program.name).unwrap();
            // BPF_PSEUDO_CALL is 1 in the source register; verifiers before 6.2 cannot follow long programs with functions.
            let calls =
                instructions(bytes).into_iter().filter(|each| each.code == CALL && each.registers >> 4 == 1).count();
            assert_eq!(calls, 0, "{}", program.name);
        }
    }
}
