//! How others lay out their structures: TLS libraries what leads from a session to its file descriptor, the kernel what leads from
//! there to a socket. The first is known by release, the second is asked of the kernel that runs.

/// How a library lays out its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Layout {
    /// In no way that is known, or without a file descriptor.
    Unknown = 0,
    /// OpenSSL 1.1.1.
    OpenSsl1_1 = 1,
    /// OpenSSL 3.0 and 3.1.
    OpenSsl3_0 = 2,
    /// OpenSSL 3.2 to 3.6.
    OpenSsl3_2 = 3,
    /// Go's crypto/tls over a `*net.TCPConn`.
    Go = 4,
}

/// A member of a structure of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Member {
    /// The descriptors of a task.
    TaskFiles = 0,
    /// Their table.
    FilesTable,
    /// How many places it has.
    TableLen,
    /// The places: pointers to files.
    TableFiles,
    /// The inode of a file.
    FileInode,
    /// Of a socket's file: the `struct socket`.
    FilePrivate,
    /// What an inode is (man 7 inode).
    InodeMode,
    /// SOCK_STREAM or another.
    SocketType,
    /// Back to the file.
    SocketFile,
    /// The `struct sock`.
    SocketSock,
    /// The protocol of a `struct sock`.
    SockProtocol,
    /// Where it has the members below.
    SockCommon,
    /// AF_INET or AF_INET6.
    Family,
    /// The remote port, as on the wire.
    RemotePort,
    /// The local port, as a number of the host.
    LocalPort,
    /// The remote IPv4 address.
    Remote4,
    /// The local IPv4 address.
    Local4,
    /// The remote IPv6 address.
    Remote6,
    /// The local IPv6 address.
    Local6,
    /// The socket cookie; zero until it is first asked for.
    Cookie,
    /// The memory of a task.
    TaskMemory,
    /// Of a `struct sock`: those who wait at it.
    SockWaiters,
    /// Their queue.
    WaitersQueue,
    /// The list of that queue: it leads to itself where nobody waits.
    QueueList,
    /// Of a TCP socket: the sequence number behind the last byte that was read.
    ReadUpTo,
}

impl Member {
    /// How many there are.
    pub const COUNT: usize = 25;

    /// Structure and member as the kernel's sources call them, in the order of their numbers.
    pub const NAMES: [(&'static str, &'static str); Self::COUNT] = [
        ("task_struct", "files"),
        ("files_struct", "fdt"),
        ("fdtable", "max_fds"),
        ("fdtable", "fd"),
        ("file", "f_inode"),
        ("file", "private_data"),
        ("inode", "i_mode"),
        ("socket", "type"),
        ("socket", "file"),
        ("socket", "sk"),
        ("sock", "sk_protocol"),
        ("sock", "__sk_common"),
        ("sock_common", "skc_family"),
        ("sock_common", "skc_dport"),
        ("sock_common", "skc_num"),
        ("sock_common", "skc_daddr"),
        ("sock_common", "skc_rcv_saddr"),
        ("sock_common", "skc_v6_daddr"),
        ("sock_common", "skc_v6_rcv_saddr"),
        ("sock_common", "skc_cookie"),
        ("task_struct", "mm"),
        ("sock", "sk_wq"),
        ("socket_wq", "wait"),
        ("wait_queue_head", "head"),
        ("tcp_sock", "copied_seq"),
    ];
}

const _: () = assert!(Member::ReadUpTo as usize + 1 == Member::COUNT);
