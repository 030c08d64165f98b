"""Kafka. A kind is a codec: records of the topic orders-CODEC are compressed so."""

PROTOCOL = "kafka"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# What a mock broker gives every topic.
PARTITIONS = 4
# Long and dull enough to be compressed.
VALUE = b"an order of the shop, " * 20


def every(partition):
    return [partition(f"orders-{codec}", number) for codec in CODECS for number in range(PARTITIONS)]


def decoded(headers):
    return {name: value.decode() for name, value in headers or ()}
