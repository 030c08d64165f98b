//! The live kernel tests, built here, as a command for a guest, where nothing can be built.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

/// The program in Go that they watch.
const GO_SERVER: &str = "observer/tests/tls_points/server.go";

/// One line of `cargo … --message-format=json`; only the messages about built files have all of this.
#[derive(Deserialize)]
struct Built {
    executable: Option<String>,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds `observer/tests/kernel*.rs`; returns a shell script that runs all of them and fails if one fails.
///
/// # Errors
///
/// When they do not build, or there are none.
pub(crate) fn command(arguments: &[String]) -> Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["test", "--package", "observer", "--test", "kernel*", "--no-run", "--message-format=json"])
        .current_dir(testbed::workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("the kernel tests do not build");
    }
    let binaries: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().filter_map(kernel_test).collect();
    if binaries.is_empty() {
        bail!("cargo built no kernel tests");
    }
    let server = testbed::sources::go(GO_SERVER)?.display().to_string();
    let script = script(&testbed::workspace().join("observer").display().to_string(), &binaries, arguments);
    Ok(format!("export GO_SERVER={}\n{script}", quoted(&server)))
}

fn kernel_test(line: &str) -> Option<String> {
    let built: Built = serde_json::from_str(line).ok()?;
    let wanted = built.target.name.starts_with("kernel") && built.target.kind.iter().any(|kind| kind == "test");
    if wanted { built.executable } else { None }
}

/// Cargo runs tests in the directory of their package, and some find their files by that.
fn script(directory: &str, binaries: &[String], arguments: &[String]) -> String {
    let arguments: String = arguments.iter().fold(String::new(), |all, argument| all + " " + &quoted(argument));
    let mut script = format!("cd {} || exit 1\nfailed=0\n", quoted(directory));
    for binary in binaries {
        let _ = writeln!(script, "{}{arguments} || failed=1", quoted(binary));
    }
    script.push_str("exit $failed\n");
    script
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernel_test_binaries_are_taken_from_cargos_messages() {
        let message = |name: &str, kind: &str| {
            format!(r#"{{"reason":"x","target":{{"name":"{name}","kind":["{kind}"]}},"executable":"/t/{name}-1"}}"#)
        };
        assert_eq!(kernel_test(&message("kernel_http", "test")).as_deref(), Some("/t/kernel_http-1"));
        assert_eq!(kernel_test(&message("observer", "bin")), None);
        assert_eq!(kernel_test(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn the_script_runs_all_and_fails_if_one_fails() {
        let script = script("/a b", &["/t/one".to_owned(), "/t/two".to_owned()], &["it's".to_owned()]);
        assert_eq!(
            script,
            "cd '/a b' || exit 1\nfailed=0\n'/t/one' 'it'\\''s' || failed=1\n'/t/two' 'it'\\''s' || failed=1\nexit $failed\n"
        );
    }
}
