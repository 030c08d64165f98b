//! A process in user, mount and pid namespaces of its own, without privileges, with another root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use observer_core::audit::runs::Runtime;

use crate::{Process, output, runs_of, until};

/// A root with a Python in a virtual environment whose packages and links mean nothing outside.
fn image(root: &Path) {
    let real = fs::canonicalize("/usr/bin/python3").unwrap();
    let needs = output(Command::new("ldd").arg(&real));
    let files = needs.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in files.chain([real.as_path()]) {
        let copy = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
    let series = real.file_name().unwrap().to_str().unwrap().to_owned();
    let library = format!("usr/lib/{series}");
    // What it needs to start; its own packages are not among it.
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    let excluded = ["--exclude=site-packages", "--exclude=dist-packages", "--exclude=test", "--exclude=__pycache__"];
    let mut copied = Command::new("sh");
    copied.args(["-c", "tar -C / -c \"$@\" | tar -C \"$0\" -x"]).arg(root).args(excluded).arg(&library);
    output(&mut copied);
    fs::create_dir_all(root.join("srv/venv/bin")).unwrap();
    fs::write(root.join("srv/venv/pyvenv.cfg"), "home = /usr/bin\ninclude-system-site-packages = false\n").unwrap();
    // An absolute link: outside it would lead to the host's.
    std::os::unix::fs::symlink(&real, root.join("srv/venv/bin/python")).unwrap();
    let packages = root.join("opt/packages");
    for name in ["flask-9.9.9.dist-info", "opentelemetry_sdk-9.8.7.dist-info"] {
        fs::create_dir_all(packages.join(name)).unwrap();
    }
    fs::create_dir_all(root.join(format!("srv/venv/lib/{series}"))).unwrap();
    std::os::unix::fs::symlink("/opt/packages", root.join(format!("srv/venv/lib/{series}/site-packages"))).unwrap();
}

#[test]
fn a_process_with_a_root_of_its_own_is_read_as_it_sees_its_files() {
    let place = tempfile::Builder::new().prefix("runs").tempdir().unwrap();
    let root = place.path().join("root");
    fs::create_dir_all(&root).unwrap();
    image(&root);
    // For whoever the process is inside.
    output(Command::new("chmod").args(["-R", "a+rX"]).arg(place.path()));
    let script = "import sys; print('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "chroot"]);
    command.arg(&root).args(["/srv/venv/bin/python", "-c", script]).stderr(Stdio::inherit());
    let outer = Process::start(&mut command);
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", outer.0.id());
        fs::read_to_string(path).unwrap().split_ascii_whitespace().next().and_then(|pid| pid.parse::<u32>().ok())
    };
    until("the process inside", || children().is_some());
    let found = runs_of(children().unwrap());
    assert_eq!((found.runtime, &found.unread), (Runtime::Python, &None), "{found:?}");
    let libraries: Vec<(&str, Option<&str>)> =
        found.libraries.iter().map(|(name, version)| (name.as_str(), version.as_deref())).collect();
    assert_eq!(libraries, [("flask", Some("9.9.9")), ("opentelemetry-sdk", Some("9.8.7"))]);
    let version =
        output(Command::new("/usr/bin/python3").args(["-c", "import platform; print(platform.python_version())"]));
    assert_eq!(found.version, Some(version));
}
