//! What the figures share: colours, scales and keys. Text takes the page's own colour, so that figures are readable in
//! dark and light.

use std::fmt::Write as _;

use super::escape;

/// Told apart on white and on black.
const COLOURS: [&str; 10] = [
    "#0b8a83", "#c2571a", "#6a5acd", "#8a8a1a", "#c2367a", "#2f7fd0", "#4f9a3a", "#a0522d",
    "#7f8794", "#b03ac2",
];

/// The colour of a series or class; they repeat after ten.
pub fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// The beginning of a figure, which `</svg>` ends.
pub fn open(width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" aria-label=\"{}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"currentColor\">",
        escape(label)
    )
}

/// Text that begins, has its middle or ends at a place. Soft text names an axis.
pub fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, soft: bool, text: &str) {
    let soft = if soft { " fill-opacity=\".7\"" } else { "" };
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{soft}>{}</text>",
        escape(text)
    );
}

/// A faint line of a grid.
pub fn grid(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = write!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"currentColor\" stroke-opacity=\".18\"/>"
    );
}

/// How wide a text is, about: fonts differ.
pub fn width_of(text: &str) -> f64 {
    let wide = |character: char| if character.is_ascii() { 6.8 } else { 9.0 };
    text.chars().map(wide).sum()
}

/// A text of at most so many characters.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// How something is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Line,
    Dashes,
    Dot,
    Diamond,
    Area,
}

/// A mark with its middle at a place.
pub fn mark(svg: &mut String, mark: Mark, (x, y): (f64, f64), colour: &str) {
    let line = |dashes: &str| {
        format!(
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            x - 9.0,
            x + 9.0
        )
    };
    svg.push_str(&match mark {
        Mark::Line => line("none"),
        Mark::Dashes => line(DASHES),
        Mark::Dot => {
            format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\" fill-opacity=\".75\"/>")
        }
        Mark::Diamond => format!(
            "<path d=\"M{x:.1} {:.1}l6.5 6.5-6.5 6.5-6.5-6.5z\" fill=\"{colour}\" stroke=\"currentColor\" stroke-width=\"1.5\"/>",
            y - 6.5
        ),
        Mark::Area => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\" fill-opacity=\".75\"/>",
            x - 6.0,
            y - 6.0
        ),
    });
}

pub const DASHES: &str = "6 4";

/// A mark, its colour, and what it stands for.
pub type Key = (Mark, &'static str, String);

/// Keys side by side, in as many rows as the width asks for, the first of which is at `top`. With the height of the rows.
pub fn keys(keys: &[Key], (left, right): (f64, f64), top: f64) -> (String, f64) {
    const ROW: f64 = 18.0;
    let (mut svg, mut x, mut y) = (String::new(), left, top);
    for (kind, colour, name) in keys {
        let name = shorten(name, 40);
        let width = 24.0 + width_of(&name) + 14.0;
        if x > left && x + width > right {
            (x, y) = (left, y + ROW);
        }
        mark(&mut svg, *kind, (x + 10.0, y + 9.0), colour);
        text(&mut svg, (x + 24.0, y + 13.0), "start", false, &name);
        x += width;
    }
    let height = if keys.is_empty() { 0.0 } else { y - top + ROW };
    (svg, height)
}

/// Lowest and highest value, apart even when all are equal or there are none.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
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
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
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

pub fn number(value: f64) -> String {
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
    fn keys_that_do_not_fit_go_to_the_next_row() {
        let key = |name: &str| (Mark::Dot, colour(0), name.to_owned());
        let all = [key("one"), key("two"), key(&"x".repeat(99))];
        let (svg, height) = keys(&all, (0.0, 200.0), 10.0);
        assert_eq!((height, svg.matches("y=\"23.0\"").count()), (36.0, 2));
        assert!(svg.contains("xxx…</text>"));
        assert_eq!(keys(&[], (0.0, 200.0), 10.0), (String::new(), 0.0));
    }
}
