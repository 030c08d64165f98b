//! BoringSSL at both ends: its own tool as Debian builds it, whose input and output are what it sends and receives. The observer's
//! report against what passed through, exactly.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use testbed::install::{apt, has_program};
use testbed::truth::{Requests, reported};

use crate::beside::{Beside, addresses};
use crate::place::only;
use crate::probes::until_probed;
use crate::programs::{background, traceparent};
use crate::service::Service;

const TOOL: &str = "bssl-tool";
const ORDERS: u64 = 100;

/// One end: it sends what it is given, and says what it receives.
struct End {
    tool: Service,
    sends: ChildStdin,
}

impl End {
    fn start(tool: &mut Command, service: &str) -> Result<Self> {
        tool.env("OTEL_SERVICE_NAME", service).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut tool = Service::spawn(tool)?;
        let sends = tool.child.stdin.take().context("it has an input")?;
        Ok(Self { tool, sends })
    }

    fn send(&mut self, head: &str) -> Result<()> {
        Ok(self.sends.write_all(head.as_bytes())?)
    }

    /// The first line of a head, when all of that has come.
    fn receive(&mut self) -> Result<String> {
        let first = self.tool.line()?;
        while self.tool.line()? != "\r" {}
        Ok(first)
    }
}

#[test]
fn what_boringssl_sends_and_receives_is_as_it_passed() -> Result<()> {
    if !has_program(TOOL) {
        apt(&["android-boringssl"])?;
    }
    let _only = only();
    let beside = Beside::new("tls-boringssl")?;
    let [address] = addresses()?;
    let mut serve = Command::new(TOOL);
    serve.args(["server", "-accept", &address.port().to_string(), "-key"]).arg(&beside.certificate.key);
    serve.arg("-cert").arg(&beside.certificate.certificate);
    let mut server = End::start(&mut serve, "server")?;
    let observer = beside.observe(&[server.tool.child.id()])?;
    let mut connect = Command::new(TOOL);
    connect.args(["client", "-connect", &address.to_string(), "-root-certs"]).arg(&beside.certificate.certificate);
    let mut client = End::start(&mut connect, "client")?;
    until_probed(client.tool.child.id())?;
    for number in 1..=ORDERS {
        let traceparent = traceparent(number);
        client.send(&format!(
            "GET /{number} HTTP/1.1\r\nhost: server\r\ntraceparent: {traceparent}\r\nx-tenant-id: tenant\r\n\r\n"
        ))?;
        ensure!(server.receive()?.starts_with(&format!("GET /{number} ")), "another request arrives");
        let status = if number % 4 == 0 { "503 busy" } else { "200 OK" };
        server.send(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))?;
        ensure!(client.receive()?.contains(status), "another answer arrives");
    }
    let (report, table) = observer.stop()?;
    assert_eq!(report.capture.lost, 0, "{table}");
    let told = reported(&report, &["server"]);
    let of = |tenant: &str| ("server".to_owned(), tenant.to_owned());
    let all = Requests { valid: ORDERS, ..Requests::default() };
    assert_eq!(told.requests, BTreeMap::from([(of("tenant"), all)]), "{table}");
    assert_eq!(told.errors.values().map(|(errors, _)| errors).sum::<u64>(), ORDERS / 4, "{table}");
    assert_eq!(reported(&report, &["client"]).hops, background("client", "server", ORDERS), "{table}");
    Ok(())
}
