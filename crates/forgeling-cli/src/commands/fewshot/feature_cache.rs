//! Features of images on disk, found again by what the image file and the model hold.

use std::fs;
use std::path::{Path, PathBuf};

use forgeling::Error;
use forgeling::data::PictureOptions;
use forgeling::meta::Embedding;
use forgeling::train::model_file::write_atomically;
use sha2::{Digest, Sha256};

use super::super::hex;

/// Changes when the same key would mean other features.
const FORMAT: &[u8] = b"forgeling features 1\n";
const CHECKSUM: usize = 32;

/// A folder of features: those of one image, one model and one way to read it are one file.
pub struct FeatureCache {
    folder: PathBuf,
    /// Of all that features depend on besides the image's file.
    common: Sha256,
    /// Bytes of an image file.
    most: u64,
    /// What first kept features from being written; nothing is tried after it.
    failure: Option<Error>,
}

/// Where features are kept unless a folder is named, if the system has a place for such things.
pub fn usual_folder() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("forgeling").join("features"))
}

impl FeatureCache {
    /// The features in a folder, which need not be there, of a model file. `computed` says in words how they are computed.
    pub fn new(folder: PathBuf, model: &[u8], options: &PictureOptions, computed: &str) -> Self {
        let PictureOptions {
            size,
            colour,
            kind,
            fit,
            framing,
            limits,
            ..
        } = options;
        let mut common = Sha256::new();
        common.update(FORMAT);
        common.update(Sha256::digest(model));
        let reading = format!("{size} {colour:?} {kind:?} {fit:?} {framing:?}");
        for text in [env!("CARGO_PKG_VERSION"), &reading, computed] {
            common.update((text.len() as u64).to_le_bytes());
            common.update(text);
        }
        Self {
            folder,
            common,
            most: limits.entry_bytes,
            failure: None,
        }
    }

    /// Where the features of an image file are, or would be; `None` for files that cannot be read.
    pub fn place(&self, path: &Path) -> Option<PathBuf> {
        let length = fs::metadata(path).ok()?.len();
        let bytes = match length <= self.most {
            true => fs::read(path).ok()?,
            false => return None,
        };
        let key = self.common.clone().chain_update(bytes).finalize();
        Some(self.folder.join(hex(&key)))
    }

    /// The features there, unless there are none or they are damaged.
    pub fn read(&self, place: &Path) -> Option<Embedding> {
        let bytes = fs::read(place).ok()?;
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if Sha256::digest(body)[..] != *checksum {
            return None;
        }
        let body = body.strip_prefix(FORMAT)?;
        let (count, body) = body.split_first_chunk()?;
        let features = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (features, statistics) =
            body.split_at_checked(features.checked_mul(size_of::<f32>())?)?;
        let (features, _) = features.as_chunks();
        let (statistics, _) = statistics.as_chunks();
        Some(Embedding {
            features: features
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
            statistics: statistics
                .iter()
                .map(|&bytes| f64::from_le_bytes(bytes))
                .collect(),
        })
    }

    /// Keeps features. Where that fails it is only slower the next time.
    pub fn write(&mut self, place: &Path, embedding: &Embedding) {
        if self.failure.is_some() {
            return;
        }
        let mut bytes = FORMAT.to_vec();
        bytes.extend((embedding.features.len() as u64).to_le_bytes());
        bytes.extend(
            embedding
                .features
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        bytes.extend(
            embedding
                .statistics
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        bytes.extend(Sha256::digest(&bytes));
        self.failure = write_atomically(place, &bytes).err();
    }

    /// What kept features from being written.
    pub fn into_failure(self) -> Option<Error> {
        self.failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_back_by_content_and_damaged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("new");
        let options = PictureOptions::default();
        let cache = |model: &[u8], options: &PictureOptions, computed: &str| {
            FeatureCache::new(inside.clone(), model, options, computed)
        };
        let mut own = cache(b"model", &options, "cpu");
        let [image, other_image] = ["image", "imagf"].map(|text| {
            let path = folder.path().join(text);
            fs::write(&path, text).unwrap();
            path
        });
        let place = own.place(&image).unwrap();
        // By what it holds, not by its name.
        let copy = folder.path().join("copy");
        fs::copy(&image, &copy).unwrap();
        assert_eq!(own.place(&copy).as_ref(), Some(&place));
        assert_eq!(own.place(&folder.path().join("none")), None);
        let other = PictureOptions {
            size: 29,
            ..options.clone()
        };
        for different in [
            cache(b"model", &options, "gpu").place(&image),
            cache(b"other", &options, "cpu").place(&image),
            cache(b"model", &other, "cpu").place(&image),
            own.place(&other_image),
        ] {
            assert_ne!(different.unwrap(), place);
        }
        assert_eq!(own.read(&place), None);
        let embedding = Embedding {
            features: vec![1.5, -0.0, f32::MIN_POSITIVE],
            statistics: vec![0.1, 2.0],
        };
        own.write(&place, &embedding);
        assert_eq!(own.read(&place), Some(embedding.clone()));
        let whole = fs::read(&place).unwrap();
        for length in 0..whole.len() {
            fs::write(&place, &whole[..length]).unwrap();
            assert_eq!(own.read(&place), None, "{length}");
        }
        let mut damaged = whole;
        damaged[FORMAT.len() + 9] ^= 1;
        fs::write(&place, &damaged).unwrap();
        assert_eq!(own.read(&place), None);
        // A folder that cannot be made is told of, once.
        fs::write(folder.path().join("file"), b"").unwrap();
        let mut nowhere = FeatureCache::new(folder.path().join("file/in"), b"", &options, "");
        let place = nowhere.place(&image).unwrap();
        nowhere.write(&place, &embedding);
        assert_eq!(nowhere.read(&place), None);
        assert!(nowhere.into_failure().is_some());
    }
}
