"""What a Python service really received and really sent, one JSON line each, for comparison with what was observed.

Requests in are taken at the server's door (WSGI or ASGI, outside every instrumentation), requests out after the
instrumentation has put its headers in.
"""

import contextvars
import json
import os
import sys
import threading
import time

import httpx
from requests.adapters import HTTPAdapter

import telemetry

HEADERS = ("traceparent", "tracestate", "baggage", "x-tenant-id", "x-trace-weight")

# The headers of the request that this thread or task works for: the true cause of what it sends.
inbound = contextvars.ContextVar("inbound", default=None)

_log = open(os.environ["TRUTH_FILE"], "a", buffering=1, encoding="utf-8")
_lock = threading.Lock()


def _write(record):
    line = json.dumps(record) + "\n"
    with _lock:
        _log.write(line)


def _record(kind, method, path, headers):
    kept = {name: headers[name] for name in HEADERS if name in headers}
    return {"kind": kind, "at_ns": time.time_ns(), "method": method, "path": path, "headers": kept}


def _finish(record, status):
    _write(record | {"status": status, "until_ns": time.time_ns()})


def tenant_of(headers):
    """The tenant that a request names: its header, else its baggage."""
    if "x-tenant-id" in headers:
        return headers["x-tenant-id"]
    for member in headers.get("baggage", "").split(","):
        key, _, value = member.partition("=")
        if key.strip() == "tenant.id":
            return value.strip()
    return "unknown"


def forwarded():
    """What every service of the shop hands on by hand: the tenant's header and the weight."""
    cause = inbound.get() or {}
    return {name: cause[name] for name in ("x-tenant-id", "x-trace-weight") if name in cause}


def _enter(headers):
    inbound.set(headers)
    telemetry.tenant.set(tenant_of(headers))


def wsgi(application):
    """Wraps a WSGI application: logs each request with the status that it was answered with."""

    def logged(environ, start_response):
        names = {name: "HTTP_" + name.upper().replace("-", "_") for name in HEADERS}
        headers = {name: environ[key] for name, key in names.items() if key in environ}
        record = _record("in", environ["REQUEST_METHOD"], environ["PATH_INFO"], headers)
        _enter(headers)

        def answer(status, *rest):
            _finish(record, int(status.split()[0]))
            return start_response(status, *rest)

        return application(environ, answer)

    return logged


def asgi(application):
    """Wraps an ASGI application: logs each request with the status that it was answered with."""

    async def logged(scope, receive, send):
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        every = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        headers = {name: every[name] for name in HEADERS if name in every}
        record = _record("in", scope["method"], scope["path"], headers)
        _enter(headers)

        async def answer(message):
            if message["type"] == "http.response.start":
                _finish(record, message["status"])
            await send(message)

        await application(scope, receive, answer)

    return logged


def _sent(method, path, peer, headers):
    record = _record("out", method, path, {name.lower(): value for name, value in headers.items()})
    return record | {"peer": peer, "cause": inbound.get()}


class LoggedAdapter(HTTPAdapter):
    """The transport of a requests session: what passes here goes on the wire."""

    def send(self, request, *args, **kwargs):
        record = _sent(request.method, request.path_url, os.environ[f"NAME_{_port(request.url)}"], request.headers)
        response = super().send(request, *args, **kwargs)
        _finish(record, response.status_code)
        return response


class LoggedTransport(httpx.HTTPTransport):
    """The transport of an httpx client. Its instrumentation wraps `handle_request` itself, so the headers are read after."""

    def handle_request(self, request):
        started_ns = time.time_ns()
        response = super().handle_request(request)
        sent(started_ns, request, response.status_code)
        return response


def sent(at_ns, request, status):
    """Writes down a request of httpx that was answered."""
    peer = os.environ[f"NAME_{request.url.port}"]
    _finish(_sent(request.method, request.url.path, peer, request.headers) | {"at_ns": at_ns}, status)


def _port(url):
    return url.split("/")[2].rsplit(":", 1)[1]


def end_with_parent():
    """Ends this process when whoever started it is gone: standard input is a pipe that only the parent holds."""

    def watch():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
