"""Produces records with each codec in Produce 13 and fetches them again in Fetch 18: newest.py PORT TOPIC CODEC...

Both name topics by their ids, and no client at hand speaks them: what is sent and received is encoded and decoded by kafka-python's
own classes. Prints what client.py prints.
"""

import socket
import sys
import time

from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse
from kafka.protocol.producer import ProduceRequest, ProduceResponse
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from shop import EACH, PARTITIONS, records, tell

PORT, TOPIC, CODECS = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
NUMBERS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class Connection:
    def __init__(self, client_id: str):
        self.client_id, self.correlation = client_id, 0
        self.stream = socket.create_connection(("127.0.0.1", PORT)).makefile("rwb")
        self.ask(ApiVersionsRequest(client_software_name="newest", client_software_version="1"), ApiVersionsResponse, 4)
        topics = [MetadataRequest.MetadataRequestTopic(name=TOPIC)]
        metadata = self.ask(
            MetadataRequest(topics=topics, allow_auto_topic_creation=False, include_topic_authorized_operations=False), MetadataResponse, 13)
        self.topic_id = metadata.topics[0].topic_id

    def ask(self, request, response, version: int):
        self.correlation += 1
        request.API_VERSION = version
        request.with_header(correlation_id=self.correlation, client_id=self.client_id)
        self.stream.write(request.encode(header=True, framed=True))
        self.stream.flush()
        answer = self.stream.read(int.from_bytes(self.stream.read(4), "big"))
        return response.decode(answer, version=version, header=True)


def produce() -> None:
    connection, Topic = Connection("orders"), ProduceRequest.TopicProduceData
    for number, codec in enumerate(CODECS):
        batches = [MemoryRecordsBuilder(2, NUMBERS[codec], 1 << 16) for _ in range(PARTITIONS)]
        for partition, value, headers in records(number):
            batches[partition].append(int(time.time() * 1000), None, value, headers)
        for batch in batches:
            batch.close()
        data = [Topic.PartitionProduceData(index=index, records=batch.buffer()) for index, batch in enumerate(batches)]
        request = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[Topic(topic_id=connection.topic_id, partition_data=data)])
        answer = connection.ask(request, ProduceResponse, 13)
        assert all(one.error_code == 0 for topic in answer.responses for one in topic.partition_responses)
        for partition, _, headers in records(number):
            tell("produced", TOPIC, partition, headers)


def fetch() -> None:
    connection, Topic = Connection("billing"), FetchRequest.FetchTopic
    offsets = [0] * PARTITIONS
    while sum(offsets) < EACH * len(CODECS):
        partitions = [
            Topic.FetchPartition(
                partition=index, current_leader_epoch=-1, fetch_offset=offset, last_fetched_epoch=-1, log_start_offset=-1,
                partition_max_bytes=1 << 20, high_watermark=offset)
            for index, offset in enumerate(offsets)]
        request = FetchRequest(
            max_wait_ms=500, min_bytes=1, max_bytes=1 << 20, isolation_level=0, session_id=0, session_epoch=-1,
            topics=[Topic(topic_id=connection.topic_id, partitions=partitions)], forgotten_topics_data=[], rack_id="")
        for topic in connection.ask(request, FetchResponse, 18).responses:
            for one in topic.partitions:
                for record in (record for batch in MemoryRecords(bytes(one.records)) for record in batch):
                    if record.offset >= offsets[one.partition_index]:
                        tell("fetched", TOPIC, one.partition_index, record.headers)
                        offsets[one.partition_index] = record.offset + 1


produce()
fetch()
