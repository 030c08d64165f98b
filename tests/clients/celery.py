"""Redis by Celery, traced by OpenTelemetry. A kind of record is a task for a queue of its own (high, low)."""

import logging

import celery
from celery import signals
from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

QUEUES = ("orders-high", "orders-low")
NAMES = ("traceparent", "x-tenant-id")


class Client:
    PROTOCOL = "redis"

    def __init__(self, broker):
        self.app = celery.Celery("shop", broker=f"redis://{broker}/0")
        self.app.conf.update(task_ignore_result=True, worker_redirect_stdouts=False)
        self.instrumentor = CeleryInstrumentor()
        trace.set_tracer_provider(TracerProvider())

    def start_producing(self):
        self.instrumentor.instrument()

    def send(self, _, topic, records):
        for headers in records:
            if not headers:
                self.instrumentor.uninstrument()
            token = context.attach(propagate.extract(headers))
            self.app.send_task("bill", queue=topic, headers={name: headers[name] for name in NAMES[1:] if headers})
            context.detach(token)
            if not headers:
                self.instrumentor.instrument()

    def work(self, manner, ready, handle):
        @self.app.task(name="bill", bind=True)
        def bill(task):
            arrived = {name: task.request.get(name) for name in NAMES}
            carried = {}
            propagate.inject(carried)
            topic = task.request.delivery_info["routing_key"]
            handle(topic, {name: value for name, value in arrived.items() if value}, carried)

        self.instrumentor.instrument(use_span_links=manner == "links")
        signals.worker_ready.connect(lambda **_: ready(), weak=False)
        self.app.Worker(pool="solo", queues=QUEUES, quiet=True, loglevel=logging.ERROR).start()
