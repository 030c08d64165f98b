"""A service of the laboratory with a task for each request: FastAPI behind uvicorn, httpx or aiohttp in the same event loop.

MANNER says, comma by comma, how it treats the context of a request; with none of these it is sound:

    task              calls in a task of its own, which takes the request's context along
    task-forgets      the same, in a context of nobody
    bare-client       the client is not instrumented
    streams           answers with a stream that goes on while it calls
    queue             hands the work to a worker that waits for it, which knows nothing of the request
"""

import asyncio
import contextvars
import itertools
import os
import time

import fastapi
import httpx
import uvicorn
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import truth

MANNER = set(filter(None, os.environ["MANNER"].split(",")))
PEERS = list(filter(None, os.environ["CALLS"].split(",")))

trace.set_tracer_provider(TracerProvider(sampler=ParentBased(root=TraceIdRatioBased(0.5))))
if "bare-client" not in MANNER:
    HTTPXClientInstrumentor().instrument()


class LoggedTransport(httpx.AsyncHTTPTransport):
    """Writes down what passes; instrumentation wraps `handle_async_request` itself, so the headers are read after."""

    async def handle_async_request(self, request):
        at_ns = time.time_ns()
        response = await super().handle_async_request(request)
        truth.sent(at_ns, request, response.status_code)
        return response


limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
# In turn: a client looks through all its connections at each request.
clients = itertools.cycle(
    [httpx.AsyncClient(transport=LoggedTransport(limits=limits), trust_env=False, timeout=30) for _ in range(16)]
)
app = fastapi.FastAPI()
FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz", exclude_spans=["send", "receive"])
waiting = asyncio.Queue()


async def call_everybody():
    for peer in PEERS:
        await next(clients).get(os.environ[f"URL_{peer.upper()}"] + "/work", headers=truth.forwarded())


async def knowing(inbound):
    """The task knows what it works for, and the SDK does not."""
    truth.inbound.set(inbound)
    await call_everybody()


async def take_work():
    while True:
        inbound, done = await waiting.get()
        await knowing(inbound)
        done.set()


@app.get("/healthz")
async def healthz():
    return "ok"


@app.get("/work")
async def work():
    if "task-forgets" in MANNER:
        await asyncio.create_task(knowing(truth.inbound.get()), context=contextvars.Context())
    elif "task" in MANNER:
        await asyncio.create_task(call_everybody())
    elif "queue" in MANNER:
        done = asyncio.Event()
        await waiting.put((truth.inbound.get(), done))
        await done.wait()
    elif "streams" in MANNER:

        async def lines():
            yield "begun\n"
            await call_everybody()
            yield "done\n"

        return StreamingResponse(lines())
    else:
        await call_everybody()
    return "done"


async def serve():
    if "queue" in MANNER:
        for _ in range(200):
            asyncio.create_task(take_work(), context=contextvars.Context())
    host, port = os.environ["LISTEN"].rsplit(":", 1)
    await uvicorn.Server(uvicorn.Config(truth.asgi(app), host=host, port=int(port), log_level="warning", access_log=False)).serve()


truth.end_with_parent()
asyncio.run(serve())
