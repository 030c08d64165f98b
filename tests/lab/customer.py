"""Customers of the laboratory: sends requests over kept connections, and says as one line of JSON how many were answered how.

    customer.py URL --connections N --requests N [--steady] [--bare SHARE] [--flags FLAGS] [--with NAME=VALUE]...

Each request has a context, but for a share of them (chosen by seed); half of them are sampled. `{n}` in a value is the number of the
request. One customer pauses at random; many come in waves, each when the one before has passed, or with --steady without any rest. No
instrumentation, no library: plain sockets.
"""

import argparse
import collections
import http.client
import json
import random
import threading
import time
import urllib.parse

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url")
parser.add_argument("--connections", type=int, default=1)
parser.add_argument("--requests", type=int, default=100)
parser.add_argument("--bare", type=float, default=0)
parser.add_argument("--flags", default="00,01")
parser.add_argument("--steady", action="store_true")
parser.add_argument("--with", dest="more", action="append", default=[])
options = parser.parse_args()
at = urllib.parse.urlsplit(options.url)
statuses = collections.Counter()
# Mean seconds that one customer pauses, and how many times as long as a wave took many rest at least and at most.
PAUSE, REST = 0.01, (1, 2)


class Customer(threading.Thread):
    def __init__(self, index):
        super().__init__(daemon=True)
        self.random, self.statuses = random.Random(index), collections.Counter()
        self.requests = options.requests // options.connections

    def headers(self, number):
        headers = dict(pair.replace("{n}", str(number)).split("=", 1) for pair in options.more)
        if self.random.random() >= options.bare:
            flags = self.random.choice(options.flags.split(","))
            headers["traceparent"] = f"00-{self.random.getrandbits(127) + 1:032x}-{self.random.getrandbits(63) + 1:016x}-{flags}"
        return headers

    def run(self):
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
        for number in range(self.requests):
            connection.request("GET", at.path, headers=self.headers(number))
            response = connection.getresponse()
            response.read()
            if options.connections == 1:
                time.sleep(self.random.expovariate(1 / PAUSE))
            elif not options.steady:
                wave.wait()
            self.statuses[str(response.status)] += 1


rests, begun = random.Random(0), time.monotonic()


def rest():
    global begun
    time.sleep(rests.uniform(*REST) * (time.monotonic() - begun))
    begun = time.monotonic()


wave = threading.Barrier(options.connections, action=rest)
customers = [Customer(index) for index in range(options.connections)]
for customer in customers:
    customer.start()
for customer in customers:
    customer.join()
    statuses += customer.statuses
print(json.dumps(statuses), flush=True)
