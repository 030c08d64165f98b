"""A service that is called over gRPC, and calls the next one over a connection that it keeps.

    calls.py NAME LISTEN NEXT PEER LOG     serves at LISTEN (address:port), and passes each call on to NEXT ("-": answers it)
    calls.py NAME -      NEXT PEER LOG METHODS ORDERS AT_ONCE KEPT     sends calls to NEXT

PEER is the name of the service at NEXT. What was received and sent is written to LOG, a line of JSON each, as the services of
the demo do. There are no messages to speak of: bytes are sent as they are.

Who sends calls opens a stream for each of the methods KEPT (by commas) and keeps them, calls NEXT some times, and says that it is
ready. Once a line comes in it sends ORDERS calls of METHODS in turn, so many at a time, and with each one a message over every
stream it keeps. Then it ends those that fail at their end, says that it is done, and waits for the end of its input.
"""

import json
import os
import queue
import random
import secrets
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

NAME, LISTEN, NEXT, PEER = sys.argv[1:5]
LOG = open(sys.argv[5], "w", buffering=1)
WRITING = threading.Lock()
LOGGED = ("traceparent", "x-tenant-id")
# Methods of which the client, the server or both send many messages.
STREAMS = ("Gathers", "Pours", "Talks", "Quits")
# Methods that end with an error of the last service.
FAIL = ("Fails", "Breaks", "Quits")
# Calls over a connection before its customer says that it is ready.
WARMING = 20
# Files; with them everything goes over TLS.
CERTIFICATE, KEY = (os.environ.get(name) for name in ("CERTIFICATE", "KEY"))


def channel():
    if not CERTIFICATE:
        return grpc.insecure_channel(NEXT)
    with open(CERTIFICATE, "rb") as certificate:
        return grpc.secure_channel(NEXT, grpc.ssl_channel_credentials(certificate.read()))


def listen(server):
    if not CERTIFICATE:
        return server.add_insecure_port(LISTEN)
    with open(CERTIFICATE, "rb") as certificate, open(KEY, "rb") as key:
        return server.add_secure_port(LISTEN, grpc.ssl_server_credentials([(key.read(), certificate.read())]))


CHANNEL = None if NEXT == "-" else channel()


def write(kind, path, headers, **more):
    headers = {name: headers[name] for name in LOGGED if name in headers}
    record = {"kind": kind, "at_ns": time.time_ns(), "path": path, "headers": headers, "status": 200}
    with WRITING:
        LOG.write(json.dumps(record | more) + "\n")


def call(path, headers, cause, messages):
    """Calls NEXT and yields the answers; a call that fails as it was told to has ended."""
    write("out", path, headers, peer=PEER, cause=cause)
    metadata = list(headers.items())
    try:
        if path.endswith(STREAMS):
            yield from CHANNEL.stream_stream(path)(messages, metadata=metadata)
        else:
            yield CHANNEL.unary_unary(path)(next(messages), metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INTERNAL and path.endswith(FAIL), error


def answer(path, requests, context):
    if path.endswith("Breaks"):
        # The head of the response is under way when the call fails; else its only head tells the status.
        context.send_initial_metadata(())
    if path.endswith(("Fails", "Breaks")):
        context.abort(grpc.StatusCode.INTERNAL, "as it was told to")
    if path.endswith("Gathers"):
        yield bytes(sum(map(len, requests)))
    for request in requests:
        for _ in range(5 if path.endswith("Pours") else 1):
            # Now and then more than one frame.
            yield bytes(50_000 if secrets.randbelow(20) == 0 else len(request))
    if path.endswith("Quits"):
        context.abort(grpc.StatusCode.INTERNAL, "as it was told to")


def serve(path, headers, requests, context):
    if NEXT == "-":
        write("in", path, headers, status=500 if path.endswith(FAIL) else 200)
        yield from answer(path, requests, context)
        return
    write("in", path, headers)
    cause = {name: headers[name] for name in LOGGED if name in headers}
    onwards, method = dict(cause), path.rsplit("/")[-1]
    if method == "Loses":
        del onwards["traceparent"]
        method = "Works"
    else:
        version, trace, _, flags = cause["traceparent"].split("-")
        onwards["traceparent"] = "-".join((version, trace, secrets.token_hex(8), flags))
    answered = False
    for response in call(f"/shop.Back/{method}", onwards, cause, requests):
        answered = True
        yield response
    if not answered and method not in STREAMS:
        yield b""


class Services(grpc.GenericRpcHandler):
    def service(self, details):
        path, headers = details.method, dict(details.invocation_metadata)
        if path.endswith(STREAMS):
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: serve(path, headers, requests, context)
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: list(serve(path, headers, iter([request]), context))[0]
        )


def new_headers(number):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return {"traceparent": f"00-{trace}-{span}-{number % 5 // 4:02}", "x-tenant-id": f"tenant-{number % 2}"}


class Kept:
    """A stream that is kept: a message at a time, each one answered."""

    def __init__(self, method, number):
        self.method = method
        self.messages = queue.SimpleQueue()
        self.answers = call(f"/shop.Front/{method}", new_headers(number), None, iter(self.messages.get, None))
        self.say()

    def say(self):
        self.messages.put(b"still here")
        next(self.answers)

    def end(self):
        self.messages.put(None)
        assert not list(self.answers), "an answer too much"


def order(number, methods, kept=()):
    method = methods[number % len(methods)]
    messages = random.randrange(1, 6) if method in ("Gathers", "Talks", "Quits") else 1
    size = 100_000 if number % 50 == 7 else 10
    requests = (secrets.token_bytes(size) for _ in range(messages))
    answers = sum(1 for _ in call(f"/shop.Front/{method}", new_headers(number), None, requests))
    expected = {"Gathers": 1, "Pours": 5}.get(method, messages)
    assert answers == expected, f"{answers} answers of {method} where {expected} are expected"
    for stream in kept:
        stream.say()
    # Between two orders the front is idle, which shows that what it sends follows from what it received.
    time.sleep(random.expovariate(100))


if LISTEN == "-":
    methods, orders, at_once = sys.argv[6].split(","), int(sys.argv[7]), int(sys.argv[8])
    kept = [Kept(method, number) for number, method in enumerate(filter(None, sys.argv[9].split(",")))]
    for number in range(WARMING):
        order(number, methods)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda number: order(number, methods, kept), range(orders)))
    for stream in kept:
        if stream.method in FAIL:
            stream.end()
    print("done", flush=True)
    sys.stdin.read()
else:
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Services(),))
    assert listen(server), "the port is taken"
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()
