//! The fields of the messages that are read, as data: of each its kind and the versions that have it. Source: the message
//! definitions of Apache Kafka 4.1 (clients/src/main/resources/common/message). Tagged fields end every structure of a flexible
//! version and are not listed.

use super::api::Api;

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    since: i16,
    until: i16,
    pub(super) kind: Kind,
}

/// What a field holds, as far as anybody needs it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes that nobody needs.
    Fixed(u8),
    /// A text that nobody needs.
    Text,
    /// Numbers of so many bytes that nobody needs.
    Numbers(u8),
    /// Structures.
    Structures(&'static [Field]),
    /// The name of a topic.
    Topic,
    /// The id of a topic (KIP-516).
    TopicId,
    /// The number of a partition.
    Partition,
    /// The offset of the first record that a consumer asks for.
    Offset,
    /// The broker that fetches; negative where a consumer does.
    Replica,
    /// The producer of an aborted transaction.
    Producer,
    /// The offset of the first record of an aborted transaction.
    FirstOffset,
    /// Record batches.
    Records,
}

/// A message.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) fields: &'static [Field],
    /// Its versions: since record batch v2 (KIP-98).
    since: i16,
    until: i16,
}

impl Field {
    pub(super) fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

impl Schema {
    /// The message with which `api` asks, if it is read.
    pub(super) fn of_request(api: Api) -> Option<&'static Self> {
        match api.key {
            Api::PRODUCE => Some(&PRODUCE_REQUEST),
            Api::FETCH => Some(&FETCH_REQUEST),
            _ => None,
        }
    }

    /// The message that answers `api`, if it is read.
    pub(super) fn of_response(api: Api) -> Option<&'static Self> {
        match api.key {
            Api::FETCH => Some(&FETCH_RESPONSE),
            // Older ones hold no ids.
            Api::METADATA if api.version >= METADATA_RESPONSE.since => Some(&METADATA_RESPONSE),
            _ => None,
        }
    }

    /// Whether the version is older than those that are read.
    pub(super) fn is_before(&self, version: i16) -> bool {
        version < self.since
    }

    /// Whether the version is one of those that are read.
    pub(super) fn has(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

const fn since(since: i16, kind: Kind) -> Field {
    Field { since, until: i16::MAX, kind }
}

const fn until(until: i16, kind: Kind) -> Field {
    Field { since: 0, until, kind }
}

const fn always(kind: Kind) -> Field {
    since(0, kind)
}

const PRODUCE_REQUEST: Schema = Schema {
    since: 3,
    until: 13,
    fields: &[
        always(Kind::Text),     // TransactionalId
        always(Kind::Fixed(2)), // Acks
        always(Kind::Fixed(4)), // TimeoutMs
        always(Kind::Structures(&[
            until(12, Kind::Topic),
            since(13, Kind::TopicId),
            always(Kind::Structures(&[always(Kind::Partition), always(Kind::Records)])),
        ])),
    ],
};

const FETCH_REQUEST: Schema = Schema {
    since: 4,
    until: 18,
    fields: &[
        until(14, Kind::Replica),
        always(Kind::Fixed(4)),   // MaxWaitMs
        always(Kind::Fixed(4)),   // MinBytes
        always(Kind::Fixed(4)),   // MaxBytes
        always(Kind::Fixed(1)),   // IsolationLevel
        since(7, Kind::Fixed(4)), // SessionId
        since(7, Kind::Fixed(4)), // SessionEpoch
        always(Kind::Structures(&[
            until(12, Kind::Topic),
            since(13, Kind::TopicId),
            always(Kind::Structures(&[
                always(Kind::Partition),
                since(9, Kind::Fixed(4)), // CurrentLeaderEpoch
                always(Kind::Offset),
                since(12, Kind::Fixed(4)), // LastFetchedEpoch
                since(5, Kind::Fixed(8)),  // LogStartOffset
                always(Kind::Fixed(4)),    // PartitionMaxBytes
            ])),
        ])),
        // ForgottenTopicsData
        since(
            7,
            Kind::Structures(&[
                until(12, Kind::Text),
                since(13, Kind::Fixed(16)),
                always(Kind::Numbers(4)), // Partitions
            ]),
        ),
        since(11, Kind::Text), // RackId
    ],
};

const FETCH_RESPONSE: Schema = Schema {
    since: 4,
    until: 18,
    fields: &[
        always(Kind::Fixed(4)),   // ThrottleTimeMs
        since(7, Kind::Fixed(2)), // ErrorCode
        since(7, Kind::Fixed(4)), // SessionId
        always(Kind::Structures(&[
            until(12, Kind::Topic),
            since(13, Kind::TopicId),
            always(Kind::Structures(&[
                always(Kind::Partition),
                always(Kind::Fixed(2)),   // ErrorCode
                always(Kind::Fixed(8)),   // HighWatermark
                always(Kind::Fixed(8)),   // LastStableOffset
                since(5, Kind::Fixed(8)), // LogStartOffset
                // AbortedTransactions
                always(Kind::Structures(&[always(Kind::Producer), always(Kind::FirstOffset)])),
                since(11, Kind::Fixed(4)), // PreferredReadReplica
                always(Kind::Records),
            ])),
        ])),
    ],
};

const METADATA_RESPONSE: Schema = Schema {
    since: 10,
    until: 13,
    fields: &[
        always(Kind::Fixed(4)), // ThrottleTimeMs
        // Brokers: NodeId, Host, Port, Rack
        always(Kind::Structures(&[
            always(Kind::Fixed(4)),
            always(Kind::Text),
            always(Kind::Fixed(4)),
            always(Kind::Text),
        ])),
        always(Kind::Text),     // ClusterId
        always(Kind::Fixed(4)), // ControllerId
        always(Kind::Structures(&[
            always(Kind::Fixed(2)), // ErrorCode
            always(Kind::Topic),
            always(Kind::TopicId),
            always(Kind::Fixed(1)), // IsInternal
            // Partitions
            always(Kind::Structures(&[
                always(Kind::Fixed(2)),   // ErrorCode
                always(Kind::Fixed(4)),   // PartitionIndex
                always(Kind::Fixed(4)),   // LeaderId
                always(Kind::Fixed(4)),   // LeaderEpoch
                always(Kind::Numbers(4)), // ReplicaNodes
                always(Kind::Numbers(4)), // IsrNodes
                always(Kind::Numbers(4)), // OfflineReplicas
            ])),
            always(Kind::Fixed(4)), // TopicAuthorizedOperations
        ])),
        until(10, Kind::Fixed(4)), // ClusterAuthorizedOperations
        since(13, Kind::Fixed(2)), // ErrorCode
    ],
};
