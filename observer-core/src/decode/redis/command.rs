//! Which command a request is: a name goes in, what it has to do with work comes out.

use super::resp::number;

/// The longest name: [`NAMES`].
pub(super) const NAME_BYTES_MAX: usize = 24;
/// A request of more elements is not taken for the beginning of a connection.
const ELEMENTS_MAX: u64 = 1024 * 1024;

/// What is to be known of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// It has nothing to do with work.
    Other,
    /// It may be answered between messages of channels.
    Ping,
    Multi,
    Exec,
    Discard,
    /// It is answered by as many pushes as it names channels.
    Subscribe,
    /// It makes the connection what it was at first.
    Reset,
    /// What follows is no conversation: it shows what others say, or copies the whole data.
    Feed,
    /// It may ask for no replies.
    Client,
    /// Adds to a list.
    Push,
    /// Adds to a stream.
    Add,
    /// Says something in a channel.
    Publish,
    /// Takes something out of a list, a sorted set or a stream.
    Take(Taking),
    /// Runs a script.
    Script,
}

/// What is taken, and where a request names the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taking {
    pub(super) shape: Shape,
    pub(super) keys: Keys,
    /// Whether it waits until there is something: nobody does that with data.
    pub(super) waits: bool,
}

/// What a reply looks like that carries something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value, or a list of values where a count was given.
    Values,
    /// A key and a value; of a sorted set the score too.
    KeyValue,
    /// A key and a list of values.
    KeyValues,
    /// A key and a list of pairs of value and score.
    KeyMembers,
    /// Streams, each a key and entries.
    Streams,
    /// Entries of a stream.
    Entries,
    /// A place to go on from, entries of a stream, and ids.
    Claimed,
    /// A job of `BullMQ`: its fields, its id, and two numbers.
    Job,
}

/// Which elements of a request are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// The first one behind the name.
    First,
    /// All but the last.
    AllButLast,
    /// So many as the element at this place says, behind it.
    Counted(u64),
    /// The first half of those behind the word STREAMS, which stands at this place or behind it.
    Streams(u64),
}

impl Command {
    /// The command of this name, in any case.
    pub(super) fn of(name: &[u8]) -> Self {
        let mut upper = [0; NAME_BYTES_MAX];
        let take = |shape, keys, waits| Self::Take(Taking { shape, keys, waits });
        match in_capitals(name, &mut upper) {
            b"PING" => Self::Ping,
            b"MULTI" => Self::Multi,
            b"EXEC" => Self::Exec,
            b"DISCARD" => Self::Discard,
            b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE" => {
                Self::Subscribe
            }
            b"RESET" => Self::Reset,
            b"MONITOR" | b"SYNC" | b"PSYNC" => Self::Feed,
            b"CLIENT" => Self::Client,
            b"LPUSH" | b"RPUSH" | b"LPUSHX" | b"RPUSHX" => Self::Push,
            b"XADD" => Self::Add,
            b"PUBLISH" | b"SPUBLISH" => Self::Publish,
            b"EVAL" | b"EVALSHA" => Self::Script,
            b"BLPOP" | b"BRPOP" | b"BZPOPMIN" | b"BZPOPMAX" => take(Shape::KeyValue, Keys::AllButLast, true),
            b"BLMPOP" => take(Shape::KeyValues, Keys::Counted(2), true),
            b"LMPOP" => take(Shape::KeyValues, Keys::Counted(1), false),
            b"BZMPOP" => take(Shape::KeyMembers, Keys::Counted(2), true),
            b"LPOP" | b"RPOP" | b"LMOVE" | b"RPOPLPUSH" => take(Shape::Values, Keys::First, false),
            b"BLMOVE" | b"BRPOPLPUSH" => take(Shape::Values, Keys::First, true),
            b"XREAD" => take(Shape::Streams, Keys::Streams(1), true),
            // The names of the group and of the consumer may be any words.
            b"XREADGROUP" => take(Shape::Streams, Keys::Streams(4), true),
            b"XCLAIM" => take(Shape::Entries, Keys::First, true),
            b"XAUTOCLAIM" => take(Shape::Claimed, Keys::First, true),
            _ => Self::Other,
        }
    }
}

/// Whether there is a command of this name.
fn is_known(name: &[u8]) -> bool {
    let mut upper = [0; NAME_BYTES_MAX];
    let name = std::str::from_utf8(in_capitals(name, &mut upper));
    name.is_ok_and(|name| NAMES.binary_search(&name).is_ok())
}

/// A name in capitals; empty where it is too long for one.
fn in_capitals<'u>(name: &[u8], upper: &'u mut [u8; NAME_BYTES_MAX]) -> &'u [u8] {
    let Some(upper) = upper.get_mut(..name.len()) else { return b"" };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    upper
}

/// Whether these bytes begin with a request; `None` where more of them will tell.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    let Some(header) = line(&mut rest, b'*')? else { return Some(false) };
    let Some(name) = line(&mut rest, b'$')? else { return Some(false) };
    let len = usize::try_from(name).unwrap_or(usize::MAX);
    if header == 0 || header > ELEMENTS_MAX || !(1..=NAME_BYTES_MAX).contains(&len) {
        return Some(false);
    }
    match rest.get(..len) {
        Some(name) => Some(is_known(name) && b"\r\n".starts_with(rest.get(len..).map_or(b"", first_two))),
        None if rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) => None,
        None => Some(false),
    }
}

/// Whether these bytes begin with a message of a channel, which only servers send.
pub(super) fn begins_with_message(bytes: &[u8]) -> bool {
    MESSAGES.iter().any(|message| bytes.starts_with(message))
}

fn first_two(bytes: &[u8]) -> &[u8] {
    bytes.get(..2).unwrap_or(bytes)
}

/// Takes a line with a number behind this mark. The outer `None` where more bytes will tell, the inner one where it is none.
#[expect(clippy::option_option, reason = "three states, looked at in two steps")]
fn line(bytes: &mut &[u8], mark: u8) -> Option<Option<u64>> {
    let (&first, rest) = bytes.split_first()?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (text, end) = rest.split_at_checked(digits)?;
    if first != mark || digits > 10 || !end.starts_with(b"\r\n") && !b"\r\n".starts_with(end) {
        return Some(None);
    }
    *bytes = end.strip_prefix(b"\r\n")?;
    Some(number(text))
}

/// How messages of channels begin, in RESP2 and RESP3.
const MESSAGES: [&[u8]; 6] = [
    b"*3\r\n$7\r\nmessage\r\n$",
    b">3\r\n$7\r\nmessage\r\n$",
    b"*4\r\n$8\r\npmessage\r\n$",
    b">4\r\n$8\r\npmessage\r\n$",
    b"*3\r\n$8\r\nsmessage\r\n$",
    b">3\r\n$8\r\nsmessage\r\n$",
];

/// All commands of Redis 7.0, as `COMMAND LIST` tells them, and some of later versions, sorted.
#[rustfmt::skip]
const NAMES: [&str; 260] = [
    "ACL", "APPEND", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "BITCOUNT", "BITFIELD", "BITFIELD_RO", "BITOP", "BITPOS",
    "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "CLIENT", "CLUSTER", "COMMAND",
    "CONFIG", "COPY", "DBSIZE", "DEBUG", "DECR", "DECRBY", "DEL", "DELEX", "DELIFEQ", "DIGEST", "DISCARD", "DUMP", "ECHO",
    "EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "EXEC", "EXISTS", "EXPIRE", "EXPIREAT", "EXPIRETIME", "FAILOVER", "FCALL",
    "FCALL_RO", "FLUSHALL", "FLUSHDB", "FUNCTION", "GEOADD", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUS",
    "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO", "GEOSEARCH", "GEOSEARCHSTORE", "GET", "GETBIT", "GETDEL",
    "GETEX", "GETRANGE", "GETSET", "HDEL", "HELLO", "HEXISTS", "HEXPIRE", "HEXPIREAT", "HEXPIRETIME", "HGET", "HGETALL",
    "HGETDEL", "HGETEX", "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HMSET", "HPERSIST", "HPEXPIRE", "HPEXPIREAT",
    "HPEXPIRETIME", "HPTTL", "HRANDFIELD", "HSCAN", "HSET", "HSETEX", "HSETNX", "HSTRLEN", "HTTL", "HVALS", "INCR",
    "INCRBY", "INCRBYFLOAT", "INFO", "KEYS", "LASTSAVE", "LATENCY", "LCS", "LINDEX", "LINSERT", "LLEN", "LMOVE", "LMPOP",
    "LOLWUT", "LPOP", "LPOS", "LPUSH", "LPUSHX", "LRANGE", "LREM", "LSET", "LTRIM", "MEMORY", "MGET", "MIGRATE", "MODULE",
    "MONITOR", "MOVE", "MSET", "MSETEX", "MSETNX", "MULTI", "OBJECT", "PERSIST", "PEXPIRE", "PEXPIREAT", "PEXPIRETIME",
    "PFADD", "PFCOUNT", "PFDEBUG", "PFMERGE", "PFSELFTEST", "PING", "PSETEX", "PSUBSCRIBE", "PSYNC", "PTTL", "PUBLISH",
    "PUBSUB", "PUNSUBSCRIBE", "QUIT", "RANDOMKEY", "READONLY", "READWRITE", "RENAME", "RENAMENX", "REPLCONF", "REPLICAOF",
    "RESET", "RESTORE", "ROLE", "RPOP", "RPOPLPUSH", "RPUSH", "RPUSHX", "SADD", "SAVE", "SCAN", "SCARD", "SCRIPT", "SDIFF",
    "SDIFFSTORE", "SELECT", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE", "SHUTDOWN", "SINTER", "SINTERCARD",
    "SINTERSTORE", "SISMEMBER", "SLAVEOF", "SLOWLOG", "SMEMBERS", "SMISMEMBER", "SMOVE", "SORT", "SORT_RO", "SPOP",
    "SPUBLISH", "SRANDMEMBER", "SREM", "SSCAN", "SSUBSCRIBE", "STRLEN", "SUBSCRIBE", "SUBSTR", "SUNION", "SUNIONSTORE",
    "SUNSUBSCRIBE", "SWAPDB", "SYNC", "TIME", "TOUCH", "TTL", "TYPE", "UNLINK", "UNSUBSCRIBE", "UNWATCH", "VADD", "VSIM",
    "WAIT", "WAITAOF", "WATCH", "XACK", "XACKDEL", "XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XDELEX", "XGROUP", "XINFO",
    "XLEN", "XPENDING", "XRANGE", "XREAD", "XREADGROUP", "XREVRANGE", "XSETID", "XTRIM", "ZADD", "ZCARD", "ZCOUNT", "ZDIFF",
    "ZDIFFSTORE", "ZINCRBY", "ZINTER", "ZINTERCARD", "ZINTERSTORE", "ZLEXCOUNT", "ZMPOP", "ZMSCORE", "ZPOPMAX", "ZPOPMIN",
    "ZRANDMEMBER", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANGESTORE", "ZRANK", "ZREM", "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN", "ZSCORE",
    "ZUNION", "ZUNIONSTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_fit() {
        assert!(NAMES.is_sorted());
        assert!(NAMES.iter().all(|name| name.len() <= NAME_BYTES_MAX && is_known(name.as_bytes())));
    }

    #[test]
    fn a_request_is_known_by_its_name_in_any_case() {
        for (bytes, expected) in [
            ("*3\r\n$5\r\nLPUSH\r\n$1\r\na", Some(true)),
            ("*3\r\n$5\r\nlpush", Some(true)),
            ("*2\r\n$6\r\ncelery\r\n$1\r\na\r\n", Some(false)),
            ("*2\r\n$3\r\nGETS\r\n", Some(false)),
            ("*0\r\n$3\r\nGET\r\n", Some(false)),
            ("*2\r\n:3\r\n", Some(false)),
            ("*2\r\n$5\r\nLP", None),
            ("*2\r\n$5", None),
            ("*2\r", None),
            ("*", None),
            ("GET / HTTP/1.1\r\n", Some(false)),
            ("* text", Some(false)),
        ] {
            assert_eq!(begins(bytes.as_bytes()), expected, "{bytes:?}");
        }
        assert_eq!(Command::of(b"xAdd"), Command::Add);
    }
}
