//! One virtual machine: a kernel and a command come in; the command's output, line by line, and its exit status go out. The
//! guest sees this machine's files and can change none of them.

use super::initramfs;
use super::tree::KernelTree;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Sets up what the tests need and runs the command.
const GUEST: &str = include_str!("guest.sh");

/// Enough for the observer beside its tests, and for what they write.
const MEMORY_MIB: u32 = 1024;

/// Lines of the console shown when a guest fails.
const CONSOLE_TAIL: usize = 30;

/// Kernel messages go to the first serial line. Without mitigations an emulated processor is faster by some tenths.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 mitigations=off";

/// No guest runs longer, whatever it prints.
const RUN_LIMIT: Duration = Duration::from_mins(30);

/// Boots `tree` and runs `command` in a shell as root. `tell` gets each line that it prints; its exit status is returned.
/// `silence`: given up when nothing is printed for so long. An emulated processor is slow, and slower beside other work: only
/// one that no longer gets on is hung.
///
/// # Errors
///
/// When the machine does not start, falls silent, runs too long, or ends before the command does: the message holds the last
/// lines of its console.
pub(crate) fn run(tree: &KernelTree, command: &str, silence: Duration, tell: &mut dyn FnMut(&str)) -> Result<i32> {
    // In the build directory: a run that is killed leaves its files, and they should not be far.
    let runs = workspace::target().join("vm/runs");
    fs::create_dir_all(&runs)?;
    let work = tempfile::Builder::new().prefix("run-").tempdir_in(&runs)?;
    let share = work.path().join("guest");
    let console = work.path().join("console");
    fs::create_dir(&share)?;
    fs::write(share.join("command"), command)?;
    fs::write(share.join("guest.sh"), GUEST)?;
    fs::write(work.path().join("initramfs"), initramfs::build(tree)?)?;

    let mut machine = Machine(emulator(tree, work.path(), &share, &console).spawn().context("qemu-system-x86_64")?);
    let finished = machine.follow(silence, tell);
    drop(machine);
    let status = fs::read_to_string(share.join("status")).ok().and_then(|text| text.trim().parse().ok());
    match (finished, status) {
        (true, Some(status)) => Ok(status),
        (true, None) => bail!("the guest went down before its command ended\n{}", tail(&console)),
        (false, _) => bail!(
            "given up after {} s of silence or {} s in all\n{}",
            silence.as_secs(),
            RUN_LIMIT.as_secs(),
            tail(&console)
        ),
    }
}

/// TCG: stock kernels crash under nested KVM on some hosts, and a start takes ten seconds either way.
fn emulator(tree: &KernelTree, work: &Path, share: &Path, console: &Path) -> Command {
    // setpriv asks the kernel to end the emulator with the thread that starts it: no guest outlives a killed run.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    command.args(["-m", &MEMORY_MIB.to_string(), "-smp", "2", "-display", "none", "-no-reboot", "-nodefaults"]);
    command.arg("-kernel").arg(&tree.kernel).arg("-initrd").arg(work.join("initramfs"));
    command.args(["-append", KERNEL_ARGUMENTS]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    let shares = [("root", Path::new("/"), true), ("guest", share, false), ("modules", &tree.modules, true)];
    for (tag, path, read_only) in shares {
        let read_only = if read_only { ",readonly=on" } else { "" };
        let path = path.display();
        command.arg("-fsdev");
        command.arg(format!("local,id={tag},path={path},security_model=none,multidevs=remap{read_only}"));
        command.arg("-device").arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// A running emulator; ended and reaped when dropped.
struct Machine(Child);

impl Machine {
    /// Hands on lines until the emulator ends; false when it has to be ended.
    fn follow(&mut self, silence: Duration, tell: &mut dyn FnMut(&str)) -> bool {
        let Some(output) = self.0.stdout.take() else { return false };
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(std::result::Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + RUN_LIMIT;
        let finished = loop {
            match lines.recv_timeout(silence.min(deadline.saturating_duration_since(Instant::now()))) {
                Ok(line) => tell(&line),
                Err(RecvTimeoutError::Disconnected) => break true,
                Err(RecvTimeoutError::Timeout) => break false,
            }
        };
        if !finished {
            // Closes the pipe, which ends the reader.
            let _ = self.0.kill();
        }
        let _ = reader.join();
        // What came last, such as the name of the test that hangs, on a line that is not ended.
        for line in lines.try_iter() {
            tell(&line);
        }
        finished
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails when it has ended by itself, as it should have.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let shown = lines.get(lines.len().saturating_sub(CONSOLE_TAIL)..).unwrap_or_default();
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
