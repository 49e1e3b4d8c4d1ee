//! Examples as points of a plane.

use super::svg::{Key, Mark, colour, grid, keys, mark, number, open, range, text, ticks};
use crate::error::{Error, Result};
use crate::meta::Side;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 40.0;
/// Points of the support and of the queries that are drawn at most, of either.
const MOST: usize = 1000;
/// Classes that are named at most.
const NAMED: usize = 40;

/// An example at its place in the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScatterPoint {
    /// Where it is, for example by [`pca`](super::pca).
    pub at: (f64, f64),
    /// Its class, which has its own colour.
    pub class: usize,
    /// The support is drawn as large diamonds, queries as dots.
    pub side: Side,
}

/// Points coloured by class, with the labels of the classes. One unit is equally long in both directions, so that
/// distances are what they look like. Points that are not finite are left out. Of more than 1,000 points of the support or
/// of the queries, so many are drawn, evenly chosen, and of more than 40 labels, so many are written; the figure says so.
///
/// # Errors
/// When a class has no label.
pub fn scatter_figure<S: AsRef<str>>(
    points: &[ScatterPoint],
    labels: &[S],
    (x_label, y_label): (&str, &str),
) -> Result<String> {
    if let Some(point) = points.iter().find(|point| point.class >= labels.len()) {
        return Err(Error::invalid("scatter_figure", "a class has no label")
            .expected(format!("classes below {}", labels.len()))
            .got(point.class));
    }
    let finite = |point: &&ScatterPoint| point.at.0.is_finite() && point.at.1.is_finite();
    let shown = |side: Side| {
        points
            .iter()
            .filter(finite)
            .filter(move |point| point.side == side)
    };
    let drawn = |side: Side| {
        let each = shown(side).count().div_ceil(MOST).max(1);
        shown(side).step_by(each)
    };
    let all = || drawn(Side::Query).chain(drawn(Side::Support));
    let mut names: Vec<Key> = labels
        .iter()
        .take(NAMED)
        .enumerate()
        .map(|(class, label)| (Mark::Area, colour(class), label.as_ref().to_owned()))
        .collect();
    if labels.len() > NAMED {
        let more = format!("and {} more classes", labels.len() - NAMED);
        names.push((Mark::Area, "none", more));
    }
    for (side, kind, name) in [
        (Side::Support, Mark::Diamond, "support"),
        (Side::Query, Mark::Dot, "query"),
    ] {
        let name = match (drawn(side).count(), shown(side).count()) {
            (0, _) => continue,
            (drawn, all) if drawn == all => name.to_owned(),
            (drawn, all) => format!("{name}, {drawn} of {all}"),
        };
        names.push((kind, "currentColor", name));
    }
    let (names, names_height) = keys(&names, (LEFT, WIDTH - RIGHT), 20.0);
    let (top, bottom) = (28.0 + names_height, HEIGHT - BOTTOM + names_height);

    let (wide, high) = (WIDTH - LEFT - RIGHT, bottom - top);
    let (x_low, x_high) = range(all().map(|point| point.at.0));
    let (y_low, y_high) = range(all().map(|point| point.at.1));
    // Room for the marks at the edges.
    let scale = (wide / (x_high - x_low)).min(high / (y_high - y_low)) * 0.94;
    let (x_middle, y_middle) = ((x_low + x_high) / 2.0, (y_low + y_high) / 2.0);
    let x = |value: f64| LEFT + wide / 2.0 + (value - x_middle) * scale;
    let y = |value: f64| top + high / 2.0 - (value - y_middle) * scale;

    let mut svg = open(
        WIDTH,
        HEIGHT + names_height,
        &format!("{y_label} over {x_label}"),
    );
    let around =
        |middle: f64, side: f64| (middle - side / scale / 2.0, middle + side / scale / 2.0);
    let (low, high_y) = around(y_middle, high);
    for tick in ticks(low, high_y) {
        grid(&mut svg, [LEFT, y(tick), WIDTH - RIGHT, y(tick)]);
        text(
            &mut svg,
            (LEFT - 8.0, y(tick) + 4.0),
            "end",
            false,
            &number(tick),
        );
    }
    let (low, high_x) = around(x_middle, wide);
    for tick in ticks(low, high_x) {
        grid(&mut svg, [x(tick), top, x(tick), bottom]);
        text(
            &mut svg,
            (x(tick), bottom + 16.0),
            "middle",
            false,
            &number(tick),
        );
    }
    let middle = LEFT + wide / 2.0;
    text(&mut svg, (middle, bottom + 34.0), "middle", true, x_label);
    text(&mut svg, (LEFT, 14.0), "start", true, y_label);
    svg.push_str(&names);
    for point in all() {
        let kind = match point.side {
            Side::Support => Mark::Diamond,
            Side::Query => Mark::Dot,
        };
        let place = (x(point.at.0), y(point.at.1));
        mark(&mut svg, kind, place, colour(point.class));
    }
    svg.push_str("</svg>");
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: (f64, f64), class: usize, side: Side) -> ScatterPoint {
        ScatterPoint { at, class, side }
    }

    #[test]
    fn both_sides_are_drawn_and_a_unit_is_a_unit() {
        let points = [
            point((0.0, 0.0), 0, Side::Query),
            point((2.0, 0.0), 1, Side::Query),
            point((0.0, 2.0), 1, Side::Query),
            point((f64::NAN, 1.0), 1, Side::Support),
            point((1.0, 1.0), 0, Side::Support),
        ];
        let svg = scatter_figure(&points, &["a", "b"], ("x", "y")).unwrap();
        // With the key of either.
        assert_eq!(
            (svg.matches("<circle").count(), svg.matches("<path").count()),
            (4, 2)
        );
        assert!(!svg.contains("NaN"));
        let dots = svg.split("<circle cx=\"").skip(2).map(|rest| {
            let mut numbers = rest.split('"');
            let x: f64 = numbers.next().unwrap().parse().unwrap();
            (x, numbers.nth(1).unwrap().parse::<f64>().unwrap())
        });
        let dots: Vec<_> = dots.collect();
        assert!(
            (dots[1].0 - dots[0].0 - (dots[0].1 - dots[2].1)).abs() < 0.2,
            "{dots:?}"
        );
    }

    #[test]
    fn of_many_points_and_classes_some_are_drawn() {
        let labels: Vec<String> = (0..1000).map(|class| format!("class {class}")).collect();
        let points = (0..16_000).map(|index| {
            let side = if index < 1000 {
                Side::Support
            } else {
                Side::Query
            };
            let angle = f64::from(index);
            point(
                (angle.sin() * angle, angle.cos() * angle),
                index as usize % 1000,
                side,
            )
        });
        let points: Vec<ScatterPoint> = points.collect();
        let svg = scatter_figure(&points, &labels, ("x", "y")).unwrap();
        assert!(svg.len() < 400_000, "{} bytes", svg.len());
        // With the key of either.
        assert_eq!(
            (svg.matches("<circle").count(), svg.matches("<path").count()),
            (1001, 1001)
        );
        for words in ["query, 1000 of 15000", ">support<", "and 960 more classes"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn few_points_are_no_problem_and_unknown_classes_are_errors() {
        assert!(
            scatter_figure::<&str>(&[], &[], ("x", "y"))
                .unwrap()
                .ends_with("</svg>")
        );
        let one = [point((3.0, 4.0), 0, Side::Support)];
        assert!(
            !scatter_figure(&one, &["a"], ("x", "y"))
                .unwrap()
                .contains("NaN")
        );
        let unknown = [point((3.0, 4.0), 1, Side::Support)];
        assert!(
            scatter_figure(&unknown, &["a"], ("x", "y"))
                .unwrap_err()
                .is_bad_input()
        );
    }
}
