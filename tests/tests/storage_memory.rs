//! How much memory a training step takes with activations stored in full and in 16 bits. Each of the two tests counts what
//! the whole process uses: the one of GPUs on the device, the one of the CPU in processes of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::DType;
use forgeling::ops::Storage;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::storage_network::Network;
use forgeling_tests::{gpus, has_f16};

/// Counts the bytes in use and the most of them so far.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        PEAK.fetch_max(before + layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// ResNet-18 with a batch for which activations outweigh parameters, their gradients and Adam's moments, which no storage
/// makes smaller: 10.7 MiB here.
const NETWORKS: [Network; 2] = [
    Network::Conv4 {
        filters: 32,
        episodes: 8,
    },
    Network::ResNet18 {
        width: 16,
        batch: 64,
    },
];

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[test]
fn sixteen_bits_take_three_fifths_of_a_gpus_memory_at_most() {
    for device in gpus() {
        for network in NETWORKS {
            let run = |storage, dtype| {
                let peak = pollster::block_on(network.peak(storage, dtype, &device)) as usize;
                let (name, described) = (&device.info().name, mebibytes(peak));
                eprintln!("{network:?} {storage:?} {dtype:?} on {name}: {described:.1} MiB");
                peak
            };
            let full = run(Storage::Full, DType::F32);
            let most = full * 3 / 5;
            for storage in [Storage::F16, Storage::Bf16] {
                let peak = run(storage, DType::F32);
                assert!(peak <= most, "{network:?}: {peak} of {full} as {storage:?}");
            }
            // ResNet-18 ends with stock operations, which mix no dtypes.
            if has_f16(&device) && matches!(network, Network::Conv4 { .. }) {
                let peak = run(Storage::Full, DType::F16);
                assert!(peak <= most, "{network:?}: {peak} of {full} in f16");
            }
        }
    }
}

/// Says to a process of the test below what it is to do.
const TASK: &str = "FORGELING_STORAGE_TASK";

#[test]
fn sixteen_bits_take_less_of_the_cpus_memory() {
    const STORAGES: [Storage; 3] = [Storage::Full, Storage::F16, Storage::Bf16];
    if let Ok(task) = std::env::var(TASK) {
        let task: usize = task.parse().unwrap();
        let (network, storage) = (NETWORKS[task / 3], STORAGES[task % 3]);
        let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        pollster::block_on(network.train(5, storage, DType::F32, &cpu, |_| ()));
        let peak = PEAK.load(Ordering::Relaxed) - before;
        let described = mebibytes(peak);
        eprintln!("{network:?} {storage:?} on the CPU: {described:.1} MiB");
        println!("PEAK {peak}");
        return;
    }
    let run = |task: usize| -> usize {
        let name = "sixteen_bits_take_less_of_the_cpus_memory";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(TASK, task.to_string())
            .output()
            .unwrap();
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let peak = text.split("PEAK ").nth(1);
        let peak = peak.and_then(|text| text.split_whitespace().next());
        peak.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    // Idle buffers count too, which wait for the f32 values of a step: ResNet-18 has more of those, and of more sizes.
    for (index, (network, most)) in NETWORKS.into_iter().zip([0.65, 0.9]).enumerate() {
        let full = run(3 * index);
        for storage in 1..3 {
            let peak = run(3 * index + storage);
            let share = peak as f64 / full as f64;
            assert!(share < most, "{network:?}: {peak} of {full}");
        }
    }
}
