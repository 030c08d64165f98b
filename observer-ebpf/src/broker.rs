//! How requests to brokers and what brokers push begin: the first sixteen bytes of a payload come in, whether a broker's client or
//! the broker may have sent them goes out. The decoder finds out whether it is so; a wrong yes costs copies until it has.

/// Whether a payload begins like a request of Kafka, a method frame of AMQP 0-9-1, a line of NATS, a command of Redis by which
/// work is passed on, or a message of one of its channels. `low`, `high` and `len` as in [`crate::opening::opening`].
#[inline(always)]
pub const fn is_broker(low: u64, high: u64, len: u32) -> bool {
    let first = low as u8;
    if first == 0 {
        return len >= 14 && is_kafka(low, high);
    }
    if first == 1 {
        return len >= 11 && is_amqp_method(low, high);
    }
    if first == b'*' || first == b'>' {
        return len >= 14 && is_redis_work(low, high);
    }
    len >= 8 && (low == u64::from_le_bytes(*b"AMQP\0\0\x09\x01") || is_nats(low, high))
}

/// A request with a length below 16 MiB, an api key and a version that may be known, a correlation id that is not negative, and
/// no client id or one of at most 255 bytes that the length has room for (<https://kafka.apache.org/protocol>, "Protocol").
#[inline(always)]
const fn is_kafka(low: u64, high: u64) -> bool {
    let words = low.swap_bytes();
    let length = (words >> 32) as u32;
    let key = words as u32 >> 16;
    let version = words as u32 & 0xffff;
    let words = high.swap_bytes();
    let correlation = (words >> 32) as u32;
    let client_len = words as u32 >> 16;
    let room = if client_len == 0xffff { 0 } else { client_len };
    // Produce of before version 3 and fetch of before version 4 carry no record headers, and many frames of HTTP/2 look alike.
    let least = if key == 0 {
        3
    } else if key == 1 {
        4
    } else {
        0
    };
    key < 100 && version >= least && version <= 20 && correlation >> 31 == 0 && room <= 255 && length >= room + 10
}

/// A method frame (AMQP 0-9-1 section 4.2.3) of a class and a method that there are, of at most 128 KiB.
#[inline(always)]
const fn is_amqp_method(low: u64, high: u64) -> bool {
    let size = ((low >> 24) as u32).swap_bytes();
    // Both are below 256: their upper bytes are zero.
    let (class, method) = (high as u8, (high >> 16) as u8);
    let small = low >> 56 == 0 && (high >> 8) as u8 == 0;
    small
        && matches!(class, 10 | 20 | 40 | 50 | 60 | 85 | 90)
        && method != 0
        && method <= 120
        && size >= 4
        && size <= 1 << 17
}

/// A command as clients send it, an array of bulk strings (RESP, <https://redis.io/docs/latest/develop/reference/protocol-spec>),
/// with a name that stands for queues, streams or channels, in any case. Redis carries far more than work: caches are not read.
/// Or a message of a channel, an array or a push: of who subscribed before the observer began nothing else is seen.
#[inline(always)]
const fn is_redis_work(low: u64, high: u64) -> bool {
    let both = low as u128 | (high as u128) << 64;
    // `*` and one or two digits, `$` and one or two digits, each with CR LF behind.
    let few = (low >> 16) as u8 == b'\r';
    let behind_count = both >> if few { 16 } else { 24 };
    let short = (behind_count >> 32) as u8 == b'\r';
    let behind_len = behind_count >> if short { 32 } else { 40 };
    if behind_count as u32 & 0x00ff_ffff != u32::from_le_bytes(*b"\r\n$\0")
        || behind_len as u16 != u16::from_le_bytes(*b"\r\n")
    {
        return false;
    }
    let name = ((behind_len >> 16) as u32 | 0x2020_2020).to_le_bytes();
    // Scripts of queues (BullMQ) take ten arguments and more, those of caches and locks few.
    !few && matches!(&name, b"eval")
        || matches!(
            &name,
            b"blmo"
                | b"blmp"
                | b"blpo"
                | b"brpo"
                | b"bzmp"
                | b"bzpo"
                | b"lmov"
                | b"lpop"
                | b"lpus"
                | b"mess"
                | b"mult"
                | b"pmes"
                | b"psub"
                | b"publ"
                | b"rpop"
                | b"rpus"
                | b"smes"
                | b"spub"
                | b"ssub"
                | b"subs"
                | b"xadd"
                | b"xaut"
                | b"xcla"
                | b"xrea"
        )
}

/// Whether a payload begins like a value, a list or a map of Redis that is not empty, as requests do and all answers that may bring
/// work to who waited for it: by themselves they tell nothing, and caches are full of them.
#[inline(always)]
pub const fn is_of_redis(low: u64, len: u32) -> bool {
    if len < 6 || !matches!(low as u8, b'$' | b'*' | b'%') {
        return false;
    }
    let (mut rest, mut digits) = (low >> 8, 0);
    while digits < 5 && (rest as u8).wrapping_sub(b'0') < 10 {
        rest >>= 8;
        digits += 1;
    }
    digits > 0 && rest as u16 == u16::from_le_bytes(*b"\r\n")
}

/// A line of a verb that opens a connection or carries a message
/// (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
#[inline(always)]
const fn is_nats(low: u64, high: u64) -> bool {
    const fn begins<const N: usize>(word: u64, with: &[u8; N]) -> bool {
        let mut wanted = [0; 8];
        let mut at = 0;
        while at < N {
            wanted[at] = with[at];
            at += 1;
        }
        (word ^ u64::from_le_bytes(wanted)) << (64 - 8 * N) == 0
    }
    begins(low, b"PUB ")
        || begins(low, b"MSG ")
        || begins(low, b"HPUB ")
        || begins(low, b"HMSG ")
        || begins(low, b"SUB ")
        || begins(low, b"INFO {")
        || (low == u64::from_le_bytes(*b"CONNECT ") && high as u8 == b'{')
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn of(bytes: &[u8]) -> bool {
        let mut first = [0; 16];
        let len = bytes.len().min(16);
        first[..len].copy_from_slice(&bytes[..len]);
        let words = u128::from_le_bytes(first);
        is_broker(words as u64, (words >> 64) as u64, bytes.len() as u32)
    }

    #[test]
    fn requests_of_kafka_are_recognised() {
        for request in [
            // ApiVersions of librdkafka and of Java's client, a produce request, one without a client id.
            &b"\0\0\0\x24\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0"[..],
            b"\0\0\0\x39\0\x12\0\x04\0\0\0\0\0\x0aproducer-1",
            b"\0\x01\x20\x39\0\0\0\x09\0\0\x34\x12\0\x07rdkafka\0",
            b"\0\0\0\x39\0\x03\0\x0c\x7f\xff\xff\xf8\xff\xff\0\0",
        ] {
            assert!(of(request), "{request:02x?}");
        }
    }

    #[test]
    fn methods_of_amqp_and_lines_of_nats_are_recognised() {
        for request in [
            &b"AMQP\0\0\x09\x01"[..],
            b"\x01\0\0\0\0\x01\xf4\0\x0a\0\x0a\0\x09\0\0",
            b"\x01\0\x01\0\0\0\x0e\0\x3c\0\x28\0\0\0\x06orders",
            b"INFO {\"server_id\":\"N\"}\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"PUB orders 5\r\nhello\r\n",
            b"HPUB orders 20 25\r\n",
            b"MSG orders 1 5\r\n",
            b"HMSG orders 1 20 25\r\n",
            b"SUB orders 1\r\n",
        ] {
            assert!(of(request), "{request:02x?}");
        }
    }

    #[test]
    fn commands_of_redis_that_pass_work_on_and_messages_of_channels_are_recognised() {
        for command in
            ["LPUSH", "RPUSH", "XADD", "xadd", "BRPOP", "blpop", "BLMOVE", "XREADGROUP", "XAUTOCLAIM", "SUBSCRIBE"]
        {
            for count in [2, 12] {
                let request = std::format!("*{count}\r\n${}\r\n{command}\r\n$6\r\norders\r\n", command.len());
                assert!(of(request.as_bytes()), "{request}");
            }
        }
        assert!(of(b"*1\r\n$5\r\nMULTI\r\n") && of(b"*15\r\n$7\r\nevalsha\r\n") && of(b"*26\r\n$4\r\nEVAL\r\n"));
        for message in [
            &b"*3\r\n$7\r\nmessage\r\n$6\r\norders\r\n"[..],
            b">3\r\n$7\r\nmessage\r\n$6\r\norders\r\n",
            b">4\r\n$8\r\npmessage\r\n$2\r\no*\r\n",
            b"*3\r\n$8\r\nsmessage\r\n$6\r\norders\r\n",
        ] {
            assert!(of(message), "{}", message.escape_ascii());
        }
        assert!(!of(b">2\r\n$10\r\ninvalidate\r\n*1\r\n"));
        for others in ["GET", "SET", "HGETALL", "INCR", "EXPIRE", "EVALSHA", "ZADD", "PING", "HELLO"] {
            let request = std::format!("*2\r\n${}\r\n{others}\r\n$6\r\norders\r\n", others.len());
            assert!(!of(request.as_bytes()), "{request}");
        }
        for others in
            [&b"*2\r\n:5\r\nLPUSH\r\n$1"[..], b"*2\n$5\nLPUSH\n$1\na\n", b"*123\r\n$5\r\nLPUSH\r\n", b"*2\r\n$5\r\nLPU"]
        {
            assert!(!of(others), "{}", others.escape_ascii());
        }
    }

    #[test]
    fn answers_of_redis_that_may_bring_work_look_like_it() {
        let of = |bytes: &[u8]| {
            let mut first = [0; 8];
            let len = bytes.len().min(8);
            first[..len].copy_from_slice(&bytes[..len]);
            is_of_redis(u64::from_le_bytes(first), bytes.len() as u32)
        };
        for answer in [
            // Of XREADGROUP in RESP2 and RESP3, BLPOP, BLMOVE; and a request.
            &b"*1\r\n*2\r\n$6\r\norders\r\n*1\r\n*2\r\n$15\r\n"[..],
            b"%1\r\n$6\r\norders\r\n*1\r\n*2\r\n$15\r\n",
            b"*2\r\n$6\r\norders\r\n$2\r\n{}\r\n",
            b"$0\r\n\r\n",
            b"$65536\r\n{",
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        ] {
            assert!(of(answer), "{}", answer.escape_ascii());
        }
        for other in [
            &b"*-1\r\n"[..],
            b"$-1\r\n",
            b"_\r\n",
            b"*0\r\n",
            b"+QUEUED\r\n",
            b":10000\r\n",
            b"$name = 1;",
            b"* text",
            b"%20and",
        ] {
            assert!(!of(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn what_is_of_no_broker_is_not_recognised() {
        for others in [
            // Frames of HTTP/2: settings, a window update, data of a gRPC message, headers.
            &b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0"[..],
            b"\0\0\x04\x08\0\0\0\0\0\0\0\xff\xff\0\0\x05",
            b"\0\0\x07\0\0\0\0\0\x01\0\0\0\0\x02\x08\x01",
            b"\0\0\x2a\x01\x04\0\0\0\x01\x82\x86\x84\x41\x8a\x08\x9d",
            // Produce version 2, a length that is too short, a negative number.
            b"\0\0\0\x39\0\0\0\x02\0\0\0\x01\0\x07rdkafka",
            b"\0\0\0\x10\0\x03\0\x0c\0\0\0\x01\0\x07rdkafka",
            b"\0\0\0\x39\0\x03\0\x0c\x80\0\0\x01\0\x07rdkafka",
            // FastCGI, a heartbeat of AMQP, a class that is none, AMQP 1.0.
            b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0",
            b"\x08\0\0\0\0\0\0\xce\0\0\0\0\0\0\0\0",
            b"\x01\0\x01\0\0\0\x0e\0\x3d\0\x28\0\0\0\x06o",
            b"\x01\0\x01\0\0\0\x0e\x08\x3c\0\x28\0\0\0\x06o",
            b"\x01\0\x01\0\0\0\x0e\0\x3c\x01\x28\0\0\0\x06o",
            b"AMQP\0\x01\0\0",
            b"CONNECT example.org:443 HTTP/1.1\r\n",
            b"PUBLISH x",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PING\r\n",
            b"",
        ] {
            assert!(!of(others), "{others:02x?}");
        }
    }
}
