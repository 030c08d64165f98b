//! Programs as they are installed, over TLS: curl, GnuTLS, a container with libraries of its own. The observer's report against
//! what they asked and what was logged, exactly.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use testbed::install::{apt, has_program};
use testbed::truth::{Requests, read, reported};
use testbed::workspace;

use crate::beside::{Beside, addresses};
use crate::outcome::Outcome;
use crate::peer::{Peer, THREADS, proxy_logs, until_listening};
use crate::place::only;
use crate::service::Service;

const ORDERS: u64 = 100;

pub(crate) fn traceparent(number: u64) -> String {
    format!("00-{number:032x}-00f067aa0ba902b7-01")
}

/// Hops of a client that nothing reaches.
pub(crate) fn background(
    client: &str,
    peer: &str,
    count: u64,
) -> BTreeMap<(String, String), BTreeMap<&'static str, u64>> {
    BTreeMap::from([((client.to_owned(), peer.to_owned()), BTreeMap::from([("background", count)]))])
}

#[test]
fn every_curl_that_lives_for_one_request_is_seen() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-curl")?;
    let [front, back] = addresses()?.map(|address| address.to_string());
    let start = |peer: Peer, arguments| peer.start(&beside.python, &beside.certificate, arguments, &beside.place);
    let back_service = start(THREADS, ["back", &back, "-", "-"])?;
    let proxy = start(Peer::Nginx, ["front", &front, &back, "back"])?;
    let observer = beside.observe(&[proxy.child.id(), back_service.child.id()])?;
    for number in 1..=ORDERS {
        let version = if number % 2 == 0 { "--http2" } else { "--http1.1" };
        let path = if number % 4 == 3 { "loses" } else { "" };
        let mut curl = curl(&beside)?;
        curl.arg(version).arg("--header").arg(format!("traceparent: {}", traceparent(number)));
        curl.args(["--header", "x-tenant-id: tenant"]).arg(format!("https://{front}/{path}"));
        ensure!(curl.status()?.success(), "request {number} failed");
    }
    let (report, table) = observer.stop()?;
    // nginx writes its title where its environment was.
    let services = ["nginx", "back"];
    proxy_logs(&beside.place, services[0])?;
    let (logged, told) = (read(&beside.place, services.into_iter(), 0)?, reported(&report, &services));
    assert_eq!(logged.requests.values().map(|row| row.all()).sum::<u64>(), 2 * ORDERS);
    assert_eq!(told.requests, logged.requests, "{table}");
    assert_eq!(told.received, logged.received, "{table}");
    assert_eq!(reported(&report, &["curl"]).hops, background("curl", "nginx", ORDERS), "{table}");
    Ok(())
}

#[test]
fn what_rustls_answers_when_its_session_has_moved_is_known_to_be_of_its_request() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-moves")?;
    let [address] = addresses()?.map(|address| address.to_string());
    let arguments = ["back", &address, "-", "-"];
    let back = Peer::Hyper.start(&beside.python, &beside.certificate, arguments, &beside.place)?;
    let observer = beside.observe(&[back.child.id()])?;
    // Every request is the first of its connection.
    for number in 1..=ORDERS {
        let version = if number % 2 == 0 { "--http2" } else { "--http1.1" };
        let path = if number % 5 < 2 { "fails" } else { "" };
        let mut curl = curl(&beside)?;
        curl.arg(version).arg("--header").arg(format!("traceparent: {}", traceparent(number)));
        curl.args(["--header", "x-tenant-id: tenant"]).arg(format!("https://{address}/{path}"));
        ensure!(curl.status()?.success() == path.is_empty(), "request {number} is not answered as it should be");
    }
    let (report, _) = observer.stop()?;
    let (logged, told) = (read(&beside.place, ["back"].into_iter(), 0)?, reported(&report, &["back"]));
    assert_eq!(logged.errors.values().map(|(errors, _)| errors).sum::<u64>(), 2 * ORDERS / 5);
    Outcome { logged, told, report }.whole().assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_gnutls_sends_and_receives_is_counted_at_each_end() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-gnutls")?;
    let [own, back] = addresses()?;
    let server = gnutls_serves(&beside, own)?;
    let arguments = ["back", &back.to_string(), "-", "-"];
    let python = THREADS.start(&beside.python, &beside.certificate, arguments, &beside.place)?;
    let observer = beside.observe(&[server.child.id(), python.child.id()])?;
    for number in 1..=ORDERS / 2 {
        ask(&beside, own.port(), number..number + 1)?;
    }
    ask(&beside, back.port(), 1..ORDERS + 1)?;
    let (report, table) = observer.stop()?;
    assert_eq!(report.capture.lost, 0, "{table}");
    let told = reported(&report, &["gnutls", "back"]);
    let valid = |valid| Requests { valid, ..Requests::default() };
    let of = |service: &str| (service.to_owned(), "tenant".to_owned());
    assert_eq!(told.requests, BTreeMap::from([(of("gnutls"), valid(ORDERS / 2)), (of("back"), valid(ORDERS))]));
    let hops = reported(&report, &["gnutls-cli"]).hops;
    let all = hops.values().map(|outcomes| outcomes.get("background").copied().unwrap_or_default()).sum::<u64>();
    assert_eq!((all, hops.values().all(|outcomes| outcomes.len() == 1)), (ORDERS / 2 + ORDERS, true), "{table}");
    Ok(())
}

/// GnuTLS's own server, which answers once over each connection, as the service `gnutls`.
pub(crate) fn gnutls_serves(beside: &Beside, own: SocketAddr) -> Result<Service> {
    if !has_program("gnutls-serv") {
        apt(&["gnutls-bin"])?;
    }
    let mut serve = Command::new("gnutls-serv");
    serve.args(["--http", "--quiet", "--port", &own.port().to_string(), "--x509certfile"]);
    serve.arg(&beside.certificate.certificate).arg("--x509keyfile").arg(&beside.certificate.key);
    let server = Service::spawn(serve.env("OTEL_SERVICE_NAME", "gnutls").stdin(Stdio::null()).stderr(Stdio::null()))?;
    until_listening(own);
    Ok(server)
}

/// curl, which trusts this host's certificate and is silent.
pub(crate) fn curl(beside: &Beside) -> Result<Command> {
    if !has_program("curl") {
        apt(&["curl"])?;
    }
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output", "/dev/null", "--cacert"]).arg(&beside.certificate.certificate);
    Ok(curl)
}

/// Sends requests by one process of gnutls-cli, one after the other.
fn ask(beside: &Beside, port: u16, numbers: std::ops::Range<u64>) -> Result<()> {
    // It would keep what it receives until it ends.
    let mut client = Command::new("stdbuf");
    client.args(["--output=0", "gnutls-cli", "--logfile", "/dev/null", "--port", &port.to_string(), "--x509cafile"]);
    client.arg(&beside.certificate.certificate).arg("localhost").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn()?;
    let mut input = client.stdin.take().context("it has an input")?;
    let mut output = BufReader::new(client.stdout.take().context("it has an output")?);
    for number in numbers {
        let traceparent = traceparent(number);
        write!(
            input,
            "GET /{number} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ntraceparent: {traceparent}\r\nx-tenant-id: tenant\r\n\r\n"
        )?;
        loop {
            // The body before may end without a new line.
            let mut line = Vec::new();
            ensure!(output.read_until(b'\n', &mut line)? > 0, "no answer to request {number}");
            let line = String::from_utf8(line)?;
            if line.contains("HTTP/1.") {
                ensure!(line.contains(" 200 "), "{line}");
                break;
            }
        }
    }
    drop(input);
    std::io::copy(&mut output, &mut std::io::sink())?;
    client.wait()?;
    Ok(())
}

#[test]
fn a_service_with_libraries_of_its_own_below_another_root_is_observed() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-container")?;
    let root = beside.place.join("root");
    image(&root)?;
    for file in [&beside.certificate.certificate, &beside.certificate.key] {
        std::fs::copy(file, root.join(file.file_name().context("a file")?))?;
    }
    std::fs::copy(workspace().join("tests/secure/service.py"), root.join("service.py"))?;
    let [back] = addresses()?.map(|address| address.to_string());
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--pid", "--fork", "--kill-child", "chroot"]).arg(&root);
    inside.args(["/usr/bin/python3", "/service.py", "back", &back, "-", "-", "/log"]);
    inside.envs([("CERTIFICATE", "/certificate.pem"), ("KEY", "/key.pem"), ("SERVER", "threads"), ("CLIENT", "-")]);
    let container = Service::start({
        inside.env("OTEL_SERVICE_NAME", "back");
        inside
    })?;
    let outer = container.child.id();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
    let observer = beside.observe(&[children.trim().parse()?])?;
    beside.order(ORDERS, &back, "back")?;
    let (report, table) = observer.stop()?;
    assert_eq!(report.capture.lost, 0, "{table}");
    std::fs::copy(root.join("log"), beside.place.join("back.jsonl"))?;
    let (logged, told) = (read(&beside.place, ["back"].into_iter(), 0)?, reported(&report, &["back"]));
    assert_eq!(logged.requests.values().map(|row| row.all()).sum::<u64>(), ORDERS);
    assert_eq!(reported(&report, &["customer"]).hops, background("customer", "back", ORDERS), "{table}");
    Outcome { logged, told, report }.assert_everything_is_exact();
    Ok(())
}

/// A root with the Python of this host and what it needs.
fn image(root: &Path) -> Result<()> {
    let python = std::fs::canonicalize("/usr/bin/python3")?;
    let library = Path::new("/usr/lib").join(python.file_name().context("a program")?);
    let modules = library.join("lib-dynload");
    let mut needs = vec![python.clone()];
    let mut files = vec![python.clone()];
    files.extend(std::fs::read_dir(modules)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
    for file in files {
        let said = Command::new("ldd").arg(&file).output()?.stdout;
        let said = String::from_utf8(said)?;
        needs.extend(said.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(Into::into));
    }
    needs.retain(|file| file.is_file());
    needs.sort();
    needs.dedup();
    for file in needs {
        let copy = root.join(file.strip_prefix("/")?);
        std::fs::create_dir_all(copy.parent().context("a file is in a directory")?)?;
        std::fs::copy(&file, copy)?;
    }
    std::fs::create_dir_all(root.join("usr/lib"))?;
    let status = Command::new("cp").arg("-a").arg(&library).arg(root.join("usr/lib")).status()?;
    ensure!(status.success(), "the libraries of Python cannot be copied");
    std::os::unix::fs::symlink(python, root.join("usr/bin/python3"))?;
    Ok(())
}
