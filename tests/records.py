"""Services that pass records on through a Kafka broker, and the broker.

    records.py NAME broker LOG                                   a broker in memory; says where it is
    records.py NAME producer LISTEN BROKER LOG                   serves at LISTEN; what it is asked for it produces
    records.py NAME consumer BROKER NEXT PEER MANNER COUNT LOG   fetches COUNT records of every topic, and calls NEXT for each one
    records.py NAME customer NEXT PEER ORDERS LOG                sends ORDERS requests to the producer at NEXT, one after another

A request for /CODEC/WHAT makes a record of the topic orders-CODEC, compressed so: with the trace of the request (continues; many:
ten records), without headers (loses), with another trace (restarts). MANNER is what a consumer does with the trace of a record: it
continues it, or links to it from a trace of its own. What was received and sent is written to LOG, a line of JSON each, as the
services of the demo do.
"""

import http.client
import json
import random
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Producer:
    def __init__(self, broker):
        self.clients = {
            codec: confluent_kafka.Producer({"bootstrap.servers": broker, "compression.type": codec, "linger.ms": 2})
            for codec in CODECS
        }

    def send(self, codec, topic, records):
        for headers in records:
            self.clients[codec].produce(topic, VALUE, headers=list(headers.items()) or None, on_delivery=self.delivered)
        assert self.clients[codec].flush(10) == 0, "not delivered"

    @staticmethod
    def delivered(error, _):
        assert error is None, error


class Consumer:
    def __init__(self, broker):
        self.client = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": NAME, "enable.auto.commit": False})
        self.client.assign(
            [
                confluent_kafka.TopicPartition(f"orders-{codec}", partition, 0)
                for codec in CODECS
                for partition in range(PARTITIONS)
            ]
        )

    def records(self):
        while True:
            if record := self.client.poll(1):
                assert not record.error(), record.error()
                yield record.topic(), {name: value.decode() for name, value in record.headers() or ()}


def serve_broker():
    client = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    metadata = client.list_topics(timeout=10)
    for codec in CODECS:
        client.list_topics(f"orders-{codec}", timeout=10)
    (broker,) = metadata.brokers.values()
    print("ready", f"{broker.host}:{broker.port}", sep="\n", flush=True)
    sys.stdin.read()


def serve_producer(listen, broker):
    producer = Producer(broker)

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
            producer.send(codec, topic, records)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    host, port = listen.split(":")
    server = ThreadingHTTPServer((host, int(port)), Orders)
    print("ready", flush=True)
    server.serve_forever()


def consume(broker, following, peer, manner, count):
    consumer = Consumer(broker)
    print("ready", flush=True)
    records = consumer.records()
    for _ in range(int(count)):
        topic, received = next(records)
        write("in", topic, received)
        if manner == "continues" and "traceparent" in received:
            headers, cause = continued(received), received
        else:
            # A trace of its own, to which it links: nothing of the record's is to be continued.
            headers, cause = new_trace(received.get("x-tenant-id")), None
        write("out", "/", headers, peer=peer, cause=cause)
        get(following, "/", headers)
    print("done", flush=True)
    sys.stdin.read()


def order(following, peer, orders):
    print("ready", flush=True)
    for number in range(int(orders)):
        codec, what = CODECS[number % len(CODECS)], WHATS[number // len(CODECS) % len(WHATS)]
        headers = new_trace(f"tenant-{number % 2}", number % 3 == 0)
        write("out", f"/{codec}/{what}", headers, peer=peer, cause=None)
        get(following, f"/{codec}/{what}", headers)
        # Between two orders the producer is idle, which shows that what it sends follows from what it received.
        time.sleep(random.expovariate(100))
    print("done", flush=True)
    sys.stdin.read()


{"broker": serve_broker, "producer": serve_producer, "consumer": consume, "customer": order}[ROLE](*ARGUMENTS)
