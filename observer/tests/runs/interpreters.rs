//! Interpreters, against what they say of themselves.

use std::collections::BTreeMap;
use std::process::Command;

use observer_core::audit::causes::matters;
use observer_core::audit::runs::Runtime;
use testbed::install::runtimes;

use crate::{Process, output};

const READY: &str = "import sys; print('ready', flush=True); sys.stdin.read()";
/// The packages of an interpreter, by its own knowledge.
const PACKAGES: &str =
    "import importlib.metadata as m\nfor d in m.distributions(): print(d.metadata['Name'], d.version)";

#[test]
fn the_packages_of_a_virtual_environment_are_those_that_its_python_knows() {
    let python = runtimes().unwrap().python;
    let process = Process::start(Command::new(&python).args(["-c", READY]));
    let found = process.runs();
    let version = output(Command::new(&python).args(["-c", "import platform; print(platform.python_version())"]));
    assert_eq!((found.runtime, found.version.clone()), (Runtime::Python, Some(version)));
    assert_eq!(found.unread, None);
    let known = output(Command::new(&python).args(["-c", PACKAGES]));
    let known: BTreeMap<String, String> = known
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_lowercase().replace(['_', '.'], "-"), version.to_owned()))
        .filter(|(name, _)| matters(Runtime::Python, name))
        .collect();
    assert!(known.contains_key("opentelemetry-instrumentation-httpx") && known.contains_key("aiohttp"), "{known:?}");
    for (name, version) in &found.libraries {
        assert_eq!(version.as_ref(), known.get(name), "{name}");
    }
    // Of packages with extension modules none is loaded, and so none is named.
    let left_out: Vec<&str> = known.keys().filter(|name| !found.has(name)).map(String::as_str).collect();
    for name in &left_out {
        assert!(
            ["aiohttp", "aiokafka", "confluent-kafka", "grpcio", "ddtrace", "gevent", "tornado"].contains(name),
            "{name}"
        );
    }
    assert!(left_out.contains(&"grpcio") && left_out.contains(&"aiohttp"), "{left_out:?}");
    assert!(found.has("requests") && found.has("celery"));

    let process = Process::start(Command::new(&python).args(["-c", &format!("import grpc, aiohttp; {READY}")]));
    let found = process.runs();
    assert!(found.has("grpcio") && found.has("aiohttp") && !found.has("confluent-kafka"), "{found:?}");
}

#[test]
fn packages_that_python_path_adds_are_named_and_no_virtual_environment_means_those_of_the_system() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(place.path().join("opentelemetry_distro-0.1b2.dist-info")).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    let process = Process::start(python.args(["-c", READY]).env("PYTHONPATH", place.path()));
    let found = process.runs();
    assert_eq!(found.libraries.get("opentelemetry-distro"), Some(&Some("0.1b2".to_owned())), "{found:?}");
    assert!(!found.has("opentelemetry-instrumentation-httpx"), "{found:?}");
    assert_eq!(found.unread, None);
}

#[test]
fn a_python_that_hides_its_command_line_is_not_called_complete() {
    let python = runtimes().unwrap().python;
    let mut command = Command::new("bash");
    command.args(["-c", "exec -a 'gunicorn: worker' \"$0\" -c \"$1\"", "/usr/bin/python3", READY]);
    let process = Process::start(&mut command);
    let found = process.runs();
    assert_eq!(found.runtime, Runtime::Python);
    assert_eq!(found.unread.as_deref(), Some("its command line does not tell its virtual environment"));
    assert!(!found.lacks("opentelemetry-sdk"), "{}", python.display());
}

#[test]
fn the_packages_of_node_are_those_above_its_script_and_of_node_path() {
    let modules = runtimes().unwrap().node_modules;
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("main.js");
    std::fs::write(&script, "console.log('ready'); process.stdin.resume();").unwrap();
    let told = |name: &str| {
        let text = std::fs::read(modules.join(name).join("package.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["version"].as_str().unwrap().to_owned()
    };
    // As the demo's services find them.
    let process = Process::start(Command::new("node").arg(&script).env("NODE_PATH", &modules).current_dir("/"));
    let found = process.runs();
    let version = output(Command::new("node").arg("--version"));
    assert_eq!(
        (found.runtime, found.version.clone()),
        (Runtime::Node, Some(version.trim_start_matches('v').to_owned()))
    );
    for name in ["express", "kafkajs", "@opentelemetry/api", "@opentelemetry/instrumentation-undici"] {
        assert_eq!(found.libraries.get(name), Some(&Some(told(name))), "{name}: {found:?}");
    }
    assert_eq!(found.unread, None);
    assert!(found.lacks("dd-trace") && !found.has("@opentelemetry/semantic-conventions"));

    // Above the script, where most are.
    std::fs::create_dir_all(place.path().join("srv/app")).unwrap();
    std::os::unix::fs::symlink(&modules, place.path().join("srv/node_modules")).unwrap();
    let inner = place.path().join("srv/app/main.js");
    std::fs::copy(&script, &inner).unwrap();
    let process = Process::start(Command::new("node").arg("app/main.js").current_dir(place.path().join("srv")));
    assert_eq!(process.runs().libraries, found.libraries);

    let process = Process::start(Command::new("node").arg(&script).env_remove("NODE_PATH").current_dir(place.path()));
    let bare = process.runs();
    assert!(bare.libraries.is_empty() && bare.unread.unwrap().contains("no node_modules"));
}
