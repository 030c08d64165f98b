//! Messages of Kafka as a client and a broker write them: what they hold goes in, bytes come out.

use std::io::Write;

/// A record: wanted headers or not, as they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) value: Vec<u8>,
}

impl Record {
    /// A record with one header that is wanted.
    pub(crate) fn traced(trace: &str) -> Self {
        Self { headers: vec![("traceparent".into(), Some(trace.into()))], value: b"value".to_vec() }
    }
}

/// The codecs, as the attributes number them; the last one is snappy in xerial's framing.
pub(crate) const CODECS: [&str; 6] = ["none", "gzip", "snappy", "lz4", "zstd", "xerial"];

/// What a batch says besides its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    /// An index into [`CODECS`].
    pub(crate) codec: usize,
    pub(crate) producer: i64,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) records: Vec<Record>,
}

impl Batch {
    pub(crate) fn of(records: Vec<Record>) -> Self {
        Self { producer: -1, records, ..Self::default() }
    }

    /// The records, compressed.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let records: Vec<u8> =
            (0_i64..).zip(&self.records).flat_map(|(delta, record)| record_bytes(delta, record)).collect();
        compress(self.codec, &records)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = i32::try_from(self.records.len()).expect("a count");
        let records = self.payload();
        let codec = if self.codec == 5 { 2 } else { self.codec };
        let flag = |set: bool, bit: i16| if set { bit } else { 0 };
        let attributes =
            i16::try_from(codec).expect("a codec") | flag(self.transactional, 0x10) | flag(self.control, 0x20);
        batch_bytes(self.base_offset, attributes, self.producer, count, &records)
    }
}

/// A batch that says to hold so many records, with any bytes for them; `codec` as the attributes number it.
pub(crate) fn raw_batch(codec: u8, count: u32, records: &[u8]) -> Vec<u8> {
    batch_bytes(0, i16::from(codec), -1, i32::try_from(count).expect("a count"), records)
}

fn batch_bytes(base_offset: i64, attributes: i16, producer: i64, count: i32, records: &[u8]) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend(attributes.to_be_bytes());
    checked.extend((count - 1).max(0).to_be_bytes());
    // The times of the first record and of the last one.
    checked.extend(1_700_000_000_000_i64.to_be_bytes());
    checked.extend(1_700_000_000_000_i64.to_be_bytes());
    checked.extend(producer.to_be_bytes());
    // Epoch and sequence of the producer.
    checked.extend([0; 6]);
    checked.extend(count.to_be_bytes());
    checked.extend(records);
    let mut bytes = base_offset.to_be_bytes().to_vec();
    bytes.extend(i32::try_from(checked.len() + 9).expect("a length").to_be_bytes());
    // Leader epoch and format.
    bytes.extend([0, 0, 0, 0, 2]);
    bytes.extend(crc32c::crc32c(&checked).to_be_bytes());
    bytes.extend(checked);
    bytes
}

fn record_bytes(delta: i64, record: &Record) -> Vec<u8> {
    let mut bytes = vec![0];
    varint(&mut bytes, 3);
    varint(&mut bytes, delta);
    varint(&mut bytes, -1);
    varint(&mut bytes, length(&record.value));
    bytes.extend(&record.value);
    varint(&mut bytes, length(&record.headers));
    for (key, value) in &record.headers {
        varint(&mut bytes, length(key.as_bytes()));
        bytes.extend(key.as_bytes());
        varint(&mut bytes, value.as_deref().map_or(-1, length));
        bytes.extend(value.as_deref().unwrap_or_default());
    }
    let mut whole = Vec::new();
    varint(&mut whole, length(&bytes));
    whole.extend(bytes);
    whole
}

fn length<T>(of: &[T]) -> i64 {
    i64::try_from(of.len()).expect("a length")
}

fn varint(bytes: &mut Vec<u8>, value: i64) {
    unsigned(bytes, (value << 1 ^ value >> 63).cast_unsigned());
}

fn unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

fn compress(codec: usize, records: &[u8]) -> Vec<u8> {
    match CODECS[codec] {
        "none" => records.to_vec(),
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(records).expect("a vector");
            encoder.finish().expect("a vector")
        }
        "snappy" => snap::raw::Encoder::new().compress_vec(records).expect("a vector"),
        "xerial" => {
            let mut bytes = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in records.chunks(100) {
                let block = snap::raw::Encoder::new().compress_vec(block).expect("a vector");
                bytes.extend(u32::try_from(block.len()).expect("a length").to_be_bytes());
                bytes.extend(block);
            }
            bytes
        }
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).expect("a vector");
            encoder.finish().expect("a vector")
        }
        _ => ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest),
    }
}

/// The topics of a message, with the batches of their partitions.
pub(crate) type Topics = Vec<(String, Vec<(i32, Vec<u8>)>)>;

/// One message under construction.
pub(crate) struct Wire {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Wire {
    /// A request up to its body.
    pub(crate) fn request(key: i16, version: i16, flexible: bool, correlation: i32, client: Option<&str>) -> Self {
        let mut wire = Self { bytes: Vec::new(), flexible };
        wire.short(key).short(version).int(correlation);
        match client {
            Some(client) => {
                wire.short(i16::try_from(client.len()).expect("a client id"));
                wire.bytes.extend(client.as_bytes());
            }
            None => drop(wire.short(-1)),
        }
        wire.tags();
        wire
    }

    /// A response up to its body.
    pub(crate) fn response(flexible: bool, correlation: i32) -> Self {
        let mut wire = Self { bytes: Vec::new(), flexible };
        wire.int(correlation).tags();
        wire
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn short(&mut self, value: i16) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn int(&mut self, value: i32) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(&mut self, value: i64) -> &mut Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn id(&mut self, topic: &str) -> &mut Self {
        self.bytes.extend(topic_id(topic).to_be_bytes());
        self
    }

    pub(crate) fn text(&mut self, text: Option<&str>) -> &mut Self {
        match (self.flexible, text) {
            (true, _) => unsigned(&mut self.bytes, text.map_or(0, |text| text.len() as u64 + 1)),
            (false, _) => drop(self.short(text.map_or(-1, |text| i16::try_from(text.len()).expect("a text")))),
        }
        self.bytes.extend(text.unwrap_or_default().as_bytes());
        self
    }

    pub(crate) fn count(&mut self, count: Option<usize>) -> &mut Self {
        if self.flexible {
            unsigned(&mut self.bytes, count.map_or(0, |count| count as u64 + 1));
        } else {
            self.int(count.map_or(-1, |count| i32::try_from(count).expect("a count")));
        }
        self
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    /// The tagged fields that end a structure: none.
    pub(crate) fn tags(&mut self) -> &mut Self {
        if self.flexible {
            self.bytes.push(0);
        }
        self
    }

    /// A tagged field that ends a structure.
    pub(crate) fn one_tag(&mut self, tag: u8, value: &[u8]) -> &mut Self {
        let len = u8::try_from(value.len()).expect("a short value");
        self.bytes.extend([1, tag, len]);
        self.bytes.extend(value);
        self
    }

    /// The message with its length.
    pub(crate) fn done(&mut self) -> Vec<u8> {
        let mut whole = i32::try_from(self.bytes.len()).expect("a length").to_be_bytes().to_vec();
        whole.append(&mut self.bytes);
        whole
    }

    fn topics(
        &mut self,
        by_id: bool,
        topics: &Topics,
        mut partition: impl FnMut(&mut Self, &str, i32, &[u8]),
    ) -> &mut Self {
        self.count(Some(topics.len()));
        for (topic, partitions) in topics {
            if by_id {
                self.id(topic);
            } else {
                self.text(Some(topic));
            }
            self.count(Some(partitions.len()));
            for (number, batches) in partitions {
                partition(self, topic, *number, batches);
            }
            self.tags();
        }
        self
    }
}

/// The id that a topic of the tests has.
pub(crate) fn topic_id(topic: &str) -> u128 {
    topic.bytes().fold(7, |id: u128, byte| id.wrapping_mul(0x0100_0000_01b3_0000_0001).wrapping_add(u128::from(byte)))
}

/// A produce request.
pub(crate) fn produce(version: i16, correlation: i32, client: Option<&str>, topics: &Topics) -> Vec<u8> {
    let mut wire = Wire::request(0, version, version >= 9, correlation, client);
    wire.text(None).short(1).int(30_000);
    wire.topics(version >= 13, topics, |wire, _, partition, batches| {
        wire.int(partition).count(Some(batches.len())).raw(batches).tags();
    });
    wire.tags().done()
}

/// What a produce request is answered with; the decoder passes over it.
pub(crate) fn produced(version: i16, correlation: i32) -> Vec<u8> {
    Wire::response(version >= 9, correlation).count(Some(0)).int(0).tags().done()
}

/// A fetch request of a consumer, or of the broker `replica`; with the offset that is wanted of every partition.
pub(crate) fn fetch(
    version: i16,
    correlation: i32,
    client: Option<&str>,
    replica: Option<i32>,
    topics: &Topics,
    offset: &dyn Fn(&str, i32) -> i64,
) -> Vec<u8> {
    let mut wire = Wire::request(1, version, version >= 12, correlation, client);
    if version <= 14 {
        wire.int(replica.unwrap_or(-1));
    }
    wire.int(500).int(1).int(50 << 20).byte(0);
    if version >= 7 {
        wire.int(0).int(-1);
    }
    wire.topics(version >= 13, topics, |wire, topic, partition, _| {
        wire.int(partition);
        if version >= 9 {
            wire.int(0);
        }
        wire.long(offset(topic, partition));
        if version >= 12 {
            wire.int(-1);
        }
        if version >= 5 {
            wire.long(-1);
        }
        wire.int(1 << 20).tags();
    });
    if version >= 7 {
        wire.count(Some(0));
    }
    if version >= 11 {
        wire.text(Some(""));
    }
    match replica {
        Some(replica) if version >= 15 => wire.one_tag(1, &[&replica.to_be_bytes()[..], &[0; 8], &[0]].concat()),
        _ => wire.tags(),
    };
    wire.done()
}

/// What a fetch request is answered with; `aborted`: producers and first offsets of aborted transactions.
pub(crate) fn fetched(version: i16, correlation: i32, topics: &Topics, aborted: &[(i64, i64)]) -> Vec<u8> {
    let mut wire = Wire::response(version >= 12, correlation);
    wire.int(0);
    if version >= 7 {
        wire.short(0).int(0);
    }
    wire.topics(version >= 13, topics, |wire, _, partition, batches| {
        wire.int(partition).short(0).long(1000).long(1000);
        if version >= 5 {
            wire.long(0);
        }
        wire.count((!aborted.is_empty()).then_some(aborted.len()));
        for (producer, first_offset) in aborted {
            wire.long(*producer).long(*first_offset).tags();
        }
        if version >= 11 {
            wire.int(-1);
        }
        wire.count((!batches.is_empty()).then_some(batches.len())).raw(batches).tags();
    });
    wire.tags().done()
}

/// A metadata request, and what it is answered with.
pub(crate) fn metadata(version: i16, correlation: i32, client: Option<&str>, topics: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let flexible = version >= 9;
    let request = Wire::request(3, version, flexible, correlation, client).count(None).byte(1).byte(0).tags().done();
    let mut wire = Wire::response(flexible, correlation);
    wire.int(0).count(Some(1)).int(1).text(Some("broker-1")).int(9092).text(None).tags();
    wire.text(Some("cluster")).int(1).count(Some(topics.len()));
    for topic in topics {
        wire.short(0).text(Some(topic));
        if version >= 10 {
            wire.id(topic);
        }
        wire.byte(0).count(Some(1));
        wire.short(0).int(0).int(1).int(0);
        for replicas in [&[1, 2][..], &[1], &[]] {
            wire.count(Some(replicas.len()));
            for replica in replicas {
                wire.int(*replica);
            }
        }
        wire.tags().int(i32::MIN).tags();
    }
    if version <= 10 {
        wire.int(i32::MIN);
    }
    if version >= 13 {
        wire.short(0);
    }
    (request, wire.tags().done())
}

/// A heartbeat of a consumer group, and its answer: the decoder passes over both.
pub(crate) fn heartbeat(correlation: i32, client: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let request =
        Wire::request(12, 4, true, correlation, client).text(Some("group")).int(1).text(Some("member")).tags().done();
    (request, Wire::response(true, correlation).int(0).short(0).tags().done())
}
