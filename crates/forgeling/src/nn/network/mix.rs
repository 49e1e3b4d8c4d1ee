//! Learned weights of a node's inputs.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use super::run::Flow;
use super::{Network, Values};
use crate::device::{Readback, TensorDevice};
use crate::error::Result;
use crate::nn::Pass;

/// Of a mix.
#[derive(Module, Debug)]
pub struct MixValues {
    /// `[inputs]`; the weights are its softmax.
    pub logits: Param<Tensor<1>>,
}

impl MixValues {
    pub(super) fn new(logits: Vec<f32>, device: &TensorDevice) -> Self {
        let inputs = logits.len();
        let logits = Tensor::from_data(TensorData::new(logits, [inputs]), device);
        Self {
            logits: Param::from_tensor(logits),
        }
    }

    /// `[inputs]`, above 0 and 1 in all.
    pub fn weights(&self) -> Tensor<1> {
        softmax(self.logits.val(), 0)
    }

    /// `sum_i weights_i x_i`
    ///
    /// # Errors
    /// When some are maps and others rows.
    pub(super) fn mixed(
        &self,
        first: Flow,
        others: impl Iterator<Item = Flow>,
        pass: &Pass<'_>,
    ) -> Result<Flow> {
        let weights = pass.input(self.weights());
        let weight = |place: usize| weights.clone().narrow(0, place, 1);
        let weighted = |place: usize, x: Flow| {
            x.each(
                |maps| maps * weight(place).reshape([1, 1, 1, 1]),
                |rows| rows * weight(place).reshape([1, 1]),
            )
        };
        let mut sum = weighted(0, first);
        for (place, other) in others.enumerate() {
            sum = sum.plus(weighted(place + 1, other))?;
        }
        Ok(sum)
    }
}

impl Network {
    /// The weights that each [mix](crate::nn::graph::Layer::Mix) gives its inputs now, in their order, with the name of its
    /// layer; nothing of a network that mixes nothing.
    ///
    /// # Errors
    /// When they cannot be read from the device.
    pub async fn mix_weights(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let (mut names, mut read) = (Vec::new(), Readback::new());
        for (place, node) in self.graph.nodes().iter().enumerate() {
            if let Some(Values::Mix(values)) = self.values(place) {
                names.push(node.name.clone());
                read = read.with(values.weights());
            }
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(names.into_iter().zip(read.run_all().await?).collect())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::nn::Normalization;
    use crate::nn::graph::Graph;

    /// Three maps of one pixel each, or three values, mixed.
    fn graph(values: bool, mix: &str) -> Graph {
        let flatten = if values { r#""flatten""# } else { r#""relu""# };
        let channel = |from| {
            format!(
                r#"{{ "channels": {{ "from": {from}, "count": 1 }}, "inputs": ["input"], "name": "c{from}" }}, {flatten}"#
            )
        };
        let kind = if values { "flatten" } else { "relu" };
        let text = format!(
            r#"{{ "input": [3, 1, 2], "layers": [{}, {}, {},
            {{ "mix": {mix}, "inputs": ["{kind}1", "{kind}2", "{kind}3"], "name": "mix" }}, "flatten"] }}"#,
            channel(0),
            channel(1),
            channel(2)
        );
        Graph::from_json(&text).unwrap()
    }

    fn with_logits(network: Network, logits: [f32; 3], device: &TensorDevice) -> Network {
        network.with_values(|_, _| Values::Mix(MixValues::new(logits.to_vec(), device)))
    }

    #[test]
    fn inputs_are_weighted_by_the_softmax_of_their_logits() {
        let device = Device::flex().autodiff();
        // Two images of two pixels, channel by channel.
        let pixels = vec![
            1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, 0.25, 0.0, 1.0, 8.0, 2.0,
        ];
        let directions = [1.0f32, -2.0, 0.5, 3.0];
        let logits = [0.0, 2.0f32.ln(), 5.0f32.ln()];
        // Shares of an eighth, a quarter and five eighths.
        let mixed = |x: [f32; 3]| (x[0] + 2.0 * x[1] + 5.0 * x[2]) / 8.0;
        let expected = [
            mixed([1.0, 3.0, 5.0]),
            mixed([2.0, 4.0, 6.0]),
            mixed([0.5, 0.0, 8.0]),
            mixed([0.25, 1.0, 2.0]),
        ];
        for values in [false, true] {
            let graph = graph(values, "{}");
            assert_eq!(graph.trained_values(), 3);
            assert_eq!(Graph::from_json(&graph.to_json()).unwrap(), graph);
            let network = with_logits(Network::on(&graph, 0, &device), logits, &device);
            let run = |network: &Network| {
                let data = TensorData::new(pixels.clone(), [2, 3, 1, 2]);
                let images = Tensor::<4>::from_data(data, &device).require_grad();
                let mut pass = Pass::new(Normalization::Batch, &device);
                let output = network.forward(images.clone(), &mut pass).unwrap();
                let data = TensorData::new(directions.to_vec(), [2, 2]);
                let sum = (output.clone() * Tensor::from_data(data, &device)).sum();
                (images, output, sum)
            };
            let (images, output, sum) = run(&network);
            output.inner().into_data().assert_approx_eq::<f32>(
                &TensorData::new(expected.to_vec(), [2, 2]),
                Tolerance::absolute(1e-6),
            );
            let gradients = sum.backward();
            let of_images = images.grad(&gradients).unwrap();
            let of_images: Vec<f32> = of_images.into_data().try_into_vec().unwrap();
            for (place, found) in of_images.into_iter().enumerate() {
                let [image, channel, pixel] = [place / 6, place % 6 / 2, place % 2];
                // A map's ReLU lets nothing through at 0.
                let open = values || pixels[place] > 0.0;
                let share = [0.125, 0.25, 0.625][channel] * f32::from(u8::from(open));
                let expected = share * directions[2 * image + pixel];
                assert!((found - expected).abs() < 1e-6, "{place}: {found}");
            }
            let mix = graph.find("mix").unwrap();
            let Some(Values::Mix(held)) = network.values(mix) else {
                panic!("nothing is mixed");
            };
            let found = held.logits.val().grad(&gradients).unwrap();
            let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
            for place in 0..3 {
                let at = |step: f32| {
                    let mut logits = logits;
                    logits[place] += step;
                    let moved = with_logits(network.clone(), logits, &device);
                    run(&moved).2.into_scalar::<f32>()
                };
                let slope = (at(0.05) - at(-0.05)) / 0.1;
                assert!((found[place] - slope).abs() < 2e-2, "{found:?}: {slope}");
            }
            assert!(found.iter().all(|slope| slope.abs() > 0.1), "{found:?}");
            let weights = pollster::block_on(network.mix_weights()).unwrap();
            assert_eq!(weights.len(), 1);
            assert_eq!(weights[0].0, "mix");
            let apart = weights[0].1.iter().zip([0.125, 0.25, 0.625]);
            assert!(apart.into_iter().all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn the_last_input_starts_with_the_share_that_it_is_given() {
        let device = Device::flex().autodiff();
        let weights = |mix: &str| {
            let network = Network::on(&graph(true, mix), 0, &device);
            pollster::block_on(network.mix_weights())
                .unwrap()
                .remove(0)
                .1
        };
        let apart = |found: &[f32], expected: [f32; 3]| {
            let pairs = found.iter().zip(expected);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let third = 1.0 / 3.0;
        assert!(apart(&weights("{}"), [third; 3]) < 1e-6);
        let told = weights(r#"{ "lastShare": 0.02 }"#);
        assert!(apart(&told, [0.49, 0.49, 0.02]) < 1e-6, "{told:?}");
        let read = |mix: &str, second: &str| {
            let text = format!(
                r#"{{ "input": [3, 2, 2], "layers": [{{ "channels": {{ "count": 1 }}, "name": "a" }}, {second},
                {{ "mix": {mix}, "inputs": ["a", "b"], "name": "m" }}] }}"#
            );
            Graph::from_json(&text)
        };
        let same = r#"{ "relu": {}, "name": "b" }"#;
        let other = r#"{ "maxPool": {}, "name": "b" }"#;
        assert!(read("{}", same).is_ok());
        for (mix, second, said) in [
            ("{}", other, "layer 'm' (mix): the inputs differ"),
            (r#"{ "lastShare": 0 }"#, same, "last share"),
            (r#"{ "lastShare": 1 }"#, same, "last share"),
            (r#"{ "firstShare": 0.5 }"#, same, "firstShare"),
            (
                "{}",
                r#"{ "channels": { "from": 1, "count": 1 }, "name": "b" }"#,
                "more than 1 channels",
            ),
            (
                "{}",
                r#"{ "channels": { "from": 0, "count": 0 }, "name": "b" }"#,
                "channels",
            ),
        ] {
            let error = read(mix, second).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains(said),
                "{error}"
            );
        }
    }
}
