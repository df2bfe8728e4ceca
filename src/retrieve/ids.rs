//! Here is an id, give me its number, and back.
//!
//! A number belongs to its id for as long as the index is open, also after a removal, so that the lexical part can
//! keep numbers per document of a segment. Not for telling whether anything with that id is there.

use std::collections::HashMap;
use std::sync::Arc;

/// Ids of one pool, numbered from 0 in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Ids {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Ids {
    /// Number of `id`; a new one when it was never seen.
    pub(super) fn intern(&mut self, id: &str) -> u32 {
        if let Some(number) = self.numbers.get(id) {
            return *number;
        }
        let number = self.names.len() as u32;
        let name: Arc<str> = Arc::from(id);
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    pub(super) fn number(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// Id with number `number`; empty when there is none.
    pub(super) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", |name| name)
    }

    /// Numbers given so far; all are smaller.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Bytes held on the heap, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len() + 16).sum();
        let entry = size_of::<(Arc<str>, u32)>() + 1;
        names + self.names.capacity() * size_of::<Arc<str>>() + self.numbers.capacity() * entry
    }
}
