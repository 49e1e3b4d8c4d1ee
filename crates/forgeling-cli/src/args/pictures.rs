//! How image files are read.

use std::str::FromStr;

use clap::Args;
use forgeling::data::{Fit, PictureKind, PictureOptions};
use forgeling::{Error, Result};

/// How image files are read.
#[derive(Args, Clone, Copy)]
pub struct PictureArgs {
    /// What folder:DIR and other image files show: drawings (ink on paper: the light is levelled, and the
    /// square around the ink is taken), pictures (anything else: as they are), or auto (drawings if most
    /// of them look like thin ink on plain paper; says what it chose). A model's own images decide for
    /// those it is tested on [default: the model's, otherwise auto]
    #[arg(long = "as", value_name = "KIND")]
    pub read_as: Option<KindArg>,
    /// How pictures are made square: crop (their middle), pad (with their mean colour) or stretch
    /// [default: the model's, otherwise crop]
    #[arg(long, value_name = "HOW")]
    pub fit: Option<Fit>,
    /// Leave out images and sounds that cannot be read, and say how many; without it the first one is an error
    #[arg(long)]
    pub skip_broken: bool,
}

/// A kind, or what they look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindArg {
    Auto,
    Kind(PictureKind),
}

impl FromStr for KindArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let unknown = |error: Error| {
            Error::invalid(error.operation(), error.message())
                .expected("drawings, pictures or auto")
                .got(format!("'{text}'"))
        };
        text.parse().map(Self::Kind).map_err(unknown)
    }
}

impl PictureArgs {
    /// What was typed, over what is known already.
    pub fn over(&self, options: PictureOptions) -> PictureOptions {
        let mut options = options;
        match self.read_as {
            Some(KindArg::Auto) => (options.kind, options.framing) = (None, None),
            Some(KindArg::Kind(kind)) if options.kind != Some(kind) => {
                (options.kind, options.framing) = (Some(kind), None);
            }
            Some(KindArg::Kind(_)) | None => {}
        }
        options.fit = self.fit.unwrap_or(options.fit);
        options.skip_broken |= self.skip_broken;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_goes_before_what_the_model_says() {
        let model = PictureOptions {
            kind: Some(PictureKind::Drawings),
            fit: Fit::Pad,
            ..PictureOptions::default()
        };
        let typed = |kind: Option<&str>, fit: Option<&str>| {
            let args = PictureArgs {
                read_as: kind.map(|kind| kind.parse().unwrap()),
                fit: fit.map(|fit| fit.parse().unwrap()),
                skip_broken: false,
            };
            let options = args.over(model.clone());
            (options.kind, options.fit)
        };
        let drawings = Some(PictureKind::Drawings);
        assert_eq!(typed(None, None), (drawings, Fit::Pad));
        assert_eq!(typed(Some("auto"), Some("crop")), (None, Fit::Crop));
        let pictures = (Some(PictureKind::Pictures), Fit::Pad);
        assert_eq!(typed(Some("pictures"), None), pictures);
        assert!("photos".parse::<KindArg>().is_err());
    }
}
