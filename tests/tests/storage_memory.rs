//! How much memory a training step takes on a GPU with activations stored in full and in 16 bits. One test, since memory
//! of the whole process is counted.

use std::time::Instant;

use burn::tensor::DType;
use forgeling::ops::Storage;
use forgeling_tests::devices;
use forgeling_tests::storage_parity::Network;

#[test]
fn sixteen_bits_take_three_fifths_of_the_memory_at_most() {
    let networks = [
        Network::Conv4 {
            filters: 32,
            episodes: 8,
        },
        Network::ResNet18 {
            width: 16,
            batch: 32,
        },
    ];
    for device in devices().into_iter().filter(|device| !device.is_cpu()) {
        for network in networks {
            let run = |storage, dtype| {
                let start = Instant::now();
                let peak = pollster::block_on(network.peak(storage, dtype, &device));
                eprintln!(
                    "{network:?} {storage:?} {dtype:?} on {}: {:.1} MiB, {:.1} s",
                    device.info().name,
                    peak as f64 / f64::from(1 << 20),
                    start.elapsed().as_secs_f64()
                );
                peak
            };
            let full = run(Storage::Full, DType::F32);
            let most = full * 3 / 5;
            for storage in [Storage::F16, Storage::Bf16] {
                let peak = run(storage, DType::F32);
                assert!(peak <= most, "{network:?}: {peak} of {full} as {storage:?}");
            }
            if device.info().f16 {
                let peak = run(Storage::Full, DType::F16);
                assert!(peak <= most, "{network:?}: {peak} of {full} in f16");
            }
        }
    }
}
