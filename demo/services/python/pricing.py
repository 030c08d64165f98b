"""pricing: asks for the discounts in a thread of its own, as libraries with a thread pool do.

Fault that can be planted: `pricing-restarts` (the thread does not get the context of the request, so its client starts a
new trace).
"""

import concurrent.futures
import contextvars
import os

import fastapi
import httpx
import uvicorn
from opentelemetry import baggage, context
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

import telemetry
import truth

telemetry.set_up()
HTTPXClientInstrumentor().instrument()
app = fastapi.FastAPI()
FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz", exclude_spans=["send", "receive"])
client = httpx.Client(transport=truth.LoggedTransport(), trust_env=False)
threads = concurrent.futures.ThreadPoolExecutor(24)


def ask():
    return client.get(os.environ["URL_DISCOUNTS"] + "/discounts", headers=truth.forwarded()).status_code


def ask_without_context(tenant, inbound, carried):
    """The thread knows whom it works for, baggage included, but not the span: what the fault is about."""
    telemetry.tenant.set(tenant)
    truth.inbound.set(inbound)
    fresh = context.Context()
    for key, value in carried.items():
        fresh = baggage.set_baggage(key, value, fresh)
    token = context.attach(fresh)
    try:
        return ask()
    finally:
        context.detach(token)


@app.get("/healthz")
def healthz():
    return "ok"


@app.post("/price")
def price():
    if telemetry.has_fault("pricing-restarts"):
        work = threads.submit(ask_without_context, telemetry.tenant.get(), truth.inbound.get(), baggage.get_all())
    else:
        work = threads.submit(contextvars.copy_context().run, ask)
    work.result()
    return {"price": 100}


truth.end_with_parent()
host, port = os.environ["LISTEN"].rsplit(":", 1)
uvicorn.run(truth.asgi(app), host=host.strip("[]"), port=int(port), log_level="warning", access_log=False)
