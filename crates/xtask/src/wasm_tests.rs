//! The tests that run in a browser.

use std::fs;

use crate::error::{Failure, Result};
use crate::step::Step;
use crate::toolchain::system::Browser;
use crate::toolchain::{tools, wasm_std};
use crate::workspace::Workspace;

/// Seconds a whole test file may take in the browser, on a GPU that is two CPU cores.
const BROWSER_SECONDS: &str = "900";
/// The tests that run in Chromium, built if need be.
pub fn wasm_step(workspace: &Workspace) -> Result<Step> {
    let rust = wasm_std::ensure(workspace)?;
    let tools = tools::ensure(workspace)?;
    let browser = Browser::ensure()?;
    let capabilities = workspace.target().join("webdriver.json");
    fs::create_dir_all(workspace.target())
        .and_then(|()| fs::write(&capabilities, browser.capabilities().to_string()))
        .map_err(|cause| Failure::file("write", &capabilities, &cause))?;
    Ok(rust
        .apply(Step::new(&tools.wasm_pack))
        .path_first(&tools.folder)?
        .args(["test", "--mode", "no-install", "--headless", "--chrome"])
        .arg("--chromedriver")
        .arg(browser.driver())
        .arg("--release")
        .arg(workspace.wasm_crate())
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", &capabilities)
        .env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_SECONDS)
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60"))
}
