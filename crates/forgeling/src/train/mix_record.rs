//! The weights of a network's mixes over the epochs of a run.

use burn::tensor::Tensor;
use serde::Serialize;

use super::parts::{Method, Part, RunState, Sections};
use crate::device::{Readback, TensorDevice};
use crate::error::Result;
use crate::nn::graph::{Graph, Layer, Wire};
use crate::nn::{Network, Values};

/// Notes after each epoch how every [mix](Layer::Mix) of a network weights its inputs. It changes nothing, and goes on where
/// a checkpoint is.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use forgeling::data::{ImageSet, ImageShape, Loader, LoaderConfig};
/// use forgeling::nn::{Network, zoo::IntegrationConfig};
/// use forgeling::train::{
///     CrossEntropy, Epochs, HardwareConfig, HardwareManager, MixRecord, Run, Trainer, TrainerConfig,
/// };
/// use forgeling::{Device, DeviceChoice};
///
/// # pollster::block_on(async {
/// let device = Device::open(DeviceChoice::Cpu).await?;
/// let input = ImageShape::new(3, 8, 8);
/// let config = IntegrationConfig { input, width: 2, classes: 2, ..Default::default() };
/// let mut network = Network::new(&config.graph()?, 0, &device);
/// let mut record = MixRecord::new(&network).expect("it mixes");
/// let pixels: Vec<f32> = (0..2 * input.len()).map(|i| (i % 7) as f32 / 7.0).collect();
/// let images = ImageSet::from_f32(input, &["a", "b"], &pixels)?;
/// let mut images = Epochs::of(Loader::new(std::sync::Arc::new(images), LoaderConfig::default())?);
/// let manager = HardwareManager::on(device, HardwareConfig::default())?;
/// let mut trainer = Trainer::new(TrainerConfig { epochs: Some(2), ..Default::default() }, manager)?;
/// let run = Run::on(&mut images).with_method(&mut record);
/// trainer.fit(&mut network, &CrossEntropy, run, |_| ControlFlow::Continue(())).await?;
/// // Two inputs of the first mix, three of the second, at the start and after two epochs.
/// let curves = record.curves().await?;
/// assert_eq!(curves.len(), 5);
/// assert_eq!(curves[4].layer, "integrate.1.mix");
/// assert_eq!(curves[4].input, "integrate.1.previous");
/// assert_eq!(curves[4].weights.len(), 3);
/// # Ok::<(), forgeling::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MixRecord {
    mixes: Vec<Noted>,
    /// Epochs that were over, and the logits of each mix then.
    found: Vec<(usize, Vec<Tensor<1>>)>,
}

/// A mix that is looked at.
#[derive(Debug, Clone)]
struct Noted {
    node: usize,
    name: String,
    inputs: Vec<String>,
}

/// How a mix weights one of its inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MixCurve {
    /// The name of the mix.
    pub layer: String,
    /// The name of what goes in, without that of a norm or an activation at its end.
    pub input: String,
    /// Epochs that were over, and the weight then; those of all inputs add up to 1.
    pub weights: Vec<(usize, f64)>,
}

impl MixRecord {
    /// What a network weights before training; `None` of one that mixes nothing.
    pub fn new(network: &Network) -> Option<Self> {
        let graph = network.graph();
        let nodes = graph.nodes().iter().enumerate();
        let mixes = nodes.filter(|(_, node)| matches!(node.layer, Layer::Mix(_)));
        let mixes = mixes.map(|(place, node)| Noted {
            node: place,
            name: node.name.clone(),
            inputs: node.inputs.iter().map(|wire| named(graph, *wire)).collect(),
        });
        let mut record = Self {
            mixes: mixes.collect(),
            found: Vec::new(),
        };
        record.note(0, network);
        (!record.mixes.is_empty()).then_some(record)
    }

    fn note(&mut self, epoch: usize, network: &Network) {
        let logits = self
            .mixes
            .iter()
            .filter_map(|mix| match network.values(mix.node) {
                Some(Values::Mix(values)) => Some(values.logits.val().without_autodiff()),
                _ => None,
            });
        let logits = logits.collect();
        self.found.push((epoch, logits));
    }

    /// The weights of each input of each mix.
    ///
    /// # Errors
    /// When they cannot be read from the device.
    pub async fn curves(&self) -> Result<Vec<MixCurve>> {
        let mut read = Readback::new();
        for logits in self.found.iter().flat_map(|(_, logits)| logits) {
            read = read.with(logits.clone());
        }
        let mut read = read.run_all().await?.into_iter();
        let curve = |mix: &Noted, input: &String| MixCurve {
            layer: mix.name.clone(),
            input: input.clone(),
            weights: Vec::with_capacity(self.found.len()),
        };
        let mut curves: Vec<Vec<MixCurve>> = self
            .mixes
            .iter()
            .map(|mix| mix.inputs.iter().map(|input| curve(mix, input)).collect())
            .collect();
        for (epoch, _) in &self.found {
            for (mix, logits) in curves.iter_mut().zip(&mut read) {
                let exponentials = logits.iter().map(|logit| f64::from(*logit).exp());
                let exponentials: Vec<f64> = exponentials.collect();
                let sum: f64 = exponentials.iter().sum();
                for (input, exponential) in mix.iter_mut().zip(exponentials) {
                    input.weights.push((*epoch, exponential / sum));
                }
            }
        }
        Ok(curves.into_iter().flatten().collect())
    }
}

/// What comes along a wire.
fn named(graph: &Graph, wire: Wire) -> String {
    match wire {
        Wire::Input => "input".into(),
        Wire::Node(node) => {
            let name = &graph.nodes()[node].name;
            let without = [".norm", ".relu"].map(|end| name.strip_suffix(end));
            without.into_iter().flatten().next().unwrap_or(name).into()
        }
    }
}

impl RunState for MixRecord {
    fn save(&self, to: &mut Sections) -> Result<()> {
        let epochs: Vec<usize> = self.found.iter().map(|(epoch, _)| *epoch).collect();
        to.set("epochs", &epochs)?;
        for (epoch, logits) in &self.found {
            for (mix, logits) in self.mixes.iter().zip(logits) {
                to.set_tensor(&format!("{}.{epoch}", mix.name), logits.clone());
            }
        }
        Ok(())
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        let epochs: Vec<usize> = from.get("epochs")?;
        let of = |epoch: usize| {
            let mixes = self.mixes.iter();
            let logits = mixes.map(|mix| from.tensor(&format!("{}.{epoch}", mix.name), device));
            Ok((epoch, logits.collect::<Result<_>>()?))
        };
        self.found = epochs.into_iter().map(of).collect::<Result<_>>()?;
        Ok(())
    }
}

impl Part<Network> for MixRecord {
    fn name(&self) -> &str {
        "mix record"
    }

    fn end_epoch(&mut self, epoch: usize, model: &Network) -> Result<()> {
        self.note(epoch, model);
        Ok(())
    }
}

impl<B> Method<Network, B> for MixRecord {}
