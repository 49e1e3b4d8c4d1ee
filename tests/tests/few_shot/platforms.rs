//! Native against the values that the browser tests compare with too.
//!
//! `FORGELING_BLESS=1 cargo test --release --workspace --test few_shot` writes them anew.

use std::collections::BTreeMap;

use forgeling::meta::Method;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::devices;
use forgeling_tests::methods::{assert_losses, losses};

/// From the package's folder, where cargo starts tests.
const GOLDEN: &str = "golden/methods.json";

#[test]
fn first_losses_are_those_of_every_platform() {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let of = |method: Method, device: &Device| pollster::block_on(losses(method, device)).unwrap();
    if std::env::var_os("FORGELING_BLESS").is_some() {
        let all: BTreeMap<&str, Vec<f64>> = Method::ALL
            .iter()
            .map(|&method| (method.name(), of(method, &cpu)))
            .collect();
        std::fs::write(GOLDEN, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    }
    let golden: BTreeMap<String, Vec<f64>> =
        serde_json::from_slice(&std::fs::read(GOLDEN).unwrap()).unwrap();
    for method in Method::ALL {
        for device in devices() {
            let what = format!("{method} on {}", device.info().name);
            assert_losses(&of(method, &device), &golden[method.name()], &what);
        }
        let (once, again) = (of(method, &cpu), of(method, &cpu));
        assert_eq!(once, again, "{method}: the same bits from run to run");
    }
}
