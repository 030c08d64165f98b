//! The requests of Kafka: which there are, and which of their versions are encoded how. Source: the message definitions of
//! Apache Kafka 4.1 (clients/src/main/resources/common/message).

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) version: i16,
}

/// No version of it is flexible.
const NEVER: i16 = i16::MAX;
/// Versions that may come after the newest one known here; what they change is not known, that they are Kafka is.
const FUTURE_VERSIONS: i16 = 2;

/// By api key: the newest version, and the first flexible one (KIP-482: compact lengths, tagged fields, longer headers).
const APIS: [(i16, i16); 93] = [
    (13, 9),    // Produce
    (18, 12),   // Fetch
    (11, 6),    // ListOffsets
    (13, 9),    // Metadata
    (7, 4),     // LeaderAndIsr
    (5, 2),     // StopReplica
    (8, 6),     // UpdateMetadata
    (3, 3),     // ControlledShutdown
    (10, 8),    // OffsetCommit
    (10, 6),    // OffsetFetch
    (6, 3),     // FindCoordinator
    (9, 6),     // JoinGroup
    (4, 4),     // Heartbeat
    (5, 4),     // LeaveGroup
    (5, 4),     // SyncGroup
    (6, 5),     // DescribeGroups
    (5, 3),     // ListGroups
    (1, NEVER), // SaslHandshake
    (4, 3),     // ApiVersions
    (7, 5),     // CreateTopics
    (6, 4),     // DeleteTopics
    (2, 2),     // DeleteRecords
    (6, 2),     // InitProducerId
    (4, 4),     // OffsetForLeaderEpoch
    (5, 3),     // AddPartitionsToTxn
    (4, 3),     // AddOffsetsToTxn
    (5, 3),     // EndTxn
    (2, 1),     // WriteTxnMarkers
    (5, 3),     // TxnOffsetCommit
    (3, 2),     // DescribeAcls
    (3, 2),     // CreateAcls
    (3, 2),     // DeleteAcls
    (4, 4),     // DescribeConfigs
    (2, 2),     // AlterConfigs
    (2, 2),     // AlterReplicaLogDirs
    (5, 2),     // DescribeLogDirs
    (2, 2),     // SaslAuthenticate
    (3, 2),     // CreatePartitions
    (3, 2),     // CreateDelegationToken
    (2, 2),     // RenewDelegationToken
    (2, 2),     // ExpireDelegationToken
    (3, 2),     // DescribeDelegationToken
    (2, 2),     // DeleteGroups
    (2, 2),     // ElectLeaders
    (1, 1),     // IncrementalAlterConfigs
    (1, 0),     // AlterPartitionReassignments
    (0, 0),     // ListPartitionReassignments
    (0, NEVER), // OffsetDelete
    (1, 1),     // DescribeClientQuotas
    (1, 1),     // AlterClientQuotas
    (0, 0),     // DescribeUserScramCredentials
    (0, 0),     // AlterUserScramCredentials
    (2, 0),     // Vote
    (1, 1),     // BeginQuorumEpoch
    (1, 1),     // EndQuorumEpoch
    (2, 0),     // DescribeQuorum
    (3, 0),     // AlterPartition
    (2, 0),     // UpdateFeatures
    (0, 0),     // Envelope
    (1, 0),     // FetchSnapshot
    (2, 0),     // DescribeCluster
    (0, 0),     // DescribeProducers
    (4, 0),     // BrokerRegistration
    (1, 0),     // BrokerHeartbeat
    (0, 0),     // UnregisterBroker
    (0, 0),     // DescribeTransactions
    (2, 0),     // ListTransactions
    (0, 0),     // AllocateProducerIds
    (1, 0),     // ConsumerGroupHeartbeat
    (1, 0),     // ConsumerGroupDescribe
    (0, 0),     // ControllerRegistration
    (0, 0),     // GetTelemetrySubscriptions
    (0, 0),     // PushTelemetry
    (0, 0),     // AssignReplicasToDirs
    (1, 0),     // ListConfigResources
    (0, 0),     // DescribeTopicPartitions
    (1, 0),     // ShareGroupHeartbeat
    (1, 0),     // ShareGroupDescribe
    (1, 0),     // ShareFetch
    (1, 0),     // ShareAcknowledge
    (0, 0),     // AddRaftVoter
    (0, 0),     // RemoveRaftVoter
    (0, 0),     // UpdateRaftVoter
    (0, 0),     // InitializeShareGroupState
    (0, 0),     // ReadShareGroupState
    (0, 0),     // WriteShareGroupState
    (0, 0),     // DeleteShareGroupState
    (0, 0),     // ReadShareGroupStateSummary
    (0, 0),     // StreamsGroupHeartbeat
    (0, 0),     // StreamsGroupDescribe
    (0, 0),     // DescribeShareGroupOffsets
    (0, 0),     // AlterShareGroupOffsets
    (0, 0),     // DeleteShareGroupOffsets
];

impl Api {
    pub(super) const PRODUCE: i16 = 0;
    pub(super) const FETCH: i16 = 1;
    pub(super) const METADATA: i16 = 3;
    pub(super) const API_VERSIONS: i16 = 18;
    /// What consumers of a share group ask for (KIP-932). It is not read.
    pub(super) const SHARE_FETCH: i16 = 78;

    /// Whether there is such a request, or may soon be.
    pub(super) fn is_known(self) -> bool {
        self.entry().is_some_and(|(newest, _)| (0..=newest.saturating_add(FUTURE_VERSIONS)).contains(&self.version))
    }

    /// Whether there is such a key.
    pub(super) fn is_key_known(self) -> bool {
        self.entry().is_some()
    }

    /// Whether its fields are encoded in the flexible way.
    pub(super) fn is_flexible(self) -> bool {
        self.entry().is_some_and(|(_, flexible)| self.version >= flexible)
    }

    fn entry(self) -> Option<(i16, i16)> {
        APIS.get(usize::try_from(self.key).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn produce_and_fetch_are_flexible_since_9_and_12() {
        for (key, flexible) in [(Api::PRODUCE, 9), (Api::FETCH, 12), (Api::METADATA, 9)] {
            assert!(!Api { key, version: flexible - 1 }.is_flexible());
            assert!(Api { key, version: flexible }.is_flexible());
        }
    }

    #[test]
    fn other_keys_and_versions_are_not_known() {
        assert!(Api { key: 18, version: 3 }.is_known());
        for (key, version) in [(-1, 0), (93, 0), (0, -1), (0, 16), (0x4745, 0x5420)] {
            assert!(!Api { key, version }.is_known(), "{key} {version}");
        }
    }
}
