//! What a driver refuses is an error that names file and line.

use forgeling::{Device, DeviceChoice};
use forgeling_tests::{gpus, values};

#[test]
fn a_shader_that_does_not_compile_is_an_error_with_its_place() {
    for device in gpus() {
        let check = |source: &str| pollster::block_on(device.check_shader("own.wgsl", source));
        check(values::SHADER).unwrap();
        let error = check(&values::SHADER.replace("flow:", "flaw:")).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
        assert!(error.to_string().contains("own.wgsl:6"), "{error}");
        // What was refused is no reason to lose the device.
        check(values::SHADER).unwrap();
    }
}

#[test]
fn the_cpu_has_no_shaders() {
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap();
    let error = pollster::block_on(cpu.check_shader("own.wgsl", values::SHADER)).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}
