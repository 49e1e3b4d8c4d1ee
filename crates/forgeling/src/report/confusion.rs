//! Which classes are taken for which.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::escape;
use super::svg::{colour, open, shorten, text, width_of};
use crate::error::{Error, Result};

/// The least and the largest side of a cell.
const CELL: (f64, f64) = (18.0, 44.0);
/// Classes that are all drawn.
const ALL: usize = 40;
/// Classes that are drawn of more than these.
const SOME: usize = 24;

/// A heat map of how often queries of each class (the row) were said to be of each class (the column), as
/// [`confusion`](crate::meta::confusion) counts. A cell is the darker, the larger its share of the row is; the numbers
/// are written inside if there is room for the largest one, and a count of 0 is an empty cell.
///
/// Of more than 40 classes, 24 are drawn, which the figure says: those of the most frequent mistakes. Shares remain those
/// of all queries of a class.
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
    let shown = shown(counts);
    let names: Vec<String> = shown
        .iter()
        .map(|&class| shorten(labels[class].as_ref(), 26))
        .collect();
    let longest = names.iter().map(|name| width_of(name)).fold(0.0, f64::max);
    let cell = (620.0 / shown.len() as f64).clamp(CELL.0, CELL.1);
    let (left, top) = (longest + 34.0, 0.71 * longest + 20.0);
    let side = cell * shown.len() as f64;
    let note = if shown.len() < ways { 18.0 } else { 0.0 };
    let (width, height) = (
        left + side + (0.71 * longest).max(16.0),
        top + side + 26.0 + note,
    );
    let mut svg = open(width, height, "Which classes are taken for which");
    let (middle, end) = (left + side / 2.0, top + side / 2.0);
    let below = (middle, top + side + 18.0);
    text(&mut svg, below, "middle", true, "said to be");
    if shown.len() < ways {
        let mut cells = counts.iter().enumerate().flat_map(|(row, counts)| {
            let others = counts.iter().enumerate();
            others.filter(move |(column, _)| *column != row)
        });
        let why = match cells.any(|(_, &count)| count > 0) {
            true => "those of the most frequent mistakes",
            false => "none is mistaken for another",
        };
        let said = format!("{} of {ways} classes: {why}", shown.len());
        text(&mut svg, (middle, below.1 + note), "middle", true, &said);
    }
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
    // One ground for all empty cells, and lines between.
    let _ = write!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"{}\" \
         fill-opacity=\"0.04\"/><path d=\"",
        colour(1)
    );
    for line in 0..=shown.len() {
        let at = line as f64 * cell;
        let (x, y) = (left + at, top + at);
        let _ = write!(svg, "M{x:.1} {top:.1}v{side:.1}M{left:.1} {y:.1}h{side:.1}");
    }
    svg.push_str("\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\".08\"/>");
    // All of them or none: an empty cell is a count of 0.
    let drawn = |row: usize| shown.iter().map(move |&column| counts[row][column]);
    let largest = shown
        .iter()
        .flat_map(|&row| drawn(row))
        .max()
        .map_or(0.0, |count| width_of(&count.to_string()));
    let numbered = largest <= cell - 2.0;
    for (place, &row) in shown.iter().enumerate() {
        let total = counts[row]
            .iter()
            .fold(0usize, |sum, &count| sum.saturating_add(count));
        for (at, &column) in shown.iter().enumerate() {
            let count = counts[row][column];
            if count == 0 {
                continue;
            }
            let (x, y) = (left + at as f64 * cell, top + place as f64 * cell);
            let share = count as f64 / total.max(1) as f64;
            // Text in the page's own colour is readable on it, whether that is dark or light.
            let shade = 0.04 + 0.71 * share;
            let said = format!(
                "{count} of {total} of {} said to be {}",
                shorten(labels[row].as_ref(), 60),
                shorten(labels[column].as_ref(), 60)
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
            if numbered {
                text(
                    &mut svg,
                    (x + cell / 2.0, y + cell / 2.0 + 4.0),
                    "middle",
                    false,
                    &count.to_string(),
                );
            }
            svg.push_str("</g>");
        }
    }
    svg.push_str("</svg>");
    Ok(svg)
}

/// The classes to draw, in their order: all, or those of the most frequent mistakes. Of mistakes that are equally frequent,
/// those of a class with more of them come first. Where too few classes are mistaken, the first others are drawn too.
fn shown(counts: &[Vec<usize>]) -> Vec<usize> {
    let ways = counts.len();
    if ways <= ALL {
        return (0..ways).collect();
    }
    let others = |row: usize| (0..ways).filter(move |&column| column != row);
    let wrong = |row: usize| {
        others(row).fold(0usize, |sum, column| {
            sum.saturating_add(counts[row][column])
        })
    };
    let mut mistakes: Vec<_> = (0..ways)
        .flat_map(|row| {
            let wrong = wrong(row);
            others(row)
                .filter(move |&column| counts[row][column] > 0)
                .map(move |column| (Reverse((counts[row][column], wrong)), row, column))
        })
        .collect();
    mistakes.sort_unstable();
    let mistaken = mistakes
        .into_iter()
        .flat_map(|(_, row, column)| [row, column]);
    let mut shown = BTreeSet::new();
    for class in mistaken.chain(0..ways) {
        if shown.len() == SOME {
            break;
        }
        shown.insert(class);
    }
    shown.into_iter().collect()
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
        // The ground, and the two cells that are not empty.
        assert_eq!(svg.matches("<rect").count(), 3);
        // 0.04 + 0.71 * 3/4, and cells of an empty row are empty.
        assert!(
            svg.contains("fill-opacity=\"0.57\"") && !svg.contains(">0<"),
            "{svg}"
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_left_to_the_title() {
        let labels: Vec<String> = (0..40).map(|class| class.to_string()).collect();
        let mut counts = vec![vec![0; 40]; 40];
        counts[3][4] = 123;
        let svg = confusion_figure(&labels, &counts).unwrap();
        assert!(svg.contains("123 of 123 of 3 said to be 4") && !svg.contains(">123<"));
    }

    #[test]
    fn of_many_classes_those_that_are_mistaken_are_drawn() {
        let ways = 1000;
        let label = |class| format!("Alphabet of some length/character{class:04}");
        let labels: Vec<String> = (0..ways).map(label).collect();
        // Fifteen queries each, two of which are taken for others here and there, and four of one class for a far one.
        let mut counts = vec![vec![0; ways]; ways];
        for (class, row) in counts.iter_mut().enumerate() {
            row[class] = 13;
            row[(7 * class + 3) % ways] += 1;
            row[(3 * class + 1) % ways] += 1;
        }
        counts[989][11] += 4;
        let svg = confusion_figure(&labels, &counts).unwrap();
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
        let pair = format!("4 of 19 of {} said to be {}", labels[989], labels[11]);
        assert!(svg.contains(&pair), "{svg}");
        assert!(svg.contains("24 of 1000 classes"), "{svg}");
        assert_eq!(svg.matches("rotate(-45)").count(), SOME);

        // As full as can be.
        let full = vec![vec![15; ways]; ways];
        let svg = confusion_figure(&labels, &full).unwrap();
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
        // Without any mistake.
        let mut right = vec![vec![0; 41]; 41];
        (0..41).for_each(|class| right[class][class] = 1);
        let svg = confusion_figure(&labels[..41], &right).unwrap();
        assert_eq!(svg.matches("<rect").count(), 1 + SOME);
        assert!(svg.contains("24 of 41 classes: none is mistaken"), "{svg}");
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
