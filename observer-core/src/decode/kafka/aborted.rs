//! Transactions that were aborted (KIP-98): the list that a broker sends before the batches of a partition goes in, and which
//! batches a consumer drops comes out. Without a list nothing is dropped: then the consumer reads what is not committed too.

use super::batch::Header;

/// Aborted transactions of one partition that are kept; of more the first ones. 24 bytes each.
const ABORTED_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Aborted {
    transactions: Vec<Transaction>,
}

#[derive(Clone, Copy, Debug)]
struct Transaction {
    producer: i64,
    first_offset: i64,
}

impl Aborted {
    /// The producer of the next transaction; whether there was room.
    pub(super) fn producer(&mut self, producer: i64) -> bool {
        let room = self.transactions.len() < ABORTED_MAX;
        if room {
            self.transactions.push(Transaction { producer, first_offset: i64::MAX });
        }
        room
    }

    /// The first offset of the transaction of which the producer was told.
    pub(super) fn first_offset(&mut self, first_offset: i64) {
        if let Some(last) = self.transactions.last_mut().filter(|last| last.first_offset == i64::MAX) {
            last.first_offset = first_offset;
        }
    }

    /// Whether a consumer drops this batch. A control batch ends the transaction of its producer.
    pub(super) fn drops(&mut self, header: &Header) -> bool {
        let begun = |transaction: &Transaction| {
            transaction.producer == header.producer() && transaction.first_offset <= header.last_offset()
        };
        let aborted = header.is_transactional() && self.transactions.iter().any(begun);
        if aborted && header.is_control() {
            self.transactions.retain(|transaction| !begun(transaction));
        }
        aborted
    }

    /// Another partition begins.
    pub(super) fn clear(&mut self) {
        self.transactions.clear();
    }

    pub(super) fn forget(&mut self) {
        self.transactions = Vec::new();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.transactions.capacity().saturating_mul(size_of::<Transaction>())
    }
}
