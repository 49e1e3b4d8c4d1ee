//! Which classes are taken for which.

use std::fmt::Write as _;

use super::escape;
use super::svg::{colour, open, shorten, text, width_of};
use crate::error::{Error, Result};

/// The least and the largest side of a cell.
const CELL: (f64, f64) = (18.0, 44.0);

/// A heat map of how often queries of each class (the row) were said to be of each class (the column), as
/// [`confusion`](crate::meta::confusion) counts. A cell is the darker, the larger its share of the row is; the numbers
/// are written inside if there is room for the largest one.
///
/// # Errors
/// When there is no class, or there are not as many rows and columns as labels.
pub fn confusion_figure<S: AsRef<str>>(labels: &[S], counts: &[Vec<usize>]) -> Result<String> {
    let ways = labels.len();
    if ways == 0 || counts.len() != ways || counts.iter().any(|row| row.len() != ways) {
        return Err(
            Error::invalid("confusion_figure", "not one row and column for each class")
                .expected(format!("{ways} rows of {ways} and at least 1"))
                .got(format!("{} rows", counts.len())),
        );
    }
    let names: Vec<String> = labels
        .iter()
        .map(|name| shorten(name.as_ref(), 26))
        .collect();
    let longest = names.iter().map(|name| width_of(name)).fold(0.0, f64::max);
    let cell = (620.0 / ways as f64).clamp(CELL.0, CELL.1);
    let (left, top) = (longest + 34.0, 0.71 * longest + 20.0);
    let side = cell * ways as f64;
    let (width, height) = (left + side + (0.71 * longest).max(16.0), top + side + 26.0);
    let mut svg = open(width, height, "Which classes are taken for which");
    let (middle, end) = (left + side / 2.0, top + side / 2.0);
    let below = (middle, top + side + 18.0);
    text(&mut svg, below, "middle", true, "said to be");
    let _ = write!(
        svg,
        "<text transform=\"translate(14 {end:.1}) rotate(-90)\" text-anchor=\"middle\" fill-opacity=\".7\">is</text>"
    );
    for (way, name) in names.iter().enumerate() {
        let at = (way as f64 + 0.5) * cell;
        text(&mut svg, (left - 8.0, top + at + 4.0), "end", false, name);
        let _ = write!(
            svg,
            "<text transform=\"translate({:.1} {:.1}) rotate(-45)\">{}</text>",
            left + at + 4.0,
            top - 8.0,
            escape(name)
        );
    }
    // All of them or none: an empty cell is a count of 0.
    let largest = counts
        .iter()
        .flatten()
        .max()
        .map_or(0.0, |count| width_of(&count.to_string()));
    let numbered = largest <= cell - 2.0;
    for (row, counts) in counts.iter().enumerate() {
        let total = counts
            .iter()
            .fold(0usize, |sum, &count| sum.saturating_add(count));
        for (column, &count) in counts.iter().enumerate() {
            let (x, y) = (left + column as f64 * cell, top + row as f64 * cell);
            let share = count as f64 / total.max(1) as f64;
            // Text in the page's own colour is readable on it, whether that is dark or light.
            let shade = 0.04 + 0.71 * share;
            let said = format!(
                "{count} of {total} of {} said to be {}",
                labels[row].as_ref(),
                labels[column].as_ref()
            );
            let _ = write!(
                svg,
                "<g><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" \
                 fill=\"{}\" fill-opacity=\"{shade:.2}\"/>",
                escape(&said),
                x + 1.0,
                y + 1.0,
                cell - 2.0,
                cell - 2.0,
                colour(if row == column { 0 } else { 1 }),
            );
            let written = count.to_string();
            if count > 0 && numbered {
                text(
                    &mut svg,
                    (x + cell / 2.0, y + cell / 2.0 + 4.0),
                    "middle",
                    false,
                    &written,
                );
            }
            svg.push_str("</g>");
        }
    }
    svg.push_str("</svg>");
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_says_what_it_counts() {
        let svg = confusion_figure(&["a<b", "c"], &[vec![3, 1], vec![0, 0]]).unwrap();
        assert!(
            svg.contains("<title>3 of 4 of a&lt;b said to be a&lt;b</title>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect").count(), 4);
        // 0.04 + 0.71 * 3/4, and cells of an empty row are empty.
        assert!(
            svg.contains("fill-opacity=\"0.57\"") && !svg.contains(">0<"),
            "{svg}"
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_left_to_the_title() {
        let labels: Vec<String> = (0..60).map(|class| class.to_string()).collect();
        let mut counts = vec![vec![0; 60]; 60];
        counts[3][4] = 123;
        let svg = confusion_figure(&labels, &counts).unwrap();
        assert!(svg.contains("123 of 123 of 3 said to be 4") && !svg.contains(">123<"));
    }

    #[test]
    fn other_shapes_are_errors() {
        assert!(
            confusion_figure::<&str>(&[], &[])
                .unwrap_err()
                .is_bad_input()
        );
        assert!(
            confusion_figure(&["a", "b"], &[vec![1, 2]])
                .unwrap_err()
                .is_bad_input()
        );
        assert!(
            confusion_figure(&["a"], &[vec![1, 2]])
                .unwrap_err()
                .is_bad_input()
        );
    }
}
