//! Produces records with each codec and fetches them again with rskafka: client PORT TOPIC CODEC...
//! Prints what client.py prints.

use std::collections::BTreeMap;

use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

const PARTITIONS: i32 = 2;

/// What is produced with one codec, and where: the last one has no headers.
fn records(codec: usize) -> impl Iterator<Item = (i32, Record)> {
    (0..4).map(move |place| {
        let id = codec * 10 + usize::try_from(place).unwrap() + 1;
        let mut headers = BTreeMap::new();
        if place < 3 {
            headers.insert("traceparent".to_owned(), format!("00-{id:032x}-{id:016x}-0{}", id % 2).into_bytes());
            headers.insert("authorization".to_owned(), b"secret".to_vec());
            headers.insert("x-tenant-id".to_owned(), b"acme".to_vec());
        }
        let value = Some(format!("value {id} ").repeat(8).into_bytes());
        (place % PARTITIONS, Record { key: None, value, headers, timestamp: chrono::Utc::now() })
    })
}

fn tell(what: &str, topic: &str, partition: i32, record: &Record) {
    let trace = record.headers.get("traceparent").map_or("-".into(), |trace| String::from_utf8_lossy(trace));
    println!("{what} {topic} {partition} {trace}");
}

fn compression(codec: &str) -> Compression {
    match codec {
        "none" => Compression::NoCompression,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => panic!("no codec {other}"),
    }
}

async fn client(name: &str, port: &str) -> Client {
    ClientBuilder::new(vec![format!("127.0.0.1:{port}")]).client_id(name).build().await.unwrap()
}

async fn partition(client: &Client, topic: &str, partition: i32) -> PartitionClient {
    client.partition_client(topic, partition, UnknownTopicHandling::Error).await.unwrap()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, topic, codecs @ ..] = &arguments[..] else { panic!("client PORT TOPIC CODEC...") };
    let orders = client("orders", port).await;
    for number in 0..PARTITIONS {
        let place = partition(&orders, topic, number).await;
        for (turn, codec) in codecs.iter().enumerate() {
            let sent: Vec<Record> =
                records(turn).filter(|(place, _)| *place == number).map(|(_, record)| record).collect();
            place.produce(sent.clone(), compression(codec)).await.unwrap();
            sent.iter().for_each(|record| tell("produced", topic, number, record));
        }
    }
    let billing = client("billing", port).await;
    for number in 0..PARTITIONS {
        let place = partition(&billing, topic, number).await;
        let mut offset = place.get_offset(OffsetAt::Earliest).await.unwrap();
        while offset < i64::try_from(2 * codecs.len()).unwrap() {
            let (fetched, _) = place.fetch_records(offset, 1..1_000_000, 1_000).await.unwrap();
            for one in &fetched {
                tell("fetched", topic, number, &one.record);
                offset = one.offset + 1;
            }
        }
    }
}
