"""Redis by redis-py. A kind of record is an entry of a stream, in one version of the protocol or the other (resp2, resp3), or a
message in JSON to a channel (channel)."""

import json
import queue
import threading

import redis

from . import Puller

STREAMS = ("orders-resp2", "orders-resp3")
FIELDS = {"what": "an order of the shop"}


class Client(Puller):
    PROTOCOL = "redis"

    def __init__(self, broker):
        host, port = broker.split(":")
        self.connections = {
            kind: redis.Redis(host, int(port), protocol=protocol, decode_responses=True)
            for kind, protocol in (("resp2", 2), ("resp3", 3), ("channel", 3))
        }

    def start_producing(self):
        pass

    def send(self, kind, topic, records):
        connection = self.connections[kind]
        for headers in records:
            if kind == "channel":
                connection.publish(topic, json.dumps({"headers": headers} | FIELDS))
            else:
                connection.xadd(topic, headers | FIELDS)

    def start_consuming(self):
        self.arrived = queue.SimpleQueue()
        for stream in STREAMS:
            self.connections["resp2"].xgroup_create(stream, "billing", mkstream=True)
        channel = self.connections["channel"].pubsub(ignore_subscribe_messages=True)
        channel.subscribe("orders-channel")
        assert channel.get_message(timeout=10) is None, "not subscribed"
        for read in (lambda: self.hear(channel), lambda: self.fetch("resp2"), lambda: self.fetch("resp3")):
            threading.Thread(target=read, daemon=True).start()

    def hear(self, channel):
        for message in channel.listen():
            self.arrived.put((message["channel"], json.loads(message["data"])["headers"], None))

    def fetch(self, kind):
        topic, connection = f"orders-{kind}", self.connections[kind]
        while True:
            answer = connection.xreadgroup("billing", "one", {topic: ">"}, count=4, block=60_000)
            streams = answer.items() if isinstance(answer, dict) else answer
            for _, entries in streams:
                # RESP3 tells the entries of a stream in a list of their own.
                entries = entries[0] if entries and isinstance(entries[0], list) else entries
                for number, fields in entries:
                    self.arrived.put((topic, fields, number))

    def records(self):
        while True:
            topic, fields, number = self.arrived.get()
            yield topic, fields
            if number:
                self.connections["resp2"].xack(topic, "billing", number)
