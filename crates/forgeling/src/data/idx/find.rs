//! The files of a set by the names that they come with.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{IdxSplit, OPERATION};
use crate::data::limits::Limits;
use crate::data::walk::too_many;
use crate::error::{Error, Result};

/// Levels of folders that are looked through: torchvision's `ROOT/MNIST/raw`.
const LEVELS: usize = 2;
/// Levels below the parent of a path that is no folder: EMNIST's `gzip`.
const LEVELS_OF_PARENT: usize = 1;
/// Names in an error or a note.
const NAMED: usize = 8;

/// What there is to load.
pub(super) struct Found {
    pub images: PathBuf,
    pub labels: PathBuf,
    /// Whether the labels are rows of integers.
    pub label_rows: bool,
    pub mapping: Option<PathBuf>,
    /// Whether the images are EMNIST's, which are stored transposed.
    pub transposed: bool,
    pub notes: Vec<String>,
}

/// The files of `split` in `dir`, or of the set in its parent that its last component names.
pub(super) fn files(dir: &Path, split: IdxSplit, limits: &Limits) -> Result<Found> {
    let cause = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {
            let mut search = Search::new(dir, limits);
            let groups = search.run(LEVELS, |_| true)?;
            return choose(groups, &search, split).map_err(|error| error.path(dir));
        }
        Ok(_) => {
            return Err(Error::bad_data(OPERATION, "not a folder")
                .expected("the folder that the files are in")
                .path(dir));
        }
        Err(cause) => cause,
    };
    let no_folder = Error::io(OPERATION, dir, &cause);
    let (ErrorKind::NotFound, Some(parent), Some(name)) =
        (cause.kind(), dir.parent(), dir.file_name())
    else {
        return Err(no_folder);
    };
    let here = parent.as_os_str().is_empty();
    let mut search = Search::new(if here { Path::new(".") } else { parent }, limits);
    let key = words(&name.to_string_lossy().to_lowercase()).join("-");
    // Where the parent cannot be searched or has no set, it is the path that is wrong.
    let Ok(groups) = search.run(LEVELS_OF_PARENT, |group| group.key == key) else {
        return Err(no_folder);
    };
    if groups.is_empty() {
        if search.others.is_empty() {
            return Err(no_folder);
        }
        let message = "there is neither such a folder nor such a set";
        return Err(Error::bad_data(OPERATION, message)
            .expected(listed(&search.others, "or"))
            .path(dir));
    }
    choose(groups, &search, split).map_err(|error| error.path(dir))
}

/// What a file holds, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Images(IdxSplit),
    Labels(IdxSplit),
    LabelRows(IdxSplit),
    Mapping,
}

/// Files of one folder with one prefix.
struct Group {
    /// Relative to where the search began.
    folder: PathBuf,
    /// What stands before `train` or `test`, in lower case, with `-` between words; may be empty.
    key: String,
    /// The same as it is spelt.
    prefix: String,
    /// In the order of names: of two of one part, the first counts.
    files: Vec<(Part, PathBuf)>,
}

impl Group {
    fn get(&self, wanted: Part) -> Option<&PathBuf> {
        let mut files = self.files.iter();
        files
            .find(|(part, _)| *part == wanted)
            .map(|(_, path)| path)
    }

    /// Whether both have images of a split, or both its labels.
    fn overlaps(&self, other: &Self) -> bool {
        let mut data = other
            .files
            .iter()
            .filter(|(part, _)| *part != Part::Mapping);
        data.any(|(part, _)| self.get(*part).is_some())
    }

    /// The path that chooses this one.
    fn path(&self, root: &Path) -> String {
        let place = root.join(&self.folder).join(&self.prefix);
        // Joining nothing leaves a separator at the end.
        let place: PathBuf = place.components().collect();
        place.display().to_string()
    }
}

/// Looks for sets level by level, and stops at the first level that has one.
struct Search<'a> {
    root: &'a Path,
    limits: &'a Limits,
    /// Names in the root.
    top: Vec<String>,
    /// Paths of the sets that were not wanted.
    others: Vec<String>,
    seen: usize,
}

impl<'a> Search<'a> {
    fn new(root: &'a Path, limits: &'a Limits) -> Self {
        Self {
            root,
            limits,
            top: Vec::new(),
            others: Vec::new(),
            seen: 0,
        }
    }

    fn run(&mut self, levels: usize, wanted: impl Fn(&Group) -> bool) -> Result<Vec<Group>> {
        let mut level = vec![PathBuf::new()];
        for _ in 0..=levels {
            let mut found = Vec::new();
            let mut below = Vec::new();
            for folder in level {
                for group in self.list(&folder, &mut below)? {
                    if wanted(&group) {
                        found.push(group);
                    } else {
                        self.others.push(group.path(self.root));
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
            level = below;
        }
        Ok(Vec::new())
    }

    /// The sets in a folder, and below it the folders.
    fn list(&mut self, folder: &Path, below: &mut Vec<PathBuf>) -> Result<Vec<Group>> {
        let is_root = folder.as_os_str().is_empty();
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(cause) if is_root => return Err(Error::io(OPERATION, self.root, &cause)),
            // What cannot be listed holds nothing that could be read.
            Err(_) => return Ok(Vec::new()),
        };
        let mut names = Vec::new();
        for entry in entries.flatten() {
            self.seen += 1;
            if self.seen > self.limits.entries {
                return Err(too_many(OPERATION, self.limits).path(self.root));
            }
            // A name that is no text is none of these.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.starts_with('.') && !matches!(name.as_str(), "__MACOSX" | "@eaDir") {
                names.push((name.to_lowercase(), name));
            }
        }
        names.sort_unstable();
        let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for name in &names {
            let path = self.root.join(folder).join(name);
            if path.is_dir() {
                below.push(folder.join(name));
            } else if let Some((prefix, part)) = parse(name) {
                let key = words(&prefix.to_lowercase()).join("-");
                let group = groups.entry(key.clone()).or_insert_with(|| Group {
                    folder: folder.to_owned(),
                    key,
                    prefix: prefix.to_owned(),
                    files: Vec::new(),
                });
                group.files.push((part, path));
            }
        }
        if is_root {
            self.top = names;
        }
        // A mapping alone is no set.
        let has_data = |group: &Group| group.files.iter().any(|(part, _)| *part != Part::Mapping);
        Ok(groups.into_values().filter(has_data).collect())
    }
}

fn words(name: &str) -> Vec<&str> {
    name.split(['-', '.', '_']).collect()
}

/// What stands before the words that every set's files have, and what they say.
fn parse(name: &str) -> Option<(&str, Part)> {
    let lower = name.to_ascii_lowercase();
    let words = words(lower.strip_suffix(".gz").unwrap_or(&lower));
    let (prefix, part) = match words.as_slice() {
        [prefix @ .., "mapping", "txt"] => (prefix, Part::Mapping),
        [prefix @ .., split, what, kind, value] => {
            let split = match *split {
                "train" => IdxSplit::Train,
                "t10k" | "test" => IdxSplit::Test,
                _ => return None,
            };
            let part = match (*what, *kind, *value) {
                ("images", "idx3", "ubyte") => Part::Images(split),
                ("labels", "idx1", "ubyte") => Part::Labels(split),
                ("labels", "idx2", "int") => Part::LabelRows(split),
                _ => return None,
            };
            (prefix, part)
        }
        _ => return None,
    };
    // ASCII letters in another case are as long.
    let length: usize = prefix.iter().map(|word| word.len() + 1).sum();
    Some((&name[..length.saturating_sub(1)], part))
}

/// The one set among those found, and its files of `split`.
fn choose(groups: Vec<Group>, search: &Search<'_>, split: IdxSplit) -> Result<Found> {
    // Files without a prefix are what their folder is for: no path could choose them among others.
    let plain = groups.iter().filter(|group| group.key.is_empty());
    let plain: Vec<PathBuf> = plain.map(|group| group.folder.clone()).collect();
    let (groups, beside): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|group| group.key.is_empty() || !plain.contains(&group.folder));
    let paths = |groups: &[Group]| {
        let paths = groups.iter().map(|group| group.path(search.root));
        paths.collect::<Vec<_>>()
    };
    let choices = paths(&groups);
    let mut sets: Vec<Vec<Group>> = Vec::new();
    for group in groups {
        // Folders that hold a file each, or one the training and another the test files, are one set.
        let same = |set: &&mut Vec<Group>| {
            let mut parts = set.iter();
            parts.all(|part| part.key == group.key && !part.overlaps(&group))
        };
        match sets.iter_mut().find(same) {
            Some(set) => set.push(group),
            None => sets.push(vec![group]),
        }
    }
    if sets.len() > 1 {
        let message = "there are several sets; the path must name one of them";
        return Err(Error::bad_data(OPERATION, message).expected(listed(&choices, "or")));
    }
    let set = sets.pop().unwrap_or_default();
    let get = |part: Part| {
        let mut groups = set.iter();
        groups.find_map(|group| Some((group.get(part)?.clone(), &group.folder)))
    };
    let missing = |what: &str| missing(what, split, &set, &search.top);
    let images = get(Part::Images(split)).ok_or_else(|| missing("images-idx3-ubyte"))?;
    let bytes = get(Part::Labels(split));
    let label_rows = bytes.is_none();
    let labels = bytes
        .or_else(|| get(Part::LabelRows(split)))
        .ok_or_else(|| missing("labels-idx1-ubyte"))?;

    let mut notes = Vec::new();
    let mut folders = vec![images.1, labels.1];
    folders.dedup();
    if folders.iter().any(|folder| !folder.as_os_str().is_empty()) {
        let folders = folders.iter().map(|folder| folder.display().to_string());
        let folders = listed(&folders.collect::<Vec<_>>(), "and");
        notes.push(format!("read from {folders}"));
    }
    if !beside.is_empty() {
        let paths = listed(&paths(&beside), "and");
        notes.push(format!("left out: {paths}"));
    }
    let is_emnist = |group: &Group| group.key == "emnist" || group.key.starts_with("emnist-");
    let emnist = set.iter().any(is_emnist);
    Ok(Found {
        mapping: get(Part::Mapping).map(|(path, _)| path).filter(|_| emnist),
        images: images.0,
        labels: labels.0,
        label_rows,
        transposed: emnist,
        notes,
    })
}

/// Says which file was looked for, and what there is: other files of the set, or what the folder holds.
fn missing(what: &str, split: IdxSplit, set: &[Group], top: &[String]) -> Error {
    let prefix = set.first().map_or("", |group| &group.prefix);
    let expected = match (prefix, split) {
        ("", IdxSplit::Train) => format!("train-{what}"),
        ("", IdxSplit::Test) => format!("t10k-{what}"),
        (prefix, IdxSplit::Train) => format!("{prefix}-train-{what}"),
        (prefix, IdxSplit::Test) => format!("{prefix}-test-{what}"),
    };
    let files = set.iter().flat_map(|group| &group.files);
    let names = files.filter_map(|(_, path)| path.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
    let found = if set.is_empty() { top } else { &names };
    Error::bad_data(OPERATION, "a file is missing")
        .expected(format!("{expected}, with or without .gz"))
        .got(listed(found, "and"))
}

/// `a, b and c`; of many, a few and how many others.
fn listed(names: &[String], last: &str) -> String {
    let shown = if names.len() > NAMED + 1 {
        NAMED
    } else {
        names.len()
    };
    let (shown, left) = names.split_at(shown);
    match (shown, left.len()) {
        ([], _) => "an empty folder".into(),
        (shown, 0) => match shown.split_last() {
            Some((one, [])) => one.clone(),
            Some((one, others)) => format!("{} {last} {one}", others.join(", ")),
            None => String::new(),
        },
        (shown, left) => format!("{} {last} {left} others", shown.join(", ")),
    }
}
