//! The TCP sockets of the calling thread's network namespace come out, with their cookies: sock_diag (man 7 sock_diag).

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId as DiagId, StateFlags};
use observer_core::connection::Address;
use observer_core::ids::SocketId;
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: u8 = 10;
/// What one answer of the kernel can hold: it fills at most 32 KiB a datagram (`NLMSG_GOODSIZE`, net/netlink/af_netlink.c).
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Sockets taken from one namespace; past it the rest is left out and the dump says so.
pub(super) const SOCKETS_PER_NAMESPACE_MAX: usize = 262_144;

/// A TCP socket that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpSocket {
    /// Its cookie; `None` where it was read from `/proc/PID/net/tcp`, which does not tell it.
    pub(super) socket: Option<SocketId>,
    /// The inode number that `/proc/PID/fd` shows; zero where no process holds it any more.
    pub(super) inode: u64,
    /// Its own address.
    pub(super) local: Address,
    /// The other end's; of a listening socket unspecified.
    pub(super) remote: Address,
    /// Whether it listens.
    pub(super) listens: bool,
}

/// All TCP sockets of the calling thread's network namespace that have an owner, IPv4 then IPv6, and whether that is all.
///
/// # Errors
///
/// Where the kernel has no sock_diag (module `tcp_diag`) or refuses it.
pub(super) fn dump() -> std::io::Result<(Vec<TcpSocket>, bool)> {
    let mut sockets = Vec::new();
    let mut complete = true;
    for family in [AF_INET, AF_INET6] {
        complete &= dump_family(family, &mut sockets)?;
    }
    Ok((sockets, complete))
}

fn dump_family(family: u8, sockets: &mut Vec<TcpSocket>) -> std::io::Result<bool> {
    let link = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    send(&link, &request(family), SendFlags::empty())?;
    let mut answer = vec![0_u8; ANSWER_BYTES_MAX];
    loop {
        let (length, _) = recv(&link, &mut answer[..], RecvFlags::empty())?;
        let mut rest = answer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(std::io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    if sockets.len() >= SOCKETS_PER_NAMESPACE_MAX {
                        return Ok(false);
                    }
                    sockets.extend(tcp_socket(&response));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are aligned to four bytes (NLMSG_ALIGN, linux/netlink.h).
            let taken = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let body = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: if family == AF_INET { DiagId::new_v4() } else { DiagId::new_v6() },
    });
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(body));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn tcp_socket(response: &InetResponse) -> Option<TcpSocket> {
    let header = &response.header;
    let id = &header.socket_id;
    let listens = header.state == LISTEN;
    // Half-open and closing connections have no inode: no process can be asked for them.
    (header.inode != 0 || listens).then(|| TcpSocket {
        socket: Some(cookie(id.cookie)),
        inode: u64::from(header.inode),
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        listens,
    })
}

/// Two words of the machine's byte order, the lower first (`sock_diag_save_cookie`, net/core/sock_diag.c).
fn cookie(bytes: [u8; 8]) -> SocketId {
    let (words, _) = bytes.as_chunks::<4>();
    SocketId(words.iter().rev().fold(0, |cookie, word| cookie << 32 | u64::from(u32::from_ne_bytes(*word))))
}

pub(super) fn address(ip: IpAddr, port: u16) -> Address {
    Address { ip: ip.to_canonical(), port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    /// Inode and cookie as the socket itself tells them.
    fn identity(socket: impl AsFd) -> (u64, Option<SocketId>) {
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        (inode, Some(SocketId(rustix::net::sockopt::socket_cookie(socket).unwrap())))
    }

    #[test]
    fn the_dump_shows_listeners_and_both_ends_with_inode_and_cookie() {
        for ip in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let (sockets, complete) = dump().unwrap();
            assert!(complete);
            let ends = [(identity(&listener), true), (identity(&client), false), (identity(&accepted), false)];
            for ((inode, socket), listens) in ends {
                let found = sockets.iter().find(|found| found.inode == inode).expect("the socket is in the dump");
                assert_eq!((found.socket, found.listens), (socket, listens), "{ip}");
            }
        }
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() {
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(address(mapped, 80).ip, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    }
}
