//! Machine code: where functions return, where those of Go begin in earnest, and whether a probe may stand at an instruction.

use iced_x86::{Decoder, DecoderOptions, Mnemonic, Register};

use super::Machine;

/// Bytes that the first instruction is looked for in: no instruction of x86-64 is longer.
pub(super) const INSTRUCTION_MAX: usize = 15;

/// Bytes from the function's beginning to each of its return instructions. None: these bytes are not all instructions.
pub(super) fn returns(machine: Machine, code: &[u8]) -> Option<Vec<u64>> {
    match machine {
        Machine::X86_64 => returns_x86(code),
        Machine::Aarch64 => Some(returns_arm(code)),
    }
}

fn returns_x86(code: &[u8]) -> Option<Vec<u64>> {
    let mut returns = Vec::new();
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        if matches!(instruction.mnemonic(), Mnemonic::Ret | Mnemonic::Retf) {
            returns.push(instruction.ip());
        }
    }
    Some(returns)
}

/// Instructions are four bytes; RET to the link register is this one (Arm ARM, C6.2 "RET").
fn returns_arm(code: &[u8]) -> Vec<u64> {
    const RET: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();
    let (instructions, _) = code.as_chunks::<4>();
    (0..).step_by(4).zip(instructions).filter(|(_, instruction)| **instruction == RET).map(|(at, _)| at).collect()
}

/// Instructions before the jump of a function that asks for more stack: five in the largest.
const CHECK_MAX: usize = 8;

/// Bytes from the beginning of a Go function to where it goes on once it has stack enough. A function that asks for more begins
/// anew afterwards, and so does one whose goroutine gave way there: what stands before is passed again, with the same arguments.
/// None: this is no such beginning.
pub(super) fn behind_stack_check(machine: Machine, code: &[u8]) -> Option<u64> {
    match machine {
        Machine::X86_64 => behind_stack_check_x86(code),
        Machine::Aarch64 => behind_stack_check_arm(code),
    }
}

/// `cmp` of the stack, or of what R12 has of it, with the guard; then `jbe` (cmd/internal/obj/x86/obj6.go, `stacksplit`).
fn behind_stack_check_x86(code: &[u8]) -> Option<u64> {
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().take(CHECK_MAX) {
        let is_check = match (instruction.mnemonic(), instruction.op0_register()) {
            (Mnemonic::Jbe, _) => return Some(instruction.next_ip()),
            (Mnemonic::Jb | Mnemonic::Jae, _) | (Mnemonic::Cmp, Register::RSP) => true,
            (Mnemonic::Cmp | Mnemonic::Lea | Mnemonic::Mov | Mnemonic::Sub, register) => {
                matches!(register, Register::R12 | Register::R13)
            }
            _ => false,
        };
        if !is_check {
            return None;
        }
    }
    None
}

/// The jump is B.LS (Arm ARM, C6.2 "B.cond").
fn behind_stack_check_arm(code: &[u8]) -> Option<u64> {
    const MASK: u32 = 0xff00_001f;
    const B_LS: u32 = 0x5400_0009;
    let (instructions, _) = code.as_chunks::<4>();
    let jump = instructions.iter().take(CHECK_MAX).position(|bytes| u32::from_le_bytes(*bytes) & MASK == B_LS)?;
    Some(4 * (jump as u64 + 1))
}

/// Whether these bytes begin with an instruction that a probe can stand in for. A breakpoint is somebody else's probe, or no code.
pub(super) fn begins_soundly(machine: Machine, code: &[u8]) -> bool {
    match machine {
        Machine::X86_64 => {
            let first = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).decode();
            !first.is_invalid() && !matches!(first.mnemonic(), Mnemonic::Int3 | Mnemonic::Ud2)
        }
        Machine::Aarch64 => code.first_chunk().is_some_and(|first| u32::from_le_bytes(*first) >> 16 != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_found_between_and_not_within_instructions() {
        // mov eax,0xc3c3c3c3; ret; ret 8; int3; int3
        let code = [0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc2, 8, 0, 0xcc, 0xcc];
        assert_eq!(returns(Machine::X86_64, &code), Some(vec![5, 6]));
    }

    #[test]
    fn bytes_that_are_no_instructions_have_no_returns() {
        // The push of ES is no instruction in 64-bit mode.
        assert_eq!(returns(Machine::X86_64, &[0xc3, 0x06, 0xc3]), None);
        assert_eq!(returns(Machine::X86_64, &[0xc3, 0xb8, 0]), None);
    }

    #[test]
    fn on_arm_a_return_is_one_word() {
        let code = [0xc0, 0x03, 0x5f, 0xd6, 0, 0xc0, 0x03, 0x5f, 0xd6, 0, 0, 0, 0xc0, 0x03, 0x5f, 0xd6];
        assert_eq!(returns(Machine::Aarch64, &code), Some(vec![0, 12]));
    }

    #[test]
    fn a_go_function_begins_behind_its_stack_check() {
        // cmp rsp,[r14+10h]; jbe +32; push rbp
        let small = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55];
        // lea r12,[rsp-68h]; cmp r12,[r14+10h]; jbe +764h; sub rsp,0e8h
        let medium = b"\x4c\x8d\x64\x24\x98\x4d\x3b\x66\x10\x0f\x86\x64\x07\0\0\x48\x81\xec\xe8\0\0\0";
        // mov r12,rsp; sub r12,2000h; jb +32; cmp r12,[r14+10h]; jbe +26; push rbp
        let large = b"\x49\x89\xe4\x49\x81\xec\0\x20\0\0\x72\x20\x4d\x3b\x66\x10\x76\x1a\x55";
        for (code, behind) in [(&small[..], 6), (medium, 15), (large, 18)] {
            assert_eq!(behind_stack_check(Machine::X86_64, code), Some(behind));
        }
        // push rbp; jbe +0: something was done before
        assert_eq!(behind_stack_check(Machine::X86_64, &[0x55, 0x76, 0, 0x90]), None);
        // mov rax,rsp; jbe +0: an argument is gone
        assert_eq!(behind_stack_check(Machine::X86_64, &[0x48, 0x89, 0xe0, 0x76, 0, 0x90]), None);
        assert_eq!(behind_stack_check(Machine::X86_64, &[]), None);

        // ldr x16,[x28,#16]; cmp sp,x16; b.ls +64; str x30,[sp,#-96]!
        let words = [0xf940_0b90_u32, 0xeb30_63ff, 0x5400_0209, 0xf81a_0ffe];
        assert_eq!(behind_stack_check(Machine::Aarch64, &words.map(u32::to_le_bytes).concat()), Some(12));
        assert_eq!(behind_stack_check(Machine::Aarch64, &words[3].to_le_bytes()), None);
    }

    #[test]
    fn no_probe_stands_on_a_breakpoint_or_on_what_is_no_code() {
        assert!(begins_soundly(Machine::X86_64, &[0xf3, 0x0f, 0x1e, 0xfa]));
        assert!(begins_soundly(Machine::X86_64, &[0x55]));
        assert!(!begins_soundly(Machine::X86_64, &[0xcc, 0x55]));
        assert!(!begins_soundly(Machine::X86_64, &[0x0f, 0x0b]));
        assert!(!begins_soundly(Machine::X86_64, &[0x06]));
        assert!(!begins_soundly(Machine::X86_64, &[]));
    }
}
