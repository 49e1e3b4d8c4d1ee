//! Methods side by side.

use std::fmt::Write as _;

use super::escape;
use super::svg::{colour, grid, number, open, range, shorten, text, ticks, width_of};

const WIDTH: f64 = 640.0;
const ROW: f64 = 26.0;

/// A value with its confidence interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is the value of.
    pub name: String,
    /// In the unit of the figure.
    pub value: f64,
    /// Half the width of its confidence interval, in the same unit; 0 where there is none.
    pub ci95: f64,
}

/// Horizontal bars from 0 to each value with their intervals, from top to bottom; `label` names what is compared and its
/// unit, for example `accuracy, %`. A value that is not finite has no bar, and that is said.
pub fn bars_figure(label: &str, bars: &[Bar]) -> String {
    let names: Vec<String> = bars.iter().map(|bar| shorten(&bar.name, 32)).collect();
    let said: Vec<String> = bars.iter().map(|bar| said(bar, bars)).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| width_of(text)).fold(0.0, f64::max);
    let (left, right) = (widest(&names) + 14.0, WIDTH - widest(&said) - 16.0);
    let ends = bars.iter().filter(|bar| bar.value.is_finite());
    let ends = ends.flat_map(|bar| [bar.value - reach(bar), bar.value, bar.value + reach(bar)]);
    let (low, high) = range(
        ends.map(|end| if end.is_finite() { end } else { 0.0 })
            .chain([0.0]),
    );
    let x = |value: f64| left + (value - low) / (high - low) * (right - left);
    let bottom = 8.0 + ROW * bars.len() as f64;
    let mut svg = open(WIDTH, bottom + 40.0, label);
    for tick in ticks(low, high) {
        grid(&mut svg, [x(tick), 4.0, x(tick), bottom]);
        text(
            &mut svg,
            (x(tick), bottom + 16.0),
            "middle",
            false,
            &number(tick),
        );
    }
    text(
        &mut svg,
        ((left + right) / 2.0, bottom + 34.0),
        "middle",
        true,
        label,
    );
    for (row, bar) in bars.iter().enumerate() {
        let middle = 8.0 + ROW * (row as f64 + 0.5);
        let _ = write!(
            svg,
            "<g><title>{}: {}</title>",
            escape(&bar.name),
            escape(&said[row])
        );
        text(
            &mut svg,
            (left - 8.0, middle + 4.0),
            "end",
            false,
            &names[row],
        );
        text(
            &mut svg,
            (right + 10.0, middle + 4.0),
            "start",
            false,
            &said[row],
        );
        if bar.value.is_finite() {
            let (start, end) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
            let _ = write!(
                svg,
                "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{}\" \
                 fill-opacity=\".75\"/>",
                middle - 8.0,
                end - start,
                16.0,
                colour(0)
            );
            if reach(bar) > 0.0 {
                let (from, to) = (x(bar.value - bar.ci95), x(bar.value + bar.ci95));
                let _ = write!(
                    svg,
                    "<path d=\"M{from:.1} {:.1}v10M{to:.1} {:.1}v10M{from:.1} {middle:.1}H{to:.1}\" fill=\"none\" \
                     stroke=\"currentColor\" stroke-width=\"1.5\"/>",
                    middle - 5.0,
                    middle - 5.0
                );
            }
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

fn reach(bar: &Bar) -> f64 {
    if bar.ci95.is_finite() {
        bar.ci95.abs()
    } else {
        0.0
    }
}

/// The value in digits, as many for all bars.
fn said(bar: &Bar, bars: &[Bar]) -> String {
    if !bar.value.is_finite() {
        return "not finite".into();
    }
    let finite = bars
        .iter()
        .map(|bar| bar.value.abs())
        .filter(|value| value.is_finite());
    let digits = if finite.fold(0.0, f64::max) >= 10.0 {
        2
    } else {
        4
    };
    let value = format!("{:.digits$}", bar.value);
    match reach(bar) {
        0.0 => value,
        reach => format!("{value} ± {reach:.digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, value: f64, ci95: f64) -> Bar {
        let name = name.into();
        Bar { name, value, ci95 }
    }

    #[test]
    fn bars_begin_at_0_and_intervals_lie_about_their_ends() {
        let svg = bars_figure(
            "accuracy, %",
            &[bar("a & b", 50.0, 10.0), bar("c", 100.0, 0.0)],
        );
        assert!(
            svg.contains("a &amp; b: 50.00 ± 10.00") && svg.contains(">100.00<"),
            "{svg}"
        );
        let numbers = |name: &str| -> Vec<f64> {
            let name = format!(" {name}=\"");
            let parts = svg.split(&name).skip(1);
            parts
                .filter_map(|part| part.split('"').next()?.parse().ok())
                .collect()
        };
        // The first width is the figure's.
        let widths = &numbers("width")[1..];
        assert_eq!(widths.len(), 2);
        assert!((2.0 * widths[0] - widths[1]).abs() < 0.2, "{widths:?}");
        // Only one has an interval, and it is a fifth of the longest bar wide.
        let paths: Vec<&str> = svg.split("<path d=\"M").skip(1).collect();
        assert_eq!(paths.len(), 1);
        let from: f64 = paths[0].split(' ').next().unwrap().parse().unwrap();
        let to: f64 = paths[0]
            .split("H")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!((to - from - widths[1] / 5.0).abs() < 0.3, "{from} {to}");
    }

    #[test]
    fn values_that_are_no_numbers_have_no_bar() {
        let svg = bars_figure(
            "loss",
            &[bar("a", f64::NAN, 0.0), bar("b", -0.5, f64::INFINITY)],
        );
        assert!(
            svg.contains("not finite") && svg.contains("-0.5000<"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1);
        assert!(bars_figure("loss", &[]).ends_with("</svg>"));
    }
}
