//! Where kept examples lie.

use std::collections::BTreeMap;

use crate::data::{ImageBatch, ImageShape};

/// Examples side by side, each in a slot. The slots of as many as there are come first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Memory {
    pub shape: ImageShape,
    pub pixels: Pixels,
    pub labels: Vec<u32>,
    /// One more than the context; 0 where it is not known.
    pub contexts: Vec<u32>,
    pub logits: Vec<Vec<f32>>,
    /// Examples of each label that has some.
    counts: BTreeMap<u32, usize>,
}

/// Values of images one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pixels {
    /// The value is `byte / 255`.
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// An example to be kept, already checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example<'a> {
    pub image: &'a [f32],
    pub label: u32,
    pub context: u32,
    pub logits: &'a [f32],
}

/// What a byte stands for, as in an [`ImageSet`](crate::data::ImageSet).
fn value(byte: u8) -> f32 {
    f32::from(byte) / 255.0
}

/// The byte that stands for exactly this value.
fn byte(wanted: f32) -> Option<u8> {
    // What is out of range, or no number, becomes some byte, and is then not found equal.
    let byte = (wanted * 255.0).round() as u8;
    (value(byte).to_bits() == wanted.to_bits()).then_some(byte)
}

/// Whether an image can be kept in bytes.
pub(super) fn is_bytes(image: &[f32]) -> bool {
    image.iter().all(|value| byte(*value).is_some())
}

impl Memory {
    pub fn new(shape: ImageShape) -> Self {
        Self::of(
            shape,
            Pixels::Bytes(Vec::new()),
            Vec::new(),
            Vec::new(),
            Vec::new(),
        )
    }

    /// Of lists with one entry for each example.
    pub fn of(
        shape: ImageShape,
        pixels: Pixels,
        labels: Vec<u32>,
        contexts: Vec<u32>,
        logits: Vec<Vec<f32>>,
    ) -> Self {
        let mut counts = BTreeMap::new();
        for label in &labels {
            *counts.entry(*label).or_default() += 1;
        }
        Self {
            shape,
            pixels,
            labels,
            contexts,
            logits,
            counts,
        }
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_floats(&self) -> bool {
        matches!(self.pixels, Pixels::Floats(_))
    }

    pub fn counts(&self) -> &BTreeMap<u32, usize> {
        &self.counts
    }

    pub fn count(&self, label: u32) -> usize {
        self.counts.get(&label).copied().unwrap_or(0)
    }

    /// Label and context of each slot.
    pub fn keys(&self) -> impl Iterator<Item = (u32, u32)> {
        let labels = self.labels.iter().copied();
        labels.zip(self.contexts.iter().copied())
    }

    /// The slot of the `nth` example of a label, counted from 0.
    pub fn nth(&self, label: u32, nth: usize) -> Option<usize> {
        let labels = self.labels.iter().enumerate();
        let mut slots = labels.filter(|(_, other)| **other == label);
        slots.nth(nth).map(|(slot, _)| slot)
    }

    /// From here on as floats.
    pub fn widen(&mut self) {
        if let Pixels::Bytes(bytes) = &self.pixels {
            self.pixels = Pixels::Floats(bytes.iter().map(|byte| value(*byte)).collect());
        }
    }

    /// Puts an example into a slot: that of another one, or the next.
    pub fn put(&mut self, slot: usize, example: Example<'_>) {
        if !is_bytes(example.image) {
            self.widen();
        }
        let length = self.shape.len();
        let place = slot * length..(slot + 1) * length;
        match &mut self.pixels {
            Pixels::Bytes(all) => {
                all.resize(all.len().max(place.end), 0);
                for (to, from) in all[place].iter_mut().zip(example.image) {
                    *to = byte(*from).unwrap_or(0);
                }
            }
            Pixels::Floats(all) => {
                all.resize(all.len().max(place.end), 0.0);
                all[place].copy_from_slice(example.image);
            }
        }
        if slot < self.len() {
            self.forget(self.labels[slot]);
            self.labels[slot] = example.label;
            self.contexts[slot] = example.context;
            self.logits[slot] = example.logits.to_vec();
        } else {
            self.labels.push(example.label);
            self.contexts.push(example.context);
            self.logits.push(example.logits.to_vec());
        }
        *self.counts.entry(example.label).or_default() += 1;
    }

    fn forget(&mut self, label: u32) {
        if let Some(count) = self.counts.get_mut(&label) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&label);
            }
        }
    }

    /// Takes the example of a slot away; the last one comes into its place.
    pub fn remove(&mut self, slot: usize) {
        fn swap_remove<T: Copy>(all: &mut Vec<T>, slot: usize, length: usize) {
            let last = all.len() - length;
            all.copy_within(last.., slot * length);
            all.truncate(last);
        }
        let length = self.shape.len();
        match &mut self.pixels {
            Pixels::Bytes(all) => swap_remove(all, slot, length),
            Pixels::Floats(all) => swap_remove(all, slot, length),
        }
        let label = self.labels.swap_remove(slot);
        self.contexts.swap_remove(slot);
        self.logits.swap_remove(slot);
        self.forget(label);
    }

    /// The examples of these slots, in this order.
    pub fn select(&self, slots: &[usize]) -> Self {
        fn chosen<T: Copy>(all: &[T], slots: &[usize], length: usize) -> Vec<T> {
            let images = slots.iter();
            let images = images.map(|slot| &all[slot * length..(slot + 1) * length]);
            images.flatten().copied().collect()
        }
        let length = self.shape.len();
        let pixels = match &self.pixels {
            Pixels::Bytes(all) => Pixels::Bytes(chosen(all, slots, length)),
            Pixels::Floats(all) => Pixels::Floats(chosen(all, slots, length)),
        };
        let logits = slots.iter().map(|slot| self.logits[*slot].clone());
        Self::of(
            self.shape,
            pixels,
            chosen(&self.labels, slots, 1),
            chosen(&self.contexts, slots, 1),
            logits.collect(),
        )
    }

    /// The images of these slots, and their labels.
    pub fn images(&self, slots: &[usize]) -> ImageBatch {
        let length = self.shape.len();
        let places = slots.iter().map(|slot| slot * length..(slot + 1) * length);
        let mut images = Vec::with_capacity(slots.len() * length);
        for place in places {
            match &self.pixels {
                Pixels::Bytes(all) => images.extend(all[place].iter().map(|byte| value(*byte))),
                Pixels::Floats(all) => images.extend_from_slice(&all[place]),
            }
        }
        ImageBatch {
            shape: self.shape,
            images,
            labels: slots
                .iter()
                .map(|slot| self.labels[*slot] as usize)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_values_of_bytes_are_bytes() {
        let all: Vec<f32> = (0..=255)
            .map(|byte| f32::from(byte as u8) / 255.0)
            .collect();
        assert!(is_bytes(&all));
        for (place, wanted) in all.iter().enumerate() {
            assert_eq!(byte(*wanted), Some(place as u8));
        }
        let next = f32::from_bits(all[100].to_bits() + 1);
        for other in [next, -0.0, 1.1, -1.0 / 255.0, f32::NAN, f32::INFINITY] {
            assert!(!is_bytes(&[0.0, other]), "{other}");
        }
    }

    #[test]
    fn what_is_put_replaced_and_removed_is_there() {
        let mut memory = Memory::new(ImageShape::new(1, 1, 2));
        let example = |image, label| Example {
            image,
            label,
            context: label + 1,
            logits: &[],
        };
        memory.put(0, example(&[0.0, 1.0], 3));
        memory.put(1, example(&[1.0, 0.0], 4));
        memory.put(0, example(&[1.0, 1.0], 4));
        assert!(!memory.is_floats());
        memory.put(2, example(&[0.25, 0.0], 5));
        assert!(memory.is_floats());
        assert_eq!((memory.count(3), memory.count(4), memory.len()), (0, 2, 3));
        assert_eq!(memory.nth(4, 1), Some(1));
        memory.remove(0);
        let all = memory.images(&[0, 1]);
        assert_eq!(all.images, [0.25, 0.0, 1.0, 0.0]);
        assert_eq!(
            (all.labels, memory.contexts.clone()),
            (vec![5, 4], vec![6, 5])
        );
        let other = memory.select(&[1, 0]);
        assert_eq!(other.images(&[1, 0]), memory.images(&[0, 1]));
        assert_eq!(other.counts(), memory.counts());
    }
}
