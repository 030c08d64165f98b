"""Kafka by confluent-kafka, which is librdkafka."""

import os

import confluent_kafka

from . import Puller, kafka


class Client(Puller):
    PROTOCOL = kafka.PROTOCOL

    def __init__(self, broker):
        self.common = {"bootstrap.servers": broker}
        if certificate := os.environ.get("CERTIFICATE"):
            self.common |= {"security.protocol": "ssl", "ssl.ca.location": certificate}

    def start_producing(self):
        common = self.common | {"linger.ms": 2}
        self.producers = {
            codec: confluent_kafka.Producer(common | {"compression.type": codec}) for codec in kafka.CODECS
        }

    def send(self, codec, topic, records):
        def delivered(error, _):
            assert error is None, error

        producer = self.producers[codec]
        for headers in records:
            producer.produce(topic, kafka.VALUE, headers=list(headers.items()) or None, on_delivery=delivered)
        assert producer.flush(10) == 0, "not delivered"

    def start_consuming(self):
        settings = self.common | {"group.id": "billing", "enable.auto.commit": False}
        self.consumer = confluent_kafka.Consumer(settings)
        partitions = kafka.every(lambda topic, number: confluent_kafka.TopicPartition(topic, number, 0))
        self.consumer.assign(partitions)

    def records(self):
        while True:
            if record := self.consumer.poll(1):
                assert not record.error(), record.error()
                yield record.topic(), kafka.decoded(record.headers())
