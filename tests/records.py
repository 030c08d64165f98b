"""Services that pass records on through a broker, and one for Kafka.

    records.py NAME broker LOG                                    one in memory; says where it is
    records.py NAME producer BROKER LISTEN LOG                    serves at LISTEN; what it is asked for it produces
    records.py NAME consumer BROKER NEXT PEER MANNER COUNTS LOG   fetches records, and calls NEXT for each one
    records.py NAME customer NEXT PEER KINDS ORDERS LOG           sends requests to the producer at NEXT, one after another

A request for /KIND/WHAT makes a record of the topic orders-KIND: with the trace of the request (continues; many: ten records),
without headers (loses), with another trace (restarts). What a kind is the library says, which LIBRARY names: a file of clients/. The
clients of Kafka talk over TLS where CERTIFICATE names a file.
MANNER is what a consumer does with the trace of a record: it continues it, or links to it from a trace of its own. A consumer
says that it is done after each of the COUNTS (by commas) of records. A customer makes each kind of order once before it says that
it is ready; once a line comes in it makes ORDERS more. What was received and sent is written to LOG, a line of JSON each, as the
services of the demo do.
"""

import http.client
import importlib
import itertools
import json
import os
import random
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, ROLE, *ARGUMENTS, LOG = sys.argv[1:]
LOG = open(LOG, "w", buffering=1)
WRITING = threading.Lock()
LOGGED = ("traceparent", "x-tenant-id")
WHATS = ("continues", "loses", "many", "restarts", "continues")


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


def client(broker):
    return importlib.import_module("clients." + os.environ["LIBRARY"]).Client(broker)


def serve_broker():
    import confluent_kafka

    from clients.kafka import CODECS

    client = confluent_kafka.Producer({"test.mock.num.brokers": 1})
    metadata = client.list_topics(timeout=10)
    for codec in CODECS:
        client.list_topics(f"orders-{codec}", timeout=10)
    (broker,) = metadata.brokers.values()
    print("ready", f"{broker.host}:{broker.port}", sep="\n", flush=True)
    sys.stdin.read()


def serve_producer(broker, listen):
    producer = client(broker)
    producer.start_producing()

    class Orders(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            cause = {name: self.headers[name] for name in LOGGED}
            write("in", self.path, cause)
            _, kind, what = self.path.split("/")
            topic, records = f"orders-{kind}", []
            for _ in range(10 if what == "many" else 1):
                if what == "loses":
                    records.append({})
                elif what == "restarts":
                    records.append(new_trace(cause["x-tenant-id"]))
                else:
                    records.append(continued(cause))
            for headers in records:
                write("out", topic, headers, peer=f"{producer.PROTOCOL}:{topic}", cause=cause)
            producer.send(kind, topic, records)
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
    dones = list(itertools.accumulate(map(int, counts.split(","))))
    handled = itertools.count(1)

    def handle(topic, received, carried=None):
        """`carried`: what the library has a call carry; without it, it is made up here."""
        write("in", topic, received)
        tenant = received.get("x-tenant-id")
        if manner == "continues" and "traceparent" in received:
            headers, cause = continued(received), received
        else:
            # A trace of its own, which links to the record's: nothing is to be continued.
            headers, cause = new_trace(tenant), None
        headers = headers | (carried or {})
        write("out", "/", headers, peer=peer, cause=cause)
        get(following, "/", headers)
        if (number := next(handled)) in dones:
            print("done", flush=True)
        if number == dones[-1]:
            sys.stdin.read()
            sys.exit()

    client(broker).work(manner, lambda: print("ready", flush=True), handle)


def customer(following, peer, kinds, orders):
    kinds = kinds.split(",")

    def order(number):
        kind, what = kinds[number % len(kinds)], WHATS[number // len(kinds) % len(WHATS)]
        headers = new_trace(f"tenant-{number % 2}", number % 3 == 0)
        write("out", f"/{kind}/{what}", headers, peer=peer, cause=None)
        get(following, f"/{kind}/{what}", headers)
        # Between two orders the producer is idle, which shows that what it sends follows from what it received.
        time.sleep(random.expovariate(100))

    for number in range(len(kinds) * len(WHATS)):
        order(number)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(orders)):
        order(number)
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"broker": serve_broker, "producer": serve_producer, "consumer": consume, "customer": customer}[ROLE](*ARGUMENTS)
