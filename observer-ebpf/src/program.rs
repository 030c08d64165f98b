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
    /// The only entry of this program array: another program leaves for it. Without it heads longer than 512 bytes are cut.
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
pub const PROGRAMS: [Program; 12] = [
    Program { name: "connect4", hook: Hook::SocketAddress },
    Program { name: "connect6", hook: Hook::SocketAddress },
    Program { name: "post_bind4", hook: Hook::Socket },
    Program { name: "post_bind6", hook: Hook::Socket },
    Program { name: "sock_release", hook: Hook::Socket },
    Program { name: "sock_ops", hook: Hook::SocketOperations },
    Program { name: "ingress_long", hook: Hook::Entry { array: "LONG_INGRESS", of: &Hook::Ingress } },
    Program { name: "egress_long", hook: Hook::Entry { array: "LONG_EGRESS", of: &Hook::Egress } },
    Program { name: "wire_long", hook: Hook::Entry { array: "LONG_WIRE", of: &Hook::Filter } },
    Program { name: "ingress", hook: Hook::Ingress },
    Program { name: "egress", hook: Hook::Egress },
    Program { name: "wire", hook: Hook::Filter },
];
