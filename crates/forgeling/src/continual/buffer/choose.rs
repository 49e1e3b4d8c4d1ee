//! Which examples stay.

use std::collections::BTreeMap;
use std::ops::Range;

use super::memory::{Example, Memory, is_bytes};
use super::{Budget, Buffer, OPERATION, Policy};
use crate::data::Dataset;
use crate::error::{Error, Result};

impl Buffer {
    /// Takes notice of an example, and keeps it or not.
    pub(super) fn offer(&mut self, example: Example<'_>) {
        *self.seen.entry(example.label).or_default() += 1;
        if !self.memory.is_floats() && !is_bytes(example.image) {
            // Fewer have room now. What is taken away is chosen at random, so that what is left is still a fair sample.
            self.memory.widen();
            self.shrink();
        }
        if let Some(slot) = self.slot(example.label) {
            self.memory.put(slot, example);
        }
    }

    /// Takes away what the budget has no room for.
    fn shrink(&mut self) {
        if matches!(self.config.budget, Budget::PerClass(_)) {
            return;
        }
        let limit = self.limit(self.memory.is_floats());
        while self.memory.len() > limit {
            let slot = match self.config.policy {
                Policy::ClassBalanced => {
                    self.full.extend(self.largest_classes());
                    self.one_of_a_largest_class()
                }
                _ => self.storing.below(self.memory.len()),
            };
            self.memory.remove(slot);
        }
    }

    /// Where an example of this label is to be put, if at all; it has been counted already.
    fn slot(&mut self, label: u32) -> Option<usize> {
        let limit = self.limit(self.memory.is_floats());
        let of_label = self.seen.get(&label).copied().unwrap_or(0);
        if matches!(self.config.budget, Budget::PerClass(_)) {
            return match self.memory.count(label) {
                count if count < limit => Some(self.memory.len()),
                count => self.in_reservoir(of_label, count, Some(label)),
            };
        }
        if self.memory.len() < limit {
            return Some(self.memory.len());
        }
        if self.config.policy != Policy::ClassBalanced {
            let all = self.seen.values().sum();
            return self.in_reservoir(all, limit, None);
        }
        self.full.extend(self.largest_classes());
        if !self.full.contains(&label) && limit > 0 {
            return Some(self.one_of_a_largest_class());
        }
        let count = self.memory.count(label);
        self.in_reservoir(of_label, count, Some(label))
    }

    /// The slot for the last one of `seen`, so that each has the same probability to be among `count`: algorithm R. Of the
    /// slots of a label, or of all.
    fn in_reservoir(&mut self, seen: u64, count: usize, label: Option<u32>) -> Option<usize> {
        // A page counts in 32 bits, but does not come that far.
        let place = self
            .storing
            .below(usize::try_from(seen).unwrap_or(usize::MAX));
        if place >= count {
            return None;
        }
        match label {
            Some(label) => self.memory.nth(label, place),
            None => Some(place),
        }
    }

    fn largest_classes(&self) -> Vec<u32> {
        let counts = self.memory.counts();
        let most = counts.values().max().copied().unwrap_or(0);
        let largest = counts.iter().filter(|(_, count)| **count == most);
        largest.map(|(label, _)| *label).collect()
    }

    /// A random slot of a random one of the largest classes. There must be an example.
    fn one_of_a_largest_class(&mut self) -> usize {
        let largest = self.largest_classes();
        let label = largest[self.storing.below(largest.len())];
        let nth = self.storing.below(self.memory.count(label));
        self.memory.nth(label, nth).unwrap_or(0)
    }

    /// Keeps examples of a context that has ended, as many of each class, at random. `labels` are those of the classes of
    /// `data`, in their order. Where a context ends that ended before, its examples take the place of those of then.
    ///
    /// # Errors
    /// When the policy is another than [`Policy::PerClassAtEnd`], or the data cannot be read or does not fit; the buffer is
    /// then as it was.
    pub fn end_context(
        &mut self,
        data: &(impl Dataset + ?Sized),
        labels: Range<usize>,
        context: usize,
    ) -> Result<()> {
        let (before, limit) = (self.storing.clone(), self.limit(false));
        let choose = |class: usize| {
            let len = data.class_len(class);
            self.storing.choose_distinct(len, len.min(limit))
        };
        let chosen: Result<Vec<_>> = (0..data.class_count()).map(choose).collect();
        let ended = chosen.and_then(|chosen| self.end_context_with(data, labels, context, &chosen));
        if ended.is_err() {
            self.storing = before;
        }
        ended
    }

    /// As [`end_context`](Self::end_context), with examples that the caller has chosen: for each class the numbers of its
    /// examples, the dearest first. Those for which there is no room are left out, the last ones first, also later when
    /// there are more classes.
    ///
    /// # Errors
    /// As [`end_context`](Self::end_context), and when there is not one list for each class or an example does not exist.
    pub fn end_context_with(
        &mut self,
        data: &(impl Dataset + ?Sized),
        labels: Range<usize>,
        context: usize,
        chosen: &[Vec<usize>],
    ) -> Result<()> {
        if self.config.policy != Policy::PerClassAtEnd {
            let message = "examples are kept as they come, not when a context ends";
            return Err(Error::invalid(OPERATION, message)
                .expected(format!("{:?}", Policy::PerClassAtEnd))
                .got(format!("{:?}", self.config.policy)));
        }
        self.check_shape(data.image_shape())?;
        let classes = data.class_count();
        if labels.len() != classes || chosen.len() != classes {
            let message = "there is not one label and one list of examples for each class";
            return Err(Error::invalid(OPERATION, message)
                .expected(classes)
                .got(format!("{} and {}", labels.len(), chosen.len())));
        }
        let keys = self.keys(labels, context)?;
        let old = self.others(&keys);
        let lists = || old.iter().chain(chosen);
        let available: Vec<usize> = lists().map(Vec::len).collect();
        let length = self.memory.shape.len();
        let mut floats = self.memory.is_floats();
        // Images that do not fit into bytes leave room for fewer: then once more.
        let (shares, images) = loop {
            let shares = self.shares(floats, &available);
            let mut images = Vec::new();
            for (class, (list, share)) in chosen.iter().zip(&shares[old.len()..]).enumerate() {
                for &example in &list[..*share] {
                    let start = images.len();
                    images.resize(start + length, 0.0);
                    data.read(class, example, &mut images[start..])?;
                }
            }
            if !images.iter().all(|value| value.is_finite()) {
                let message = "an image has a value that is not finite";
                return Err(Error::bad_data(OPERATION, message));
            }
            if floats || is_bytes(&images) {
                break (shares, images);
            }
            floats = true;
        };
        let kept = old.iter().zip(&shares);
        let kept = kept.flat_map(|(slots, share)| &slots[..*share]);
        let mut memory = self.memory.select(&kept.copied().collect::<Vec<_>>());
        let shares = keys.iter().zip(&shares[old.len()..]);
        let keys = shares.flat_map(|(key, share)| std::iter::repeat_n(*key, *share));
        for ((label, context), image) in keys.zip(images.chunks_exact(length)) {
            let slot = memory.len();
            let logits = &[];
            memory.put(
                slot,
                Example {
                    image,
                    label,
                    context,
                    logits,
                },
            );
        }
        self.memory = memory;
        Ok(())
    }

    /// How many examples of each class of a context there is room for when it ends, where the classes have so many.
    ///
    /// # Errors
    /// When a label or the context is out of range.
    pub(in crate::continual) fn room(
        &self,
        labels: Range<usize>,
        context: usize,
        available: &[usize],
    ) -> Result<Vec<usize>> {
        let old = self.others(&self.keys(labels, context)?);
        let lens = old.iter().map(Vec::len).chain(available.iter().copied());
        let mut shares = self.shares(self.memory.is_floats(), &lens.collect::<Vec<_>>());
        Ok(shares.split_off(old.len()))
    }

    fn keys(&self, labels: Range<usize>, context: usize) -> Result<Vec<(u32, u32)>> {
        labels.map(|label| self.key(label, Some(context))).collect()
    }

    /// The slots of each class that is there, in their order, without those of `keys`.
    fn others(&self, keys: &[(u32, u32)]) -> Vec<Vec<usize>> {
        let mut others: Vec<Vec<usize>> = Vec::new();
        let mut last = None;
        for (slot, key) in self.memory.keys().enumerate() {
            if keys.contains(&key) {
                continue;
            }
            if last.replace(key) != Some(key) {
                others.push(Vec::new());
            }
            if let Some(slots) = others.last_mut() {
                slots.push(slot);
            }
        }
        others
    }

    /// How many of each class, of which so many are available, have room.
    fn shares(&self, floats: bool, available: &[usize]) -> Vec<usize> {
        let limit = self.limit(floats);
        match self.config.budget {
            Budget::PerClass(_) => available.iter().map(|count| limit.min(*count)).collect(),
            Budget::Total(_) | Budget::Bytes(_) => equal_shares(limit, available),
        }
    }

    /// Whether the budget allows all of it.
    pub(super) fn is_within_budget(&self, memory: &Memory) -> bool {
        let limit = self.limit(memory.is_floats());
        if !matches!(self.config.budget, Budget::PerClass(_)) {
            return memory.len() <= limit;
        }
        let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for (label, context) in memory.keys() {
            let context = match self.config.policy {
                Policy::PerClassAtEnd => context,
                Policy::Reservoir | Policy::ClassBalanced => 0,
            };
            *counts.entry((label, context)).or_default() += 1;
        }
        counts.values().all(|count| *count <= limit)
    }
}

/// Shares of `total` that are as equal as what is available allows, and together as large.
fn equal_shares(mut total: usize, available: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..available.len()).collect();
    order.sort_by_key(|place| available[*place]);
    let mut shares = vec![0; available.len()];
    for (done, place) in order.into_iter().enumerate() {
        // Those after it have as many or more, so that none of it is lost.
        let share = total / (available.len() - done);
        shares[place] = share.min(available[place]);
        total -= shares[place];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::equal_shares;

    #[test]
    fn shares_are_equal_and_what_small_classes_leave_goes_to_the_others() {
        assert_eq!(equal_shares(10, &[9, 9, 9]), [3, 3, 4]);
        assert_eq!(equal_shares(10, &[9, 1, 9]), [4, 1, 5]);
        assert_eq!(equal_shares(10, &[2, 3, 4]), [2, 3, 4]);
        assert_eq!(equal_shares(2, &[5, 5, 5]), [0, 1, 1]);
        assert!(equal_shares(3, &[]).is_empty());
    }
}
