//! What a key, stream or channel is to work: its name goes in; whether work stands there, and the topic to tell, come out.

use memchr::memmem;

/// The longest name that is read: of longer ones the topic is not known.
pub(super) const KEY_BYTES_MAX: usize = 512;
/// The longest topic that is told.
const TOPIC_BYTES_MAX: usize = 255;
/// What kombu puts between the name of a queue and a priority (kombu/transport/redis.py, `sep`).
const PRIORITY_MARK: &[u8] = b"\x06\x16";
/// Where RQ keeps the ids of the jobs of a queue, its name behind it (rq/queue.py).
const RQ_QUEUE: &[u8] = b"rq:queue:";

/// What stands at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// No work: results, events, and what workers tell each other.
    Nobody,
    /// Ids of jobs.
    Ids,
    /// It depends on the values.
    Any,
}

/// A key, stream or channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) class: Class,
    /// The name of the queue where it is known to stand in the key, else the key. Empty where it was not seen.
    pub(super) topic: Box<str>,
}

impl Place {
    /// The place with this name.
    pub(super) fn new(key: &[u8]) -> Self {
        let class = class(key);
        let topic = if class == Class::Nobody { "" } else { topic(key) };
        Self { class, topic: topic.into() }
    }

    /// One of which the name was not seen.
    pub(super) fn unknown() -> Self {
        Self { class: Class::Any, topic: "".into() }
    }

    pub(super) fn is_work(&self) -> bool {
        self.class != Class::Nobody
    }
}

fn class(key: &[u8]) -> Class {
    // Of Celery a prefix may stand before each (`global_keyprefix`), of channels the number of the database does.
    const INSIDE: [&[u8]; 5] =
        [b"celery.pidbox", b"celeryev", b"celery-task-meta-", b"celery-taskset-meta-", b"_kombu.binding."];
    const BEFORE: [&[u8]; 4] = [b"__keyspace@", b"__keyevent@", b"__redis__:", b"__sentinel__:"];
    if key.starts_with(RQ_QUEUE) {
        return Class::Ids;
    }
    // Of RQ results, and commands to workers; of BullMQ what became of jobs, and that there are some.
    let of_bullmq = key.starts_with(b"bull:") && key.ends_with(b":events") || key.ends_with(b":marker");
    let other_of_queues = key.starts_with(b"rq:") || of_bullmq;
    if other_of_queues
        || BEFORE.iter().any(|prefix| key.starts_with(prefix))
        || INSIDE.iter().any(|part| memmem::find(key, part).is_some())
    {
        return Class::Nobody;
    }
    Class::Any
}

fn topic(key: &[u8]) -> &str {
    let name = key.strip_prefix(RQ_QUEUE).unwrap_or(key);
    let name = memmem::find(name, PRIORITY_MARK).and_then(|at| name.get(..at)).unwrap_or(name);
    let name = name.get(..TOPIC_BYTES_MAX).unwrap_or(name);
    let text = std::str::from_utf8(name)
        .or_else(|error| std::str::from_utf8(name.get(..error.valid_up_to()).unwrap_or_default()));
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_whether_work_stands_there() {
        for (key, class, topic) in [
            ("celery", Class::Any, "celery"),
            ("colours\x06\x166", Class::Any, "colours"),
            ("rq:queue:colours", Class::Ids, "colours"),
            ("rq:results:7d2c538a", Class::Nobody, ""),
            ("rq:pubsub:db708", Class::Nobody, ""),
            ("celery-task-meta-6369117a", Class::Nobody, ""),
            ("/0.celeryev/worker.online", Class::Nobody, ""),
            ("4114aa1c.reply.celery.pidbox\x06\x163", Class::Nobody, ""),
            ("/0.broadcast", Class::Any, "/0.broadcast"),
            ("bull:colours:events", Class::Nobody, ""),
            ("bull:colours", Class::Any, "bull:colours"),
            ("__keyevent@0__:expired", Class::Nobody, ""),
        ] {
            assert_eq!(Place::new(key.as_bytes()), Place { class, topic: topic.into() }, "{key}");
        }
        assert_eq!(&*Place::new(b"queue\xff").topic, "queue");
    }
}
