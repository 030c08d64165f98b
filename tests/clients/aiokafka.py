"""Kafka by aiokafka, in Python alone."""

import asyncio

import aiokafka

from . import Puller, kafka
from .background import Background


class Client(Puller, Background):
    PROTOCOL = kafka.PROTOCOL

    def __init__(self, broker):
        super().__init__()
        self.broker = broker

    def start_producing(self):
        async def start(codec):
            compression = None if codec == "none" else codec
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=self.broker, compression_type=compression, linger_ms=2
            )
            await producer.start()
            return producer

        self.producers = {codec: self.run(start(codec)) for codec in kafka.CODECS}

    def send(self, codec, topic, records):
        async def send():
            for headers in records:
                encoded = [(name, value.encode()) for name, value in headers.items()]
                sent.append(await self.producers[codec].send(topic, kafka.VALUE, headers=encoded))
            await asyncio.gather(*sent)

        sent = []
        self.run(send())

    def start_consuming(self):
        async def start():
            consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.broker, auto_offset_reset="earliest")
            consumer.assign(kafka.every(aiokafka.TopicPartition))
            await consumer.start()
            return consumer

        self.consumer = self.run(start())

    def records(self):
        while True:
            record = self.run(self.consumer.getone())
            yield record.topic, kafka.decoded(record.headers)
