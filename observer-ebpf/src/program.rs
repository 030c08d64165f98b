//! The programs of the object: their names, what each is attached to, and what is missing without it.

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `cgroup_skb/egress`.
    Egress,
    /// `cgroup_skb/ingress`.
    Ingress,
    /// `cgroup/post_bind4`, `post_bind6`, `sock_release`: in the context of the process.
    Socket,
    /// `cgroup/connect4`, `connect6`: in the context of the process.
    SocketAddress,
    /// `sockops`.
    SocketOperations,
    /// A socket filter on a packet socket.
    Filter,
    /// `tcp_rcv_space_adjust`, a raw tracepoint: in the context of the thread that reads from a TCP socket.
    Reading,
    /// An instruction of a program in user space: attached where a TLS library, or Go's net/http, is found.
    Probe,
    /// The only entry of this program array: another program leaves for it.
    Entry {
        /// The array's name in the object.
        array: &'static str,
        /// The hook of the program that leaves for it.
        of: &'static Hook,
    },
}

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// What it is attached to.
    pub hook: Hook,
    /// What is missing without it.
    pub gives: Gives,
}

/// What a program gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// Packets: without it there is nothing to observe.
    Packets,
    /// Heads of more than 512 bytes, to their end.
    LongHeads,
    /// HTTP/2.
    Frames,
    /// Kafka and the other brokers.
    Brokers,
    /// What TLS libraries carry, in clear.
    Tls,
    /// Whose a socket is, as soon as it is made.
    Owners,
    /// Which thread reads what: attached only while that is asked for.
    Readers,
    /// Which request a goroutine works for: attached only while that is asked for.
    Goroutines,
}

impl Program {
    /// The hook where it runs, itself or after the program that leaves for it.
    pub const fn base(&self) -> Hook {
        match self.hook {
            Hook::Entry { of, .. } => *of,
            hook => hook,
        }
    }
}

/// Every program of the object. Socket hooks come first, so that no packet is seen of a socket that they missed.
pub const PROGRAMS: [Program; 48] = [
    Program { name: "connect4", hook: Hook::SocketAddress, gives: Gives::Owners },
    Program { name: "connect6", hook: Hook::SocketAddress, gives: Gives::Owners },
    Program { name: "post_bind4", hook: Hook::Socket, gives: Gives::Owners },
    Program { name: "post_bind6", hook: Hook::Socket, gives: Gives::Owners },
    Program { name: "sock_release", hook: Hook::Socket, gives: Gives::Owners },
    Program { name: "sock_ops", hook: Hook::SocketOperations, gives: Gives::Owners },
    Program {
        name: "ingress_long",
        hook: Hook::Entry { array: "LONG_INGRESS", of: &Hook::Ingress },
        gives: Gives::LongHeads,
    },
    Program {
        name: "egress_long",
        hook: Hook::Entry { array: "LONG_EGRESS", of: &Hook::Egress },
        gives: Gives::LongHeads,
    },
    Program {
        name: "ingress_frames",
        hook: Hook::Entry { array: "FRAMES_INGRESS", of: &Hook::Ingress },
        gives: Gives::Frames,
    },
    Program {
        name: "egress_frames",
        hook: Hook::Entry { array: "FRAMES_EGRESS", of: &Hook::Egress },
        gives: Gives::Frames,
    },
    Program {
        name: "ingress_stream",
        hook: Hook::Entry { array: "STREAM_INGRESS", of: &Hook::Ingress },
        gives: Gives::Brokers,
    },
    Program {
        name: "egress_stream",
        hook: Hook::Entry { array: "STREAM_EGRESS", of: &Hook::Egress },
        gives: Gives::Brokers,
    },
    Program { name: "wire_packet", hook: Hook::Entry { array: "WIRE", of: &Hook::Filter }, gives: Gives::Packets },
    Program { name: "wire_long", hook: Hook::Entry { array: "LONG_WIRE", of: &Hook::Filter }, gives: Gives::LongHeads },
    Program {
        name: "wire_frames",
        hook: Hook::Entry { array: "FRAMES_WIRE", of: &Hook::Filter },
        gives: Gives::Frames,
    },
    Program {
        name: "wire_stream",
        hook: Hook::Entry { array: "STREAM_WIRE", of: &Hook::Filter },
        gives: Gives::Brokers,
    },
    Program { name: "tls_begins", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_begins_1_1", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_begins_3_0", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_begins_3_2", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_begins_ex2", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_uncorks", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_uncorked", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_reads", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_writes", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_reads_ex", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_writes_ex", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_sends_file", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_closes", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "go_begins", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "go_reads", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "go_sends", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "go_closes", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "rustls_begins", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "rustls_sends", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "rustls_receives", hook: Hook::Probe, gives: Gives::Tls },
    Program { name: "tls_session", hook: Hook::Entry { array: "SESSION_TLS", of: &Hook::Probe }, gives: Gives::Tls },
    Program { name: "tls_long", hook: Hook::Entry { array: "LONG_TLS", of: &Hook::Probe }, gives: Gives::Tls },
    Program { name: "tls_frames", hook: Hook::Entry { array: "FRAMES_TLS", of: &Hook::Probe }, gives: Gives::Tls },
    Program { name: "tls_stream", hook: Hook::Entry { array: "STREAM_TLS", of: &Hook::Probe }, gives: Gives::Tls },
    Program { name: "reads", hook: Hook::Reading, gives: Gives::Readers },
    Program { name: "go_reads_request", hook: Hook::Probe, gives: Gives::Goroutines },
    Program { name: "go_bears", hook: Hook::Probe, gives: Gives::Goroutines },
    Program { name: "go_born", hook: Hook::Probe, gives: Gives::Goroutines },
    Program { name: "go_calls", hook: Hook::Probe, gives: Gives::Goroutines },
    Program { name: "ingress", hook: Hook::Ingress, gives: Gives::Packets },
    Program { name: "egress", hook: Hook::Egress, gives: Gives::Packets },
    Program { name: "wire", hook: Hook::Filter, gives: Gives::Packets },
];
