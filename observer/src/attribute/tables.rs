//! Text tables of `/proc/PID/net` come in; sockets and addresses of that network namespace go out. Nothing is read here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_core::connection::Address;

use super::sock_diag::{TcpSocket, address};

/// `TCP_LISTEN` as `/proc/net/tcp` prints it.
const LISTEN: &str = "0A";
/// `SO_ACCEPTCON`: the Unix socket listens (`__SO_ACCEPTCON`, linux/net.h).
const ACCEPTS: u32 = 1 << 16;
/// `SOCK_STREAM` as `/proc/net/unix` prints it.
const STREAM: &str = "0001";

/// `/proc/PID/net/tcp` or `tcp6`: the fallback where sock_diag or another namespace is not allowed. It knows no cookies.
pub(super) fn tcp(text: &str) -> Vec<TcpSocket> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let socket = TcpSocket {
                socket: None,
                inode: fields.get(9)?.parse().ok()?,
                local: hex_address(fields.get(1)?)?,
                remote: hex_address(fields.get(2)?)?,
                listens: *fields.get(3)? == LISTEN,
            };
            (socket.inode != 0).then_some(socket)
        })
        .collect()
}

/// `0100007F:1F90`, or 32 digits of IPv6: words of four bytes in the machine's order.
fn hex_address(text: &str) -> Option<Address> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0_u8; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(address(ip, port))
}

/// `/proc/PID/net/fib_trie`: the IPv4 addresses of the namespace, which stand above a line `/32 host LOCAL`.
pub(super) fn local_ipv4(text: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
        } else if line == "/32 host LOCAL" {
            addresses.extend(last.filter(|address| !addresses.contains(address)));
        }
    }
    addresses
}

/// `/proc/PID/net/if_inet6`: the IPv6 addresses of the namespace.
pub(super) fn local_ipv6(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok())
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .collect()
}

/// Beginnings of the names of sockets that a runtime opens in every process for debuggers and its own workers, which serve no
/// requests: .NET, the JVM's attach mechanism, Python's multiprocessing.
const OF_RUNTIMES: [&str; 4] = ["dotnet-diagnostic-", "clr-debug-pipe-", ".java_pid", "listener-"];

/// `/proc/PID/net/unix`: inode and path of the stream sockets that listen for requests; abstract ones keep their `@`.
pub(super) fn unix_listeners(text: &str) -> Vec<(u64, &str)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
            let kind = fields.next()?;
            let inode = fields.nth(1)?.parse().ok()?;
            let path = fields.next().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or(path);
            let serves = !OF_RUNTIMES.iter().any(|beginning| name.starts_with(beginning));
            (flags & ACCEPTS != 0 && kind == STREAM && serves).then_some((inode, path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_net_tcp_is_read_in_both_families() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 6301 1 0 100 0 0 10 0\n\
            1: 0100007F:A001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 6302 1 0 100 0 0 10 0\n\
            2: 0100007F:A001 0100007F:1F91 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0\n\
            3: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 6303 1\n";
        let shown: Vec<String> = tcp(text)
            .iter()
            .map(|found| format!("{} {}:{} {}", found.inode, found.local.ip, found.local.port, found.listens))
            .collect();
        assert_eq!(shown, ["6301 127.0.0.1:8080 true", "6302 127.0.0.1:40961 false", "6303 127.0.0.1:8082 true"]);
    }

    #[test]
    fn the_addresses_of_a_namespace_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n\
                    Local:\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(local_ipv4(trie), ["10.0.0.5", "127.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap()));
        let six = "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000000000fffe000001 02 40 20 80 eth0\n";
        assert_eq!(local_ipv6(six), ["::1", "fe80::ff:fe00:1"].map(|text| text.parse::<IpAddr>().unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_of_proc_makes_a_parser_panic(text in "(([0-9a-fA-F:|/ .-]{0,40}|/32 host LOCAL|\\PC{0,20})[\n :]){0,12}") {
            tcp(&text);
            local_ipv4(&text);
            local_ipv6(&text);
            unix_listeners(&text);
            super::super::process::Stat::parse(&text);
            super::super::boundary::placement(&text);
            super::super::environment::Environment::parse(text.as_bytes()).resource_attribute("service.name");
            let arguments: Vec<&str> = text.split(' ').collect();
            for executable in ["python3", "node", "java", "x"] {
                super::super::program::program_name(executable, &arguments);
            }
        }
    }

    #[test]
    fn only_listening_unix_streams_are_told() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 7001 /run/app.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 7002 /run/app.sock\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 7003 /run/udev/control\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 7004 @abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 7005\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 7006 /tmp/dotnet-diagnostic-42-17-socket\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 7007 /tmp/pymp-x/listener-y\n";
        assert_eq!(unix_listeners(text), [(7001, "/run/app.sock"), (7004, "@abstract"), (7005, "")]);
    }
}
