"""Streams and channels: streams.py PORT PROTOCOL writes with trace context in fields or JSON, and reads in every way.

Prints `produced` or `fetched`, the key and traceparent of everything that is work; `?` where it cannot tell.
"""

import json
import sys

import redis

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
writer, reader = (redis.Redis(port=PORT, protocol=PROTOCOL, decode_responses=True) for _ in range(2))


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-0{number % 2}"


def tell(what: str, key: str, fields: dict) -> None:
    print(what, key, fields.get("traceparent", "-"), flush=True)


def add(client, number: int) -> None:
    fields = {"order": str(number), "authorization": "secret"}
    if number % 4:
        fields |= {"traceparent": trace(number), "x-tenant-id": "acme"}
    client.xadd("orders", fields, maxlen=1000)
    tell("produced", "orders", fields)


def read(reply) -> list:
    entries = [(key, at, fields) for key, part in dict(reply).items() for page in (part if PROTOCOL == 3 else [part]) for at, fields in page]
    for key, _, fields in entries:
        tell("fetched", key, fields)
    return [at for _, at, _ in entries]


def claimed(entries) -> None:
    for _, fields in entries:
        tell("fetched", "orders", fields)


writer.xgroup_create("orders", "billing", mkstream=True)
for number in range(1, 4):
    add(writer, number)
read(reader.xreadgroup("billing", "one", {"orders": ">"}, count=2))
ids = read(reader.xreadgroup("billing", "one", {"orders": ">"}, block=1000))
reader.xack("orders", "billing", *ids)
with writer.pipeline() as pipe:
    for number in range(4, 7):
        add(pipe, number)
    pipe.execute()
with writer.pipeline(transaction=False) as pipe:
    for number in range(7, 10):
        add(pipe, number)
    pipe.execute()
read(reader.xread({"orders": ids[-1], "none": "0"}, block=1000))
claimed(reader.xautoclaim("orders", "billing", "two", 0)[1])
claimed(reader.xclaim("orders", "billing", "three", 0, ids))
read(reader.xreadgroup("billing", "one", {"orders": ">"}, block=1000))
read(reader.xreadgroup("billing", "one", {"orders": ">"}, block=1))

listener = reader.pubsub()
listener.subscribe("news")
listener.psubscribe("al*")
for _ in range(2):
    listener.get_message(timeout=5)
for number, channel in [(21, "news"), (22, "alarms"), (23, "news")]:
    value = {"headers": {"traceparent": trace(number), "authorization": "secret", "x-tenant-id": "acme"}, "text": "\u00e9 \\u00e9"}
    writer.publish(channel, json.dumps(value))
    tell("produced", channel, value["headers"])
    heard = listener.get_message(timeout=5)
    tell("fetched", heard["channel"], json.loads(heard["data"])["headers"])
writer.publish("news", "no envelope")
heard = listener.get_message(timeout=5)
print("fetched", heard["channel"], "?", flush=True)
listener.unsubscribe()
listener.punsubscribe()
for _ in range(2):
    listener.get_message(timeout=5)

writer.set("page:1", "x" * 300)
writer.lpush("recent", "a", "b", "c")
reader.get("page:1")
reader.lpop("recent")
reader.lpop("recent", 2)
writer.rpush("jobs", "7")
print("fetched", reader.blpop(["other", "jobs"], timeout=1)[0], "?", flush=True)
