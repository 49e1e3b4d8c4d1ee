//! Training goes on from a saved network.

use burn::module::Module;

use crate::device::Device;
use crate::error::{Error, Result};
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
    /// A network of `graph`, which [`graph_for`](ModelDescription::graph_for) gives, to train for these classes: the weights are
    /// those of this one, but for a last layer that has other classes, which is drawn from a seed.
    ///
    /// # Errors
    /// When the graph has a layer of values that are not this network's.
    pub fn network_for(
        &self,
        graph: &Graph,
        classes: &[String],
        seed: u64,
        device: &Device,
    ) -> Result<Network> {
        let (own, drawn_anew) = (self.network.graph(), self.classes != classes);
        let is_drawn = |place: usize| drawn_anew && place == graph.output();
        let known = |place: usize| {
            let known = own.find(&graph.nodes()[place].name)?;
            (own.parameters(known) == graph.parameters(place)).then_some(known)
        };
        let places = 0..graph.nodes().len();
        let mut with_values = places.filter(|&place| !graph.parameters(place).is_empty());
        if let Some(unfit) = with_values.find(|&place| !is_drawn(place) && known(place).is_none()) {
            let name = &graph.nodes()[unfit].name;
            let message = format!("layer '{name}' is not the trained network's");
            return Err(Error::invalid("fine_tuning", message));
        }
        let network = Network::new(graph, seed, device);
        Ok(network.with_values(|place, drawn| {
            let kept = known(place).filter(|_| !is_drawn(place));
            let kept = kept.and_then(|known| self.network.values(known).cloned());
            kept.unwrap_or(drawn)
        }))
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
            sounds: None,
            normalization: None,
            card: ModelCard::default(),
            history: TrainingHistory::default(),
            confidence: None,
            storage: Default::default(),
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
        let about = |saved: &SavedNetwork| {
            let bytes = pollster::block_on(saved.to_bytes()).unwrap();
            ModelDescription::from_bytes(&bytes).unwrap()
        };
        let network = |classes: &[String]| {
            let graph = about(&saved).graph_for(classes)?;
            saved.network_for(&graph, classes, 1, &device)
        };
        let same = network(&saved.classes).unwrap();
        assert_eq!(values(&same), before);
        for count in [3, 5] {
            let classes: Vec<String> = (0..count).map(|class| format!("new {class}")).collect();
            let changed = network(&classes).unwrap();
            assert_eq!(changed.graph().output_shape().len(), count);
            for ((name, old), (other, new)) in before.iter().zip(values(&changed)) {
                assert_eq!(*name, other);
                assert_eq!(name.starts_with("head"), *old != new, "{name}");
            }
            assert_eq!(values(&network(&classes).unwrap()), values(&changed));
        }
        assert!(network(&[]).is_err());
        let wider = Conv4Config {
            filters: 5,
            blocks: 2,
            size: 8,
            ..Default::default()
        };
        let wider = wider.graph().unwrap().with_outputs(3).unwrap();
        let unfit = saved.network_for(&wider, &saved.classes, 1, &device);
        assert!(unfit.unwrap_err().to_string().contains("layer 'blocks.0"));
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
