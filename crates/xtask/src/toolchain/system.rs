//! Programs of the operating system: a browser, its driver, Node.js, Vulkan in software, MPI.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::error::{Failure, Result};
use crate::step::{Step, find_program};

/// Flags that give headless Chromium a WebGPU adapter.
const CHROME_FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
    "--disable-quic",
];

/// Added on Linux, where a test machine rarely has a GPU: WebGPU on the CPU, through SwiftShader.
const SWIFTSHADER_FLAGS: &[&str] = &[
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
    "--enable-unsafe-swiftshader",
];

/// Whether packages can be installed with apt-get: Debian and its kin, as root.
pub fn has_apt() -> bool {
    cfg!(target_os = "linux")
        && find_program("apt-get").is_some()
        && Step::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|user| user.trim() == "0")
}

/// Installs Debian packages; the lists are updated once per run.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    static UPDATE: Once = Once::new();
    let mut updated = Ok(());
    UPDATE.call_once(|| updated = Step::new("apt-get").args(["update", "-qq"]).run());
    updated?;
    Step::new("apt-get")
        .args(["install", "-qq", "-y", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// Returns what `find` finds, after installing `package` with apt-get where that is possible.
pub fn ensure<T>(
    what: &str,
    package: &str,
    elsewhere: &str,
    find: impl Fn() -> Option<T>,
) -> Result<T> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if has_apt() {
        eprintln!("{what} is missing: installing Debian's {package}");
        apt_install(&[package])?;
        if let Some(found) = find() {
            return Ok(found);
        }
    }
    Err(Failure::new(format!(
        "{what} is missing: {elsewhere} (Debian, as root: apt-get install {package})"
    )))
}

/// A Chromium-like browser and the driver that belongs to it.
pub struct Browser {
    binary: PathBuf,
    driver: PathBuf,
}

impl Browser {
    /// Finds or installs both.
    pub fn ensure() -> Result<Self> {
        Ok(Self {
            binary: ensure(
                "Chromium",
                "chromium",
                "install Chrome or Chromium, or set CHROMIUM to its program",
                find_browser,
            )?,
            driver: ensure(
                "chromedriver",
                "chromium-driver",
                "install it in the browser's version, or set CHROMEDRIVER to its program",
                find_driver,
            )?,
        })
    }

    /// The browser's program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The WebDriver program.
    pub fn driver(&self) -> &Path {
        &self.driver
    }

    /// The flags the browser is to be started with.
    fn flags() -> Vec<&'static str> {
        let software = if cfg!(target_os = "linux") {
            SWIFTSHADER_FLAGS
        } else {
            &[]
        };
        [CHROME_FLAGS, software].concat()
    }

    /// The capabilities that wasm-bindgen's test runner asks the driver for.
    pub fn capabilities(&self) -> serde_json::Value {
        serde_json::json!({
            "goog:chromeOptions": {
                "binary": self.binary.to_string_lossy(),
                "args": Self::flags(),
            }
        })
    }
}

fn find_browser() -> Option<PathBuf> {
    const NAMES: &[&str] = &[
        "chromium",
        "google-chrome",
        "google-chrome-stable",
        "chromium-browser",
        "chrome",
    ];
    const PLACES: &[&str] = &[
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    ];
    file_of_variable("CHROMIUM")
        .or_else(|| NAMES.iter().find_map(|name| find_program(name)))
        .or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

fn find_driver() -> Option<PathBuf> {
    // Hosted CI machines name the driver's folder in CHROMEWEBDRIVER.
    let hosted = || {
        let name = format!("chromedriver{}", env::consts::EXE_SUFFIX);
        let file = PathBuf::from(env::var_os("CHROMEWEBDRIVER")?).join(name);
        file.is_file().then_some(file)
    };
    file_of_variable("CHROMEDRIVER")
        .or_else(hosted)
        .or_else(|| find_program("chromedriver"))
}

fn file_of_variable(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(name)?);
    path.is_file().then_some(path)
}

/// Finds or installs lavapipe, Vulkan's software driver. Only Linux has it; elsewhere this says nothing.
pub fn ensure_vulkan() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    ensure(
        "Vulkan's loader",
        "libvulkan1",
        "install libvulkan.so.1",
        || has_file(&library_folders(), |name| name == "libvulkan.so.1"),
    )?;
    ensure(
        "lavapipe, the software Vulkan driver,",
        "mesa-vulkan-drivers",
        "install Mesa's Vulkan drivers",
        || {
            let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"].map(PathBuf::from);
            has_file(&folders, |name| name.starts_with("lvp_icd"))
        },
    )
}

/// Finds or installs the validator of the programs that Vulkan runs, which is for Linux as lavapipe is.
pub fn ensure_spirv_val() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let find = || find_program("spirv-val").map(drop);
    ensure("spirv-val", "spirv-tools", "install SPIRV-Tools", find)
}

/// Finds or installs OpenMPI and what its bindings are generated with. Only on Linux are they looked for; elsewhere this
/// says that there are none.
pub fn ensure_mpi() -> Result<bool> {
    if !cfg!(target_os = "linux") {
        return Ok(false);
    }
    let program = |name: &'static str| move || find_program(name).map(drop);
    ensure(
        "OpenMPI",
        "libopenmpi-dev",
        "install OpenMPI's headers",
        program("mpicc"),
    )?;
    ensure(
        "mpirun",
        "openmpi-bin",
        "install OpenMPI's programs",
        program("mpirun"),
    )?;
    ensure("clang", "clang", "install clang", program("clang"))?;
    ensure(
        "libclang",
        "libclang-dev",
        "install clang's library, or set LIBCLANG_PATH",
        || {
            has_file(&clang_folders(), |name| {
                name.starts_with("libclang") && name.contains(".so")
            })
        },
    )?;
    Ok(true)
}

/// Where LLVM's packages and others have libclang.
fn clang_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|entry| entry.path().join("lib"));
    let named = env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    let folders = library_folders().into_iter().chain(llvm);
    folders.chain(named).collect()
}

fn library_folders() -> Vec<PathBuf> {
    let architecture = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    ["/usr/lib", "/usr/lib64", "/usr/local/lib", &architecture]
        .map(PathBuf::from)
        .to_vec()
}

fn has_file(folders: &[PathBuf], wanted: impl Fn(&str) -> bool) -> Option<()> {
    folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_name_the_browser_and_its_flags() {
        let browser = Browser {
            binary: PathBuf::from("/opt/chrome"),
            driver: PathBuf::from("/opt/driver"),
        };
        let options = &browser.capabilities()["goog:chromeOptions"];
        assert_eq!(options["binary"], "/opt/chrome");
        let flags = options["args"].as_array().unwrap();
        assert!(flags.iter().any(|flag| flag == "--enable-unsafe-webgpu"));
    }

    #[test]
    fn what_is_there_is_not_installed() {
        let found = ensure("a number", "no-such-package", "think of one", || Some(7));
        assert_eq!(found.unwrap(), 7);
    }
}
