"""Services that pass records on through a Kafka broker, and the broker.

    records.py NAME broker LOG                                    a broker in memory; says where it is
    records.py NAME producer BROKER LISTEN LOG                    serves at LISTEN; what it is asked for it produces
    records.py NAME consumer BROKER NEXT PEER MANNER COUNTS LOG   fetches records, and calls NEXT for each one
    records.py NAME customer NEXT PEER CODECS ORDERS LOG          sends requests to the producer at NEXT, one after another

A request for /CODEC/WHAT makes a record of the topic orders-CODEC, compressed so: with the trace of the request (continues; many:
ten records), without headers (loses), with another trace (restarts). MANNER is what a consumer does with the trace of a record: it
continues it, or links to it from a trace of its own. A consumer says that it is done after each of the COUNTS (by commas) of
records. A customer makes each kind of order once before it says that it is ready; once a line comes in it makes ORDERS more.
LIBRARY names the library: confluent-kafka or aiokafka. What was received and sent is written to LOG, a line of JSON each, as the
services of the demo do.
"""

import asyncio
import http.client
import json
import os
import random
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiokafka
import confluent_kafka

NAME, ROLE, *ARGUMENTS, LOG = sys.argv[1:]
LOG = open(LOG, "w", buffering=1)
WRITING = threading.Lock()
LOGGED = ("traceparent", "x-tenant-id")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
WHATS = ("continues", "loses", "many", "restarts", "continues")
# What a mock broker gives every topic.
PARTITIONS = 4
# Long and dull enough to be compressed.
VALUE = b"an order of the shop, " * 20


def write(kind, path, headers, **more):
    headers = {name: headers[name] for name in LOGGED if name in headers}
    record = {"kind": kind, "at_ns": time.time_ns(), "path": path, "headers": headers, "status": 200}
    with WRITING:
        LOG.write(json.dumps(record | more) + "\n")


def new_trace(tenant, sampled=True):
    parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{int(sampled):02}"
    return {"traceparent": parent} | ({"x-tenant-id": tenant} if tenant else {})


def continued(headers):
    version, trace, _, flags = headers["traceparent"].split("-")
    return headers | {"traceparent": "-".join((version, trace, secrets.token_hex(8), flags))}


def get(address, path, headers):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    answer.read()
    connection.close()


def every(partition):
    return [partition(f"orders-{codec}", number) for codec in CODECS for number in range(PARTITIONS)]


def decoded(headers):
    return {name: value.decode() for name, value in headers or ()}


class Confluent:
    """librdkafka."""

    def __init__(self, broker):
        self.broker = broker

    def start_producing(self):
        common = {"bootstrap.servers": self.broker, "linger.ms": 2}
        self.producers = {codec: confluent_kafka.Producer(common | {"compression.type": codec}) for codec in CODECS}

    def send(self, codec, topic, records):
        def delivered(error, _):
            assert error is None, error

        producer = self.producers[codec]
        for headers in records:
            producer.produce(topic, VALUE, headers=list(headers.items()) or None, on_delivery=delivered)
        assert producer.flush(10) == 0, "not delivered"

    def records(self):
        common = {"bootstrap.servers": self.broker, "group.id": NAME, "enable.auto.commit": False}
        consumer = confluent_kafka.Consumer(common)
        consumer.assign(every(lambda topic, number: confluent_kafka.TopicPartition(topic, number, 0)))
        while True:
            if record := consumer.poll(1):
                assert not record.error(), record.error()
                yield record.topic(), decoded(record.headers())


class Aiokafka:
    """A client in Python alone, called from threads."""

    def __init__(self, broker):
        self.broker = broker
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def start_producing(self):
        async def start(codec):
            compression = None if codec == "none" else codec
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=self.broker, compression_type=compression, linger_ms=2
            )
            await producer.start()
            return producer

        self.producers = {codec: self.run(start(codec)) for codec in CODECS}

    def send(self, codec, topic, records):
        async def send():
            for headers in records:
                encoded = [(name, value.encode()) for name, value in headers.items()]
                sent.append(await self.producers[codec].send(topic, VALUE, headers=encoded))
            await asyncio.gather(*sent)

        sent = []
        self.run(send())

    def records(self):
        async def start():
            consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=self.broker, auto_offset_reset="earliest")
            consumer.assign(every(aiokafka.TopicPartition))
            await consumer.start()
            return consumer

        consumer = self.run(start())
        while True:
            record = self.run(consumer.getone())
            yield record.topic, decoded(record.headers)


CLIENTS = {"confluent-kafka": Confluent, "aiokafka": Aiokafka}


def serve_broker():
    client = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    metadata = client.list_topics(timeout=10)
    for codec in CODECS:
        client.list_topics(f"orders-{codec}", timeout=10)
    (broker,) = metadata.brokers.values()
    print("ready", f"{broker.host}:{broker.port}", sep="\n", flush=True)
    sys.stdin.read()


def serve_producer(broker, listen):
    client = CLIENTS[os.environ["LIBRARY"]](broker)
    client.start_producing()

    class Orders(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            cause = {name: self.headers[name] for name in LOGGED}
            write("in", self.path, cause)
            _, codec, what = self.path.split("/")
            topic, records = f"orders-{codec}", []
            for _ in range(10 if what == "many" else 1):
                if what == "loses":
                    headers = {}
                elif what == "restarts":
                    headers = new_trace(cause["x-tenant-id"])
                else:
                    headers = continued(cause)
                write("out", topic, headers, peer=f"kafka:{topic}", cause=cause)
                records.append(headers)
            client.send(codec, topic, records)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    host, port = listen.split(":")
    server = ThreadingHTTPServer((host, int(port)), Orders)
    print("ready", flush=True)
    server.serve_forever()


def consume(broker, following, peer, manner, counts):
    records = CLIENTS[os.environ["LIBRARY"]](broker).records()
    print("ready", flush=True)
    for count in counts.split(","):
        for _ in range(int(count)):
            topic, received = next(records)
            write("in", topic, received)
            if manner == "continues" and "traceparent" in received:
                headers, cause = continued(received), received
            else:
                # A trace of its own, which links to the record's: nothing is to be continued.
                headers, cause = new_trace(received.get("x-tenant-id")), None
            write("out", "/", headers, peer=peer, cause=cause)
            get(following, "/", headers)
        print("done", flush=True)
    sys.stdin.read()


def customer(following, peer, codecs, orders):
    codecs = codecs.split(",")

    def order(number):
        codec, what = codecs[number % len(codecs)], WHATS[number // len(codecs) % len(WHATS)]
        headers = new_trace(f"tenant-{number % 2}", number % 3 == 0)
        write("out", f"/{codec}/{what}", headers, peer=peer, cause=None)
        get(following, f"/{codec}/{what}", headers)
        # Between two orders the producer is idle, which shows that what it sends follows from what it received.
        time.sleep(random.expovariate(100))

    for number in range(len(codecs) * len(WHATS)):
        order(number)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(orders)):
        order(number)
    print("done", flush=True)
    sys.stdin.read()


{"broker": serve_broker, "producer": serve_producer, "consumer": consume, "customer": customer}[ROLE](*ARGUMENTS)
