//! A folder of checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointConfig, Checkpoints, best};
use crate::error::{Error, Result};
use crate::train::model_file::{read, write_atomically};

const OPERATION: &str = "checkpoint_store";
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";

/// The checkpoints of one run of training, each a file of a folder, named by its step:
/// `checkpoint-000000001200.safetensors`. A file is either there as a whole or not at all, also where the program or
/// the machine is stopped while it is written; where the disk broke it, that is found, and an older one is used.
///
/// A folder belongs to one run, and to one store at a time: what a store finds half-written when it is opened, it
/// removes. Other files in it are left alone.
///
/// ```
/// use forgeling::train::{Checkpoint, CheckpointConfig, CheckpointStore};
///
/// # let folder = std::env::temp_dir().join(format!("forgeling-doc-{}", std::process::id()));
/// let mut store = CheckpointStore::open(&folder, CheckpointConfig::default())?;
/// let found = store.latest()?;
/// for damaged in &found.damaged {
///     eprintln!("not used: {}", damaged.error);
/// }
/// let mut checkpoint = found.checkpoint.unwrap_or_default();
/// checkpoint.step += 10;
/// store.save(&checkpoint)?;
/// assert_eq!(store.latest()?.checkpoint.unwrap().step, 10);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), forgeling::Error>(())
/// ```
#[derive(Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    config: CheckpointConfig,
    /// Metrics of the whole ones.
    whole: BTreeMap<u64, Option<f64>>,
}

/// What was looked for, and what was found to be broken.
#[derive(Debug, Default)]
pub struct Found {
    /// The checkpoint, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Files that were passed over. They are never removed, but replaced by the next checkpoint of their step.
    pub damaged: Vec<Damaged>,
}

/// A file that is no whole checkpoint.
#[derive(Debug)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: Error,
}

/// What came of saving.
#[derive(Debug)]
pub struct Saved {
    /// The new file.
    pub path: PathBuf,
    /// Those that were removed for it.
    pub removed: Vec<PathBuf>,
    /// Why others could not be removed. They will be tried again.
    pub problems: Vec<Error>,
}

impl Checkpoints for CheckpointStore {
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let found = Self::latest(self)?;
        let told = |damaged: &Damaged| format!("{}: {}", damaged.path.display(), damaged.error);
        Ok((found.checkpoint, found.damaged.iter().map(told).collect()))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<String> {
        let saved = Self::save(self, checkpoint)?;
        Ok(saved.path.display().to_string())
    }
}

impl CheckpointStore {
    /// Opens a folder, which is made if there is none, removes what was half-written, and reads every checkpoint in it.
    ///
    /// # Errors
    /// When the configuration is not valid, or the folder cannot be made, read or written. Damaged checkpoints are no
    /// error here.
    pub fn open(folder: impl Into<PathBuf>, config: CheckpointConfig) -> Result<Self> {
        config.validate()?;
        let folder = folder.into();
        let failed = |path: &Path, error: &std::io::Error| Error::io(OPERATION, path, error);
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        for name in names(&folder)? {
            if name.starts_with(PREFIX) && name.ends_with(".partial") {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            }
        }
        let mut whole = BTreeMap::new();
        for step in steps(&folder)? {
            if let Ok(checkpoint) = load(&folder, step) {
                whole.insert(step, checkpoint.metric);
            }
        }
        Ok(Self {
            folder,
            config,
            whole,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The steps of all checkpoints that were whole when they were last read or written, in order.
    pub fn steps(&self) -> impl Iterator<Item = u64> {
        self.whole.keys().copied()
    }

    /// Writes a checkpoint in the place of the one of that step, if there is one; then, when it is read back as it was
    /// written, removes those that the configuration does not keep.
    ///
    /// # Errors
    /// As [`Checkpoint::encode`], and when the file cannot be written or is not read back the same; no checkpoint of
    /// another step is touched then.
    pub fn save(&mut self, checkpoint: &Checkpoint) -> Result<Saved> {
        let path = path(&self.folder, checkpoint.step);
        let bytes = checkpoint.encode()?;
        write_atomically(&path, &bytes)?;
        if read(&path)? != bytes {
            self.whole.remove(&checkpoint.step);
            return Err(
                Error::bad_data(OPERATION, "what was written is not what is read").path(path),
            );
        }
        self.whole.insert(checkpoint.step, checkpoint.metric);
        let (mut removed, mut problems) = (Vec::new(), Vec::new());
        for step in self.config.surplus(&self.whole, checkpoint.step) {
            let old = self::path(&self.folder, step);
            match fs::remove_file(&old) {
                Ok(()) => removed.push(old),
                // Someone else was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    problems.push(Error::io(OPERATION, &old, &error));
                    continue;
                }
            }
            self.whole.remove(&step);
        }
        Ok(Saved {
            path,
            removed,
            problems,
        })
    }

    /// The whole checkpoint of the highest step, and the damaged ones of higher steps.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn latest(&self) -> Result<Found> {
        let mut found = Found::default();
        for step in steps(&self.folder)?.into_iter().rev() {
            match load(&self.folder, step) {
                Ok(checkpoint) => {
                    found.checkpoint = Some(checkpoint);
                    break;
                }
                Err(error) => found.damaged.push(self.damaged(step, error)),
            }
        }
        Ok(found)
    }

    /// The whole checkpoint with the best metric, the last of several, and all damaged ones. Those without a metric are
    /// not considered.
    ///
    /// # Errors
    /// When [`keep_best`](CheckpointConfig::keep_best) is `None`, or the folder cannot be read.
    pub fn best(&self) -> Result<Found> {
        let Some(goal) = self.config.keep_best else {
            return Err(Error::invalid(OPERATION, "no goal tells which one is best")
                .expected("a configuration with keep_best"));
        };
        let mut found = Found::default();
        let mut metrics = BTreeMap::new();
        for step in steps(&self.folder)? {
            match load(&self.folder, step) {
                Ok(checkpoint) => {
                    metrics.insert(step, checkpoint.metric);
                    // One at a time is held.
                    if best(&metrics, goal) == Some(step) {
                        found.checkpoint = Some(checkpoint);
                    }
                }
                Err(error) => found.damaged.push(self.damaged(step, error)),
            }
        }
        Ok(found)
    }

    /// Moves all checkpoints, whole or damaged, to a new folder in this one, so that a run can begin anew: `old-1`, or the
    /// next number that is free. Gives that folder, in which another store can open them, or `None` where there is no
    /// checkpoint.
    ///
    /// # Errors
    /// When the folder cannot be read or written; what was moved by then is in the new folder.
    pub fn set_aside(&mut self) -> Result<Option<PathBuf>> {
        let steps = steps(&self.folder)?;
        if steps.is_empty() {
            return Ok(None);
        }
        let mut number = 1;
        let aside = loop {
            let aside = self.folder.join(format!("old-{number}"));
            match fs::create_dir(&aside) {
                Ok(()) => break aside,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io(OPERATION, &aside, &error)),
            }
        };
        for step in steps {
            let from = path(&self.folder, step);
            let moved = fs::rename(&from, path(&aside, step));
            moved.map_err(|error| Error::io(OPERATION, &from, &error))?;
            self.whole.remove(&step);
        }
        Ok(Some(aside))
    }

    /// Removes all checkpoints, whole or damaged, when their run has come to its end and what it came to is kept elsewhere.
    ///
    /// # Errors
    /// When the folder cannot be read or written; some may then be left.
    pub fn clear(&mut self) -> Result<()> {
        for step in steps(&self.folder)? {
            let path = path(&self.folder, step);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(OPERATION, &path, &error));
                }
                // Gone, by us or by someone who was faster.
                _ => self.whole.remove(&step),
            };
        }
        Ok(())
    }

    fn damaged(&self, step: u64, error: Error) -> Damaged {
        let path = path(&self.folder, step);
        Damaged { path, error }
    }
}

fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step:012}{SUFFIX}"))
}

fn load(folder: &Path, step: u64) -> Result<Checkpoint> {
    let path = path(folder, step);
    let checkpoint = Checkpoint::decode(&read(&path)?).map_err(|error| error.path(&path))?;
    if checkpoint.step != step {
        return Err(
            Error::bad_data(OPERATION, "the file is named after another step")
                .expected(checkpoint.step)
                .got(step)
                .path(path),
        );
    }
    Ok(checkpoint)
}

/// The names of what is in a folder, as far as they are text, as ours are.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| Error::io(OPERATION, folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// The steps that files are named after, in order.
fn steps(folder: &Path) -> Result<Vec<u64>> {
    let names = names(folder)?.into_iter();
    let step = |name: String| {
        let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let step: u64 = digits.parse().ok()?;
        (format!("{step:012}") == digits).then_some(step)
    };
    let mut steps: Vec<u64> = names.filter_map(step).collect();
    steps.sort_unstable();
    Ok(steps)
}
