//! Other heuristics give the same results. A file of its own, because they hold for a whole process.

use burn::tensor::{DType, Device as Tensors};
use forgeling::ops::{Activation, Heuristics, set_heuristics};
use forgeling::train::{Adam, AdamConfig};
use forgeling_tests::conv_parity::{CONVOLUTIONS, convolution};
use forgeling_tests::linear_parity::{LAYER_SIZES, layer};
use forgeling_tests::ops_parity::{BLOCK_SIZES, Body, Results, assert_same, block};
use forgeling_tests::{bag, gpus};
use pollster::block_on;

const ONE: Heuristics = Heuristics {
    statistics_slots: 0,
    weight_workgroups: 1,
    gather_workgroups: 1,
    update_workgroups: 1,
    weight_invocations: 1,
    product_invocations: 1,
};

const MANY: Heuristics = Heuristics {
    statistics_slots: 300,
    weight_workgroups: 1000,
    gather_workgroups: 64,
    update_workgroups: 1024,
    weight_invocations: 100_000,
    product_invocations: 100_000,
};

/// What the heuristics cut into launches: blocks, convolutions, layers.
fn operations(body: Body, device: &Tensors) -> Vec<(String, Results)> {
    let f32 = DType::F32;
    let mut all = Vec::new();
    for sizes in BLOCK_SIZES {
        let results = block_on(block(body, sizes, f32, device));
        all.push((format!("block {sizes:?}"), results));
    }
    for sizes in CONVOLUTIONS {
        let results = block_on(convolution(body, sizes, f32, device));
        all.push((format!("{sizes:?}"), results));
    }
    for sizes in LAYER_SIZES {
        let end = (Activation::Relu, true);
        let results = block_on(layer(body, sizes, end, f32, device));
        all.push((format!("layer {sizes:?}"), results));
    }
    all
}

/// Parameters of all sizes after five steps of Adam, which clips.
fn stepped(device: &Tensors) -> Vec<Vec<f32>> {
    let config = AdamConfig {
        clip_norm: Some(2.0),
        ..Default::default()
    };
    block_on(bag::five_steps(Adam::new(config).unwrap(), device))
}

#[test]
fn results_are_those_of_the_cpu_with_any_heuristics() {
    // The CPU has none.
    let flex = Tensors::flex().autodiff();
    let expected = operations(Body::Reference, &flex);
    let expected_steps = stepped(&flex);
    for device in gpus() {
        let (name, tensors) = (&device.info().name, device.autodiff());
        let table = Heuristics::of(device.tensors());
        for heuristics in [ONE, MANY] {
            set_heuristics(Some(heuristics));
            let slots = heuristics.statistics_slots.max(1);
            assert_eq!(Heuristics::of(device.tensors()).statistics_slots, slots);
            let got = operations(Body::Own, &tensors);
            assert_eq!(got.len(), expected.len());
            for ((operation, got), (_, expected)) in got.iter().zip(&expected) {
                let what = format!("of {operation} on {name} with {heuristics:?}");
                assert_same(got, expected, DType::F32, &what);
            }
            let what = format!("steps on {name} with {heuristics:?}");
            bag::assert_same(&what, &stepped(&tensors), &expected_steps, bag::TOLERANCE);
        }
        set_heuristics(None);
        assert_eq!(Heuristics::of(device.tensors()), table);
    }
}
