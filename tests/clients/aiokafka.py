"""Kafka by aiokafka, in Python alone."""

import asyncio
import os
import ssl

import aiokafka

from . import Puller, kafka
from .background import Background


class Client(Puller, Background):
    PROTOCOL = kafka.PROTOCOL

    def __init__(self, broker):
        super().__init__()
        self.common = {"bootstrap_servers": broker}
        if certificate := os.environ.get("CERTIFICATE"):
            context = ssl.create_default_context(cafile=certificate)
            self.common |= {"security_protocol": "SSL", "ssl_context": context}

    def start_producing(self):
        async def start(codec):
            compression = None if codec == "none" else codec
            producer = aiokafka.AIOKafkaProducer(**self.common, compression_type=compression, linger_ms=2)
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
            consumer = aiokafka.AIOKafkaConsumer(**self.common, auto_offset_reset="earliest")
            consumer.assign(kafka.every(aiokafka.TopicPartition))
            await consumer.start()
            return consumer

        self.consumer = self.run(start())

    def records(self):
        while True:
            record = self.run(self.consumer.getone())
            yield record.topic, kafka.decoded(record.headers)
