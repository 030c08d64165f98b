//! `cargo xtask conformance DIR`: the decoders over public vectors. The files of a directory come in, of each set that is
//! found there how many cases passed and failed goes out. Files that no set knows are named, never passed over in silence.

mod header_fields;
mod hpack;
mod samplers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use observer_core::ids::TraceId;
use serde_json::Value;

/// Failed cases that are printed of each set.
const SHOWN_MAX: usize = 5;

/// How much of one is printed.
const LINE_CHARS_MAX: usize = 200;

/// Run the decoders over public vectors.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The directory with the vectors: HPACK stories (http2jp/hpack-test-case) in directories of their encoders, W3C header
    /// cases, header cases of propagators, decisions of SDKs.
    directory: PathBuf,
}

/// How the cases of one set ended.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    shown: Vec<String>,
}

impl Tally {
    fn case(&mut self, passes: bool, describe: impl FnOnce() -> String) {
        if passes {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(describe());
        }
    }
}

/// What is known of all sets so far.
type Sets = BTreeMap<String, Tally>;

/// Runs every set that is found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let directory = &options.directory;
    let mut files = Vec::new();
    find(directory, &mut files)?;
    let mut sets = Sets::new();
    let mut unknown = Vec::new();
    for path in &files {
        let name = path.strip_prefix(directory).unwrap_or(path);
        let content = read(path)?;
        if !check(name, &content, directory, &mut sets).with_context(|| path.display().to_string())? {
            unknown.push(name.display().to_string());
        }
    }
    for name in &unknown {
        println!("{name}: no set of vectors that is known; not run");
    }
    if sets.is_empty() {
        bail!("{}: no vectors are here; give the directory that holds them", directory.display());
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, tally) in &sets {
        println!("{name:<44} {:>6} passed {:>6} failed", tally.passed, tally.failed);
        for line in &tally.shown {
            println!("    {}", line.chars().take(LINE_CHARS_MAX).collect::<String>());
        }
        passed += tally.passed;
        failed += tally.failed;
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the cases of one file; false where no set knows it.
fn check(name: &Path, content: &Value, directory: &Path, sets: &mut Sets) -> Result<bool> {
    let file = name.file_name().and_then(|file| file.to_str()).unwrap_or_default();
    // The ids are an input of others, the index is words.
    if ["trace_ids.json", "INDEX.json"].contains(&file) {
        return Ok(true);
    }
    let is_story = file.starts_with("story_");
    let set = if is_story { name.parent().unwrap_or(name) } else { name };
    let mut tally = sets.remove(&set.display().to_string()).unwrap_or_default();
    match file {
        _ if is_story => hpack::story(content, &mut tally)?,
        "w3c_harness_cases.json" => header_fields::w3c(content, &mut tally)?,
        "propagators.json" => header_fields::propagators(content, &mut tally)?,
        "sdk_in_out.json" => samplers::in_and_out(content, &mut tally)?,
        "thresholds.json" => samplers::thresholds(content, &mut tally)?,
        "collector_samplers.json" => samplers::collector(content, &trace_ids(directory)?, &mut tally)?,
        _ if file.starts_with("ratio_") => samplers::ratios(content, &trace_ids(directory)?, &mut tally)?,
        _ => {}
    }
    let known = tally.passed + tally.failed > 0;
    if known {
        sets.insert(set.display().to_string(), tally);
    }
    Ok(known)
}

/// The trace ids that files of decisions go by: first the random ones, then those at edges.
struct TraceIds {
    random: Vec<TraceId>,
    edge: Vec<TraceId>,
}

fn trace_ids(directory: &Path) -> Result<TraceIds> {
    let content = read(&directory.join("trace_ids.json"))?;
    let ids = |list: &str| -> Result<Vec<TraceId>> {
        let ids = content[list].as_array().with_context(|| format!("trace_ids.json has no list {list}"))?;
        ids.iter().map(|id| Ok(TraceId(u128::from_str_radix(id.as_str().context("an id is no text")?, 16)?))).collect()
    };
    Ok(TraceIds { random: ids("random")?, edge: ids("edge")? })
}

/// The JSON files below a directory, by name.
fn find(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
}
