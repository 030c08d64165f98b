"""What the clients in Python produce, and how they log it."""

PARTITIONS = 2
EACH = 4


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-0{number % 2}"


def records(turn: int):
    """Partition, value and headers of what is produced at one turn: the last one has no headers."""
    for place in range(EACH):
        number = turn * 10 + place + 1
        headers = [("traceparent", trace(number).encode()), ("authorization", b"secret"), ("x-tenant-id", b"acme")]
        yield place % PARTITIONS, (f"value {number} " * 8).encode(), headers if place < EACH - 1 else []


def tell(what: str, topic: str, partition: int, headers) -> None:
    named = {name: value for name, value in headers or []}
    print(what, topic, partition, named.get("traceparent", b"-").decode(), flush=True)
