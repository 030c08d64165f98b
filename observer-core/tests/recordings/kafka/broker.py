"""A broker of one process that keeps what it is sent: broker.py PORT ADVERTISED_PORT TOPIC...

It speaks the newest versions of what producers and consumers without groups ask for, which the brokers at hand do not: Produce 13, Fetch
18, and transactions with the list of those that were aborted. All encoding is kafka-python's, made from Apache Kafka's own definitions.
"""

import asyncio
import struct
import sys
import time
import uuid

from kafka.protocol.consumer import FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.metadata import (
    ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse)
from kafka.protocol.producer import (
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse,
    ProduceRequest, ProduceResponse)
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

PORT, ADVERTISED, TOPICS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
HOST, NODE, PARTITIONS = "127.0.0.1", 1, 2
IDS = {topic: uuid.uuid5(uuid.NAMESPACE_URL, topic) for topic in TOPICS}
NAMES = {topic_id: topic for topic, topic_id in IDS.items()}
# Of newer versions of these two the requests are for brokers, or have producers leave requests out.
NEWEST = {AddPartitionsToTxnRequest: 3, EndTxnRequest: 4, InitProducerIdRequest: 4}
EARLIEST = -2


class Log:
    """The batches of one partition."""

    def __init__(self):
        self.batches: list[tuple[int, int, bytes]] = []  # first offset, offset behind the last one, bytes
        self.end = 0
        self.open: dict[int, int] = {}  # first offset of its transaction, by producer
        self.aborted: list[tuple[int, int, int]] = []  # producer, first offset, offset of the end

    def append(self, data: bytes) -> int:
        first = self.end
        for batch in MemoryRecords(data):
            size, span = batch.size_in_bytes, batch.last_offset_delta + 1
            if batch.is_transactional and not batch.is_control_batch:
                self.open.setdefault(batch.producer_id, self.end)
            # The offset and the leader's epoch are the broker's to say: the checksum leaves both out.
            self.batches.append((self.end, self.end + span, struct.pack(">q", self.end) + data[8:12] + struct.pack(">i", 0) + data[16:size]))
            self.end += span
            data = data[size:]
        return first

    def finish(self, producer: int, epoch: int, commits: bool) -> None:
        if producer not in self.open:
            return
        first = self.open.pop(producer)
        if not commits:
            self.aborted.append((producer, first, self.end))
        builder = MemoryRecordsBuilder(2, 0, 1000, transactional=True, producer_id=producer, producer_epoch=epoch, base_sequence=0)
        builder.append(int(time.time() * 1000), struct.pack(">hh", 0, int(commits)), struct.pack(">hi", 0, 0))
        builder.close()
        batch = bytearray(builder.buffer())
        batch[22] |= 0x20
        batch[53:57] = struct.pack(">i", -1)
        batch[17:21] = struct.pack(">I", calc_crc32c(memoryview(batch)[21:]))
        self.append(bytes(batch))

    def stable(self) -> int:
        return min(self.open.values(), default=self.end)


LOGS = {(topic, partition): Log() for topic in TOPICS for partition in range(PARTITIONS)}
producers = 0


def api_versions(request, version):
    Key = ApiVersionsResponse.ApiVersion
    least = {api: int(api.json["validVersions"].split("-")[0]) for api in HANDLERS}
    keys = [Key(api_key=api.API_KEY, min_version=least[api], max_version=NEWEST.get(api, api.max_version)) for api in HANDLERS]
    return ApiVersionsResponse(error_code=0, api_keys=keys, throttle_time_ms=0)


def metadata(request, version):
    asked = [topic.name or NAMES[topic.topic_id] for topic in request.topics or []] or TOPICS
    Topic, Broker = MetadataResponse.MetadataResponseTopic, MetadataResponse.MetadataResponseBroker
    partitions = [
        Topic.MetadataResponsePartition(
            error_code=0, partition_index=partition, leader_id=NODE, leader_epoch=0, replica_nodes=[NODE], isr_nodes=[NODE], offline_replicas=[])
        for partition in range(PARTITIONS)]
    topics = [Topic(error_code=0, name=topic, topic_id=IDS[topic], is_internal=False, partitions=partitions) for topic in asked]
    return MetadataResponse(
        throttle_time_ms=0, brokers=[Broker(node_id=NODE, host=HOST, port=ADVERTISED, rack=None)], cluster_id="one", controller_id=NODE,
        topics=topics, error_code=0)


def find_coordinator(request, version):
    place = {"node_id": NODE, "host": HOST, "port": ADVERTISED, "error_code": 0, "error_message": None}
    if version < 4:
        return FindCoordinatorResponse(throttle_time_ms=0, **place)
    return FindCoordinatorResponse(
        throttle_time_ms=0, coordinators=[FindCoordinatorResponse.Coordinator(key=key, **place) for key in request.coordinator_keys])


def init_producer_id(request, version):
    global producers
    producers += 1
    return InitProducerIdResponse(throttle_time_ms=0, error_code=0, producer_id=1000 + producers, producer_epoch=0)


def add_partitions(request, version):
    Topic = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
    topics = [
        Topic(name=topic.name, results_by_partition=[
            Topic.AddPartitionsToTxnPartitionResult(partition_index=partition, partition_error_code=0) for partition in topic.partitions])
        for topic in request.v3_and_below_topics]
    return AddPartitionsToTxnResponse(throttle_time_ms=0, results_by_topic_v3_and_below=topics)


def end_transaction(request, version):
    for log in LOGS.values():
        log.finish(request.producer_id, request.producer_epoch, request.committed)
    return EndTxnResponse(throttle_time_ms=0, error_code=0)


def produce(request, version):
    Topic = ProduceResponse.TopicProduceResponse
    topics = []
    for topic in request.topic_data:
        name = NAMES[topic.topic_id] if version >= 13 else topic.name
        partitions = [
            Topic.PartitionProduceResponse(
                index=one.index, error_code=0, base_offset=LOGS[name, one.index].append(bytes(one.records)), log_append_time_ms=-1,
                log_start_offset=0, record_errors=[], error_message=None)
            for one in topic.partition_data]
        topics.append(Topic(name=name, topic_id=IDS[name], partition_responses=partitions))
    return ProduceResponse(responses=topics, throttle_time_ms=0)


def list_offsets(request, version):
    Topic = ListOffsetsResponse.ListOffsetsTopicResponse
    topics = [
        Topic(name=topic.name, partitions=[
            Topic.ListOffsetsPartitionResponse(
                partition_index=one.partition_index, error_code=0, timestamp=-1, leader_epoch=0,
                offset=0 if one.timestamp == EARLIEST else LOGS[topic.name, one.partition_index].end)
            for one in topic.partitions])
        for topic in request.topics]
    return ListOffsetsResponse(throttle_time_ms=0, topics=topics)


def fetch(request, version):
    Topic = FetchResponse.FetchableTopicResponse
    Partition = Topic.PartitionData
    topics = []
    for topic in request.topics:
        name = NAMES[topic.topic_id] if version >= 13 else topic.topic
        partitions = []
        for one in topic.partitions:
            log = LOGS[name, one.partition]
            committed = request.isolation_level == 1
            end = log.stable() if committed else log.end
            batches = [batch for _, behind, batch in log.batches if one.fetch_offset < behind <= end]
            aborted = [
                Partition.AbortedTransaction(producer_id=producer, first_offset=first)
                for producer, first, last in log.aborted if last >= one.fetch_offset]
            partitions.append(Partition(
                partition_index=one.partition, error_code=0, high_watermark=log.end, last_stable_offset=log.stable(), log_start_offset=0,
                aborted_transactions=aborted if committed else None, preferred_read_replica=-1, records=b"".join(batches)))
        topics.append(Topic(topic=name, topic_id=IDS[name], partitions=partitions))
    return FetchResponse(throttle_time_ms=0, error_code=0, session_id=0, responses=topics)


HANDLERS = {
    ApiVersionsRequest: api_versions, MetadataRequest: metadata, FindCoordinatorRequest: find_coordinator,
    InitProducerIdRequest: init_producer_id, AddPartitionsToTxnRequest: add_partitions, EndTxnRequest: end_transaction,
    ProduceRequest: produce, ListOffsetsRequest: list_offsets, FetchRequest: fetch}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    apis = {api.API_KEY: api for api in HANDLERS}
    try:
        while True:
            frame = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
            key, version, correlation = struct.unpack(">hhi", frame[:8])
            request = apis[key].decode(frame, version=version, header=True)
            response = HANDLERS[apis[key]](request, version)
            if key == FetchRequest.API_KEY and not any(one.records for topic in response.responses for one in topic.partitions):
                await asyncio.sleep(0.1)
            response.API_VERSION = version
            response.with_header(correlation_id=correlation)
            writer.write(response.encode(header=True, framed=True))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    async with await asyncio.start_server(serve, HOST, PORT) as server:
        print(PORT, flush=True)
        await server.serve_forever()


asyncio.run(main())
