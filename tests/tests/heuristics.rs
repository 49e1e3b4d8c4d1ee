//! Other heuristics give the same results. A file of its own, because they hold for a whole process.

use burn::tensor::DType;
use forgeling::ops::{Heuristics, set_heuristics};
use forgeling_tests::devices;
use forgeling_tests::ops_parity::{BLOCK_SIZES, Body, assert_same, block};

#[test]
fn results_do_not_depend_on_the_heuristics() {
    let one = Heuristics {
        statistics_slots: 0,
        weight_workgroups: 1,
        gather_workgroups: 1,
        update_workgroups: 1,
        weight_invocations: 1,
        product_invocations: 1,
    };
    let many = Heuristics {
        statistics_slots: 300,
        weight_workgroups: 1000,
        gather_workgroups: 64,
        update_workgroups: 1024,
        weight_invocations: 100_000,
        product_invocations: 100_000,
    };
    for device in devices() {
        let table = Heuristics::of(device.tensors());
        for sizes in BLOCK_SIZES {
            let run = |heuristics| {
                set_heuristics(heuristics);
                pollster::block_on(block(Body::Own, sizes, DType::F32, &device.autodiff()))
            };
            let expected = run(None);
            for other in [one, many] {
                assert_same(
                    &run(Some(other)),
                    &expected,
                    DType::F32,
                    &format!("{other:?}"),
                );
            }
        }
        assert_eq!(Heuristics::of(device.tensors()).statistics_slots, 300);
        set_heuristics(None);
        assert_eq!(Heuristics::of(device.tensors()), table);
    }
}
