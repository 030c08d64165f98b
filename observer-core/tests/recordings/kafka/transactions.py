"""Produces records in transactions, one of them aborted, and fetches them twice: transactions.py LIBRARY PORT TOPIC CODEC

LIBRARY is confluent-kafka, aiokafka or kafka-python. While the second transaction is open, a producer without transactions produces
too. Then one consumer fetches what is committed alone, and one everything. Prints what client.py prints.
"""

import asyncio
import sys

from shop import EACH, PARTITIONS, records, tell

LIBRARY, PORT, TOPIC, CODEC = sys.argv[1:]
BROKER = f"127.0.0.1:{PORT}"
COMMITTED = [True, False, True]
SECOND = 1
ALL = EACH * (len(COMMITTED) + 1)


def confluent() -> None:
    import confluent_kafka

    common = {"bootstrap.servers": BROKER, "client.id": "orders", "linger.ms": 100, "compression.type": CODEC}
    transactional = confluent_kafka.Producer({**common, "transactional.id": "orders-1"})
    transactional.init_transactions(10)
    plain = confluent_kafka.Producer(common)

    def produce(producer, turn: int) -> None:
        for partition, value, headers in records(turn):
            producer.produce(TOPIC, value, partition=partition, headers=headers, on_delivery=lambda error, message, headers=headers: tell(
                f"failed {error}" if error else "produced", TOPIC, message.partition(), headers))
        producer.flush(10)

    for turn, committed in enumerate(COMMITTED):
        transactional.begin_transaction()
        produce(transactional, turn)
        if turn == SECOND:
            produce(plain, len(COMMITTED))
        transactional.commit_transaction(10) if committed else transactional.abort_transaction(10)
    for isolation, count in [("read_committed", ALL - EACH), ("read_uncommitted", ALL)]:
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": BROKER, "client.id": "billing", "group.id": "billing", "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "isolation.level": isolation})
        consumer.assign([confluent_kafka.TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
        for _ in range(count):
            record = consumer.poll(5)
            if record is None or record.error():
                raise SystemExit(f"no record: {record and record.error()}")
            tell("fetched", TOPIC, record.partition(), record.headers())
        consumer.close()


async def aio() -> None:
    import aiokafka

    common = {"bootstrap_servers": BROKER, "client_id": "orders", "linger_ms": 100, "compression_type": None if CODEC == "none" else CODEC}
    transactional, plain = aiokafka.AIOKafkaProducer(**common, transactional_id="orders-1"), aiokafka.AIOKafkaProducer(**common)
    await transactional.start()
    await plain.start()

    async def produce(producer, turn: int) -> None:
        sent = [(await producer.send(TOPIC, value, partition=partition, headers=headers), headers)
                for partition, value, headers in records(turn)]
        for future, headers in sent:
            tell("produced", TOPIC, (await future).partition, headers)

    for turn, committed in enumerate(COMMITTED):
        await transactional.begin_transaction()
        await produce(transactional, turn)
        if turn == SECOND:
            await produce(plain, len(COMMITTED))
        await (transactional.commit_transaction() if committed else transactional.abort_transaction())
    await transactional.stop()
    await plain.stop()
    for isolation, count in [("read_committed", ALL - EACH), ("read_uncommitted", ALL)]:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=BROKER, client_id="billing", group_id=None, auto_offset_reset="earliest", isolation_level=isolation,
            check_crcs=False)
        await consumer.start()
        consumer.assign([aiokafka.TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
        for _ in range(count):
            record = await asyncio.wait_for(consumer.getone(), 10)
            tell("fetched", TOPIC, record.partition, record.headers)
        await consumer.stop()


def kafka_python() -> None:
    import kafka

    common = {"bootstrap_servers": BROKER, "client_id": "orders", "linger_ms": 100, "compression_type": None if CODEC == "none" else CODEC}
    transactional, plain = kafka.KafkaProducer(**common, transactional_id="orders-1"), kafka.KafkaProducer(**common)
    transactional.init_transactions()

    def produce(producer, turn: int) -> None:
        sent = [(producer.send(TOPIC, value, partition=partition, headers=headers), headers)
                for partition, value, headers in records(turn)]
        producer.flush()
        for future, headers in sent:
            tell("produced", TOPIC, future.get(10).partition, headers)

    for turn, committed in enumerate(COMMITTED):
        transactional.begin_transaction()
        produce(transactional, turn)
        if turn == SECOND:
            produce(plain, len(COMMITTED))
        transactional.commit_transaction() if committed else transactional.abort_transaction()
    transactional.close()
    plain.close()
    for isolation, count in [("read_committed", ALL - EACH), ("read_uncommitted", ALL)]:
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=BROKER, client_id="billing", group_id=None, auto_offset_reset="earliest", isolation_level=isolation,
            check_crcs=False)
        consumer.assign([kafka.TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
        for _, record in zip(range(count), consumer):
            tell("fetched", TOPIC, record.partition, record.headers)
        consumer.close()


match LIBRARY:
    case "confluent-kafka":
        confluent()
    case "aiokafka":
        asyncio.run(aio())
    case "kafka-python":
        kafka_python()
    case other:
        raise SystemExit(f"no library {other}")
