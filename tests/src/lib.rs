//! What the integration tests share: the devices they run on and the tolerances they allow.

pub mod bag;
pub mod baselines;
pub mod blocks_parity;
pub mod checkpoints;
pub mod conv_parity;
pub mod devices;
pub mod few_shot;
pub mod linear_parity;
pub mod loading;
pub mod memory_budget;
pub mod memory_leak;
pub mod memory_models;
pub mod memory_saving;
pub mod methods;
pub mod mixed_precision;
pub mod networks;
pub mod ops_parity;
pub mod parallel_bench;
pub mod parallel_work;
pub mod parity;
pub mod photographs;
pub mod profiling;
pub mod resuming;
pub mod second_order;
pub mod sine;
pub mod spd_parity;
pub mod storage_network;
pub mod storage_parity;
pub mod task_digests;
pub mod values;

pub use devices::{adapters, devices, everywhere, fast_devices, gpus, has_f16, skipped};
pub use values::{F16_TOLERANCE, F32_TOLERANCE, assert_close, wave, waves};
