//! How light the paper is everywhere, whatever is drawn on it.

use super::raster::Plane;

/// The paper is looked for on so many rows or columns, whichever are fewer.
const COARSE: usize = 96;
/// Strokes up to twice this share of the short side are taken for ink; what is wider is paper of another shade.
const REACH: f32 = 0.08;

/// The brightness of the paper at each pixel of a page with dark ink: a gray closing (the least of the greatest values
/// nearby), which fills what is darker and thin and keeps gradients, shadows and other sheets, then smoothed.
pub(super) fn paper(light: &Plane) -> Plane {
    let short = light.width.min(light.height);
    let scale = (short as f32 / COARSE as f32).max(1.0);
    let side = |length: usize| ((length as f32 / scale).round() as usize).max(1);
    let (width, height) = (side(light.width), side(light.height));
    let coarse = light.resample(light.area(), width, height);
    let reach = ((width.min(height) as f32 * REACH).round() as usize).max(1);
    let closed = extreme(&extreme(&coarse, reach, f32::max), reach, f32::min);
    enlarge(&blur(&closed, reach.div_ceil(2)), light.width, light.height)
}

/// The mean of the `(2 * reach + 1)²` pixels around each, as far as there are such.
pub(super) fn blur(plane: &Plane, reach: usize) -> Plane {
    let (width, height) = (plane.width, plane.height);
    let across = rows(plane, |line, out| means(line, reach, out));
    let down = rows(&transposed(&across), |line, out| means(line, reach, out));
    debug_assert_eq!((down.width, down.height), (height, width));
    transposed(&down)
}

fn extreme(plane: &Plane, reach: usize, pick: fn(f32, f32) -> f32) -> Plane {
    let line = |line: &[f32], out: &mut [f32]| {
        for (place, out) in out.iter_mut().enumerate() {
            let near = place.saturating_sub(reach)..(place + reach + 1).min(line.len());
            *out = line[near].iter().copied().fold(line[place], pick);
        }
    };
    transposed(&rows(&transposed(&rows(plane, line)), line))
}

fn rows(plane: &Plane, line: impl Fn(&[f32], &mut [f32])) -> Plane {
    let mut values = vec![0.0; plane.values.len()];
    let lines = plane.values.chunks(plane.width);
    for (from, to) in lines.zip(values.chunks_mut(plane.width)) {
        line(from, to);
    }
    Plane { values, ..*plane }
}

fn means(line: &[f32], reach: usize, out: &mut [f32]) {
    let mut sums = vec![0.0f64];
    for value in line {
        sums.push(sums[sums.len() - 1] + f64::from(*value));
    }
    for (place, out) in out.iter_mut().enumerate() {
        let (from, to) = (
            place.saturating_sub(reach),
            (place + reach + 1).min(line.len()),
        );
        *out = ((sums[to] - sums[from]) / (to - from) as f64) as f32;
    }
}

fn transposed(plane: &Plane) -> Plane {
    let (width, height) = (plane.width, plane.height);
    let column = |x: usize| (0..height).map(move |y| plane.values[y * width + x]);
    Plane {
        width: height,
        height: width,
        values: (0..width).flat_map(column).collect(),
    }
}

/// Bilinear interpolation between the centres of the pixels.
fn enlarge(plane: &Plane, width: usize, height: usize) -> Plane {
    let places = |from: usize, to: usize| -> Vec<(usize, usize, f32)> {
        let place = |index: usize| {
            let at = (index as f32 + 0.5) * from as f32 / to as f32 - 0.5;
            let at = at.clamp(0.0, (from - 1) as f32);
            let low = at as usize;
            (low, (low + 1).min(from - 1), at - low as f32)
        };
        (0..to).map(place).collect()
    };
    let columns = places(plane.width, width);
    let mut values = Vec::with_capacity(width * height);
    for (above, below, down) in places(plane.height, height) {
        let row = |index: usize| &plane.values[index * plane.width..(index + 1) * plane.width];
        let (above, below) = (row(above), row(below));
        values.extend(columns.iter().map(|&(left, right, across)| {
            let mix = |line: &[f32]| line[left] + across * (line[right] - line[left]);
            let (above, below) = (mix(above), mix(below));
            above + down * (below - above)
        }));
    }
    Plane {
        width,
        height,
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_ink_is_filled_and_gradients_and_edges_stay() {
        // A page that darkens to the right, a desk on the left, and a line across.
        let (width, height) = (300, 200);
        let shade = |x: usize| {
            if x < 60 {
                0.2
            } else {
                0.9 - 0.4 * x as f32 / width as f32
            }
        };
        let mut values: Vec<f32> = (0..width * height).map(|i| shade(i % width)).collect();
        for x in 80..250 {
            for y in 95..100 {
                values[y * width + x] *= 0.3;
            }
        }
        let page = Plane {
            width,
            height,
            values,
        };
        let found = paper(&page);
        for x in (0..45).chain(85..295) {
            for y in [20, 97, 150] {
                let (got, want) = (found.values[y * width + x], shade(x));
                assert!((got - want).abs() < 0.03, "({x}, {y}): {got}, not {want}");
            }
        }
    }

    #[test]
    fn a_blur_is_the_mean_of_what_is_near() {
        let plane = Plane {
            width: 3,
            height: 2,
            values: vec![0.0, 3.0, 6.0, 6.0, 9.0, 12.0],
        };
        let blurred = blur(&plane, 1);
        assert_eq!(blurred.values, [4.5, 6.0, 7.5, 4.5, 6.0, 7.5]);
    }
}
