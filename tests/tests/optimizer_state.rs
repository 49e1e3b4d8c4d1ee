//! What optimizers keep belongs to a parameter: others may come, go, freeze or grow.

use burn::module::{Module, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device as Tensors, Tensor, TensorData};
use forgeling::Readback;
use forgeling::device::Device;
use forgeling::train::weights::{NamedTensor, collect};
use forgeling::train::{AdamConfig, AnyOptimizer, OptimizerConfig, OptimizerRecord, SgdConfig};
use forgeling_tests::bag::TOLERANCE;
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{assert_close, devices};
use pollster::block_on;

/// Parameters whose gradients are a function of their names and the step alone, so that none depends on another.
#[derive(Module, Debug)]
struct Net {
    trunk: Vec<Param<Tensor<1>>>,
    frozen: Vec<Param<Tensor<1>>>,
    head: Vec<Param<Tensor<2>>>,
}

const TRUNK: [usize; 7] = [5, 64, 1, 130, 7, 33, 260];
const FROZEN: [usize; 5] = [65, 3, 127, 9, 1000];
const HEAD: [usize; 2] = [7, 3];
const WIDER: [usize; 2] = [7, 4];

fn vectors(sizes: &[usize], phase: f64, device: &Tensors) -> Vec<Param<Tensor<1>>> {
    let vector = |(index, &size): (usize, &usize)| {
        Param::from_tensor(tensor([size], phase + index as f64, device))
    };
    sizes.iter().enumerate().map(vector).collect()
}

/// The first three columns are the same whatever follows them.
fn columns(shape: [usize; 2], phase: f64, device: &Tensors) -> Tensor<2> {
    let value = |place: usize| {
        let (row, column) = (place / shape[1], place % shape[1]);
        (phase + (row * 10 + column) as f64).sin() as f32
    };
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Net {
    fn new(parts: &str, device: &Tensors) -> Self {
        let sizes = |letter: char, sizes: &'static [usize]| match parts.contains(letter) {
            true => sizes,
            false => &[],
        };
        let head = columns(HEAD, 3.0, device);
        Self {
            trunk: vectors(sizes('t', &TRUNK), 1.0, device),
            frozen: vectors(sizes('f', &FROZEN), 2.0, device),
            head: match parts.contains('h') {
                true => vec![Param::from_tensor(head)],
                false => Vec::new(),
            },
        }
    }

    fn gradients(&self, parts: &str, step: usize) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        let phase = 7.0 * step as f64;
        for (letter, all, own) in [('t', &self.trunk, 0.1), ('f', &self.frozen, 0.2)] {
            for (index, param) in all.iter().enumerate().filter(|_| parts.contains(letter)) {
                let device = param.val().device().inner();
                let gradient = tensor(param.val().dims(), phase + own + index as f64, &device);
                gradients.register(param.id, gradient);
            }
        }
        for param in self.head.iter().filter(|_| parts.contains('h')) {
            let device = param.val().device().inner();
            gradients.register(param.id, columns(param.val().dims(), phase, &device));
        }
        gradients
    }

    /// As many steps as there are numbers.
    fn stepped(
        mut self,
        optimizer: &mut AnyOptimizer,
        parts: &str,
        steps: impl IntoIterator<Item = usize>,
    ) -> Self {
        for step in steps {
            let gradients = self.gradients(parts, step);
            self = optimizer.step(0.01, self, gradients);
        }
        self
    }

    /// With a class more, whose weights are those of the fourth column.
    fn grown(mut self, optimizer: &mut AnyOptimizer) -> Self {
        let head = self.head.remove(0);
        let (id, old) = (head.id, head.val());
        let (device, inner) = (old.device(), old.device().inner());
        let new = columns(WIDER, 3.0, &inner).slice([0..7, 3..4]);
        let wider = Tensor::cat(vec![old.inner(), new], 1);
        let wider = Tensor::from_inner(wider).to_device(&device).require_grad();
        optimizer.grow(id, id, &WIDER).unwrap();
        self.head = vec![Param::initialized(id, wider)];
        self
    }
}

fn optimizers() -> [AnyOptimizer; 3] {
    let adam = AdamConfig {
        weight_decay: 0.1,
        ..Default::default()
    };
    let sgd = |momentum| SgdConfig {
        momentum,
        ..Default::default()
    };
    [
        OptimizerConfig::Adam(adam),
        OptimizerConfig::Sgd(sgd(0.9)),
        OptimizerConfig::Sgd(sgd(0.0)),
    ]
    .map(|config| AnyOptimizer::new(config).unwrap())
}

/// Values and moments of what has a name that begins so, and the steps of each.
fn kept(net: &Net, record: &OptimizerRecord, prefix: &str) -> (Vec<NamedTensor>, Vec<u64>) {
    let mut all = block_on(collect(net)).unwrap();
    all.extend(record.moments.clone());
    all.retain(|tensor| tensor.name.starts_with(prefix));
    let named = record.summary.parameters.iter();
    let steps = named.filter(|(name, _)| name.starts_with(prefix));
    (all, steps.map(|(_, steps)| *steps).collect())
}

fn record(optimizer: &AnyOptimizer, net: &Net) -> OptimizerRecord {
    block_on(optimizer.state(net)).unwrap()
}

/// The same tensors with these columns of what is `columns` wide.
fn narrow(
    tensors: Vec<NamedTensor>,
    columns: usize,
    wanted: std::ops::Range<usize>,
) -> Vec<Vec<f32>> {
    let of = |tensor: NamedTensor| {
        let rows = tensor.values.chunks(columns);
        rows.flat_map(|row| row[wanted.clone()].to_vec()).collect()
    };
    tensors.into_iter().map(of).collect()
}

#[test]
fn freezing_and_growing_leave_what_is_kept_of_the_others_alone() {
    for device in devices() {
        let tensors = device.autodiff();
        for fresh in optimizers() {
            let what = format!("{fresh:.40?} on {}", device.info().name);
            let mut optimizer = fresh.clone();
            // All of it, then half of it frozen for ten steps, a class more, and all of it again.
            let mut net = Net::new("tfh", &tensors).stepped(&mut optimizer, "tfh", 0..3);
            net = net
                .stepped(&mut optimizer, "th", 3..13)
                .grown(&mut optimizer);
            net = net.stepped(&mut optimizer, "tfh", 13..16);
            let got = record(&optimizer, &net);
            let alone = |parts: &str, steps: Vec<usize>| {
                let mut optimizer = fresh.clone();
                let net = Net::new(parts, &tensors).stepped(&mut optimizer, parts, steps);
                let record = record(&optimizer, &net);
                kept(&net, &record, "")
            };
            let trunk = kept(&net, &got, "trunk");
            assert_eq!(trunk, alone("t", (0..16).collect()), "{what}");
            assert_eq!(trunk.1, [16; TRUNK.len()]);
            let frozen = kept(&net, &got, "frozen");
            assert_eq!(frozen, alone("f", vec![0, 1, 2, 13, 14, 15]), "{what}");
            assert_eq!(frozen.1, [6; FROZEN.len()]);
            // The old classes go on as if the new one were not there.
            let (wider, steps) = kept(&net, &got, "head");
            let (expected, _) = alone("h", (0..16).collect());
            assert_eq!(steps, [16]);
            let old = narrow(wider.clone(), 4, 0..3);
            assert_eq!(old, narrow(expected, 3, 0..3), "{what}");
            // The new one's moments begin at zero; moments do not depend on the count of steps.
            let mut late = fresh.clone();
            let mut new = Net::new("h", &tensors).grown(&mut late);
            new = new.stepped(&mut late, "h", 13..16);
            let (expected, _) = kept(&new, &record(&late, &new), "head");
            let moments = |tensors| narrow(tensors, 4, 3..4).split_off(1);
            assert_eq!(moments(wider), moments(expected), "{what}");
        }
    }
}

#[test]
fn records_of_parameters_that_rest_go_on_bit_for_bit() {
    for device in devices() {
        let tensors = device.autodiff();
        for fresh in optimizers() {
            let mut optimizer = fresh.clone();
            let net = Net::new("tfh", &tensors).stepped(&mut optimizer, "tfh", 0..3);
            let net = net.stepped(&mut optimizer, "t", 3..5);
            let half = record(&optimizer, &net);
            let mut other = fresh.clone();
            other.load_state(&net, half.clone()).unwrap();
            assert_eq!(sorted(record(&other, &net)), sorted(half));
            let finish = |mut optimizer: AnyOptimizer| {
                let net = net.clone().stepped(&mut optimizer, "th", 5..8);
                let net = net
                    .grown(&mut optimizer)
                    .stepped(&mut optimizer, "tfh", 8..10);
                let record = record(&optimizer, &net);
                (block_on(collect(&net)).unwrap(), sorted(record))
            };
            assert_eq!(finish(other), finish(optimizer), "{}", device.info().name);
        }
    }
}

fn sorted(mut record: OptimizerRecord) -> OptimizerRecord {
    record.moments.sort_by(|a, b| a.name.cmp(&b.name));
    record
}

#[test]
fn a_parameter_that_rested_while_another_came_may_grow_and_be_forgotten() {
    for device in devices() {
        let tensors = device.autodiff();
        let [fresh, ..] = optimizers();
        let mut optimizer = fresh.clone();
        let net = Net::new("th", &tensors).stepped(&mut optimizer, "h", 0..2);
        let net = net.stepped(&mut optimizer, "t", 2..4).grown(&mut optimizer);
        let (_, steps) = kept(&net, &record(&optimizer, &net), "head");
        assert_eq!(steps, [2]);
        let before = kept(&net, &record(&optimizer, &net), "trunk");
        optimizer.forget(net.head[0].id);
        optimizer.forget(net.trunk[0].id);
        let after = record(&optimizer, &net);
        assert!(!after.summary.parameters.contains_key("head.0"));
        assert!(!after.summary.parameters.contains_key("trunk.0"));
        assert_eq!(before.1.len(), after.summary.parameters.len() + 1);
        let net = net.stepped(&mut optimizer, "th", 4..6);
        let after = record(&optimizer, &net);
        let steps = |name: &str| after.summary.parameters[name];
        let counts = [steps("head.0"), steps("trunk.0"), steps("trunk.1")];
        assert_eq!(counts, [2, 2, 4]);
        // As by an optimizer that never saw it.
        let mut anew = fresh.clone();
        let head = Net::new("h", &tensors)
            .grown(&mut anew)
            .stepped(&mut anew, "h", 4..6);
        let (expected, _) = kept(&head, &record(&anew, &head), "head.0.");
        assert_eq!(kept(&net, &after, "head.0.").0, expected);
    }
}

fn flags(optimizer: &AnyOptimizer) -> Vec<f32> {
    let trip = Readback::new().with(optimizer.skipped().unwrap());
    let [flags] = block_on(trip.run()).unwrap();
    flags
}

#[test]
fn all_share_the_norm_and_a_skipped_step_and_go_on_counting() {
    let clipped = |device: &Device, clip_norm| {
        let config = AdamConfig {
            clip_norm,
            ..Default::default()
        };
        let mut optimizer = AnyOptimizer::new(OptimizerConfig::Adam(config)).unwrap();
        let net = Net::new("tf", &device.autodiff());
        let net = net.stepped(&mut optimizer, "t", 0..1);
        (net.stepped(&mut optimizer, "tf", 1..2), optimizer)
    };
    for device in devices() {
        let (net, mut optimizer) = clipped(&device, Some(0.5));
        let of_one = |net: &Net, optimizer: &AnyOptimizer| {
            let record = record(optimizer, net);
            let of = |name: &str| record.moments.iter().find(|moment| moment.name == name);
            of("frozen.4.mean").unwrap().values.clone()
        };
        // The first step of the frozen ones: their moments are a tenth of the gradient, times what clips all of them.
        let flat = |param: &Param<Tensor<1>>| {
            let gradient = net.gradients("tf", 1).remove::<1>(param.id).unwrap();
            gradient.into_data().try_into_vec::<f32>().unwrap()
        };
        let all: Vec<f32> = net.trunk.iter().chain(&net.frozen).flat_map(flat).collect();
        let squares: f64 = all.iter().map(|value| f64::from(*value).powi(2)).sum();
        let scale = (0.5 / squares.sqrt()) as f32;
        let expected: Vec<f32> = flat(&net.frozen[4])
            .iter()
            .map(|g| 0.1 * scale * g)
            .collect();
        assert_close("clipped", &of_one(&net, &optimizer), &expected, TOLERANCE);

        let before = (
            block_on(collect(&net)).unwrap(),
            record(&optimizer, &net).moments,
        );
        let mut gradients = net.gradients("tf", 2);
        let inner = device.tensors();
        gradients.register(net.frozen[1].id, Tensor::<1>::full([3], f32::NAN, inner));
        let net = optimizer.step(0.01, net, gradients);
        let after = (
            block_on(collect(&net)).unwrap(),
            record(&optimizer, &net).moments,
        );
        assert_eq!((after, flags(&optimizer)), (before, vec![1.0, 1.0]));
        // Others entirely go on with the count, and with that of a record too.
        let net = Net {
            head: Net::new("h", &device.autodiff()).head,
            ..net
        };
        let net = net.stepped(&mut optimizer, "h", 3..4);
        assert_eq!(flags(&optimizer), [0.0, 1.0]);
        let saved = record(&optimizer, &net);
        assert_eq!(
            (saved.summary.skipped, saved.summary.last_skipped),
            (1, false)
        );
        assert_eq!(saved.summary.parameters["head.0"], 1);
        optimizer.load_state(&net, saved).unwrap();
        net.stepped(&mut optimizer, "f", 4..5);
        assert_eq!(flags(&optimizer), [0.0, 1.0]);
    }
}

#[test]
fn a_parameter_of_another_dtype_comes_and_goes() {
    #[derive(Module, Debug)]
    struct Mixed {
        net: Net,
        half: Param<Tensor<1>>,
    }
    for device in devices() {
        let tensors = device.autodiff();
        let inner = device.tensors();
        let Ok(half) = half(inner) else {
            println!("skipped: no f16 on {}", device.info().name);
            continue;
        };
        for fresh in optimizers() {
            let mut mixed = Mixed {
                net: Net::new("t", &tensors),
                half: Param::from_tensor(Tensor::from_inner(half.clone())),
            };
            let (mut optimizer, mut reference) = (fresh.clone(), fresh);
            for step in 0..9 {
                let mut gradients = mixed.net.gradients("t", step);
                if (3..6).contains(&step) {
                    gradients.register(mixed.half.id, half.clone());
                }
                mixed = optimizer.step(0.01, mixed, gradients);
            }
            let net = Net::new("t", &tensors).stepped(&mut reference, "t", 0..9);
            let got = block_on(optimizer.state(&mixed)).unwrap();
            assert_eq!(got.summary.parameters["half"], 3);
            let expected = record(&reference, &net);
            let (expected, steps) = kept(&net, &expected, "trunk");
            let (got, got_steps) = kept(&mixed.net, &unprefixed(got), "trunk");
            assert_eq!(got_steps, steps);
            for (got, expected) in got.iter().zip(&expected) {
                assert_eq!(got.name, expected.name);
                assert_close(&got.name, &got.values, &expected.values, TOLERANCE);
            }
        }
    }
}

/// The record of a net that is a field of another module.
fn unprefixed(mut record: OptimizerRecord) -> OptimizerRecord {
    let name = |name: &str| name.strip_prefix("net.").unwrap_or(name).to_string();
    for moment in &mut record.moments {
        moment.name = name(&moment.name);
    }
    let parameters = std::mem::take(&mut record.summary.parameters).into_iter();
    record.summary.parameters = parameters.map(|(key, steps)| (name(&key), steps)).collect();
    record
}

/// Numbers of half precision, where the device takes them.
fn half(device: &Tensors) -> Result<Tensor<1>, forgeling::Error> {
    let half = tensor([11], 0.5, device).cast(DType::F16);
    let trip = Readback::new().with(half.clone().cast(DType::F32));
    block_on(trip.run::<1>()).map(|_| half)
}

#[test]
fn growing_to_what_does_not_fit_is_an_error_and_changes_nothing() {
    for fresh in optimizers() {
        let tensors = Tensors::flex().autodiff();
        let mut optimizer = fresh;
        let net = Net::new("th", &tensors).stepped(&mut optimizer, "th", 0..2);
        let before = record(&optimizer, &net);
        let (head, other) = (net.head[0].id, net.trunk[0].id);
        let huge = [usize::MAX, 3];
        for shape in [&[7, 2][..], &[6, 9], &[7], &[7, 3, 1], &[], &huge] {
            let error = optimizer.grow(head, head, shape).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().contains("[7, 3]"),
                "{error}"
            );
        }
        assert!(
            optimizer
                .grow(head, other, &WIDER)
                .unwrap_err()
                .is_bad_input()
        );
        assert_eq!(record(&optimizer, &net), before);
        // What was never moved has nothing to keep.
        let unknown = ParamId::new();
        optimizer.grow(unknown, unknown, &[1]).unwrap();
        assert_eq!(record(&optimizer, &net), before);
    }
}
