//! What a publisher calls the values of a network.

use crate::data::{ImageShape, Standardization};
use crate::nn::graph::{Layer, Node, Parameter};
use crate::train::Resampling;

/// The names and the layout that a publisher's files have for a network of the catalog, and how pictures become its
/// inputs.
#[derive(Debug)]
pub struct KeyMap {
    /// Whose names these are, such as `"torchvision"`.
    pub publisher: &'static str,
    /// The network in the [catalog](crate::nn::catalog).
    pub model: &'static str,
    /// Options of the network that the files need.
    pub options: &'static [(&'static str, usize)],
    /// The images that it was trained on.
    pub input: ImageShape,
    /// Mean of the channels of a picture whose values are from 0 to 1.
    pub mean: [f64; 3],
    /// Standard deviation of the channels, which the difference to the mean is divided by.
    pub deviation: [f64; 3],
    /// How pictures were brought to this size.
    pub resampling: Resampling,
    pub(super) numbering: Numbering,
    /// Ours and theirs: `#` stands for the number of a block, and `@` for how they number it. A name without its last part
    /// stands for all that begin so, unless there is a rule for one of them in front of it.
    pub(super) rules: &'static [(&'static str, &'static str)],
}

/// How blocks are numbered, which ours are through the whole network, from 0.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbering {
    /// Likewise, from this number.
    From(usize),
    /// By stage, from this number, and within it, from 0: `STAGE.BLOCK`.
    Stages {
        first: usize,
        blocks: &'static [usize],
    },
}

/// A value of ours in terms of theirs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    pub name: String,
    pub shape: Vec<usize>,
    /// Which third of it, of queries, keys and values in one.
    pub third: Option<usize>,
    /// Whether its first axis becomes ours' last.
    pub transposed: bool,
}

impl KeyMap {
    /// How a channel of a picture becomes an input: `(x - mean) / deviation`.
    pub fn normalization(&self) -> Standardization {
        Standardization {
            mean: self.mean.into(),
            deviation: self.deviation.into(),
        }
    }

    /// Where a value of ours comes from, if they have it.
    pub(super) fn origin(&self, node: &Node, parameter: &Parameter) -> Option<Origin> {
        let (kind, field) = (node.layer.kind(), parameter.field);
        let own = format!("{}.{field}", node.name);
        let (part, last) = own.rsplit_once('.')?;
        let name = self.rules.iter().find_map(|(ours, theirs)| {
            if let Some(block) = matched(ours, &own) {
                return self.named(theirs, block);
            }
            let part = self.named(theirs, matched(ours, part)?)?;
            let last = match last {
                "gamma" => "weight",
                "beta" => "bias",
                other => other,
            };
            Some(format!("{part}.{last}"))
        })?;
        let sizes = &parameter.sizes;
        let reversed = || sizes.iter().rev().copied().collect::<Vec<_>>();
        let origin = |shape: Vec<usize>, third, transposed| Origin {
            name,
            shape,
            third,
            transposed,
        };
        let third = ["query.", "key.", "value."]
            .iter()
            .position(|part| field.starts_with(part));
        Some(match (kind, field) {
            // PyTorch multiplies with the transpose.
            ("linear", "weight") | ("attention", "project.weight" | "qkv.weight") => {
                origin(reversed(), None, true)
            }
            ("attention", _) if third.is_some() => {
                let mut shape = reversed();
                shape[0] *= 3;
                origin(shape, third, sizes.len() == 2)
            }
            // A convolution there.
            ("patches", "weight") => {
                let [pixels, width] = sizes[..] else {
                    return None;
                };
                let side = patch_side(node)?;
                let shape = vec![width, pixels / (side * side), side, side];
                origin(shape, None, true)
            }
            ("patches", "positions" | "class_token") => {
                origin([&[1], &sizes[..]].concat(), None, false)
            }
            _ => origin(sizes.clone(), None, false),
        })
    }

    /// Their name for this block, if they have so many.
    fn named(&self, theirs: &str, block: Option<usize>) -> Option<String> {
        let Some(block) = block else {
            return Some(theirs.into());
        };
        let number = match self.numbering {
            Numbering::From(first) => (first + block).to_string(),
            Numbering::Stages { first, blocks } => {
                let mut within = block;
                let stage = blocks.iter().position(|count| {
                    let here = within < *count;
                    within -= if here { 0 } else { *count };
                    here
                })?;
                format!("{}.{within}", first + stage)
            }
        };
        Some(theirs.replace('@', &number))
    }
}

/// Whether a name is that of a pattern, and the number where `#` stands in it.
fn matched(pattern: &str, name: &str) -> Option<Option<usize>> {
    let Some((before, behind)) = pattern.split_once('#') else {
        return (pattern == name).then_some(None);
    };
    let number = name.strip_prefix(before)?.strip_suffix(behind)?;
    number.parse().ok().map(Some)
}

fn patch_side(node: &Node) -> Option<usize> {
    match node.layer {
        Layer::Patches(patches) => Some(patches.size),
        _ => None,
    }
}

impl Origin {
    /// Our values, of all of theirs.
    pub fn values(&self, mut theirs: Vec<f32>) -> Vec<f32> {
        let mut rows = self.shape.first().copied().unwrap_or(1);
        if let Some(third) = self.third {
            let length = theirs.len() / 3;
            theirs = theirs[third * length..][..length].to_vec();
            rows /= 3;
        }
        if !self.transposed || rows == 0 {
            return theirs;
        }
        let columns = theirs.len() / rows;
        let column = |column| (0..rows).map(move |row| row * columns + column);
        (0..columns)
            .flat_map(column)
            .map(|place| theirs[place])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        assert_eq!(matched("stem", "stem"), Some(None));
        assert_eq!(matched("stem", "stem.norm"), None);
        assert_eq!(matched("blocks.#.first", "blocks.12.first"), Some(Some(12)));
        for other in [
            "blocks.12.first.norm",
            "blocks..first",
            "blocks.x.first",
            "blocks.1",
        ] {
            assert_eq!(matched("blocks.#.first", other), None, "{other}");
        }
    }

    #[test]
    fn thirds_are_cut_and_matrices_turned() {
        let origin = |shape: &[usize], third, transposed| Origin {
            name: "w".into(),
            shape: shape.into(),
            third,
            transposed,
        };
        let six = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(
            origin(&[2, 3], None, true).values(six.clone()),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        assert_eq!(origin(&[6], Some(1), false).values(six.clone()), [2.0, 3.0]);
        let twelve: Vec<f32> = (0..12).map(|n| n as f32).collect();
        assert_eq!(
            origin(&[6, 2], Some(2), true).values(twelve),
            [8.0, 10.0, 9.0, 11.0]
        );
        assert_eq!(origin(&[1, 2, 3], None, false).values(six.clone()), six);
    }
}
