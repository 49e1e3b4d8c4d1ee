//! What is drawn on a page, apart from the page.

use super::paper::{blur, paper};
use super::raster::{Area, Plane, Raster};
use super::shapes::{Part, outline, parts};

/// How far from white the paper of a clean scan may be.
const WHITE: f32 = 1.0 - 10.0 / 255.0;
/// The part of a clean scan, and of its border, that is white at least.
const CLEAN: (f32, f32) = (0.5, 0.9);
/// What is fainter on a clean scan is no ink: compressed images are never quite white.
const FAINT: f32 = 0.12;
/// Ink is this many times the paper's noise at least.
const ABOVE_NOISE: f32 = 5.0;
/// Ink takes this part of the light at least.
const WEAKEST: f32 = 0.06;
/// Marks that cover less than this part of the largest one are specks.
const SPECK: f32 = 0.01;
/// Marks that cover less than this part of the picture are specks too.
const SMALLEST: f32 = 5e-5;
/// Marks whose ink is fainter than this part of the main one's are none.
const FAINTEST: f32 = 0.25;
/// How much more ink a higher threshold must show to be better than a lower one.
const CLEARLY: f64 = 1.6;
/// Slopes below this are no edges.
const FLATTEST: f32 = 0.015;
/// Part of the picture below which ink cannot be told from a speck.
const LEAST: f32 = 2e-4;
/// The part of the full ink below which paper begins, and above which ink is full.
const RAMP: (f32, f32) = (0.2, 0.75);

/// Ink on paper.
#[derive(Debug, Clone)]
pub(super) struct Ink {
    /// How much ink there is at each pixel, 0 to 1.
    pub plane: Plane,
    /// Where it is; `None` on an empty page.
    pub bounds: Option<Area>,
    /// Whether the page is white and even as a scan's, and `plane` just what the picture's pixels are.
    pub clean: bool,
    /// How much darker ink is than paper, as the mean of squares.
    pub contrast: f32,
    /// The part of the picture that is inked.
    pub share: f32,
    /// The mean width of strokes, as a part of the longer side of `bounds`.
    pub thickness: f32,
    /// The part of the picture's edges that are those of the ink. Edges that come in from the border do not count.
    pub explained: f32,
}

/// The ink of a picture, dark or light.
pub(super) fn ink(raster: &Raster, light_ink: bool) -> Ink {
    if raster.is_see_through() {
        return clean(raster.opacity());
    }
    // From here on ink is dark.
    let light = raster.plane(|raster, index| {
        let luma = raster.luma(index, 255) / 255.0;
        if light_ink { 1.0 - luma } else { luma }
    });
    if is_clean(&light) {
        let values = light.values.iter().map(|light| 1.0 - light).collect();
        return clean(Plane { values, ..light });
    }
    levelled(&light)
}

fn is_clean(light: &Plane) -> bool {
    let (width, height) = (light.width, light.height);
    let white = |indices: &mut dyn Iterator<Item = usize>| {
        let (mut white, mut all) = (0, 0);
        for index in indices {
            all += 1;
            white += usize::from(light.values[index] >= WHITE);
        }
        white as f32 / all as f32
    };
    let at_border = |index: &usize| {
        let (x, y) = (index % width, index / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    };
    let all = 0..width * height;
    white(&mut all.clone()) >= CLEAN.0 && white(&mut all.filter(at_border)) >= CLEAN.1
}

fn clean(plane: Plane) -> Ink {
    let mask: Vec<bool> = plane.values.iter().map(|&value| value > FAINT).collect();
    let all = parts(&mask, plane.width);
    measured(plane, &mask, &all.iter().collect::<Vec<_>>(), true)
}

/// The ink of a page that is unevenly lit, gray or noisy.
fn levelled(light: &Plane) -> Ink {
    let (width, height) = (light.width, light.height);
    let smooth = match width.min(height) {
        0..64 => light.clone(),
        _ => blur(light, 1),
    };
    let paper = paper(&smooth);
    let ratio = smooth.values.iter().zip(&paper.values);
    let mut dark: Vec<f32> = ratio
        .map(|(light, paper)| 1.0 - light / paper.max(0.02))
        .collect();
    // Most of a page is paper: what is usual there is none of the ink, and how it varies is noise.
    let usual = median(dark.clone());
    for value in &mut dark {
        *value -= usual;
    }
    let noise = 1.4826 * median(dark.iter().map(|value| value.abs()).collect());
    let least = (ABOVE_NOISE * noise).max(WEAKEST);
    // On a dark desk a little is much of the light.
    let darker: Vec<f32> = dark
        .iter()
        .zip(&paper.values)
        .map(|(dark, paper)| dark * paper)
        .collect();
    let marks = marks(&dark, &darker, width, least);
    let mut depths: Vec<f32> = Vec::new();
    for part in &marks {
        depths.extend(part.pixels.iter().map(|&index| dark[index]));
    }
    let full = quantile(&mut depths, 0.8).max(least);
    let mut mask = vec![false; dark.len()];
    for index in marks.iter().flat_map(|part| &part.pixels) {
        mask[*index] = true;
    }
    // The strokes with their soft edges.
    let near = grown(&mask, width, 2);
    let (low, high) = (RAMP.0 * full, RAMP.1 * full);
    let values = dark.iter().zip(&near).map(|(value, near)| {
        if *near {
            ((value - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            0.0
        }
    });
    let plane = Plane {
        width,
        height,
        values: values.collect(),
    };
    let strong: Vec<bool> = (0..dark.len())
        .map(|index| mask[index] && dark[index] > 0.4 * full)
        .collect();
    let mut ink = measured(plane, &strong, &marks.iter().collect::<Vec<_>>(), false);
    let inks = (0..dark.len()).filter(|&index| mask[index]);
    ink.contrast = mean(inks.map(|index| darker[index].powi(2)));
    ink.explained = explained(&smooth, &grown(&mask, width, 4));
    ink
}

/// The part of a picture's edges that lie near the ink, of those that do not come in from the border.
fn explained(light: &Plane, near_ink: &[bool]) -> f32 {
    let slopes = slopes(light);
    let usual = median(slopes.clone());
    let apart = slopes.iter().map(|slope| (slope - usual).abs()).collect();
    let least = (3.0 * (usual + 1.4826 * median(apart))).max(FLATTEST);
    let inked = |index: &usize| slopes[*index] > least && near_ink[*index];
    let by_ink = (0..slopes.len()).filter(inked).count();
    let others: Vec<bool> = slopes
        .iter()
        .zip(near_ink)
        .map(|(slope, near)| *slope > least && !near)
        .collect();
    let others = parts(&others, light.width);
    let within = others.iter().filter(|part| !part.at_border);
    let by_others: usize = within.map(|part| part.pixels.len()).sum();
    by_ink as f32 / (by_ink + by_others).max(1) as f32
}

/// How steep brightness is at each pixel: Sobel's operator, in units of one pixel.
fn slopes(light: &Plane) -> Vec<f32> {
    let (width, height) = (light.width, light.height);
    let at = |x: usize, y: usize| light.values[y * width + x];
    let mut slopes = Vec::with_capacity(light.values.len());
    for y in 0..height {
        let (above, below) = (y.saturating_sub(1), (y + 1).min(height - 1));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
            let across = at(right, above) - at(left, above)
                + 2.0 * (at(right, y) - at(left, y))
                + at(right, below)
                - at(left, below);
            let down = at(left, below) - at(left, above)
                + 2.0 * (at(x, below) - at(x, above))
                + at(right, below)
                - at(right, above);
            slopes.push((across * across + down * down).sqrt() / 8.0);
        }
    }
    slopes
}

/// The marks on a page: what is darker than the paper, holds together and does not come in from the border, as desks and
/// ruled lines do. Lines that cross the ink are left behind by looking at what is darker only.
fn marks(dark: &[f32], darker: &[f32], width: usize, least: f32) -> Vec<Part> {
    let mass = |part: &Part| -> f64 { part.pixels.iter().map(|&i| f64::from(darker[i])).sum() };
    let depth = |part: &Part| mass(part) / part.pixels.len() as f64;
    let clear = |kept: Vec<Part>| -> Vec<Part> {
        let main = kept.iter().max_by(|a, b| mass(a).total_cmp(&mass(b)));
        let least = main.map_or(0.0, |part| f64::from(FAINTEST) * depth(part));
        kept.into_iter()
            .filter(|part| depth(part) >= least)
            .collect()
    };
    let most = dark.iter().copied().fold(0.0, f32::max);
    let area = dark.len() as f32;
    let mut found: Option<(f64, Vec<Part>)> = None;
    let mut fallback = Vec::new();
    let mut threshold = least;
    while threshold < most {
        let mask: Vec<bool> = dark.iter().map(|&value| value > threshold).collect();
        // No threshold from here on leaves more than this.
        let above = (0..dark.len()).filter(|&index| dark[index] > threshold);
        let left: f64 = above.map(|index| f64::from(darker[index])).sum();
        if found
            .as_ref()
            .is_some_and(|(best, _)| left <= CLEARLY * best)
        {
            break;
        }
        let all = parts(&mask, width);
        if fallback.is_empty() {
            fallback.clone_from(&all);
        }
        let inside = all.into_iter().filter(|part| !part.at_border);
        let kept = clear(without_specks(inside, area));
        let mass: f64 = kept.iter().map(mass).sum();
        // The fainter, the more of the ink is seen, unless most of it hangs together with the border.
        if found.as_ref().is_none_or(|(best, _)| mass > CLEARLY * best) {
            found = Some((mass, kept));
        }
        threshold *= 1.5;
    }
    let inked = |parts: &[Part]| parts.iter().map(|part| part.pixels.len()).sum::<usize>();
    match found {
        Some((_, kept)) if inked(&kept) as f32 >= LEAST * area => kept,
        // Ink that runs off the page is ink all the same.
        _ => clear(without_specks(fallback.into_iter(), area)),
    }
}

fn without_specks(parts: impl Iterator<Item = Part>, area: f32) -> Vec<Part> {
    let parts: Vec<Part> = parts.collect();
    let largest = parts.iter().map(|part| part.pixels.len()).max();
    let least = (SPECK * largest.unwrap_or(0) as f32).max(SMALLEST * area);
    let large = |part: &Part| part.pixels.len() as f32 >= least;
    parts.into_iter().filter(large).collect()
}

fn measured(plane: Plane, mask: &[bool], marks: &[&Part], clean: bool) -> Ink {
    let (width, pixels) = (plane.width, mask.len());
    let mut bounds: Option<[usize; 4]> = None;
    for part in marks {
        let [left, top, right, bottom] = part.bounds;
        let all = bounds.unwrap_or(part.bounds);
        bounds = Some([
            all[0].min(left),
            all[1].min(top),
            all[2].max(right),
            all[3].max(bottom),
        ]);
    }
    let inked = mask.iter().filter(|on| **on).count();
    let bounds = bounds.map(|[left, top, right, bottom]| Area {
        left: left as f32,
        top: top as f32,
        width: (right - left) as f32,
        height: (bottom - top) as f32,
    });
    let extent = bounds.map_or(1.0, |area| area.width.max(area.height));
    // A stroke's outline is twice as long as it, and slanted ones are counted in steps.
    let outline = outline(mask, width) as f32 * std::f32::consts::FRAC_PI_4;
    let stroke = 2.0 * inked as f32 / outline.max(1.0);
    let inks = (0..pixels).filter(|&index| mask[index]);
    Ink {
        contrast: mean(inks.map(|index| plane.values[index].powi(2))),
        bounds,
        clean,
        share: inked as f32 / pixels.max(1) as f32,
        thickness: stroke / extent,
        explained: 1.0,
        plane,
    }
}

/// A mask with so many pixels more on every side.
fn grown(mask: &[bool], width: usize, by: usize) -> Vec<bool> {
    let height = mask.len() / width.max(1);
    let mut out = vec![false; mask.len()];
    for (index, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        let (x, y) = (index % width, index / width);
        for row in y.saturating_sub(by)..(y + by + 1).min(height) {
            let (from, to) = (x.saturating_sub(by), (x + by + 1).min(width));
            out[row * width + from..row * width + to].fill(true);
        }
    }
    out
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0.0f64, 0);
    for value in values {
        sum += f64::from(value);
        count += 1;
    }
    (sum / f64::from(count.max(1))) as f32
}

fn median(mut values: Vec<f32>) -> f32 {
    quantile(&mut values, 0.5)
}

/// The value that so great a part of all is below; 0 of none.
fn quantile(values: &mut [f32], part: f32) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let place = ((values.len() - 1) as f32 * part).round() as usize;
    *values.select_nth_unstable_by(place, f32::total_cmp).1
}
