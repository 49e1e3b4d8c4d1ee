//! What each way of saving memory saves. One test, since the memory of the whole process is looked at.

use forgeling_tests::memory_models::savings;
use forgeling_tests::memory_saving::compare;
use forgeling_tests::{gpus, has_f16};

#[test]
fn sixteen_bits_and_checkpoints_save_memory() {
    for device in gpus() {
        let f16 = has_f16(&device);
        for model in savings(true) {
            let savings = pollster::block_on(compare(&model, usize::MAX, 1, &device, &|| 0.0));
            assert_eq!(savings.iter().any(|saving| saving.way == "f16"), f16);
            for saving in savings {
                println!("{saving:?}");
                saving.check();
            }
        }
    }
}
