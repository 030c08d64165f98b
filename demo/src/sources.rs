//! Programs of the tests and the bench that are not in Rust: a source file in Go or C comes in, a built program goes out, with
//! Debian's compilers and libraries, installed where they are missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::{apt, has_program, step};
use crate::{scratch, workspace};

/// Where Debian keeps libraries in Go.
const GO_LIBRARIES: &str = "/usr/share/gocode";

/// Where it keeps headers for C.
const C_HEADERS: &str = "/usr/include";

/// Builds `source`, a file in Go that may use grpc-go and the SDK of OpenTelemetry; named from the root of the workspace.
///
/// # Errors
/// No network where a package is missing, or the compiler's words.
pub fn go(source: &str) -> Result<PathBuf> {
    let has_library = |name: &str| Path::new(GO_LIBRARIES).join("src").join(name).is_dir();
    ensure(&[
        (has_program("go"), "golang-go"),
        (has_library("google.golang.org/grpc"), "golang-google-grpc-dev"),
        (has_library("go.opentelemetry.io/otel/sdk"), "golang-opentelemetry-otel-dev"),
    ])?;
    let (built, cache) = (place(source)?, scratch().join("go-cache"));
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&built).arg(workspace().join(source));
    go.envs([("GO111MODULE", "off"), ("GOPATH", GO_LIBRARIES), ("CGO_ENABLED", "0")]).env("GOCACHE", cache);
    step(&format!("go build {source}"), &mut go)?;
    Ok(built)
}

/// Builds `source`, a file in C that may use librdkafka; named from the root of the workspace.
///
/// # Errors
/// As of [`go`].
pub fn c(source: &str) -> Result<PathBuf> {
    let kafka = Path::new(C_HEADERS).join("librdkafka/rdkafka_mock.h");
    ensure(&[(has_program("cc"), "gcc"), (kafka.is_file(), "librdkafka-dev")])?;
    let built = place(source)?;
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&built).arg(workspace().join(source));
    step(&format!("cc {source}"), cc.arg("-lrdkafka"))?;
    Ok(built)
}

/// Installs the packages that are not there.
fn ensure(packages: &[(bool, &str)]) -> Result<()> {
    apt(&packages.iter().filter_map(|(present, package)| (!present).then_some(*package)).collect::<Vec<_>>())
}

/// Where the built program goes.
fn place(source: &str) -> Result<PathBuf> {
    let name = Path::new(source).file_stem().and_then(OsStr::to_str).context("a source file has a name")?;
    let place = scratch().join("built");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place.join(name))
}
