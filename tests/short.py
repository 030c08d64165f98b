"""A service that makes a new connection for every request, and uses its ports again at once.

    short.py NAME LISTEN NEXT PEER LOG           serves at LISTEN (address:port), and calls NEXT for each request ("-": nobody)
    short.py NAME -      NEXT PEER LOG ORDERS    sends ORDERS requests to NEXT, one after the other, and ends

Where UNIX_SOCKET names a path, it listens there too. PEER is the name of the service at NEXT. What was received and sent is written to LOG, a line of JSON each, as the services of
the demo do.
"""

import json
import os
import random
import secrets
import socket
import struct
import sys
import time

NAME, LISTEN, NEXT, PEER = sys.argv[1:5]
LOG = open(sys.argv[5], "w", buffering=1)
# Few, so that each is used again many times.
PORTS = range(21000, 21004)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LOGGED = ("traceparent", "x-tenant-id")
sent = 0


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def write(kind, at_ns, path, headers, **more):
    headers = {name: headers[name] for name in LOGGED if name in headers}
    record = {"kind": kind, "at_ns": at_ns, "path": path, "headers": headers, "status": 200}
    LOG.write(json.dumps(record | more) + "\n")


def head(connection):
    """The start line and the headers; nothing here has a body."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        if not more:
            return None, {}
        text += more
    first, *lines = text.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines if line)


def call(path, headers, cause):
    """One request on a connection of its own, which the far end closes, a reset ends, or this end closes."""
    global sent
    ending = ("theirs", "reset", "ours")[sent % 3]
    connection = socket.socket()
    # What this end closes stays in TIME_WAIT, and its port with it.
    if ending != "ours":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", PORTS[sent % len(PORTS)]))
    sent += 1
    connection.connect(address(NEXT))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    at_ns = time.time_ns()
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {NEXT}\r\nending: {ending}\r\n{lines}\r\n".encode())
    answer, _ = head(connection)
    assert answer == "HTTP/1.1 200 OK", answer
    if ending == "theirs":
        assert connection.recv(1) == b""
    elif ending == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()
    write("out", at_ns, path, headers, peer=PEER, cause=cause)


def serve(connection):
    first, headers = head(connection)
    if first is None:
        return
    path = first.split(" ")[1]
    cause = {name: headers[name] for name in LOGGED if name in headers}
    if path != "/healthz":
        write("in", time.time_ns(), path, headers)
    if NEXT != "-":
        onwards = dict(cause)
        if path == "/loses":
            del onwards["traceparent"]
        else:
            version, trace, _, flags = cause["traceparent"].split("-")
            onwards["traceparent"] = "-".join((version, trace, secrets.token_hex(8), flags))
        call(path, onwards, cause)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    if headers.get("ending", "theirs") != "theirs":
        try:
            connection.recv(1)
        except ConnectionResetError:
            pass


if LISTEN == "-":
    for order in range(int(sys.argv[6])):
        trace, span = secrets.token_hex(16), secrets.token_hex(8)
        headers = {"traceparent": f"00-{trace}-{span}-{order % 5 // 4:02}", "x-tenant-id": f"tenant-{order % 2}"}
        call("/loses" if order % 4 == 3 else "/", headers, None)
        # Between two orders the front is idle, which shows that what it sends follows from what it received.
        time.sleep(random.expovariate(100))
else:
    other_way_in = socket.socket(socket.AF_UNIX)
    if "UNIX_SOCKET" in os.environ:
        other_way_in.bind(os.environ["UNIX_SOCKET"])
        other_way_in.listen()
    with socket.create_server(address(LISTEN)) as listener:
        print("ready", flush=True)
        while True:
            accepted, _ = listener.accept()
            with accepted:
                serve(accepted)
