//! What each way of saving memory saves. One test, since the memory of the whole process is looked at.

use forgeling_tests::devices;
use forgeling_tests::memory_models::savings;
use forgeling_tests::memory_saving::compare;

#[test]
fn sixteen_bits_and_checkpoints_save_memory() {
    for device in devices().into_iter().filter(|device| !device.is_cpu()) {
        for model in savings(true) {
            for saving in pollster::block_on(compare(&model, usize::MAX, 1, &device, &|| 0.0)) {
                println!("{saving:?}");
                saving.check();
            }
        }
    }
}
