"""A service of the laboratory with a thread for each request: Flask behind waitress, requests as its client.

MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:

    pool              calls in threads of a pool, each in a copy of the request's context
    pool-forgets      the same without the copy
    thread-forgets    calls in a thread of its own, without the context
    bare-client       the client is not instrumented
    uninstrumented    nothing is instrumented
    proxy             nothing is instrumented; the headers of the request go on as they came
    ignores-parent    the sampler asks nobody what was decided
    no-baggage        baggage is not among the propagators
    TAMPER            what leaves is spoilt: see TAMPERING
    fails             every tenth request is answered with 503
    retries           what is answered with 503 is sent again
    fan-out           calls everybody three times, at once
    exports           the SDK sends its spans to everybody's collector
    polls             asks everybody for news every 20 ms, whatever arrives
    probes            asks everybody every 20 ms whether they are alive, as Kubernetes does
    watches           keeps asking everybody for changes, which are long in coming
    batches           notes what arrives, and sends it on twice a second, traced for itself
    after             calls once it has answered
"""

import concurrent.futures
import contextvars
import itertools
import logging
import os
import queue
import threading
import time

import flask
import requests
import waitress
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import truth

MANNER = set(filter(None, os.environ["MANNER"].split(",")))
PEERS = list(filter(None, os.environ["CALLS"].split(",")))
# Each has to wait for the interpreter's lock: with 32 a request cost three to fourteen times as much processor time (single runs).
THREADS = 8
# It tells of every request that waits.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def spoil_last(headers, width):
    version, ids = headers["traceparent"].rsplit("-", 1)
    headers["traceparent"] = f"{version}-{ids.zfill(width)}"


def upper_case(headers):
    headers["traceparent"] = headers["traceparent"].upper()


def short_id(headers):
    version, ids, parent, flags = headers["traceparent"].split("-")
    headers["traceparent"] = "-".join((version, ids[16:], parent, flags))


TAMPERING = {
    "three-digits": lambda headers: spoil_last(headers, 3),
    "upper-case": upper_case,
    "short-id": short_id,
    "drops-tracestate": lambda headers: headers.pop("tracestate", None),
    "drops-weight": lambda headers: headers.pop("x-trace-weight", None),
    "changes-weight": lambda headers: headers.update({"x-trace-weight": "0.25"}),
    "garbles-weight": lambda headers: headers.update({"x-trace-weight": "much"}),
}


class Adapter(truth.LoggedAdapter):
    """Spoils what the instrumentation has made."""

    def send(self, request, *args, **kwargs):
        for name, tamper in TAMPERING.items():
            if name in MANNER and "traceparent" in request.headers:
                tamper(request.headers)
        return super().send(request, *args, **kwargs)


_sessions = threading.local()


def session():
    if not hasattr(_sessions, "session"):
        _sessions.session = requests.Session()
        _sessions.session.trust_env = False
        _sessions.session.mount("http://", Adapter(max_retries=0))
    return _sessions.session


def call(peer, path="/work", **headers):
    """Calls a peer because of the request that this thread works for."""
    headers |= truth.forwarded()
    if "proxy" in MANNER:
        headers |= truth.inbound.get() or {}
    for _ in range(3 if "retries" in MANNER else 1):
        status = session().get(os.environ[f"URL_{peer.upper()}"] + path, headers=headers, timeout=30).status_code
        if status != 503:
            return


pool = concurrent.futures.ThreadPoolExecutor(THREADS)


def forgetful(peer, inbound):
    """The thread knows what it works for, and the SDK does not."""
    truth.inbound.set(inbound)
    call(peer)


def call_everybody():
    if "pool-forgets" in MANNER:
        work = [pool.submit(forgetful, peer, truth.inbound.get()) for peer in PEERS]
    elif "thread-forgets" in MANNER:
        work = []
        threads = [threading.Thread(target=forgetful, args=(peer, truth.inbound.get())) for peer in PEERS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif MANNER & {"pool", "fan-out"}:
        times = 3 if "fan-out" in MANNER else 1
        work = [pool.submit(contextvars.copy_context().run, call, peer) for peer in PEERS for _ in range(times)]
    else:
        work = []
        for peer in PEERS:
            call(peer)
    for each in work:
        each.result()


noted = queue.SimpleQueue()


def send_batches():
    tracer = trace.get_tracer("batches")
    while True:
        time.sleep(0.5)
        with tracer.start_as_current_span("batch"):
            while not noted.empty():
                noted.get()
            for peer in PEERS:
                call(peer, "/batch")


def ask_forever(path, pause, **headers):
    """Calls everybody without a context, whatever arrives."""
    while True:
        time.sleep(pause)
        with suppress_instrumentation():
            for peer in PEERS:
                call(peer, path, **headers)


def in_background(*arguments, **headers):
    threading.Thread(target=ask_forever, args=arguments, kwargs=headers, daemon=True).start()


numbers = itertools.count()
application = flask.Flask("laboratory")


@application.get("/healthz")
def healthz():
    return "ok"


@application.get("/news")
@application.get("/batch")
def nothing():
    return "nothing"


@application.get("/work")
def work():
    if "batches" in MANNER:
        noted.put(1)
    elif "after" in MANNER:
        # What the worker does later still belongs to the request.
        pool.submit(contextvars.copy_context().run, call_everybody)
    else:
        call_everybody()
    if "fails" in MANNER and next(numbers) % 10 == 9:
        return "busy", 503
    return "done"


sampler = TraceIdRatioBased(0.5)
provider = TracerProvider(sampler=sampler if "ignores-parent" in MANNER else ParentBased(root=sampler))
trace.set_tracer_provider(provider)
if "exports" in MANNER:
    for peer in PEERS:
        exporter = OTLPSpanExporter(endpoint=os.environ[f"URL_{peer.upper()}"] + "/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
if "no-baggage" in MANNER:
    propagate.set_global_textmap(TraceContextTextMapPropagator())
if not MANNER & {"uninstrumented", "proxy"}:
    FlaskInstrumentor().instrument_app(application, excluded_urls="healthz")
    if "bare-client" not in MANNER:
        RequestsInstrumentor().instrument()
if "batches" in MANNER:
    threading.Thread(target=send_batches, daemon=True).start()
if "polls" in MANNER:
    in_background("/news", 0.02)
if "probes" in MANNER:
    in_background("/healthz", 0.02, **{"user-agent": "kube-probe/1.34"})
if "watches" in MANNER:
    in_background("/watch", 0)
truth.end_with_parent()
waitress.serve(truth.wsgi(application), listen=os.environ["LISTEN"], threads=THREADS, _quiet=True, connection_limit=1000, backlog=2048)
