//! Curves over an x axis as SVG.

use std::fmt::Write as _;

use super::svg::{DASHES, Key, Mark, colour, grid, keys, mark, number, open, range, text, ticks};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Points of a series that are drawn at most, which is more than there are pixels.
const MOST: usize = 1000;

/// A line chart with one y axis.
///
/// ```
/// use forgeling::report::LineChart;
/// let wave = |shift: f64| (0..100).map(move |x| (x as f64 / 10.0, (x as f64 / 10.0 - shift).sin()));
/// let svg = LineChart::new("x", "y")
///     .dashed("the truth", wave(0.0))
///     .points("what is known of it", wave(0.0).step_by(9))
///     .series("a guess", wave(0.2))
///     .render();
/// assert!(svg.starts_with("<svg"));
/// ```
#[derive(Debug, Clone)]
pub struct LineChart {
    x_label: String,
    y_label: String,
    series: Vec<Series>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    mark: Mark,
    points: Vec<(f64, f64)>,
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
    pub fn series(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.with(Mark::Line, name, points)
    }

    /// Adds a dashed curve.
    #[must_use]
    pub fn dashed(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.with(Mark::Dashes, name, points)
    }

    /// Adds points that no line connects.
    #[must_use]
    pub fn points(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.with(Mark::Diamond, name, points)
    }

    fn with(
        mut self,
        mark: Mark,
        name: &str,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let points = points
            .into_iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite());
        self.series.push(Series {
            name: name.into(),
            mark,
            points: points.collect(),
        });
        self
    }

    /// The chart as an `<svg>` element, 640 by 260, and higher where there are several series to name. Of a series of more
    /// than 1,000 points, so many are drawn, evenly chosen.
    pub fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = range(points().map(|p| p.0));
        let (y_low, y_high) = range(points().map(|p| p.1).chain([0.0]));
        let (names, names_height) = self.names();
        let (top, bottom) = (TOP + names_height, HEIGHT - BOTTOM + names_height);
        let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| bottom - (value - y_low) / (y_high - y_low) * (bottom - top);

        let label = format!("{} over {}", self.y_label, self.x_label);
        let mut svg = open(WIDTH, HEIGHT + names_height, &label);
        for tick in ticks(y_low, y_high) {
            let y = y(tick);
            grid(&mut svg, [LEFT, y, WIDTH - RIGHT, y]);
            text(&mut svg, (LEFT - 8.0, y + 4.0), "end", false, &number(tick));
        }
        for tick in ticks(x_low, x_high) {
            let place = (x(tick), bottom + 18.0);
            text(&mut svg, place, "middle", false, &number(tick));
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        text(
            &mut svg,
            (middle, bottom + 34.0),
            "middle",
            true,
            &self.x_label,
        );
        text(&mut svg, (LEFT, 14.0), "start", true, &self.y_label);
        svg.push_str(&names);
        for (index, series) in self.series.iter().enumerate() {
            let each = series.points.len().div_ceil(MOST).max(1);
            // With the last one, where a curve has its end.
            let last = series.points.last().filter(|_| each > 1);
            let drawn = series.points.iter().step_by(each).chain(last);
            let places = drawn.map(|p| (x(p.0), y(p.1)));
            if series.mark == Mark::Diamond {
                places.for_each(|place| mark(&mut svg, series.mark, place, colour(index)));
                continue;
            }
            let path: String = places.map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
            let dashes = if series.mark == Mark::Dashes {
                DASHES
            } else {
                "none"
            };
            let _ = write!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" \
                 stroke-linejoin=\"round\" stroke-dasharray=\"{dashes}\"/>",
                colour(index)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    /// The names of the series, where there are several.
    fn names(&self) -> (String, f64) {
        let key = |(index, series): (usize, &Series)| -> Key {
            (series.mark, colour(index), series.name.clone())
        };
        match self.series.len() {
            0 | 1 => (String::new(), 0.0),
            _ => {
                let all: Vec<Key> = self.series.iter().enumerate().map(key).collect();
                keys(&all, (LEFT, WIDTH - RIGHT), TOP - 8.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_land_inside_the_frame_and_nan_is_left_out() {
        let svg = LineChart::new("episode", "loss")
            .series("a", [(1.0, 2.0), (2.0, f64::NAN), (3.0, 0.5)])
            .render();
        assert!(svg.contains("points=\"56.0,28.0 624.0,"), "{svg}");
        assert!(!svg.contains("NaN"));
        assert!(LineChart::new("x", "y").render().ends_with("</svg>"));
    }

    #[test]
    fn long_series_are_thinned_and_keep_their_ends() {
        let line = (0..=100_000).map(|x| (f64::from(x), f64::from(x)));
        let svg = LineChart::new("x", "y").series("a", line).render();
        assert!(svg.len() < 20_000, "{} bytes", svg.len());
        assert!(svg.contains("points=\"56.0,220.0 "), "{svg}");
        assert!(svg.contains(" 624.0,28.0 \""), "{svg}");
    }

    #[test]
    fn series_are_named_above_the_frame_and_drawn_in_their_own_way() {
        let line = || [(0.0, 0.0), (1.0, 1.0)];
        let mut chart = LineChart::new("x", "y")
            .dashed("truth", line())
            .points("known", line());
        let svg = chart.render();
        assert!(svg.contains("viewBox=\"0 0 640 278\""), "{svg}");
        // The frame begins below the names, and each name has its mark.
        assert!(svg.contains("624.0,46.0"), "{svg}");
        assert_eq!(svg.matches(DASHES).count(), 2);
        assert_eq!(svg.matches("<path").count(), 3);
        for index in 0..8 {
            chart = chart.series(&format!("after {index} of the inner steps"), line());
        }
        let svg = chart.render();
        assert_eq!(svg.matches("</text>").count(), 10 + 2 + 6 + 6);
        let colours: std::collections::BTreeSet<_> = (0..10).map(colour).collect();
        assert!(colours.iter().all(|colour| svg.contains(colour)));
    }
}
