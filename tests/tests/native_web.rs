//! Native against the values that the browser tests compare with too.
//!
//! `FORGELING_BLESS=1 cargo test --release --workspace --test native_web` writes them anew.

use forgeling_tests::parity::{assert_follows, episode_order, losses};
use serde_json::{Value, json};

/// From the package's folder, where cargo starts tests.
const GOLDEN: &str = "golden/native_web.json";

#[test]
fn episodes_and_losses_are_those_of_every_platform() {
    let order = episode_order().unwrap();
    let losses = pollster::block_on(losses()).unwrap();
    if std::env::var_os("FORGELING_BLESS").is_some() {
        let text = serde_json::to_string(&json!({ "order": order, "losses": losses })).unwrap();
        std::fs::write(GOLDEN, text + "\n").unwrap();
    }
    let golden: Value = serde_json::from_slice(&std::fs::read(GOLDEN).unwrap()).unwrap();
    assert_eq!(json!(order), golden["order"]);
    let expected: Vec<f64> = serde_json::from_value(golden["losses"].clone()).unwrap();
    assert_follows(&losses, &expected);
}
