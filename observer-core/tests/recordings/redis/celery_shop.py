"""Celery with tracing: celery_shop.py PORT sends tasks to a worker that it starts, and asks that worker whether it is there.

Prints `produced` or `fetched`, queue and traceparent of every task.
"""

import subprocess
import sys

from celery import Celery, signals
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

PORT, *WORKER = sys.argv[1:]
app = Celery("shop", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
app.conf.update(task_routes={"paint": {"queue": "colours"}}, worker_redirect_stdouts=False)
trace.set_tracer_provider(TracerProvider())
CeleryInstrumentor().instrument()


@app.task(name="paint")
def paint(colour: str) -> str:
    return colour


@app.task(name="dry")
def dry() -> None:
    pass


def tell(what: str, queue: str, headers: dict) -> None:
    print(what, queue, headers.get("traceparent", "-"), flush=True)


@signals.after_task_publish.connect(weak=False)
def sent(headers, routing_key, **_) -> None:
    tell("produced", routing_key, headers)


@signals.task_received.connect(weak=False)
def received(request, **_) -> None:
    tell("fetched", request.delivery_info["routing_key"], request.message.headers)


if WORKER:
    app.worker_main(["--quiet", "worker", "--pool=solo", "--queues=colours,celery", "--events", "--loglevel=ERROR"])
else:
    worker = subprocess.Popen([sys.executable, __file__, PORT, "worker"])
    while not app.control.ping(timeout=0.5):
        pass
    with trace.get_tracer("shop").start_as_current_span("order"):
        first = paint.delay("red")
        last = paint.apply_async(("blue",), headers={"x-tenant-id": "acme"}, priority=6)
    CeleryInstrumentor().uninstrument()
    dry.delay()
    print(first.get(10), last.get(10), file=sys.stderr)
    app.control.shutdown()
    worker.wait()
