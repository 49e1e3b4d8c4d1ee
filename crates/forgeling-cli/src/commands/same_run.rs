//! Checkpoints that know which run they are of.

use std::path::{Path, PathBuf};

use forgeling::train::{Checkpoint, CheckpointConfig, CheckpointStore, Checkpoints};
use forgeling::{Error, Result};
use serde_json::{Map, Value};

/// Characters of what a message says of either run.
const MOST_SAID: usize = 200;
const SECTION: &str = "command";
const OPERATION: &str = "resume";
/// What a user can do who does not want to go on.
pub const ANEW: &str = "--restart begins anew and moves the old ones aside";

/// A folder of checkpoints of one run: those of another one are refused.
pub struct SameRun {
    store: CheckpointStore,
    /// All that must be the same for a run to go on, by name.
    identity: Map<String, Value>,
}

impl SameRun {
    pub fn open(folder: &Path, identity: Value) -> Result<Self> {
        Ok(Self {
            store: CheckpointStore::open(folder, CheckpointConfig::default())?,
            identity: identity.as_object().cloned().unwrap_or_default(),
        })
    }

    /// Moves what is there to a folder of its own, if something is, so that the run begins anew.
    pub fn set_aside(&mut self) -> Result<Option<PathBuf>> {
        self.store.set_aside()
    }

    /// Removes what is there, when the run has come to its end.
    pub fn clear(&mut self) -> Result<()> {
        self.store.clear()
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let theirs = checkpoint.sections.get(SECTION);
        check_identity(
            "checkpoints are",
            self.store.folder(),
            theirs,
            &self.identity,
        )
    }
}

/// Whether what is kept, such as `checkpoints are`, is of the run with this identity.
pub fn check_identity(
    what: &str,
    place: &Path,
    theirs: Option<&Value>,
    own: &Map<String, Value>,
) -> Result<()> {
    let other = |what: String| Error::bad_data(OPERATION, what).path(place);
    let Some(theirs) = theirs.and_then(Value::as_object) else {
        return Err(other(format!("the {what} not of this command; {ANEW}")));
    };
    for (name, own) in own {
        let theirs = theirs.get(name).unwrap_or(&Value::Null);
        if theirs != own {
            let what = format!("the {what} of a run with another {name}; {ANEW}");
            // A whole network is not for messages.
            let short = [theirs, own].map(|value| value.to_string());
            return Err(match short.iter().all(|text| text.len() <= MOST_SAID) {
                true => other(what).expected(theirs).got(own),
                false => other(what),
            });
        }
    }
    Ok(())
}

impl Checkpoints for SameRun {
    fn latest(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let (latest, damaged) = Checkpoints::latest(&mut self.store)?;
        if latest.is_none() && !damaged.is_empty() {
            let what = format!("every checkpoint is damaged; {ANEW}");
            return Err(Error::bad_data(OPERATION, what)
                .expected("one that is whole")
                .got(damaged.join("; "))
                .path(self.store.folder()));
        }
        latest
            .as_ref()
            .map_or(Ok(()), |latest| self.check(latest))?;
        Ok((latest, damaged))
    }

    fn save(&mut self, checkpoint: &Checkpoint) -> Result<String> {
        let mut checkpoint = checkpoint.clone();
        checkpoint.set_section(SECTION, &self.identity)?;
        Checkpoints::save(&mut self.store, &checkpoint)
    }
}
