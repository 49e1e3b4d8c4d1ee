//! Training goes on from a saved network.

use burn::module::Module;

use crate::device::Device;
use crate::error::Result;
use crate::nn::graph::Graph;
use crate::nn::{Network, Values};
use crate::train::{ModelDescription, SavedNetwork};

impl ModelDescription {
    /// The network for these classes: its own where they are the same, in this order; otherwise its last layer of neurons has
    /// an output for each.
    ///
    /// # Errors
    /// When there is no class.
    pub fn graph_for(&self, classes: &[String]) -> Result<Graph> {
        match self.classes == classes {
            true => Ok(self.network.clone()),
            false => self.network.with_outputs(classes.len()),
        }
    }
}

impl SavedNetwork {
    /// A network to train for these classes: the weights are those of this one, but for a last layer that has other classes,
    /// which is drawn from a seed.
    ///
    /// # Errors
    /// When there is no class.
    pub fn network_for(&self, classes: &[String], seed: u64, device: &Device) -> Result<Network> {
        if self.classes == classes {
            return Ok(self.network.clone());
        }
        let graph = self.network.graph().with_outputs(classes.len())?;
        let output = graph.output();
        let names: Vec<String> = graph.nodes().iter().map(|node| node.name.clone()).collect();
        let known = |place: usize| {
            self.network
                .values(self.network.graph().find(&names[place])?)
        };
        Ok(
            Network::new(&graph, seed, device).with_values(|place, drawn| match place == output {
                true => drawn,
                false => known(place).cloned().unwrap_or(drawn),
            }),
        )
    }
}

impl Network {
    /// The network with an encoder that training leaves as it is, running statistics included: what makes features
    /// ([`Graph::features`]) is not trained, and its norms use their running statistics in training, too.
    #[must_use]
    pub fn with_frozen_encoder(self) -> Self {
        let graph = self.graph().clone();
        let encoder = graph.encoder();
        self.with_values(|place, values| {
            if encoder.find(&graph.nodes()[place].name).is_none() {
                return values;
            }
            match values.no_grad() {
                Values::BatchNorm(norm) => Values::BatchNorm(norm.frozen()),
                other => other,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;

    use super::*;
    use crate::DeviceChoice;
    use crate::nn::zoo::Conv4Config;
    use crate::train::{ModelCard, TrainingHistory, weights};

    fn saved(device: &Device) -> SavedNetwork {
        let config = Conv4Config {
            filters: 4,
            blocks: 2,
            size: 8,
            ..Default::default()
        };
        let graph = config.graph().unwrap().with_outputs(3).unwrap();
        SavedNetwork {
            model: "conv4".into(),
            classes: ["a", "b", "c"].map(String::from).to_vec(),
            pictures: None,
            normalization: None,
            card: ModelCard::default(),
            history: TrainingHistory::default(),
            confidence: None,
            network: Network::new(&graph, 5, device),
        }
    }

    #[test]
    fn weights_stay_and_another_head_is_drawn() {
        let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
        let saved = saved(&device);
        let values = |network: &Network| {
            let found = pollster::block_on(weights::collect(network)).unwrap();
            found
                .into_iter()
                .map(|tensor| (tensor.name, tensor.values))
                .collect::<Vec<_>>()
        };
        let before = values(&saved.network);
        let same = saved.network_for(&saved.classes, 1, &device).unwrap();
        assert_eq!(values(&same), before);
        for count in [3, 5] {
            let classes: Vec<String> = (0..count).map(|class| format!("new {class}")).collect();
            let network = saved.network_for(&classes, 1, &device).unwrap();
            assert_eq!(network.graph().output_shape().len(), count);
            for ((name, old), (other, new)) in before.iter().zip(values(&network)) {
                assert_eq!(*name, other);
                assert_eq!(name.starts_with("head"), *old != new, "{name}");
            }
            let again = saved.network_for(&classes, 1, &device).unwrap();
            assert_eq!(values(&again), values(&network));
        }
        assert!(saved.network_for(&[], 1, &device).is_err());
    }

    #[test]
    fn only_the_head_is_left_to_train() {
        let device = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
        let frozen = saved(&device).network.with_frozen_encoder();
        let trained = |network: &Network, part: &str| {
            let place = network.graph().find(part).unwrap();
            let values = network.values(place).unwrap().clone();
            let mut found = Trained(false);
            values.visit(&mut found);
            found.0
        };
        assert!(trained(&frozen, "head"));
        let encoder = frozen.graph().encoder();
        let parts = encoder.nodes().iter().map(|node| &node.name[..]);
        let with_values = |name: &&str| frozen.values(encoder.find(name).unwrap()).is_some();
        let parts: Vec<&str> = parts.filter(with_values).collect();
        assert!(parts.len() > 3 && parts.iter().all(|part| !trained(&frozen, part)));
    }

    /// Whether a value asks for a gradient.
    struct Trained(bool);

    impl ModuleVisitor for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
}
