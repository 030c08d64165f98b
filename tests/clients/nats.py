"""NATS by nats-py. A kind of record goes to whoever listens (plain), to one of a group (group), or is kept in a stream (stream)."""

import asyncio

import nats

from . import Puller
from .background import Background


class Client(Puller, Background):
    PROTOCOL = "nats"

    def __init__(self, broker):
        super().__init__()
        self.connection = self.run(nats.connect(broker))
        self.streams = self.connection.jetstream()

    def start_producing(self):
        pass

    def send(self, kind, topic, records):
        async def send():
            publish = self.streams.publish if kind == "stream" else self.connection.publish
            for headers in records:
                await publish(topic, b"an order of the shop", headers=headers or None)
            await self.connection.flush()

        self.run(send())

    def start_consuming(self):
        async def subscribe():
            await self.connection.subscribe("orders-plain", cb=self.arrived.put)
            await self.connection.subscribe("orders-group", "billing", cb=self.arrived.put)
            await self.streams.add_stream(name="orders", subjects=["orders-stream"])
            await self.streams.subscribe("orders-stream", "billing", cb=self.arrived.put, manual_ack=True)
            await self.connection.flush()

        self.arrived = asyncio.Queue()
        self.run(subscribe())

    def records(self):
        while True:
            record = self.run(self.arrived.get())
            yield record.subject, record.headers or {}
            if record.subject == "orders-stream":
                self.run(record.ack())
