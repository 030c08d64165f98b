//! git over HTTP/2 through GnuTLS: Debian's builds of git and of its libcurl. The observer's report against what nginx logged, exactly.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use testbed::install::apt;
use testbed::truth::{read, reported};

use crate::beside::{Beside, addresses};
use crate::outcome::Outcome;
use crate::peer::{Peer, proxy_logs};
use crate::place::only;
use crate::programs::{background, gnutls_serves, traceparent};

/// Debian's: another one may bring another libcurl.
const GIT: &str = "/usr/bin/git";
/// The part of it that sends requests.
const REMOTE: &str = "/usr/lib/git-core/git-remote-https";
const CLONES: u64 = 10;
/// Each is an object that a clone asks for, several at a time over one connection.
const FILES: u64 = 40;

#[test]
fn what_git_asks_for_over_http2_through_gnutls_is_seen() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-git")?;
    repository(&beside.place.join("repository"))?;
    let [held, front] = addresses()?;
    // Between two gits nobody else would keep GnuTLS probed.
    let holder = gnutls_serves(&beside, held)?;
    let [front, back] = [front, held].map(|address| address.to_string());
    let arguments = ["front", &front, &back, "back"];
    let proxy = Peer::Nginx.start(&beside.python, &beside.certificate, arguments, &beside.place)?;
    let observer = beside.observe(&[proxy.child.id(), holder.child.id()])?;
    for number in 1..=CLONES {
        let mut git = git();
        git.env("GIT_SSL_CAINFO", &beside.certificate.certificate).arg("-c");
        git.arg(format!("http.extraHeader=traceparent: {}", traceparent(number)));
        git.args(["-c", "http.extraHeader=x-tenant-id: tenant", "clone", "--quiet", "--bare"]);
        git.arg(format!("https://{front}/repository/.git")).arg(beside.place.join(format!("clone-{number}")));
        ensure!(git.status()?.success(), "clone {number} failed");
    }
    let (report, table) = observer.stop()?;
    // nginx writes its title where its environment was.
    let services = ["nginx"];
    proxy_logs(&beside.place, services[0])?;
    let received = std::fs::read_to_string(beside.place.join("received.jsonl"))?;
    ensure!(received.lines().all(|line| line.contains("HTTP/2.0")), "git asks over HTTP/1");
    let (logged, told) = (read(&beside.place, services.into_iter(), 0)?, reported(&report, &services));
    let asked = logged.requests.values().map(|row| row.all()).sum::<u64>();
    assert!(asked > CLONES * FILES, "{asked}");
    assert_eq!(reported(&report, &["git-remote-http"]).hops, background("git-remote-http", "nginx", asked), "{table}");
    Outcome { logged, told, report }.whole().assert_everything_is_exact();
    Ok(())
}

/// git as it is installed, whatever this user has configured.
fn git() -> Command {
    let mut git = Command::new(GIT);
    git.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]);
    git
}

/// Makes a repository whose objects are files of their own.
fn repository(place: &Path) -> Result<()> {
    if !Path::new(GIT).exists() {
        apt(&["git"])?;
    }
    let needs = Command::new("ldd").arg(REMOTE).output()?.stdout;
    ensure!(String::from_utf8(needs)?.contains("libgnutls.so"), "{REMOTE} does not use GnuTLS");
    std::fs::create_dir(place)?;
    for number in 0..FILES {
        std::fs::write(place.join(number.to_string()), format!("{number}\n").repeat(1000))?;
    }
    let commit = ["-c", "user.name=tests", "-c", "user.email=tests", "commit", "--quiet", "--message=files"];
    for arguments in [&["init", "--quiet"][..], &["add", "."], &commit, &["update-server-info"]] {
        ensure!(git().arg("-C").arg(place).args(arguments).status()?.success(), "git {arguments:?} failed");
    }
    Ok(())
}
