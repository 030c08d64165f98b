"""A service over TLS in Python.

    service.py NAME LISTEN NEXT PEER LOG                  serves at LISTEN (address:port), and calls NEXT for each request ("-":
                                                          nobody)
    service.py NAME -      NEXT PEER LOG ORDERS BEFORE    sends ORDERS requests to NEXT, one after the other, and ends; BEFORE others
                                                          first, and after those it waits for a word

SERVER is `threads` (sockets wrapped by ssl), `libssl` (the same by another OpenSSL, see libssl.py) or `asyncio` (TLS in memory,
aiohttp); CLIENT is `requests`, `libssl`, `httpx`, `httpx2` (HTTP/2) or `aiohttp`. CERTIFICATE and KEY are files. PEER is the name of the service at NEXT. What was received and sent is written to LOG, a
line of JSON each, as the services of the demo do.
"""

import asyncio
import http.server
import json
import os
import random
import secrets
import ssl
import sys
import time

NAME, LISTEN, NEXT, PEER = sys.argv[1:5]
LOG = open(sys.argv[5], "w", buffering=1)
SERVER, CLIENT = os.environ["SERVER"], os.environ["CLIENT"]
CERTIFICATE, KEY = os.environ["CERTIFICATE"], os.environ["KEY"]
LOGGED = ("traceparent", "x-tenant-id")


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def write(kind, at_ns, path, headers, **more):
    headers = {name: headers[name] for name in LOGGED if name in headers}
    record = {"kind": kind, "at_ns": at_ns, "path": path, "headers": headers, "status": 200}
    LOG.write(json.dumps(record | more) + "\n")


def onwards(path, cause):
    """The headers of what a request causes."""
    headers = {name: cause[name] for name in LOGGED if name in cause}
    parent = headers.pop("traceparent", None)
    if parent and path != "/loses":
        version, trace, _, flags = parent.split("-")
        headers["traceparent"] = "-".join((version, trace, secrets.token_hex(8), flags))
    return headers


def order(number):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{span}-{number % 5 // 4:02}", "x-tenant-id": f"tenant-{number % 2}"}
    return "/loses" if number % 4 == 3 else "/", headers


def client_context():
    return ssl.create_default_context(cafile=CERTIFICATE)


class Sync:
    """Calls by requests, libssl or httpx, over connections that are kept."""

    def __init__(self):
        if CLIENT == "requests":
            import requests

            self.session = requests.Session()
            self.session.verify = CERTIFICATE
            # Or another one would be taken from the environment.
            self.session.trust_env = False
        elif CLIENT == "libssl":
            import libssl

            self.session = libssl.Session()
        else:
            import httpx

            self.session = httpx.Client(verify=client_context(), http2=CLIENT == "httpx2")

    def call(self, path, headers, cause):
        at_ns = time.time_ns()
        answer = self.session.get(f"https://{NEXT}{path}", headers=headers)
        assert answer.status_code == 200 and len(answer.content) == 3000, answer
        if CLIENT == "httpx2":
            assert answer.http_version == "HTTP/2", answer.http_version
        write("out", at_ns, path, headers, peer=PEER, cause=cause)


class Async:
    """The same by aiohttp or httpx in an event loop."""

    def __init__(self):
        if CLIENT == "aiohttp":
            import aiohttp

            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context()))
        else:
            import httpx

            self.session = httpx.AsyncClient(verify=client_context(), http2=CLIENT == "httpx2")

    async def call(self, path, headers, cause):
        at_ns = time.time_ns()
        if CLIENT == "aiohttp":
            async with self.session.get(f"https://{NEXT}{path}", headers=headers) as answer:
                assert answer.status == 200 and len(await answer.read()) == 3000, answer
        else:
            answer = await self.session.get(f"https://{NEXT}{path}", headers=headers)
            assert answer.status_code == 200 and len(answer.content) == 3000, answer
        write("out", at_ns, path, headers, peer=PEER, cause=cause)


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def serve_by_threads():
    client = Sync() if NEXT != "-" else None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            cause = {name.lower(): value for name, value in self.headers.items() if name.lower() in LOGGED}
            write("in", time.time_ns(), self.path, cause)
            if client:
                client.call(self.path, onwards(self.path, cause), cause)
            self.send_response(200)
            self.send_header("content-length", "3000")
            self.end_headers()
            self.wfile.write(b"x" * 3000)

        def log_message(self, *_):
            pass

    class ByLibssl(http.server.ThreadingHTTPServer):
        def get_request(self):
            connection, peer = super().get_request()
            return libssl.Socket(connection, context, serves=True), peer

    if SERVER == "libssl":
        import libssl

        context = libssl.server_context(CERTIFICATE, KEY)
        server = ByLibssl(address(LISTEN), Handler)
    else:
        server = http.server.ThreadingHTTPServer(address(LISTEN), Handler)
        server.socket = server_context().wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


async def serve_by_asyncio():
    from aiohttp import web

    client = Async() if NEXT != "-" else None

    async def handle(request):
        cause = {name: request.headers[name] for name in LOGGED if name in request.headers}
        write("in", time.time_ns(), request.path, cause)
        if client:
            await client.call(request.path, onwards(request.path, cause), cause)
        return web.Response(body=b"x" * 3000)

    application = web.Application()
    application.router.add_get("/{rest:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, *address(LISTEN), ssl_context=server_context()).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def customer(orders, before):
    client = Sync()
    for number in range(before + orders):
        if number == before:
            print("ready", flush=True)
            sys.stdin.readline()
        client.call(*order(number), None)
        # Between two orders the front is idle, which shows that what it sends follows from what it received.
        time.sleep(random.expovariate(100))


if LISTEN == "-":
    customer(int(sys.argv[6]), int(sys.argv[7]))
elif SERVER == "asyncio":
    asyncio.run(serve_by_asyncio())
else:
    serve_by_threads()
