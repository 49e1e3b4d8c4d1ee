//! The examples of several contexts, numbered one after the other.

use std::ops::Range;

use super::context::Context;
use super::{ContinualBatch, Scenario};
use crate::data::{Dataset, ImageBatch, Rng, Split};
use crate::error::Result;

/// The examples of several contexts, class after class and context after context.
#[derive(Debug, Clone)]
pub(super) struct Examples {
    contexts: Vec<Context>,
    classes: Vec<Class>,
}

/// A class of a context.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// A place in the list of contexts.
    context: usize,
    class: usize,
    /// The numbers of its examples lie between these.
    start: usize,
    end: usize,
}

impl Examples {
    pub fn of(scenario: &Scenario, split: Split, contexts: Range<usize>) -> Result<Self> {
        let contexts: Vec<Context> = contexts
            .map(|context| scenario.context(split, context))
            .collect::<Result<_>>()?;
        let (mut classes, mut start) = (Vec::new(), 0);
        for (place, context) in contexts.iter().enumerate() {
            for class in 0..context.class_count() {
                let end = start + context.class_len(class);
                classes.push(Class {
                    context: place,
                    class,
                    start,
                    end,
                });
                start = end;
            }
        }
        Ok(Self { contexts, classes })
    }

    pub fn count(&self) -> usize {
        self.classes.last().map_or(0, |class| class.end)
    }

    fn class(&self, number: usize) -> Class {
        self.classes[self.classes.partition_point(|class| class.end <= number)]
    }

    /// The examples with these numbers, with their contexts where they are told.
    pub fn batch(
        &self,
        numbers: impl ExactSizeIterator<Item = usize>,
        told: bool,
    ) -> Result<ContinualBatch> {
        let shape = self.contexts[0].image_shape();
        let mut batch = ImageBatch {
            shape,
            images: vec![0.0; numbers.len() * shape.len()],
            labels: Vec::with_capacity(numbers.len()),
        };
        let mut contexts = Vec::new();
        for (number, image) in numbers.zip(batch.images.chunks_exact_mut(shape.len())) {
            let Class {
                context,
                class,
                start,
                ..
            } = self.class(number);
            let context = &self.contexts[context];
            context.read(class, number - start, image)?;
            batch.labels.push(context.labels().start + class);
            if told {
                contexts.push(context.index());
            }
        }
        Ok(ContinualBatch {
            images: batch,
            contexts,
            logits: Vec::new(),
        })
    }

    /// All numbers in the order of contexts that run into each other.
    pub fn blurred(&self, overlap: f64, rng: &mut Rng) -> Vec<u32> {
        let mut places: Vec<(f64, u32)> = (0..self.count())
            .map(|number| {
                let context = self.class(number).context as f64;
                let moved = overlap * (2.0 * rng.unit_f64() - 1.0);
                (context + rng.unit_f64() + moved, number as u32)
            })
            .collect();
        // Of equal places the lower number comes first, so that the order is the same everywhere.
        places.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.into_iter().map(|(_, number)| number).collect()
    }
}
