//! Values of one kind in one vector, chained into lists: values come in, numbers go out, the oldest of a list is found and
//! any value is taken out in constant time. Bounds are the caller's.

/// No node.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<T> {
    previous: u32,
    next: u32,
    value: Option<T>,
}

/// A vector of values with holes; a freed place is used again. Every value stands in exactly one [`List`].
#[derive(Debug)]
pub(crate) struct Arena<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    len: usize,
}

/// A chain of values of one arena, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// The oldest.
    pub(crate) fn first(self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.node(key)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.node_mut(key)?.value.as_mut()
    }

    /// The values of a list, the oldest first.
    pub(crate) fn of(&self, list: List) -> impl Iterator<Item = &T> {
        let mut key = list.first;
        std::iter::from_fn(move || {
            let node = self.node(key)?;
            key = node.next;
            node.value.as_ref()
        })
    }

    /// Every value, in the order of their places.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.nodes.iter_mut().filter_map(|node| node.value.as_mut())
    }

    /// Puts a value at the end of `list`. `None` once 2³² − 1 values are held: no caller's bound is that wide.
    pub(crate) fn push(&mut self, list: &mut List, value: T) -> Option<u32> {
        let key = if self.free == NONE {
            let key = u32::try_from(self.nodes.len()).ok().filter(|&key| key != NONE)?;
            self.nodes.push(Node { previous: NONE, next: NONE, value: Some(value) });
            key
        } else {
            let key = self.free;
            let node = self.node_mut(key)?;
            node.value = Some(value);
            self.free = node.next;
            key
        };
        self.len = self.len.saturating_add(1);
        self.append(list, key);
        Some(key)
    }

    /// Takes a value out of the `list` that it stands in.
    pub(crate) fn remove(&mut self, list: &mut List, key: u32) -> Option<T> {
        let value = self.node_mut(key)?.value.take()?;
        self.unlink(list, key);
        let free = self.free;
        if let Some(node) = self.node_mut(key) {
            node.next = free;
        }
        self.free = key;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// Moves a value to the end of its own list.
    pub(crate) fn renew(&mut self, list: &mut List, key: u32) {
        if list.last != key && self.get(key).is_some() {
            self.unlink(list, key);
            self.append(list, key);
        }
    }

    /// Moves a value to the end of another list.
    pub(crate) fn transfer(&mut self, from: &mut List, to: &mut List, key: u32) {
        if self.get(key).is_some() {
            self.unlink(from, key);
            self.append(to, key);
        }
    }

    fn append(&mut self, list: &mut List, key: u32) {
        let before = list.last;
        if let Some(node) = self.node_mut(key) {
            node.previous = before;
            node.next = NONE;
        }
        match self.node_mut(before) {
            Some(node) => node.next = key,
            None => list.first = key,
        }
        list.last = key;
    }

    fn unlink(&mut self, list: &mut List, key: u32) {
        let Some((previous, next)) = self.node(key).map(|node| (node.previous, node.next)) else { return };
        match self.node_mut(previous) {
            Some(node) => node.next = next,
            None => list.first = next,
        }
        match self.node_mut(next) {
            Some(node) => node.previous = previous,
            None => list.last = previous,
        }
    }

    fn node(&self, key: u32) -> Option<&Node<T>> {
        self.nodes.get(usize::try_from(key).ok()?)
    }

    fn node_mut(&mut self, key: u32) -> Option<&mut Node<T>> {
        self.nodes.get_mut(usize::try_from(key).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn in_order(arena: &mut Arena<u32>, mut list: List) -> Vec<u32> {
        let mut values = Vec::new();
        while let Some(key) = list.first() {
            values.extend(arena.remove(&mut list, key));
        }
        values
    }

    #[test]
    fn a_freed_place_is_used_again() {
        let mut arena = Arena::new();
        let mut list = List::EMPTY;
        let first = arena.push(&mut list, 1).unwrap();
        arena.push(&mut list, 2).unwrap();
        assert_eq!(arena.remove(&mut list, first), Some(1));
        assert_eq!(arena.remove(&mut list, first), None);
        assert_eq!(arena.push(&mut list, 3), Some(first));
        assert_eq!(in_order(&mut arena, list), [2, 3]);
    }

    proptest! {
        #[test]
        fn two_lists_behave_like_two_queues(steps in proptest::collection::vec((0_u8..5, any::<u8>()), 0..200)) {
            let mut arena = Arena::new();
            let mut lists = [List::EMPTY; 2];
            let mut model: [VecDeque<(u32, u32)>; 2] = Default::default();
            for (number, (step, pick)) in (0_u32..).zip(steps) {
                let side = usize::from(pick & 1);
                let pick = usize::from(pick >> 1);
                let chosen = (!model[side].is_empty()).then(|| pick % model[side].len());
                match (step, chosen) {
                    (0 | 1, _) => {
                        let key = arena.push(&mut lists[side], number).unwrap();
                        model[side].push_back((key, number));
                    }
                    (2, Some(index)) => {
                        let (key, value) = model[side].remove(index).unwrap();
                        prop_assert_eq!(arena.remove(&mut lists[side], key), Some(value));
                    }
                    (3, Some(index)) => {
                        let entry = model[side].remove(index).unwrap();
                        arena.renew(&mut lists[side], entry.0);
                        model[side].push_back(entry);
                    }
                    (4, Some(index)) => {
                        let entry = model[side].remove(index).unwrap();
                        let [left, right] = &mut lists;
                        let (from, to) = if side == 0 { (left, right) } else { (right, left) };
                        arena.transfer(from, to, entry.0);
                        model[1 - side].push_back(entry);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(arena.len(), model[0].len() + model[1].len());
            for side in 0..2 {
                let expected: Vec<u32> = model[side].iter().map(|entry| entry.1).collect();
                prop_assert_eq!(in_order(&mut arena, lists[side]), expected);
            }
        }
    }
}
