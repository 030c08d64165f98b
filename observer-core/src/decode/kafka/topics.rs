//! Which topic has which id: what metadata tell goes in, names come out. One table serves all connections, for a client asks one
//! broker for metadata and fetches from others; ids are random and so do not clash between clusters.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// Topics that are kept by name; the oldest goes first. Some 350 bytes each at most.
pub const TOPICS_MAX: usize = 2048;

/// The names of topics by their ids (KIP-516).
#[derive(Debug, Default)]
pub struct TopicNames {
    names: FxHashMap<u128, Box<str>>,
    oldest_first: VecDeque<u128>,
}

impl TopicNames {
    /// The name of a topic, if metadata told it.
    pub fn name(&self, id: u128) -> Option<&str> {
        self.names.get(&id).map(|name| &**name)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Metadata told a name; whether another one was forgotten for it. A topic keeps its id for its life, and its name.
    pub(super) fn learn(&mut self, id: u128, name: &str) -> bool {
        if id == 0 || name.is_empty() || self.names.contains_key(&id) {
            return false;
        }
        let full = self.oldest_first.len() >= TOPICS_MAX;
        if let Some(oldest) = self.oldest_first.pop_front_if(|_| full) {
            self.names.remove(&oldest);
        }
        self.oldest_first.push_back(id);
        self.names.insert(id, name.into());
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_topics_is_forgotten() {
        let mut names = TopicNames::default();
        for id in 1..=TOPICS_MAX as u128 + 1 {
            names.learn(id, &format!("topic-{id}"));
        }
        assert_eq!((names.len(), names.name(1), names.name(2)), (TOPICS_MAX, None, Some("topic-2")));
    }
}
