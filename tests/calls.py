"""A service that is called over gRPC, and calls the next one over a connection that it keeps.

    calls.py NAME LISTEN NEXT PEER LOG                 serves at LISTEN (address:port), and calls NEXT for each call ("-": nobody)
    calls.py NAME -      NEXT PEER LOG ORDERS AT_ONCE  sends calls to NEXT once a line comes in, so many at a time, and ends

PEER is the name of the service at NEXT. What was received and sent is written to LOG, a line of JSON each, as the services of
the demo do. There are no messages to speak of: bytes are sent as they are.
"""

import json
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
# Calls over a connection before its customer says that it is ready.
WARMING = 20
CHANNEL = None if NEXT == "-" else grpc.insecure_channel(NEXT)


def write(kind, at_ns, path, headers, **more):
    headers = {name: headers[name] for name in LOGGED if name in headers}
    record = {"kind": kind, "at_ns": at_ns, "path": path, "headers": headers, "status": 200}
    with WRITING:
        LOG.write(json.dumps(record | more) + "\n")


def call(path, headers, cause, size=10):
    at_ns = time.time_ns()
    try:
        CHANNEL.unary_unary(path)(secrets.token_bytes(size), metadata=list(headers.items()), timeout=30)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INTERNAL, error
    write("out", at_ns, path, headers, peer=PEER, cause=cause)


def serve(path, headers, request, context):
    at_ns = time.time_ns()
    fails = path == "/shop.Back/Fails"
    write("in", at_ns, path, headers, status=500 if fails else 200)
    if fails:
        context.abort(grpc.StatusCode.INTERNAL, "as it was told to")
    if NEXT != "-":
        cause = {name: headers[name] for name in LOGGED if name in headers}
        onwards = dict(cause)
        if path == "/shop.Front/Loses":
            del onwards["traceparent"]
        else:
            version, trace, _, flags = cause["traceparent"].split("-")
            onwards["traceparent"] = "-".join((version, trace, secrets.token_hex(8), flags))
        call("/shop.Back/Fails" if path == "/shop.Front/Fails" else "/shop.Back/Works", onwards, cause)
    # Now and then more than one frame.
    return bytes(50_000 if secrets.randbelow(20) == 0 else len(request))


class Services(grpc.GenericRpcHandler):
    def service(self, details):
        headers = dict(details.invocation_metadata)
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: serve(details.method, headers, request, context)
        )


def order(number):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{span}-{number % 5 // 4:02}", "x-tenant-id": f"tenant-{number % 2}"}
    method = {3: "Loses", 5: "Fails"}.get(number % 8, "Works")
    call(f"/shop.Front/{method}", headers, None, size=100_000 if number % 50 == 7 else 10)
    # Between two orders the front is idle, which shows that what it sends follows from what it received.
    time.sleep(random.expovariate(100))


if LISTEN == "-":
    for number in range(WARMING):
        order(number)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(int(sys.argv[7])) as pool:
        list(pool.map(order, range(int(sys.argv[6]))))
else:
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Services(),))
    assert server.add_insecure_port(LISTEN), "the port is taken"
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()
