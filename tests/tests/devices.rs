//! A test without a device to run on says so, and fails where one was promised.

use std::process::{Command, Output};

use forgeling_tests::{devices, gpus};

/// What the tests below run again.
#[test]
fn the_devices_are_the_cpu_and_all_gpus() {
    let (all, gpus) = (devices(), gpus());
    assert!(all[0].is_cpu() && all.len() == 1 + gpus.len());
    assert!(gpus.iter().all(|gpu| !gpu.is_cpu()));
}

/// The test above in a process of its own, as cargo starts it.
fn alone(change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_devices_are_the_cpu_and_all_gpus"]);
    change(&mut command);
    command.output().unwrap()
}

#[test]
fn what_is_skipped_is_said_by_name_and_once() {
    let output = alone(|command| {
        command.env_remove("FORGELING_TEST_VULKAN");
    });
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "skipped on GPUs: devices::the_devices_are_the_cpu_and_all_gpus: \
                    FORGELING_TEST_VULKAN is not 1\n";
    assert_eq!(said, expected);
}

/// A machine whose Vulkan loader finds no driver. Other systems have no such switch.
#[test]
#[cfg(target_os = "linux")]
fn an_adapter_that_was_promised_and_is_missing_is_a_failure() {
    let output = alone(|command| {
        command
            .env("FORGELING_TEST_VULKAN", "1")
            .env("VK_ICD_FILENAMES", "")
            .env("VK_DRIVER_FILES", "/nonexistent.json");
    });
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("there is no Vulkan adapter"), "{said}");
}
