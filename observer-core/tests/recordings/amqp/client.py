"""Publishes messages and consumes them again: client.py LIBRARY PORT

LIBRARY is pika, opentelemetry (pika with its instrumentation), aio-pika or kombu. Prints `produced` or `fetched`, what the message is
addressed to and the traceparent of every message once the library says so; `-` for none. Answers to requests are not printed.
"""

import asyncio
import datetime
import decimal
import sys

LIBRARY, PORT = sys.argv[1:]
URL = f"amqp://guest:guest@127.0.0.1:{PORT}/"
# Exchange, queue, and what a message is addressed to.
ROUTES = [("", f"{LIBRARY}.jobs", f"{LIBRARY}.jobs"), (f"{LIBRARY}.shop", f"{LIBRARY}.orders", f"{LIBRARY}.shop")]
TRACES = 4


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-0{number % 2}"


def headers(number: int) -> dict:
    """Of the last message of a route there are none."""
    if number % TRACES == 0:
        return {}
    return {
        "count": number, "large": 1 << 40, "share": decimal.Decimal("0.5") if LIBRARY in ("pika", "opentelemetry") else 0.5, "ok": True, "none": None, "at": datetime.datetime(2026, 1, 1),
        "nested": {"traceparent": "never sent", "list": [1, "two", {"x-tenant-id": "nobody"}]},
        "authorization": "secret", "traceparent": trace(number), "x-tenant-id": "acme",
    }


def body(number: int) -> bytes:
    """One body takes several frames, one is empty."""
    return (f"value {number} " * (800 if number == 2 else 0 if number == 3 else 5)).encode()


def tell(what: str, topic: str, found) -> None:
    value = (found or {}).get("traceparent", "-")
    print(what, topic, value if isinstance(value, str) else value.decode(), flush=True)


def pika_client(wrap=None) -> None:
    import pika

    parameters = pika.URLParameters(URL + "?frame_max=4096")
    publishing = pika.BlockingConnection(parameters)
    channel = publishing.channel()
    sent = 0
    for exchange, queue, topic in ROUTES:
        channel.queue_declare(queue, auto_delete=not wrap)
        if exchange:
            channel.exchange_declare(exchange, auto_delete=True)
            channel.queue_bind(queue, exchange, routing_key=queue)
    channel.confirm_delivery()
    if wrap:
        wrap(channel)
    for exchange, queue, topic in ROUTES:
        for _ in range(TRACES):
            sent += 1
            properties = pika.BasicProperties(content_type="text/plain", headers=headers(sent) or None, delivery_mode=1, message_id=str(sent))
            channel.basic_publish(exchange, queue, body(sent), properties)
            tell("produced", topic, properties.headers)
    if not wrap:
        try:
            channel.basic_publish(ROUTES[1][0], "nowhere", b"comes back", pika.BasicProperties(headers=headers(1)), mandatory=True)
        except pika.exceptions.UnroutableError:
            tell("produced", ROUTES[1][0], headers(1))

    consuming = pika.BlockingConnection(parameters)
    channel = consuming.channel()
    exchange, queue, topic = ROUTES[0]
    for _ in range(TRACES):
        method, properties, _ = channel.basic_get(queue)
        tell("fetched", topic, properties.headers)
        channel.basic_ack(method.delivery_tag)
    exchange, queue, topic = ROUTES[1]
    for number, (method, properties, _) in enumerate(channel.consume(queue)):
        tell("fetched", topic, properties.headers)
        channel.basic_ack(method.delivery_tag)
        if number + 1 == TRACES:
            break
    channel.cancel()
    if not wrap:
        pika_request(publishing.channel(), channel)
    publishing.close()
    consuming.close()


def pika_request(client, server) -> None:
    """A request whose answer comes to amq.rabbitmq.reply-to, and one whose answer comes to a queue of the broker's name."""
    import pika

    server.queue_declare("rpc", auto_delete=True)

    def answer(channel, method, properties, _):
        tell("fetched", "rpc", properties.headers)
        channel.basic_publish("", properties.reply_to, b"answer", pika.BasicProperties(headers={"traceparent": trace(99)}))

    server.basic_consume("rpc", answer, auto_ack=True)
    answers = []
    named = client.queue_declare("", exclusive=True).method.queue
    for reply_to in ["amq.rabbitmq.reply-to", named]:
        client.basic_consume(reply_to, lambda *_: answers.append(reply_to), auto_ack=True)
        client.basic_publish("", "rpc", b"request", pika.BasicProperties(headers={"traceparent": trace(98), "x-tenant-id": "acme"}, reply_to=reply_to))
        tell("produced", "rpc", {"traceparent": trace(98)})
    while len(answers) < 2:
        server.connection.process_data_events(0.1)
        client.connection.process_data_events(0.1)


def opentelemetry() -> None:
    """The instrumentation adds the context itself; the trace ids are those of its spans."""
    from opentelemetry import trace as api
    from opentelemetry.instrumentation.pika import PikaInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    api.set_tracer_provider(provider)
    pika_client(lambda channel: PikaInstrumentor.instrument_channel(channel, tracer_provider=provider))


async def aio() -> None:
    import aio_pika

    publishing, consuming = await aio_pika.connect(URL), await aio_pika.connect(URL)
    channel, other = await publishing.channel(), await consuming.channel()
    sent = 0
    for exchange, queue, topic in ROUTES:
        declared = await other.declare_queue(queue, auto_delete=True)
        target = channel.default_exchange
        if exchange:
            await other.declare_exchange(exchange, auto_delete=True)
            await declared.bind(exchange, queue)
            target = await channel.get_exchange(exchange)
        for _ in range(TRACES):
            sent += 1
            await target.publish(aio_pika.Message(body(sent), headers=headers(sent), correlation_id="1", priority=1), queue)
            tell("produced", topic, headers(sent))
        async with declared.iterator() as messages:
            for number in range(TRACES):
                message = await anext(messages)
                tell("fetched", topic, message.headers)
                await message.ack()
    await publishing.close()
    await consuming.close()


def kombu_client() -> None:
    import kombu

    sent = 0
    with kombu.Connection(URL) as publishing, kombu.Connection(URL) as consuming:
        producer = kombu.Producer(publishing)
        for exchange, queue, topic in ROUTES:
            source = kombu.Exchange(exchange, durable=True) if exchange else kombu.Exchange("")
            bound = kombu.Queue(queue, source, routing_key=queue, channel=consuming, auto_delete=True)
            bound.declare()
            for _ in range(TRACES):
                sent += 1
                producer.publish({"number": sent}, exchange=source, routing_key=queue, headers=headers(sent), serializer="json")
                tell("produced", topic, headers(sent))
            seen = []

            def take(_, message):
                tell("fetched", topic, message.headers)
                message.ack()
                seen.append(message)

            with kombu.Consumer(consuming, bound, callbacks=[take], accept=["json"]):
                while len(seen) < TRACES:
                    consuming.drain_events(timeout=5)


match LIBRARY:
    case "pika":
        pika_client()
    case "opentelemetry":
        opentelemetry()
    case "aio-pika":
        asyncio.run(aio())
    case "kombu":
        kombu_client()
    case other:
        raise SystemExit(f"no library {other}")
