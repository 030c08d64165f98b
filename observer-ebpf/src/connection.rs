//! The connection of a TLS session: the session of a library comes in, the socket below it goes out, with its addresses. The way is
//! through the memory of the process to a file descriptor, and through that of the kernel to the socket.
//!
//! Whatever is not as it must be on this way ends it: then the connection is not known, which is better than another's.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};
use core::ptr::addr_of;
use observer_ebpf::layout::{Layout, Member};

/// Whether the offsets below are those of this kernel. Where they are not, verifiers leave out what reads the kernel's memory,
/// which not every host allows.
#[unsafe(no_mangle)]
static MEMBERS_KNOWN: Global<u8> = Global::new(0);
/// Bytes from the beginning of each structure to its member.
#[unsafe(no_mangle)]
static MEMBERS: Global<[u32; Member::COUNT]> = Global::new([0; Member::COUNT]);

/// `BIO_TYPE_SOCKET` (openssl/bio.h).
const BIO_TYPE_SOCKET: u32 = 5 | 0x100 | 0x400;
/// `SSL_TYPE_SSL_CONNECTION` (ssl/ssl_local.h since OpenSSL 3.2): a session over TCP, not over QUIC.
const SSL_CONNECTION: u32 = 0;
/// Versions of SSL and TLS as on the wire.
const VERSIONS: core::ops::RangeInclusive<u32> = 0x0300..=0x0304;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const SOCK_STREAM: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// A socket's end and its peer's; zero where they are not known.
#[derive(Clone, Copy, Default)]
pub(crate) struct Connection {
    pub(crate) cookie: u64,
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

/// What stands for the memory of the process that runs, the same until it ends or runs another program; zero where it is not known.
#[inline(always)]
pub(crate) fn memory() -> u64 {
    if MEMBERS_KNOWN.load() == 0 {
        return 0;
    }
    // SAFETY: a helper that all these programs may call.
    let task = unsafe { bpf_get_current_task() };
    member(task, Member::TaskMemory).unwrap_or(0)
}

/// What is known of a TCP socket that is being read.
pub(crate) struct Read {
    pub(crate) cookie: u64,
    /// The sequence number behind the last byte that was read.
    pub(crate) up_to: u32,
    /// Whether anybody waits at it: a set of descriptors (epoll) does so as long as it has the socket, a thread as long as it is
    /// asleep there, so that the one that reads never does.
    pub(crate) is_awaited: bool,
}

/// What is known of the TCP socket whose `struct sock` this is, where offsets are known and its cookie was ever asked for.
#[inline(always)]
pub(crate) fn of_reader(sock: u64) -> Option<Read> {
    if MEMBERS_KNOWN.load() == 0 {
        return None;
    }
    let cookie = member(sock + offset(Member::SockCommon), Member::Cookie)?;
    let queue = member::<u64>(sock, Member::SockWaiters)? + offset(Member::WaitersQueue);
    let list = queue + offset(Member::QueueList);
    let is_awaited = kernel::<u64>(list)? != list;
    (cookie != 0).then_some(Read { cookie, up_to: member(sock, Member::ReadUpTo)?, is_awaited })
}

/// The connection of a session of the process that runs.
#[inline(always)]
pub(crate) fn of_session(session: u64, layout: u16) -> Option<Connection> {
    if MEMBERS_KNOWN.load() == 0 {
        return None;
    }
    const OPENSSL_1_1: u16 = Layout::OpenSsl1_1 as u16;
    const OPENSSL_3_0: u16 = Layout::OpenSsl3_0 as u16;
    const OPENSSL_3_2: u16 = Layout::OpenSsl3_2 as u16;
    const GO: u16 = Layout::Go as u16;
    let (bio, method, descriptor) = match layout {
        OPENSSL_1_1 => (session + 16, 0, 48),
        // A BIO begins with the library's context.
        OPENSSL_3_0 => (session + 16, 8, 56),
        OPENSSL_3_2 => (read_bio_3_2(session)?, 8, 56),
        // A `tls.Conn` begins with the connection below it.
        GO => return of_descriptor(go_descriptor(session)?),
        _ => return None,
    };
    let bio: u64 = user(bio)?;
    let method: u64 = user(bio + method)?;
    if user::<u32>(method)? != BIO_TYPE_SOCKET {
        return None;
    }
    of_descriptor(user(bio + descriptor)?)
}

/// A session begins with what TLS and QUIC share. Between that and the version, releases from 3.2.4 on have a pointer.
#[inline(always)]
fn read_bio_3_2(session: u64) -> Option<u64> {
    if user::<u32>(session)? != SSL_CONNECTION {
        return None;
    }
    if VERSIONS.contains(&user(session + 72)?) {
        Some(session + 80)
    } else if VERSIONS.contains(&user(session + 64)?) {
        Some(session + 72)
    } else {
        None
    }
}

/// The cookie of the socket of a `net.Conn`, which is an interface at this place: a `*net.TCPConn`, or what begins with a `net.Conn` that
/// is one, as a `*tls.Conn` does and most of what wraps a connection.
#[inline(always)]
pub(crate) fn of_interface(place: u64) -> Option<u64> {
    if MEMBERS_KNOWN.load() == 0 {
        return None;
    }
    let descriptor = match go_descriptor(place) {
        Some(descriptor) => descriptor,
        None => go_descriptor(user(place + 8)?)?,
    };
    of_descriptor(descriptor).map(|connection| connection.cookie)
}

/// The data of a `net.Conn`, an interface, is a `*net.TCPConn` if all is as in a `net.netFD` of a stream (Go 1.19, 1.23 and 1.27:
/// `Sysfd` at 16, `IsStream` at 48, `family` at 56, `sotype` at 64). Of another kind of connection there stand pointers.
#[inline(always)]
fn go_descriptor(interface: u64) -> Option<u32> {
    let connection: u64 = user(interface + 8)?;
    let descriptor: u64 = user(connection)?;
    let family: u64 = user(descriptor + 56)?;
    let is_internet = family == u64::from(AF_INET) || family == u64::from(AF_INET6);
    let is_stream = user::<u64>(descriptor + 64)? == u64::from(SOCK_STREAM) && user::<u8>(descriptor + 48)? == 1;
    if is_internet && is_stream { user(descriptor + 16) } else { None }
}

/// The connection of the TCP socket that this is a descriptor of. Nothing is locked: that the place still holds the same file and
/// the file the same socket once all is read says that it was read of that socket.
#[inline(always)]
fn of_descriptor(descriptor: u32) -> Option<Connection> {
    // SAFETY: a helper that all these programs may call.
    let task = unsafe { bpf_get_current_task() };
    let table: u64 = member(member(task, Member::TaskFiles)?, Member::FilesTable)?;
    if descriptor >= member::<u32>(table, Member::TableLen)? {
        return None;
    }
    let place = member::<u64>(table, Member::TableFiles)? + 8 * u64::from(descriptor);
    let file: u64 = kernel(place)?;
    if member::<u16>(member(file, Member::FileInode)?, Member::InodeMode)? & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = member(file, Member::FilePrivate)?;
    let sock: u64 = member(socket, Member::SocketSock)?;
    if member::<u64>(socket, Member::SocketFile)? != file
        || member::<u16>(socket, Member::SocketType)? != SOCK_STREAM
        || member::<u16>(sock, Member::SockProtocol)? != IPPROTO_TCP
    {
        return None;
    }
    let common = sock + offset(Member::SockCommon);
    let (local, remote) = match member::<u16>(common, Member::Family)? {
        AF_INET => (mapped(member(common, Member::Local4)?), mapped(member(common, Member::Remote4)?)),
        AF_INET6 => (member(common, Member::Local6)?, member(common, Member::Remote6)?),
        _ => return None,
    };
    let connection = Connection {
        cookie: member(common, Member::Cookie)?,
        local,
        remote,
        local_port: member(common, Member::LocalPort)?,
        remote_port: u16::from_be(member(common, Member::RemotePort)?),
    };
    let still = kernel::<u64>(place)? == file && member::<u64>(socket, Member::SocketSock)? == sock;
    still.then_some(connection)
}

/// An IPv4 address in wire order, mapped into IPv6.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    (u128::from(address) << 96 | 0xffff << 80).to_le_bytes()
}

#[inline(always)]
fn member<T>(of: u64, member: Member) -> Option<T> {
    kernel(of + offset(member))
}

#[inline(always)]
fn offset(member: Member) -> u64 {
    // SAFETY: one of the elements, which the loader alone writes, before the programs are loaded.
    u64::from(unsafe { addr_of!(MEMBERS).cast::<u32>().add(member as usize).read_volatile() })
}

#[inline(always)]
fn kernel<T>(at: u64) -> Option<T> {
    // SAFETY: what is not there is an error; every value of the types that are read is valid.
    unsafe { bpf_probe_read_kernel(at as *const T) }.ok()
}

#[inline(always)]
fn user<T>(at: u64) -> Option<T> {
    // SAFETY: as above.
    unsafe { bpf_probe_read_user(at as *const T) }.ok()
}
