//! What the commands of supervised training share: images, networks, plans and figures.

use std::path::Path;
use std::sync::Arc;

use forgeling::data::classes::listed;
use forgeling::data::{
    Bands, Dataset, ImageShape, InChannels, Loader, LoaderConfig, Missing, SoundPreparation, Split,
    Standardization, Subset, match_classes,
};
use forgeling::device::MemoryBudget;
use forgeling::nn::graph::Graph;
use forgeling::nn::{MemoryPlan, PlanConfig};
use forgeling::ops::plan::PlannedOptimizer;
use forgeling::train::{
    HardwareConfig, HardwareManager, OptimizerConfig, ResolvedPrecision, SgdConfig,
};
use forgeling::{Device, Error, Result};

use crate::args::{InputShape, NetworkArgs, OptimizerKind, PictureArgs};
use crate::data::{self, DataSource};
use crate::output::Output;
use crate::sounds::{self, Prepared};

const OPERATION: &str = "load_images";

/// Inputs of classes, how they became so, and what is to be said of that.
type Found = (Arc<dyn Dataset>, Prepared, Vec<String>);
/// Images of classes.
pub type Examples = Subset<Arc<dyn Dataset>>;

/// The shape of images, unless asked for otherwise.
const USUAL_SHAPE: ImageShape = ImageShape::new(1, 28, 28);
/// Drawings of each glyph, unless asked for otherwise.
const DRAWINGS: usize = 100;
/// Drawings from this one on are not trained on: they are the glyphs' test images.
const FIRST_HELD_OUT: usize = 1 << 20;
/// Threads that render batches at most; more do not make training faster.
const MOST_WORKERS: usize = 4;
/// What fits into this part of the device's memory is what fits, unless a budget is given.
const USUAL_BUDGET: MemoryBudget = MemoryBudget::Fraction(0.5);

/// Which of a source's images are wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Their shape, if it matters.
    pub shape: Option<ImageShape>,
    /// How many characters, of glyphs.
    pub glyphs: usize,
    /// How many of each class at most.
    pub per_class: Option<usize>,
    /// How image files are read.
    pub pictures: &'a PictureArgs,
    /// How the model's own images or sounds were read.
    pub model: Option<Prepared>,
}

/// Images or spectrograms, and how they became inputs.
pub struct Loaded {
    pub data: Examples,
    pub preparation: Prepared,
}

/// The shape of inputs: the one that was typed, otherwise the one that a described network takes. The bands of sounds are
/// the channels of a network for sequences.
pub fn wanted_shape(
    typed: Option<InputShape>,
    network: &NetworkArgs,
    source: &DataSource,
) -> Result<Option<ImageShape>> {
    let known = typed.map(|input| input.0).or(network.input());
    if known.is_none() && matches!(source, DataSource::Sounds(_)) && network.takes_sequences()? {
        let preparation = SoundPreparation {
            bands: Bands::Channels,
            ..Default::default()
        };
        return preparation.input_shape().map(Some);
    }
    Ok(known)
}

impl Wanted<'_> {
    /// Loads them, and says what is to be said of that. Of glyphs, the test images are other drawings of the same
    /// characters.
    pub fn load(self, source: &DataSource, split: Split, output: &Output) -> Result<Loaded> {
        let endless = *source == DataSource::Glyphs;
        sounds::check(self.model, source)?;
        let (found, preparation, notes) = match source {
            DataSource::Sounds(dir) => self.sounds(dir, split)?,
            _ => self.images(source, if endless { Split::Train } else { split })?,
        };
        for note in &notes {
            output.line(note);
        }
        let data: Arc<dyn Dataset> = match self.shape {
            Some(shape) if shape.channels != found.image_shape().channels => {
                Arc::new(InChannels::new(found, shape.channels)?)
            }
            _ => found,
        };
        if self.shape.is_some_and(|shape| shape != data.image_shape()) {
            return Err(Error::invalid(OPERATION, "the images have another shape")
                .expected(self.shape.unwrap_or(USUAL_SHAPE))
                .got(data.image_shape()));
        }
        let classes = data.class_count();
        let most = if endless { FIRST_HELD_OUT } else { usize::MAX };
        let wanted = self
            .per_class
            .unwrap_or(if endless { DRAWINGS } else { usize::MAX });
        if !(1..=most).contains(&wanted) {
            return Err(Error::invalid(OPERATION, "--per-class is out of range")
                .expected(format!("1 to {most}"))
                .got(wanted));
        }
        let data = if endless && split == Split::Test {
            let drawings: Vec<usize> = (FIRST_HELD_OUT..FIRST_HELD_OUT + wanted).collect();
            Subset::new(data, vec![drawings; classes])?
        } else {
            Subset::first(data, wanted)?
        };
        Ok(Loaded { data, preparation })
    }

    fn images(self, source: &DataSource, split: Split) -> Result<Found> {
        let size = self.shape.unwrap_or(USUAL_SHAPE);
        if size.width != size.height {
            return Err(Error::invalid(OPERATION, "images are loaded as squares")
                .expected("as many rows as columns")
                .got(size));
        }
        let loaded = source.load(data::Wanted {
            split,
            size: size.height,
            channels: self.shape.map(|shape| shape.channels),
            glyphs: self.glyphs,
            pictures: self.pictures,
            model: self.model.and_then(Prepared::pictures),
        })?;
        let images = Arc::from(loaded.images.into_dataset(false)?);
        let preparation = Prepared::Pictures(loaded.preparation);
        Ok((images, preparation, loaded.notes))
    }

    fn sounds(self, dir: &Path, split: Split) -> Result<Found> {
        let model = self.model.and_then(Prepared::sounds);
        let skip_broken = self.pictures.skip_broken;
        let loaded = sounds::load(dir, split, model, self.shape, skip_broken)?;
        let preparation = Prepared::Sounds(loaded.preparation);
        Ok((Arc::new(loaded.set), preparation, loaded.notes))
    }

    /// As [`load`](Self::load), for a network that tells them apart.
    pub fn load_classes(
        self,
        source: &DataSource,
        split: Split,
        output: &Output,
    ) -> Result<Loaded> {
        let loaded = self.load(source, split, output)?;
        match loaded.data.class_count() {
            2.. => Ok(loaded),
            classes => Err(Error::invalid(OPERATION, "nothing to tell apart")
                .expected("at least 2 classes")
                .got(classes)),
        }
    }
}

/// Loads images of classes that are `known`, in their order.
pub fn load_known(
    wanted: Wanted<'_>,
    source: &DataSource,
    split: Split,
    (known, missing): (&[String], Missing),
    output: &Output,
) -> Result<Examples> {
    let found: Arc<dyn Dataset> = Arc::new(wanted.load(source, split, output)?.data);
    let matched = match_classes(found, known, missing)?;
    let lacking = matched.missing();
    if !lacking.is_empty() {
        output.line(format_args!(
            "No images of {} of the {} classes: {}.",
            lacking.len(),
            known.len(),
            listed(&lacking)
        ));
    }
    Subset::first(Arc::new(matched), usize::MAX)
}

pub fn class_names(data: &impl Dataset) -> Vec<String> {
    let classes = 0..data.class_count();
    classes.map(|class| data.class_name(class)).collect()
}

pub fn image_count(data: &impl Dataset) -> usize {
    (0..data.class_count())
        .map(|class| data.class_len(class))
        .sum()
}

/// Batches of images, made ahead by threads; standardised by the constants, if there are some.
pub fn loader(
    data: Examples,
    config: LoaderConfig,
    normalization: Option<&Standardization>,
) -> Result<Loader> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(MOST_WORKERS);
    let loader = Loader::new(data, LoaderConfig { workers, ..config })?;
    match normalization {
        Some(constants) => loader.standardized(constants.clone()),
        None => Ok(loader),
    }
}

/// The optimizer that was asked for, with its usual learning rate and what a plan is to know of it.
pub fn optimizer(kind: OptimizerKind) -> (OptimizerConfig, f64, PlannedOptimizer) {
    match kind {
        OptimizerKind::Adam => (OptimizerConfig::default(), 1e-3, PlannedOptimizer::Adam),
        OptimizerKind::Sgd => {
            let config = SgdConfig {
                momentum: 0.9,
                ..Default::default()
            };
            (
                OptimizerConfig::Sgd(config),
                1e-2,
                PlannedOptimizer::Momentum,
            )
        }
    }
}

/// What a plan is to count with.
pub fn plan_config(
    hardware: &HardwareConfig,
    optimizer: PlannedOptimizer,
    device: &Device,
) -> PlanConfig {
    PlanConfig {
        precision: ResolvedPrecision::new(hardware.precision, device).planned(),
        optimizer,
        checkpointing: hardware.gradient_checkpointing,
        accumulating: false,
    }
}

/// What plans are to stay within.
pub fn budget(hardware: &HardwareConfig, device: &Device) -> Result<u64> {
    hardware
        .memory_budget
        .unwrap_or(USUAL_BUDGET)
        .resolve(device)
}

/// The most of a batch in one pass, where the plan for the whole of it goes beyond the budget.
pub fn micro_batch(
    network: &Graph,
    batch: usize,
    config: PlanConfig,
    device: &Device,
    budget: u64,
) -> Result<Option<usize>> {
    if MemoryPlan::new(network, batch, config, device)?.peak <= budget {
        return Ok(None);
    }
    let config = PlanConfig {
        accumulating: true,
        ..config
    };
    let most = MemoryPlan::largest_batch(network, batch, config, device, budget)?;
    // The plan may be wrong by a little: whether a single example fits is for the budget to say.
    Ok(most.or(Some(1)))
}

/// The most bytes that training has held: of its account, where it has a budget, otherwise of the device, and where a
/// GPU does not tell, what it has reserved, which is never less.
pub fn peak_bytes(manager: &HardwareManager) -> u64 {
    let memory = manager.device().memory();
    match manager.ledger().map(|ledger| ledger.peak()) {
        Some(peak) if peak > 0 => peak,
        _ if manager.device().is_cpu() => memory.peak,
        _ => memory.reserved,
    }
}

/// The bytes of values, their gradients and the optimizer's moments, less than which training never holds. What is small
/// is not counted on the CPU.
pub fn held_bytes(values: u64, optimizer: PlannedOptimizer) -> u64 {
    let moments = match optimizer {
        PlannedOptimizer::Adam => 2,
        _ => 1,
    };
    4 * values * (2 + moments)
}

/// Bytes as people read them.
pub fn readable(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..100_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// For example `3×32×32`.
pub fn sides(shape: ImageShape) -> String {
    format!("{}×{}×{}", shape.channels, shape.height, shape.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_are_not_none() {
        let texts = [0, 999, 1000, 49_999, 123_456, 5_000_000_000].map(readable);
        let expected = [
            "0 bytes",
            "999 bytes",
            "1.0 kB",
            "50.0 kB",
            "0.1 MB",
            "5000.0 MB",
        ];
        assert_eq!(texts, expected);
        assert_eq!(held_bytes(10, PlannedOptimizer::Adam), 160);
    }
}
