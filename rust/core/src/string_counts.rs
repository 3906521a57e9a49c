//! How often each string was seen, with all strings one behind the other in one piece of memory.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Strings and their counts; each stands there once.
#[derive(Default)]
pub struct StringCounts {
    text: String,
    rows: Vec<Row>,
    table: HashTable<Slot>,
}

struct Row {
    /// Where the string ends in the text; it begins where that of the row before ends.
    end: usize,
    count: u64,
}

/// Where a row is, with half of its hash: a table grows, and most strings differ, without a look at them.
#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    row: u32,
}

impl Slot {
    /// The table takes its bits from both ends.
    fn spread(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

/// What [`StringCounts::add_hashed`] takes. The bits of its upper half are free for other uses.
pub fn hash(string: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(string.as_bytes());
    hasher.finish()
}

impl StringCounts {
    /// Adds to the count of a string.
    #[inline]
    pub fn add(&mut self, string: &str, count: u64) {
        self.add_hashed(hash(string), string, count);
    }

    /// The same with the hash of the string at hand.
    #[inline]
    pub fn add_hashed(&mut self, hash: u64, string: &str, count: u64) {
        let new = Slot { hash: hash as u32, row: self.rows.len() as u32 };
        let same = |slot: &Slot| slot.hash == new.hash && self.string(slot.row as usize) == string;
        if let Some(found) = self.table.find(new.spread(), same) {
            let sum = &mut self.rows[found.row as usize].count;
            *sum = sum.saturating_add(count);
            return;
        }
        self.text.push_str(string);
        self.rows.push(Row { end: self.text.len(), count });
        self.table.insert_unique(new.spread(), new, |slot| slot.spread());
    }

    /// Distinct strings.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Strings with their counts, in the order in which they were first seen.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.rows.iter().enumerate().map(|(row, &Row { count, .. })| (self.string(row), count))
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
        self.table.clear();
    }

    /// Gives back what only serves to add more.
    pub fn close(&mut self) {
        self.table = HashTable::new();
    }

    /// Memory that is taken.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.rows.capacity() * size_of::<Row>() + self.table.allocation_size()
    }

    #[inline]
    fn string(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.rows[before].end);
        &self.text[start..self.rows[row].end]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_those_of_a_map(added in prop::collection::vec(("[a天]{0,3}", 0u64..9), 0..60)) {
            let (mut counts, mut expected) = (StringCounts::default(), BTreeMap::new());
            for (string, count) in &added {
                counts.add(string, *count);
                *expected.entry(string.as_str()).or_insert(0) += count;
            }
            prop_assert_eq!(counts.len(), expected.len());
            prop_assert_eq!(counts.iter().collect::<BTreeMap<_, _>>(), expected);
            counts.clear();
            counts.add("天", 2);
            prop_assert_eq!(counts.iter().collect::<Vec<_>>(), [("天", 2)]);
        }
    }
}
