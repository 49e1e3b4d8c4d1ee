//! `forgeling fewshot classify`

use std::path::{Path, PathBuf};
use std::time::Instant;

use forgeling::data::{PictureKind, PictureOptions, folder, read_pictures};
use forgeling::meta::{AdaptSummary, Answer, Classifier, Embedding, Learner};
use forgeling::train::model_file;
use forgeling::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use super::super::answers::{Sorted, left_out, sorted, tell};
use super::super::{load_learner, open, unless_interrupted};
use super::feature_cache::{FeatureCache, usual_folder};
use crate::args::{Classify, Common};
use crate::data::{picture_options, takes_pictures, told};
use crate::output::{EpochProgress, Output};

/// Images whose pixels are held at once, where features are all that is kept of them.
const AT_ONCE: usize = 128;

pub async fn run(args: &Classify, common: &Common, output: &Output) -> Result<()> {
    args.unknown.check()?;
    let listed = Listed::of(args, output)?;
    let device = open(common, output).await?;
    let model = load_learner(&args.model, &device)?;
    takes_pictures("classify", model.input_shape()).map_err(|error| error.path(&args.model))?;
    let adaptation = args.adapt.seeded(common.seed);
    let mut classifier = model.classifier_with(adaptation)?;
    if args.mirrored {
        classifier = classifier.with_mirrored()?;
    }
    let reader = Reader::new(args, &model, output);
    let (kept, encoded) = match classifier.embeds() {
        true => reader.embed(&listed.paths, &classifier).await?,
        false => (reader.pixels(&listed.paths)?, Encoded::default()),
    };
    let mut support = kept;
    let query = support.split_off(listed.names.len());
    let mut examples = Vec::new();
    for ((name, path), image) in listed.names.iter().zip(&listed.paths).zip(support) {
        match image {
            Ok(image) => examples.push((name.as_str(), image)),
            Err(error) if reader.options.skip_broken => {
                output.line(format_args!("Left out {}: {error}", path.display()));
            }
            Err(error) => return Err(error),
        }
    }
    add(&mut classifier, examples).await?;
    let adapted = adapt(&mut classifier).await?;
    describe(&adapted, output);

    let Sorted { read, failed } = sorted(&listed.paths[listed.names.len()..], query);
    let (places, images): (Vec<PathBuf>, Vec<Kept>) = read.into_iter().unzip();
    let found = answer(&mut classifier, images).await?;
    let answered: Vec<(&Path, _)> = places.iter().map(PathBuf::as_path).zip(found).collect();
    let (rows, failed) = tell(&answered, &failed, args.unknown, output);
    output.object(
        "fewshot classify",
        &device,
        common.seed,
        json!({
            "adaptation": adapted,
            "mirrored": args.mirrored,
            "threshold": args.unknown.below,
            "features": encoded,
            "predictions": rows,
            "failed": failed,
        }),
    );
    Ok(())
}

/// The files there are.
struct Listed {
    /// Of the class of each example.
    names: Vec<String>,
    /// The examples, then the images to classify.
    paths: Vec<PathBuf>,
}

impl Listed {
    fn of(args: &Classify, output: &Output) -> Result<Self> {
        let examples = folder::list_classes(&args.support)?;
        if examples.classes.len() < 2 {
            return Err(Error::bad_data("classify", "nothing to choose between")
                .expected("at least 2 classes")
                .got(examples.classes.len())
                .path(&args.support));
        }
        let (queries, others) = folder::list_images(&args.query)?;
        left_out(&examples.left_out, output);
        left_out(&others, output);
        let (mut names, mut paths) = (Vec::new(), Vec::new());
        for (name, images) in examples.classes {
            names.extend(images.iter().map(|_| name.clone()));
            paths.extend(images);
        }
        paths.extend(queries);
        Ok(Self { names, paths })
    }
}

/// What the classifier takes of an image.
enum Kept {
    Pixels(Vec<f32>),
    Features(Embedding),
}

/// Where features came from.
#[derive(Default, Serialize)]
struct Encoded {
    /// Images whose features were on disk.
    from_cache: usize,
    /// Images that went through the encoder.
    computed: usize,
    /// What that took, without reading the images.
    seconds: f64,
}

/// How images are read.
struct Reader<'a> {
    args: &'a Classify,
    model: &'a Learner,
    options: PictureOptions,
    output: &'a Output,
}

impl<'a> Reader<'a> {
    fn new(args: &'a Classify, model: &'a Learner, output: &'a Output) -> Self {
        let shape = model.input_shape();
        let options = picture_options(
            shape.height,
            Some(shape.channels),
            &args.pictures,
            model.pictures(),
        );
        Self {
            args,
            model,
            options,
            output,
        }
    }

    /// The pixels of all images, read as one set.
    fn pixels(&self, paths: &[PathBuf]) -> Result<Vec<Result<Kept>>> {
        let images = self.read(paths, true)?;
        let images = images.into_iter();
        Ok(images.map(|image| image.map(Kept::Pixels)).collect())
    }

    fn read(&self, paths: &[impl AsRef<Path> + Sync], tell: bool) -> Result<Vec<Result<Vec<f32>>>> {
        let pictures = read_pictures(paths, &self.options)?;
        let from = (&self.options, self.model.pictures().is_some());
        let channels = self.model.input_shape().channels;
        if tell {
            for note in told(from, pictures.preparation, &pictures.survey, channels) {
                self.output.line(note);
            }
        }
        Ok(pictures.into_values())
    }

    /// The features of all images, and where they came from. Photographs are read one by one, so that what is known of
    /// a file is known whatever lies beside it; drawings are one set.
    async fn embed(
        &self,
        paths: &[PathBuf],
        classifier: &Classifier,
    ) -> Result<(Vec<Result<Kept>>, Encoded)> {
        let one_by_one = self.options.kind == Some(PictureKind::Pictures);
        let mut cache = match one_by_one {
            true => self.cache()?,
            false => None,
        };
        let mut kept: Vec<Option<Result<Kept>>> = Vec::new();
        // Of those that are still to be read.
        let mut places = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let place = cache.as_ref().and_then(|cache| cache.place(path));
            let known = cache.as_ref().zip(place.as_ref());
            let known = known.and_then(|(cache, place)| cache.read(place));
            if known.is_none() {
                places.push((index, place));
            }
            kept.push(known.map(|known| Ok(Kept::Features(known))));
        }
        let mut encoded = Encoded {
            from_cache: kept.iter().flatten().count(),
            ..Default::default()
        };
        let at_once = if one_by_one {
            AT_ONCE
        } else {
            places.len().max(1)
        };
        let interrupted = unless_interrupted();
        for (number, chunk) in places.chunks(at_once).enumerate() {
            if interrupted().is_break() {
                let message = "stopped before it was over";
                return Err(Error::new(ErrorKind::Cancelled, "classify", message));
            }
            let files: Vec<&Path> = chunk
                .iter()
                .map(|(index, _)| paths[*index].as_path())
                .collect();
            let images = self.read(&files, number == 0)?;
            let good: Vec<&[f32]> = images.iter().flatten().map(Vec::as_slice).collect();
            let begun = Instant::now();
            let mut found = classifier.embed_all(&good).await?.into_iter();
            encoded.seconds += begun.elapsed().as_secs_f64();
            encoded.computed += good.len();
            for ((index, place), image) in chunk.iter().zip(images) {
                kept[*index] = match image {
                    Err(error) => Some(Err(error)),
                    Ok(_) => found.next().map(|embedding| {
                        if let (Some(cache), Some(place)) = (&mut cache, place) {
                            cache.write(place, &embedding);
                        }
                        Ok(Kept::Features(embedding))
                    }),
                };
            }
        }
        if let Some(problem) = cache.and_then(FeatureCache::into_failure) {
            self.output.line(format_args!(
                "Features are not kept for the next time: {problem}"
            ));
        }
        Ok((kept.into_iter().flatten().collect(), encoded))
    }

    fn cache(&self) -> Result<Option<FeatureCache>> {
        let folder = match (&self.args.cache, self.args.no_cache) {
            (_, true) => None,
            (Some(folder), false) => Some(folder.clone()),
            (None, false) => usual_folder(),
        };
        let Some(folder) = folder else {
            return Ok(None);
        };
        let info = self.model.device().info();
        let mirrored = if self.args.mirrored {
            "mirrored"
        } else {
            "plain"
        };
        let computed = format!("{mirrored} {} {}", info.backend, info.name);
        let bytes = model_file::read(&self.args.model)?;
        let cache = FeatureCache::new(folder, &bytes, &self.options, &computed);
        Ok(Some(cache))
    }
}

async fn add(classifier: &mut Classifier, examples: Vec<(&str, Kept)>) -> Result<()> {
    let (mut embedded, mut pixels) = (Vec::new(), Vec::new());
    for (name, image) in examples {
        match image {
            Kept::Features(embedding) => embedded.push((name, embedding)),
            Kept::Pixels(values) => pixels.push((name, values)),
        }
    }
    if classifier.embeds() {
        return classifier.add_embedded(embedded);
    }
    let pixels: Vec<(&str, &[f32])> = pixels
        .iter()
        .map(|(name, values)| (*name, &values[..]))
        .collect();
    classifier.add_all(&pixels).await
}

async fn answer(classifier: &mut Classifier, images: Vec<Kept>) -> Result<Vec<Answer>> {
    let (mut embedded, mut pixels) = (Vec::new(), Vec::new());
    for image in images {
        match image {
            Kept::Features(embedding) => embedded.push(embedding),
            Kept::Pixels(values) => pixels.push(values),
        }
    }
    if classifier.embeds() {
        return classifier.answer_embedded(&embedded).await;
    }
    let pixels: Vec<&[f32]> = pixels.iter().map(Vec::as_slice).collect();
    classifier.answer_all(&pixels).await
}

async fn adapt(classifier: &mut Classifier) -> Result<AdaptSummary> {
    let progress = EpochProgress::new();
    let interrupted = unless_interrupted();
    let adapted = classifier
        .adapt(|event| {
            progress.update(event);
            interrupted()
        })
        .await;
    progress.finish();
    adapted
}

/// For example `Adapted (head) in 0.3 s: 31 epochs, 80.0 % of the held-out examples right.`
fn describe(adapted: &AdaptSummary, output: &Output) {
    if let Some(trained) = &adapted.fine_tune {
        let held_out = match trained.held_out_accuracy {
            Some(accuracy) => format!("{:.1} % of the held-out examples right", 100.0 * accuracy),
            None => "too few examples to hold some out".into(),
        };
        output.line(format_args!(
            "Adapted ({}) in {:.1} s: {} epochs, {held_out}.",
            adapted.name, adapted.seconds, trained.epochs
        ));
    }
    output.line(match adapted.calibrated_on {
        0 => {
            "Confidences are not calibrated: that takes two or more examples of each class.".into()
        }
        count => format!("Confidences are calibrated on {count} examples."),
    });
}
