//! Who may be to blame for what was counted so far, known before a report is made: a process is looked at while it runs.

use std::collections::BTreeSet;

use super::Ledger;
use crate::ids::ServiceId;

impl Ledger {
    /// The services that broke a context, dropped what stood beside it, sent one that cannot be read, or sent none.
    pub fn culprits(&self) -> BTreeSet<ServiceId> {
        let breaks = self.breaks.keys().map(|(service, _, _)| *service);
        let malformed = self.malformed.keys().map(|(_, sender, _, _)| *sender);
        let missing = self.missing.keys().map(|(_, sender)| *sender);
        let dropped = self.dropped.keys().map(|(service, _, _)| *service);
        breaks.chain(dropped).chain(malformed).chain(missing).collect()
    }
}
