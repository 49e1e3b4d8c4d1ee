//! EMNIST's `…-mapping.txt`: which character a label stands for.

use std::collections::BTreeMap;
use std::path::Path;

use super::OPERATION;
use crate::data::limits::{open, read_capped};
use crate::error::{Error, Result};

/// EMNIST's longest has 62 lines.
const MOST_BYTES: u64 = 1 << 16;

/// The character of each label. A line is a label and one or more ASCII codes, `1 65 97` for the letter A, of which the
/// first names the class.
pub(super) fn read(path: &Path) -> Result<BTreeMap<u8, char>> {
    let bytes = open(OPERATION, path).and_then(|file| read_capped(OPERATION, file, MOST_BYTES));
    let bytes = bytes.map_err(|error| error.path(path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut characters = BTreeMap::new();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    for line in lines {
        let Some((label, character)) = parse(line) else {
            return Err(Error::bad_data(OPERATION, "a line maps no label")
                .expected("a label and the code of a visible ASCII character, such as '1 65'")
                .got(format!("'{}'", line.chars().take(40).collect::<String>()))
                .path(path));
        };
        let twice = characters.values().any(|&other| other == character);
        if twice || characters.insert(label, character).is_some() {
            let message = format!("label {label} or its character is there twice");
            return Err(Error::bad_data(OPERATION, message).path(path));
        }
    }
    Ok(characters)
}

fn parse(line: &str) -> Option<(u8, char)> {
    let mut words = line.split_whitespace();
    let label = words.next()?.parse().ok()?;
    let code: u8 = words.next()?.parse().ok()?;
    code.is_ascii_graphic().then_some((label, char::from(code)))
}
