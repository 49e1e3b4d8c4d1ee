//! Curves over an x axis as SVG.

use std::fmt::Write as _;

use super::escape;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 4] = ["#0b8a83", "#c2571a", "#6a5acd", "#8a8a1a"];

/// A line chart with one y axis.
#[derive(Debug, Clone)]
pub struct LineChart {
    x_label: String,
    y_label: String,
    series: Vec<(String, Vec<(f64, f64)>)>,
}

impl LineChart {
    /// An empty chart; labels should name units.
    pub fn new(x_label: &str, y_label: &str) -> Self {
        Self {
            x_label: x_label.into(),
            y_label: y_label.into(),
            series: Vec::new(),
        }
    }

    /// Adds a curve. Points that are not finite are left out.
    #[must_use]
    pub fn series(mut self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite());
        self.series.push((name.into(), points.collect()));
        self
    }

    /// The chart as an `<svg>` element, 640 by 260.
    pub fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.1);
        let (x_low, x_high) = range(points().map(|p| p.0));
        let (y_low, y_high) = range(points().map(|p| p.1).chain([0.0]));
        let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        };

        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"{} over {}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"currentColor\">",
            escape(&self.y_label),
            escape(&self.x_label)
        );
        for tick in ticks(y_low, y_high) {
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" stroke-opacity=\".18\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(tick) + 4.0,
                number(tick),
                y = y(tick),
            );
        }
        for tick in ticks(x_low, x_high) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(tick),
                HEIGHT - BOTTOM + 18.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill-opacity=\".7\">{}</text>\
             <text x=\"{LEFT}\" y=\"14\" fill-opacity=\".7\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            escape(&self.x_label),
            escape(&self.y_label)
        );
        for (index, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let mut path = String::new();
            for (px, py) in points {
                let _ = write!(path, "{:.1},{:.1} ", x(*px), y(*py));
            }
            let _ = write!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>"
            );
            if self.series.len() > 1 {
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" style=\"fill:{colour}\">{}</text>",
                    WIDTH - RIGHT,
                    14.0 + 15.0 * index as f64,
                    escape(name)
                );
            }
        }
        svg.push_str("</svg>");
        svg
    }
}

/// Lowest and highest value, apart even when all are equal or there are none.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low, low + 1.0),
        (true, true) => (low, high),
    }
}

/// About five round numbers between `low` and `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * magnitude)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * magnitude);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            ticks(0.0, 1.0),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(number(0.6000000000000001), "0.6");
        for (low, high) in [(3.0, 3.7), (-20.0, 1234.0), (0.0, 1e-7)] {
            let ticks = ticks(low, high);
            assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
            assert!(
                ticks
                    .iter()
                    .all(|t| *t >= low - 1e-12 && *t <= high * 1.0000001)
            );
        }
    }

    #[test]
    fn points_land_inside_the_frame_and_nan_is_left_out() {
        let svg = LineChart::new("episode", "loss")
            .series("a", [(1.0, 2.0), (2.0, f64::NAN), (3.0, 0.5)])
            .render();
        assert!(svg.contains("points=\"56.0,28.0 624.0,"), "{svg}");
        assert!(!svg.contains("NaN"));
        assert!(LineChart::new("x", "y").render().ends_with("</svg>"));
    }
}
