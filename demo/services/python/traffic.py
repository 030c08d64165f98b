"""Customers of the shop: sends orders over kept connections and prints, as one JSON line, how many of what.

    traffic.py URL --connections N (--requests N | --seconds S) [--gap S] [--seed N] [--contexts none|mixed] [--wait]

Tenants are chosen by seed. With --wait each connection sends one order first, and the rest only after a line on standard
input: so a test can have connections that are older than the observer. No instrumentation, no library: plain sockets.
"""

import argparse
import collections
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse

# umbrella names itself by baggage alone.
TENANTS = {"acme": 3, "globex": 4, "initech": 2, "umbrella": 2}
MALFORMED = (
    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
)


def headers_of(rng, tenant, contexts):
    headers = {"content-length": "0"}
    if tenant == "umbrella":
        headers["baggage"] = "tenant.id=umbrella"
    else:
        headers["x-tenant-id"] = tenant
    kind = rng.choice(("none", "sampled", "unsampled", "malformed")) if contexts == "mixed" else "none"
    if kind == "malformed":
        headers["traceparent"] = rng.choice(MALFORMED)
    elif kind != "none":
        flag = "01" if kind == "sampled" else "00"
        headers["traceparent"] = f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64) | 1:016x}-{flag}"
    return headers


class Customer(threading.Thread):
    """One connection, one order at a time."""

    def __init__(self, index, options, go):
        super().__init__()
        self.options, self.go = options, go
        self.rng = random.Random(options.seed * 1000 + index)
        self.left = options.requests // options.connections + (index < options.requests % options.connections)
        self.sent, self.statuses = collections.Counter(), collections.Counter()
        self.warm = threading.Event()

    def order(self, connection):
        tenant = self.rng.choices(list(TENANTS), TENANTS.values())[0]
        connection.request("POST", "/orders", headers=headers_of(self.rng, tenant, self.options.contexts))
        response = connection.getresponse()
        response.read()
        return tenant, response.status

    def run(self):
        at = urllib.parse.urlsplit(self.options.url)
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
        if self.options.wait:
            self.order(connection)
        self.warm.set()
        self.go.wait()
        end = time.monotonic() + self.options.seconds
        while self.left > 0 if self.options.requests else time.monotonic() < end:
            tenant, status = self.order(connection)
            self.left -= 1
            self.sent[tenant] += 1
            self.statuses[str(status)] += 1
            if self.options.gap:
                time.sleep(self.rng.expovariate(1 / self.options.gap))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--gap", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contexts", choices=("none", "mixed"), default="none")
    parser.add_argument("--wait", action="store_true")
    options = parser.parse_args()

    go = threading.Event()
    customers = [Customer(index, options, go) for index in range(options.connections)]
    for customer in customers:
        customer.daemon = True
        customer.start()
    for customer in customers:
        customer.warm.wait()
    if options.wait:
        print("connected", flush=True)
        if not sys.stdin.readline():
            return
    go.set()
    for customer in customers:
        customer.join()
    sent, statuses = (sum((getattr(c, name) for c in customers), collections.Counter()) for name in ("sent", "statuses"))
    print(json.dumps({"requests": sent.total(), "tenants": dict(sent), "statuses": dict(statuses)}, sort_keys=True))


main()
