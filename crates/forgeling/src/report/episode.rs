//! One episode drawn with its predictions.

use std::fmt::Write as _;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::escape;
use crate::data::{EpisodeBatch, ImageShape};
use crate::error::{Error, Result};

/// What a model said of one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryPrediction {
    /// The class it chose, from 0 to ways - 1.
    pub way: usize,
    /// The probability it gave that class.
    pub probability: f64,
}

const TILE: usize = 44;
const GAP: usize = 6;
const RIGHT: &str = "#2e9e5b";
const WRONG: &str = "#d0402b";
/// Classes, and examples of each in the support and as queries, that are drawn at most.
const MOST: [usize; 3] = [25, 20, 20];

/// The first episode of `batch`: a row for each class with its support examples on the left and its queries
/// on the right, framed green where the verdict is right and red with the class chosen where it is wrong.
///
/// `verdicts` are those of the queries, class after class. Of large episodes the first 25 classes are drawn, and of each
/// the first 20 examples of either side, which the figure says.
///
/// # Errors
/// When there is no verdict for a query, or an image cannot be encoded.
pub fn episode_figure(batch: &EpisodeBatch, verdicts: &[QueryPrediction]) -> Result<String> {
    const OPERATION: &str = "episode_figure";
    let (ways, shots, queries) = (batch.ways.get(), batch.shots.get(), batch.queries.get());
    if verdicts.len() != ways * queries {
        return Err(Error::invalid(OPERATION, "not one verdict for each query")
            .expected(ways * queries)
            .got(verdicts.len()));
    }
    let step = TILE + GAP;
    let all = [ways, shots, queries];
    let [rows, shots, columns] = [0, 1, 2].map(|size| all[size].min(MOST[size]));
    let query_x = 30 + shots * step + 24;
    let (width, height) = (query_x + columns * step, 26 + rows * step + 16);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"An episode with predictions\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"currentColor\">\
         <text x=\"30\" y=\"16\">support</text><text x=\"{query_x}\" y=\"16\">queries</text>"
    );
    if all != [rows, shots, columns] {
        let _ = write!(
            svg,
            "<text x=\"30\" y=\"{}\" fill-opacity=\".7\">{rows} of {ways} classes, {shots} of {} and {columns} of \
             {queries} examples</text>",
            height - 4,
            all[1]
        );
    }
    for way in 0..rows {
        let y = 26 + way * step;
        let _ = write!(
            svg,
            "<text x=\"4\" y=\"{}\">{}</text>",
            y + TILE / 2 + 4,
            way + 1
        );
        for shot in 0..shots {
            if let Some(image) = batch.support_image(0, way, shot) {
                let _ = write!(svg, "{}", tile(image, batch.shape, 30 + shot * step, y)?);
            }
        }
        for query in 0..columns {
            let Some(image) = batch.query_image(0, way, query) else {
                continue;
            };
            let verdict = verdicts[way * queries + query];
            let x = query_x + query * step;
            let right = verdict.way == way;
            let said = format!(
                "class {} at {:.0} %",
                verdict.way + 1,
                100.0 * verdict.probability
            );
            let _ = write!(
                svg,
                "<g><title>{}</title>{}<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" \
                 stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>",
                escape(&said),
                tile(image, batch.shape, x, y)?,
                x - 1,
                y - 1,
                TILE + 2,
                TILE + 2,
                if right { RIGHT } else { WRONG },
                if right { "none" } else { "4 2" },
            );
            if !right {
                let _ = write!(
                    svg,
                    "<text x=\"{}\" y=\"{}\" font-weight=\"700\" style=\"fill:{WRONG}\">{}</text>",
                    x + 3,
                    y + 13,
                    verdict.way + 1
                );
            }
            svg.push_str("</g>");
        }
    }
    svg.push_str("</svg>");
    Ok(svg)
}

fn tile(image: &[f32], shape: ImageShape, x: usize, y: usize) -> Result<String> {
    Ok(format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{TILE}\" height=\"{TILE}\" href=\"data:image/png;base64,{}\"/>",
        STANDARD.encode(png(image, shape)?)
    ))
}

/// A grey PNG of the image's mean over its channels.
fn png(image: &[f32], shape: ImageShape) -> Result<Vec<u8>> {
    let plane = shape.height * shape.width;
    let grey: Vec<u8> = (0..plane)
        .map(|pixel| {
            let channels = (0..shape.channels).map(|channel| image[channel * plane + pixel]);
            let mean = channels.sum::<f32>() / shape.channels as f32;
            (mean.clamp(0.0, 1.0) * 255.0).round() as u8
        })
        .collect();
    let mut bytes = Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut bytes,
        &grey,
        shape.width as u32,
        shape.height as u32,
        image::ExtendedColorType::L8,
        image::ImageFormat::Png,
    )
    .map_err(|error| Error::bad_data("episode_figure", error.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EpisodeSampler, Glyphs, Queries, Shots, Split, Ways};

    #[test]
    fn wrong_verdicts_are_marked_and_missing_ones_refused() {
        let glyphs = Glyphs::new(1, Split::Train, 9).unwrap();
        let (ways, shots, queries) = (
            Ways::new(3).unwrap(),
            Shots::new(2).unwrap(),
            Queries::new(1).unwrap(),
        );
        let batch = EpisodeSampler::new(ways, shots, queries, 0)
            .sample(&glyphs)
            .unwrap();
        let verdicts = [0, 1, 0].map(|way| QueryPrediction {
            way,
            probability: 0.75,
        });
        let svg = episode_figure(&batch, &verdicts).unwrap();
        assert_eq!(svg.matches("<image").count(), 3 * (2 + 1));
        assert_eq!(svg.matches(RIGHT).count(), 2);
        assert!(svg.contains(WRONG) && svg.contains("class 1 at 75 %"));
        assert!(episode_figure(&batch, &verdicts[..2]).is_err());
    }

    #[test]
    fn of_large_episodes_a_part_is_drawn() {
        let glyphs = Glyphs::new(1, Split::Train, 60).unwrap();
        let sizes = (Ways::new(60), Shots::new(21), Queries::new(1));
        let (ways, shots, queries) = (sizes.0.unwrap(), sizes.1.unwrap(), sizes.2.unwrap());
        let batch = EpisodeSampler::new(ways, shots, queries, 0)
            .sample(&glyphs)
            .unwrap();
        let verdict = |way| QueryPrediction {
            way,
            probability: 0.75,
        };
        let svg = episode_figure(&batch, &(0..60).map(verdict).collect::<Vec<_>>()).unwrap();
        assert_eq!(svg.matches("<image").count(), 25 * (20 + 1));
        let said = "25 of 60 classes, 20 of 21 and 1 of 1 examples";
        assert!(svg.contains(said), "{svg}");
    }
}
