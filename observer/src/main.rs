//! The runtime sampling observer, as a program.

fn main() -> std::process::ExitCode {
    observer::cli::main()
}
