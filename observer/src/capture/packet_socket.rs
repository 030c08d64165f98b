//! The packet socket that carries the socket filter. It never receives a packet: the filter looks and lets none pass.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::kernel_memory::bind_packet_socket;

/// A packet socket that is not yet bound, so that no packet reaches it before its filter is attached.
///
/// # Errors
///
/// Where the process lacks CAP_NET_RAW.
pub(super) fn open() -> io::Result<OwnedFd> {
    // SOCK_DGRAM: packets begin with their network header, whatever the link layer; protocol zero: nothing is received yet.
    Ok(socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// Lets the socket see the packets of one interface, or of all.
///
/// # Errors
///
/// Where there is no such interface in this network namespace.
pub(super) fn bind(socket: &OwnedFd, interface: Option<&str>) -> io::Result<()> {
    let index = interface.map_or(Ok(0), |name| netdevice::name_to_index(socket, name))?;
    bind_packet_socket(socket, index)
}
