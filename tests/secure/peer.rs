//! Programs of the scenes over TLS: their kind and arguments come in, running services go out.

use std::net::{IpAddr, Ipv4Addr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use testbed::install::{self, apt, has_program};
use testbed::site::Site;
use testbed::{sources, workspace};

use crate::probes::POLL;
use crate::service::{Program, Service};

const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// A program, how it serves and how it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    Python {
        server: &'static str,
        client: &'static str,
    },
    Node {
        server: &'static str,
        client: &'static str,
    },
    Go {
        server: &'static str,
        client: &'static str,
    },
    /// The same without its table of symbols.
    StrippedGo {
        server: &'static str,
        client: &'static str,
    },
    /// A program in Rust: HTTP/1.
    Rustls,
    /// The same with hyper: HTTP/2, as a server HTTP/1 too.
    Hyper,
    /// A program in Java: HTTP/1, by the library of the virtual machine.
    Java,
    /// A proxy, as a front: HTTP/2 and HTTP/1.
    Nginx,
}

/// A client or server in Python that uses OpenSSL 1.1 by its C interface.
pub(crate) const LIBSSL: &str = "libssl";
pub(crate) const THREADS: Peer = Peer::Python { server: "threads", client: "requests" };
pub(crate) const ASYNCIO: Peer = Peer::Python { server: "asyncio", client: "aiohttp" };

impl Peer {
    /// Starts it as a service and waits until it is ready.
    pub(crate) fn start(
        self,
        python: &Path,
        certificate: &Certificate,
        arguments: [&str; 4],
        place: &Path,
    ) -> Result<Service> {
        let mut command = self.command(python, certificate, arguments, place)?;
        if matches!(self, Self::Nginx) {
            let service = Service::spawn(&mut command)?;
            until_listening(arguments[1]);
            return Ok(service);
        }
        Service::start(command)
    }

    /// The command that runs it with these arguments (see service.py).
    pub(crate) fn command(
        self,
        python: &Path,
        certificate: &Certificate,
        [name, listen, next, peer]: [&str; 4],
        place: &Path,
    ) -> Result<Command> {
        let (program, server, client) = match self {
            Self::Python { server, client } => (Program::python(python, "secure/service.py"), server, client),
            Self::Node { server, client } => {
                let script = workspace().join("tests/secure/service.js");
                (Program(vec![PathBuf::from("node"), script]), server, client)
            }
            Self::Go { server, client } => (Program(vec![sources::go("tests/secure/service.go")?]), server, client),
            Self::StrippedGo { server, client } => {
                let built = sources::go("tests/secure/service.go")?;
                let stripped = built.with_extension("stripped");
                ensure!(Command::new("strip").arg("-o").arg(&stripped).arg(built).status()?.success(), "strip failed");
                (Program(vec![stripped]), server, client)
            }
            Self::Rustls => (Program(vec![PathBuf::from(env!("CARGO_BIN_EXE_secure-service"))]), "", ""),
            Self::Hyper => (Program(vec![PathBuf::from(env!("CARGO_BIN_EXE_secure-hyper"))]), "", ""),
            Self::Java => (java()?, "", ""),
            Self::Nginx => return nginx(certificate, [listen, next], place),
        };
        let log = place.join(format!("{name}.jsonl"));
        let mut command = program.command(name, &HERE, &[listen, next, peer], &log);
        command.envs([("SERVER", server), ("CLIENT", client)]);
        if [server, client].contains(&LIBSSL) {
            command.env("OPENSSL", install::wheels("tests/secure/openssl11.txt")?.join("psycopg2_binary.libs"));
        }
        command.env("CERTIFICATE", &certificate.certificate).env("KEY", &certificate.key);
        Ok(command)
    }
}

/// Java, which compiles the service as it starts it.
fn java() -> Result<Program> {
    if !has_program("javac") {
        apt(&["openjdk-17-jdk-headless"])?;
    }
    // Each answer would wait 40 ms for an acknowledgement.
    let option = "-Dsun.net.httpserver.nodelay=true";
    Ok(Program(vec!["java".into(), option.into(), workspace().join("tests/secure/Service.java")]))
}

/// Waits until somebody listens at an address.
pub(crate) fn until_listening(address: impl ToSocketAddrs + Copy) {
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(POLL);
    }
}

/// nginx as a service: its configuration is filled in.
fn nginx(certificate: &Certificate, [listen, next]: [&str; 2], place: &Path) -> Result<Command> {
    if !has_program("nginx") {
        apt(&["nginx-light"])?;
    }
    let template = std::fs::read_to_string(workspace().join("tests/secure/nginx.conf"))?;
    let words = [
        ("PLACE", place.display().to_string()),
        ("FRONT", listen.to_owned()),
        ("BACK", next.to_owned()),
        ("CERTIFICATE", certificate.certificate.display().to_string()),
        ("KEY", certificate.key.display().to_string()),
    ];
    let filled = words.into_iter().fold(template, |text, (word, value)| text.replace(word, &value));
    let configuration = place.join("nginx.conf");
    std::fs::write(&configuration, filled)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(configuration);
    Ok(command)
}

/// Makes one log of a service, as the others write theirs, of the two that nginx has written.
pub(crate) fn proxy_logs(place: &Path, service: &str) -> Result<()> {
    let [received, sent] = ["received", "sent"].map(|log| std::fs::read_to_string(place.join(format!("{log}.jsonl"))));
    std::fs::write(place.join(format!("{service}.jsonl")), received? + &sent?)?;
    Ok(())
}

/// A certificate that its own key has signed, for this host.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn make(place: &Path) -> Result<Self> {
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| place.join(name));
        install::certificate(&certificate, &key)?;
        Ok(Self { certificate, key })
    }
}
