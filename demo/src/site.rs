//! Where a shop stands: on an address of this host, or in a network namespace of its own, as a container does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::step;

/// The two ends of the cable between this host and the namespace (RFC 1918 addresses).
const HOST_END: &str = "10.213.87.1/30";
const SHOP_END: Ipv4Addr = Ipv4Addr::new(10, 213, 87, 2);
/// Ports in the namespace, where nobody else listens.
const FIRST_PORT: u16 = 8000;

/// Where a shop stands.
#[derive(Debug)]
pub enum Site {
    /// On this address of the host, with free ports.
    Host(IpAddr),
    /// In a network namespace with a cable to the host.
    Namespace(Namespace),
}

/// A network namespace; it is removed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace and its cable.
    ///
    /// # Errors
    /// Not root, or `ip` fails.
    pub fn create() -> Result<Self> {
        let name = format!("shop{}", std::process::id());
        ip(&["netns", "add", &name])?;
        // From here on it is removed whatever fails.
        let made = Self { name };
        let (name, cable) = (&made.name, format!("{}h", made.name));
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "cable", "netns", name])?;
        ip(&["address", "add", HOST_END, "dev", &cable])?;
        ip(&["link", "set", &cable, "up"])?;
        ip(&["-n", name, "address", "add", &format!("{SHOP_END}/30"), "dev", "cable"])?;
        ip(&["-n", name, "link", "set", "cable", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(made)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its end of the cable goes with it, and so the other.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    step(&format!("ip {}", arguments.join(" ")), Command::new("ip").args(arguments))
}

impl Site {
    /// Addresses for `count` services.
    ///
    /// # Errors
    /// The host's address cannot be listened on.
    pub fn addresses(&self, count: usize) -> Result<Vec<SocketAddr>> {
        match self {
            Self::Host(ip) => {
                // All are held until all are chosen, so that none is given twice.
                let listen = |_| TcpListener::bind((*ip, 0)).with_context(|| format!("cannot listen on {ip}"));
                let held = (0..count).map(listen).collect::<Result<Vec<_>>>()?;
                held.iter().map(|listener| Ok(listener.local_addr()?)).collect()
            }
            Self::Namespace(_) => {
                Ok((FIRST_PORT..).take(count).map(|port| SocketAddr::from((SHOP_END, port))).collect())
            }
        }
    }

    /// A command that runs `program` there.
    pub fn command(&self, program: &Path) -> Command {
        match self {
            Self::Host(_) => Command::new(program),
            Self::Namespace(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &namespace.name]).arg(program);
                command
            }
        }
    }
}
