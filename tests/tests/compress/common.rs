//! Networks to prune, and what is left when their channels are set to zero instead.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use forgeling::compress::{
    ChannelGroups, Criterion, HeadPruning, PrunedGroup, PruningConfig, PruningPlan, PruningTarget,
};
use forgeling::data::Rng;
use forgeling::nn::catalog::{Entry, ModelConfig};
use forgeling::nn::graph::{Graph, Layer, Shape};
use forgeling::nn::{Network, Normalization};
use forgeling::{Device, DeviceChoice};
use forgeling_tests::networks::outputs;
use forgeling_tests::{assert_close, waves};

pub fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

pub fn graph(layers: &str, input: &[usize]) -> Graph {
    Graph::from_json(&format!(
        r#"{{ "input": {input:?}, "layers": [{layers}] }}"#
    ))
    .unwrap()
}

/// A network of the catalog with few channels, for small images.
pub fn narrow(model: &str) -> Graph {
    let mut config = ModelConfig::new(model).unwrap();
    if config.input.height >= 64 {
        config.input.height = 32;
        config.input.width = 32;
    }
    for setting in Entry::find(model).unwrap().options {
        let narrow = match (setting.name, setting.default) {
            // The width of some families is told in hundredths.
            ("width", 100) => 25,
            // Two heads.
            ("width", 192 | 384) => 128,
            ("width", _) => 16,
            ("depth", 4..) => 2,
            _ => continue,
        };
        let value = narrow.clamp(setting.least, setting.most);
        config.options.insert(setting.name.into(), value);
    }
    config.graph().unwrap()
}

/// Weights, norms and running statistics that are all different, on the tensors of a device without autodiff.
pub fn stirred(graph: &Graph, device: &Device) -> Network {
    Network::on(graph, 3, device.tensors()).map(&mut Stir {
        path: Vec::new(),
        phase: 0.0,
    })
}

struct Stir {
    path: Vec<String>,
    phase: f64,
}

impl ModuleMapper for Stir {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.phase += 1.0;
        let waves = waves(param.val().shape().num_elements(), self.phase);
        let field = self.path.last().map_or("", |name| name);
        let weights = D > 1;
        let waves = waves.into_iter().map(|wave| match field {
            "running_var" => wave.abs(),
            _ if weights => 0.05 * wave,
            _ => 0.3 * wave,
        });
        param.map(|old| {
            let data = TensorData::new(waves.collect(), old.dims());
            let added = Tensor::from_data(data, &old.device());
            old + added
        })
    }
}

/// Some channels of every group of which `which` holds, at least one of which stays.
pub fn some_channels(
    graph: &Graph,
    heads: HeadPruning,
    seed: u64,
    which: impl Fn(&str, &Layer) -> bool,
) -> Vec<PrunedGroup> {
    let groups = ChannelGroups::of(graph, heads, &[]).unwrap();
    let mut rng = Rng::new(seed);
    let own = groups.groups().iter().filter(|group| {
        let node = &graph.nodes()[group.first_layer()];
        which(&node.name, &node.layer)
    });
    let own = own.map(|group| {
        let mut left = group.channels.clone();
        let most = left.len() - 1;
        let mut removed = BTreeSet::new();
        for _ in 0..(0.4 * left.len() as f64).round().max(1.0).min(most as f64) as usize {
            removed.insert(left.swap_remove(rng.below(left.len())));
        }
        PrunedGroup {
            layer: graph.nodes()[group.first_layer()].name.clone(),
            with: Vec::new(),
            channels: 0,
            removed: removed.into_iter().collect(),
        }
    });
    own.filter(|group| !group.removed.is_empty()).collect()
}

/// The network with what makes these channels at zero: weights, biases, and what norms multiply and add. What takes the
/// channels keeps its weights.
pub fn zeroed(network: &Network, heads: HeadPruning, removed: &[PrunedGroup]) -> Network {
    let graph = network.graph();
    let groups = ChannelGroups::of(graph, heads, &[]).unwrap();
    let mut zero = Zero {
        path: Vec::new(),
        places: Vec::new(),
    };
    for listed in removed {
        for channel in &listed.removed {
            let (group, place) = groups
                .groups()
                .iter()
                .enumerate()
                .filter(|(_, group)| graph.nodes()[group.first_layer()].name == listed.layer)
                .find_map(|(at, group)| {
                    let place = group.channels.iter().position(|other| other == channel)?;
                    Some((at, place))
                })
                .unwrap();
            for member in groups.members(group, place) {
                let node = &graph.nodes()[member.node];
                let is_convolution = matches!(node.layer, Layer::Conv2d(_));
                let takes =
                    member.field.ends_with("weight") && member.axis == usize::from(is_convolution);
                let stays = ["running_mean", "running_var"].contains(&member.field);
                if !takes && !stays {
                    let name = format!("{}.{}", node.name, member.field);
                    zero.places.push((name, member.axis, member.indices));
                }
            }
        }
    }
    network.clone().map(&mut zero)
}

struct Zero {
    path: Vec<String>,
    places: Vec<(String, usize, Vec<usize>)>,
}

impl ModuleMapper for Zero {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let own: Vec<_> = self.places.iter().filter(|place| place.0 == name).collect();
        if own.is_empty() {
            return param;
        }
        param.map(|old| {
            let (dims, device) = (old.dims(), old.device());
            let mut values: Vec<f32> = old.into_data().try_into_vec().unwrap();
            for (_, axis, indices) in own {
                let inner: usize = dims[axis + 1..].iter().product();
                for (place, value) in values.iter_mut().enumerate() {
                    if indices.contains(&(place / inner % dims[*axis])) {
                        *value = 0.0;
                    }
                }
            }
            Tensor::from_data(TensorData::new(values, dims), &device)
        })
    }
}

/// The outputs of three images, or of three rows.
pub fn answers(network: &Network, device: &Device) -> Vec<f32> {
    let [channels, rows, columns] = match network.graph().input() {
        Shape::Maps(sizes) => sizes,
        Shape::Tokens([tokens, width]) => [1, tokens, width],
        Shape::Values(values) => [1, 1, values],
    };
    let shape = [3, channels, rows, columns];
    let data = TensorData::new(waves(shape.iter().product(), 0.5), shape);
    let images = Tensor::from_data(data, device.tensors());
    let (found, _) = outputs(network, images, Normalization::Running).unwrap();
    found.into_data().try_into_vec().unwrap()
}

/// Without these channels the network answers as with them at zero, which is not as before.
pub fn assert_equals_zeroed(
    name: &str,
    graph: &Graph,
    heads: HeadPruning,
    removed: &[PrunedGroup],
) -> Network {
    let device = cpu();
    let network = stirred(graph, &device);
    let plan = PruningPlan::by_hand(graph, heads, removed).unwrap();
    let pruned = plan.apply(&network).unwrap();
    assert_eq!(pruned.graph().trained_values(), plan.after.values, "{name}");
    let names = |graph: &Graph| graph.tensors().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(pruned.graph()), names(graph), "{name}");
    let zeroed = answers(&zeroed(&network, heads, removed), &device);
    assert_close(name, &answers(&pruned, &device), &zeroed, 1e-5);
    let whole = answers(&network, &device);
    let apart = whole.iter().zip(&zeroed).map(|(a, b)| (a - b).abs());
    let scale = whole
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(
        apart.fold(0.0, f32::max) > 1e-3 * scale,
        "{name}: nothing has changed"
    );
    pruned
}

/// Half of the channels by the sizes of weights, and what else `change` says.
pub fn config(change: impl FnOnce(&mut PruningConfig)) -> PruningConfig {
    let mut config = PruningConfig {
        target: PruningTarget::Channels(0.5),
        criterion: Criterion::L1,
        ..Default::default()
    };
    change(&mut config);
    config
}

/// The plan for a stirred network of this graph.
pub fn planned(graph: &Graph, config: &PruningConfig) -> forgeling::Result<PruningPlan> {
    pollster::block_on(PruningPlan::of(&stirred(graph, &cpu()), config, None))
}
