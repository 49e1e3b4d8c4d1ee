//! Whether probabilities can be believed.

use std::fmt::Write as _;

use super::svg::{DASHES, Key, Mark, colour, grid, keys, number, open, text, ticks};
use crate::error::{Error, Result};
use crate::meta::Calibration;

const WIDTH: f64 = 420.0;
const LEFT: f64 = 56.0;
const SIDE: f64 = 340.0;
/// Of the strip that says how many queries a bin has.
const STRIP: f64 = 48.0;

/// The accuracy of each bin of confidence, its distance from the confidence, and the share of the queries in the bin.
/// Where probabilities can be believed, bars end at the diagonal.
///
/// # Errors
/// When there is no bin, or no query in any.
pub fn reliability_figure(calibration: &Calibration) -> Result<String> {
    let bins = &calibration.bins;
    let queries: usize = bins.iter().map(|bin| bin.count).sum();
    if queries == 0 {
        let error = Error::invalid("reliability_figure", "there is no query in any bin");
        return Err(error.got(format!("{} bins", bins.len())));
    }
    let names: [Key; 3] = [
        (Mark::Area, colour(0), "accuracy".into()),
        (Mark::Area, colour(1), "distance from confidence".into()),
        (Mark::Dashes, "currentColor", "believable".into()),
    ];
    let (names, names_height) = keys(&names, (LEFT, WIDTH), 20.0);
    let top = 28.0 + names_height;
    let (bottom, strip) = (top + SIDE, top + SIDE + 16.0 + STRIP);
    let x = |value: f64| LEFT + value * SIDE;
    let y = |value: f64| bottom - value * SIDE;
    let mut svg = open(WIDTH, strip + 40.0, "Accuracy over confidence");
    for tick in ticks(0.0, 1.0) {
        grid(&mut svg, [LEFT, y(tick), x(1.0), y(tick)]);
        text(
            &mut svg,
            (LEFT - 8.0, y(tick) + 4.0),
            "end",
            false,
            &number(tick),
        );
        text(
            &mut svg,
            (x(tick), strip + 16.0),
            "middle",
            false,
            &number(tick),
        );
    }
    let error = format!(
        "expected calibration error {:.1} %",
        100.0 * calibration.expected_error
    );
    text(&mut svg, (LEFT, 14.0), "start", true, &error);
    text(
        &mut svg,
        (x(0.5), strip + 34.0),
        "middle",
        true,
        "confidence",
    );
    text(
        &mut svg,
        (LEFT - 8.0, strip - STRIP / 2.0 + 4.0),
        "end",
        true,
        "share",
    );
    grid(&mut svg, [LEFT, strip, x(1.0), strip]);
    svg.push_str(&names);
    let width = SIDE / bins.len() as f64;
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1);
    for (index, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        let mut area = |colour: &str, (high, low): (f64, f64)| {
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\".75\"/>",
                x(index as f64 / bins.len() as f64) + 1.0,
                width - 2.0,
                low - high
            );
        };
        let (accuracy, confidence) = (bin.accuracy.clamp(0.0, 1.0), bin.confidence.clamp(0.0, 1.0));
        area(colour(0), (y(accuracy), bottom));
        area(
            colour(1),
            (y(accuracy.max(confidence)), y(accuracy.min(confidence))),
        );
        area(
            "currentColor",
            (strip - STRIP * bin.count as f64 / most as f64, strip),
        );
    }
    let _ = write!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"currentColor\" stroke-width=\"1.5\" \
         stroke-dasharray=\"{DASHES}\"/></svg>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::CalibrationBin;

    #[test]
    fn empty_bins_have_no_bar() {
        let bin = |count, accuracy, confidence| CalibrationBin {
            count,
            accuracy,
            confidence,
        };
        let bins = vec![bin(0, 0.0, 0.0), bin(6, 0.5, 0.75)];
        let calibration = Calibration {
            expected_error: 0.25,
            bins,
        };
        let svg = reliability_figure(&calibration).unwrap();
        assert!(svg.contains("expected calibration error 25.0 %"), "{svg}");
        // Three of the bin, two of the keys.
        assert_eq!(svg.matches("<rect").count(), 5);
        // From 1/2 to 3/4, of 340.
        assert!(svg.contains("height=\"85.0\""), "{svg}");
        let empty = Calibration {
            expected_error: 0.0,
            bins: vec![bin(0, 0.0, 0.0)],
        };
        assert!(reliability_figure(&empty).unwrap_err().is_bad_input());
    }
}
