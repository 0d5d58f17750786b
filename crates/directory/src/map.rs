//! A map that is copied cheaply: a change copies one of 256 parts, the others are shared with the map before.
//!
//! A snapshot of 100,000 accounts can so be followed by one with a single account more without copying the rest.

use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const PARTS: usize = 256;

type Part<V> = Arc<HashMap<Box<str>, Arc<V>, RandomState>>;

/// From keys to shared values.
#[derive(Debug)]
pub(crate) struct Map<V> {
    hasher: RandomState,
    parts: Vec<Part<V>>,
    len: usize,
}

impl<V> Clone for Map<V> {
    fn clone(&self) -> Self {
        Map {
            hasher: self.hasher.clone(),
            parts: self.parts.clone(),
            len: self.len,
        }
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let part = || Arc::new(HashMap::with_hasher(hasher.clone()));
        Map {
            parts: std::iter::repeat_with(part).take(PARTS).collect(),
            hasher: hasher.clone(),
            len: 0,
        }
    }
}

impl<V> Map<V> {
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<V>> {
        self.parts.get(self.part_of(key))?.get(key)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn insert(&mut self, key: &str, value: Arc<V>) {
        let index = self.part_of(key);
        if let Some(part) = self.parts.get_mut(index) {
            let old = Arc::make_mut(part).insert(key.into(), value);
            self.len += usize::from(old.is_none());
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let index = self.part_of(key);
        if let Some(part) = self.parts.get_mut(index).filter(|part| part.contains_key(key)) {
            Arc::make_mut(part).remove(key);
            self.len -= 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All of it, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<V>)> {
        self.parts
            .iter()
            .flat_map(|part| part.iter().map(|(key, value)| (&**key, value)))
    }

    /// The first `limit` values whose keys come after `after`, in the order of their keys.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Vec<Arc<V>> {
        let mut first: BinaryHeap<&str> = BinaryHeap::new();
        for (key, _) in self.iter().filter(|(key, _)| *key > after) {
            first.push(key);
            if first.len() > limit {
                first.pop();
            }
        }
        let sorted = first.into_sorted_vec();
        sorted
            .into_iter()
            .filter_map(|key| self.get(key).cloned())
            .collect()
    }

    /// Bits of the hash that the parts, which are indexed by the lowest and highest, do not look at.
    fn part_of(&self, key: &str) -> usize {
        (self.hasher.hash_one(key) >> 48) as usize % PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut map = Map::default();
        for number in 0..1000 {
            map.insert(&format!("{number:04}"), Arc::new(number));
        }
        let before = map.clone();
        map.insert("0007", Arc::new(-7));
        map.insert("new", Arc::new(1));
        map.remove("0008");
        map.remove("nothing");
        assert_eq!((map.len(), before.len()), (1000, 1000));
        assert_eq!(
            (**before.get("0007").unwrap(), **map.get("0007").unwrap()),
            (7, -7)
        );
        assert!(before.contains("0008") && !map.contains("0008"));
        assert!(!before.contains("new"));
    }

    #[test]
    fn pages_are_sorted_and_whole() {
        let mut map = Map::default();
        for number in [5, 3, 9, 1, 7] {
            map.insert(&number.to_string(), Arc::new(number));
        }
        let page =
            |after, limit| -> Vec<i32> { map.page(after, limit).iter().map(|value| **value).collect() };
        assert_eq!(page("", 2), [1, 3]);
        assert_eq!(page("3", 2), [5, 7]);
        assert_eq!(page("7", 9), [9]);
        assert_eq!(page("", 0), [0; 0]);
    }
}
