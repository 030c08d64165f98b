"""Publishes messages and receives them again with nats-py: client.py PORT

Prints `produced` or `fetched`, the subject and the traceparent of every message once it was flushed, acknowledged or received; `-`
for none. What goes through inboxes, JetStream's own requests and a key-value store is not printed.
"""

import asyncio
import sys

import nats


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-0{number % 2}"


def headers(number: int) -> dict | None:
    """Of every fourth message there are none."""
    if number % 4 == 0:
        return None
    return {"authorization": "secret", "traceparent": trace(number), "x-tenant-id": "acme"}


def body(number: int) -> bytes:
    """One body is long, one is empty, one holds lines of the protocol."""
    if number == 2:
        return b"MSG orders.new 1 5\r\nnever\r\n" * 3
    return (f"value {number} " * (800 if number == 1 else 0 if number == 3 else 5)).encode()


def tell(what: str, subject: str, found) -> None:
    print(what, subject, (found or {}).get("traceparent", "-"), flush=True)


async def main(port: str) -> None:
    publishing, consuming = [await nats.connect(f"nats://127.0.0.1:{port}") for _ in range(2)]

    received = asyncio.Queue()
    await consuming.subscribe("orders.*", queue="billing", cb=received.put)
    await consuming.flush()
    for number in range(1, 5):
        await publishing.publish("orders.new", body(number), headers=headers(number))
    await publishing.flush()
    for number in range(1, 5):
        tell("produced", "orders.new", headers(number))
        message = await received.get()
        tell("fetched", message.subject, message.headers)

    async def answer(message) -> None:
        tell("fetched", message.subject, message.headers)
        await publishing.publish(message.reply, b"answer", headers={"traceparent": trace(99)})

    await consuming.subscribe("stock.check", cb=answer)
    await consuming.flush()
    for number in range(5, 7):
        await publishing.request("stock.check", b"request", headers=headers(number), timeout=5)
        tell("produced", "stock.check", headers(number))
    try:
        await publishing.request("nobody.listens", b"request", headers=headers(7), timeout=5)
    except nats.errors.NoRespondersError:
        tell("produced", "nobody.listens", headers(7))

    stream = publishing.jetstream()
    await stream.add_stream(name="jobs", subjects=["jobs.>"], storage="memory")
    for number in range(9, 13):
        await stream.publish("jobs.mail", body(number), headers=headers(number))
        tell("produced", "jobs.mail", headers(number))
    consumer = await consuming.jetstream().pull_subscribe("jobs.>", "worker")
    for message in await consumer.fetch(4, timeout=5):
        tell("fetched", message.subject, message.headers)
        await message.ack()
    try:
        await consumer.fetch(1, timeout=0.2)
    except nats.errors.TimeoutError:
        pass
    store = await stream.create_key_value(bucket="settings", storage="memory")
    await store.put("color", b"blue")
    await store.get("color")
    await stream.delete_key_value("settings")
    await stream.delete_stream("jobs")
    await consuming.close()
    await publishing.close()


asyncio.run(main(sys.argv[1]))
