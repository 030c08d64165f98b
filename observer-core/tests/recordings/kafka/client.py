"""Produces records with each codec and fetches them again: client.py LIBRARY PORT TOPIC CODEC...

LIBRARY is kafka-python, kafka-python-0.11 (which then speaks the versions of that time), aiokafka or confluent-kafka.
Prints `produced` or `fetched`, topic, partition and traceparent of every record once the library says so; `-` for none.
"""

import asyncio
import sys

from shop import EACH, PARTITIONS, records, tell

LIBRARY, PORT, TOPIC, *CODECS = sys.argv[1:]
BROKER = f"127.0.0.1:{PORT}"


def kafka_python(producing: dict, **versions) -> None:
    import kafka

    for number, codec in enumerate(CODECS):
        producer = kafka.KafkaProducer(
            bootstrap_servers=BROKER, client_id="orders", linger_ms=100, compression_type=None if codec == "none" else codec,
            **producing, **versions)
        sent = [(producer.send(TOPIC, value, partition=partition, headers=headers), headers)
                for partition, value, headers in records(number)]
        producer.flush()
        for future, headers in sent:
            metadata = future.get(10)
            tell("produced", metadata.topic, metadata.partition, headers)
        producer.close()
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=BROKER, client_id="billing", group_id=None, auto_offset_reset="earliest", **versions)
    consumer.assign([kafka.TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    for _, record in zip(range(EACH * len(CODECS)), consumer):
        tell("fetched", record.topic, record.partition, record.headers)
    consumer.close()


async def aio() -> None:
    import aiokafka

    for number, codec in enumerate(CODECS):
        async with aiokafka.AIOKafkaProducer(
                bootstrap_servers=BROKER, client_id="orders", linger_ms=100,
                compression_type=None if codec == "none" else codec) as producer:
            sent = [(await producer.send(TOPIC, value, partition=partition, headers=headers), headers)
                    for partition, value, headers in records(number)]
            for future, headers in sent:
                metadata = await future
                tell("produced", metadata.topic, metadata.partition, headers)
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=BROKER, client_id="billing", group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([aiokafka.TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    for _ in range(EACH * len(CODECS)):
        record = await consumer.getone()
        tell("fetched", record.topic, record.partition, record.headers)
    await consumer.stop()


def confluent() -> None:
    import confluent_kafka

    for number, codec in enumerate(CODECS):
        producer = confluent_kafka.Producer({"bootstrap.servers": BROKER, "client.id": "orders", "linger.ms": 100, "compression.type": codec})
        for partition, value, headers in records(number):
            producer.produce(TOPIC, value, partition=partition, headers=headers, on_delivery=lambda error, message, headers=headers: tell(
                f"failed {error}" if error else "produced", message.topic(), message.partition(), headers))
        producer.flush(10)
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": BROKER, "client.id": "billing", "group.id": "billing", "auto.offset.reset": "earliest",
        "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    for _ in range(EACH * len(CODECS)):
        record = consumer.poll(5)
        if record is None or record.error():
            raise SystemExit(f"no record: {record and record.error()}")
        tell("fetched", record.topic(), record.partition(), record.headers())
    consumer.close()


match LIBRARY:
    case "kafka-python":
        kafka_python({})
    case "kafka-python-0.11":
        kafka_python({"enable_idempotence": False}, api_version=(0, 11))
    case "aiokafka":
        asyncio.run(aio())
    case "confluent-kafka":
        confluent()
    case other:
        raise SystemExit(f"no library {other}")
