//! How well each context is known after each.

use std::fmt::Write as _;

use super::escape;
use super::svg::{open, text, width_of};
use crate::error::{Error, Result};

/// The least and the largest width of a cell, and its height.
const CELL: (f64, f64) = (16.0, 58.0);
const HEIGHT: f64 = 26.0;
const WIDTH: f64 = 620.0;
/// Rows and columns that are drawn of more than these.
const MOST: usize = 40;
/// The map of values from 0 to 1 to red, green and blue: dark blue to light yellow, along which lightness alone tells values
/// apart, for any kind of colour blindness (after Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for
/// color vision deficiency", PLOS ONE, 2018).
const COLOURS: [[f64; 3]; 6] = [
    [0.0, 34.0, 78.0],
    [53.0, 69.0, 108.0],
    [102.0, 105.0, 112.0],
    [148.0, 142.0, 119.0],
    [200.0, 184.0, 102.0],
    [254.0, 232.0, 56.0],
];

/// A heat map of accuracies on each context (the columns) before training (the first row) and after each context (the others),
/// as of [`AccuracyMatrix::rows`](crate::continual::AccuracyMatrix::rows) or of means over several. The accuracy on the
/// context that was just learned has a frame. Values are fractions; cells show percent where there is room, and all of them
/// where they are pointed at. Of more than 40 rows or columns, so many are drawn, evenly chosen, the first and the last among
/// them; the figure says so.
///
/// # Errors
/// When there is no row, rows are of different lengths or have no value, or a value does not lie in 0..=1.
pub fn accuracy_matrix_figure(rows: &[Vec<f64>]) -> Result<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let fits = |row: &Vec<f64>| {
        row.len() == columns && row.iter().all(|value| (0.0..=1.0).contains(value))
    };
    if columns == 0 || !rows.iter().all(fits) {
        let message = "a row has not an accuracy for each context";
        return Err(Error::invalid("accuracy_matrix_figure", message)
            .expected("1 or more rows of as many values in 0..=1")
            .got(format!("{rows:?}")));
    }
    let (shown_rows, shown_columns) = (evenly(rows.len()), evenly(columns));
    let name = |row: usize| match row {
        0 => "untrained".to_string(),
        row => format!("after {row}"),
    };
    let names = shown_rows.iter().map(|&row| width_of(&name(row)));
    let (left, top) = (names.fold(0.0, f64::max) + 14.0, 40.0);
    let cell = (WIDTH / shown_columns.len() as f64).clamp(CELL.0, CELL.1);
    let (right, bottom) = (
        left + cell * shown_columns.len() as f64,
        top + HEIGHT * shown_rows.len() as f64,
    );
    let part = shown_rows.len() < rows.len() || shown_columns.len() < columns;
    let note = if part { 20.0 } else { 0.0 };
    let label = "Accuracy on each context after each";
    let mut svg = open((right + 8.0).max(220.0), bottom + 8.0 + note, label);
    text(
        &mut svg,
        (left, 14.0),
        "start",
        true,
        "accuracy in %, on context",
    );
    for (place, column) in shown_columns.iter().enumerate() {
        let middle = left + cell * (place as f64 + 0.5);
        if (width_of(&(column + 1).to_string())) <= cell {
            let number = (column + 1).to_string();
            text(&mut svg, (middle, top - 8.0), "middle", false, &number);
        }
    }
    for (place, &row) in shown_rows.iter().enumerate() {
        let y = top + HEIGHT * place as f64;
        let at = (left - 8.0, y + HEIGHT / 2.0 + 4.0);
        text(&mut svg, at, "end", false, &name(row));
        for (place, &column) in shown_columns.iter().enumerate() {
            let value = rows[row][column];
            let x = left + cell * place as f64;
            draw(&mut svg, (x, y, cell), value, row == column + 1, || {
                format!("{}: context {}", name(row), column + 1)
            });
        }
    }
    if part {
        let said = format!(
            "{} of {} rows and {} of {columns} contexts, evenly chosen",
            shown_rows.len(),
            rows.len(),
            shown_columns.len()
        );
        text(&mut svg, (left, bottom + 18.0), "start", true, &said);
    }
    svg.push_str("</svg>");
    Ok(svg)
}

/// One value. `own` is that of the context that was just learned.
fn draw(
    svg: &mut String,
    (x, y, width): (f64, f64, f64),
    value: f64,
    own: bool,
    name: impl Fn() -> String,
) {
    let (ground, ink) = colours(value);
    let percent = 100.0 * value;
    let _ = write!(
        svg,
        "<g><title>{}: {percent:.2} %</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" \
         fill=\"{ground}\"/>",
        escape(&name()),
        x + 1.0,
        y + 1.0,
        width - 2.0,
        HEIGHT - 2.0,
    );
    if own {
        let _ = write!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"{ink}\" \
             stroke-width=\"1.5\"/>",
            x + 3.0,
            y + 3.0,
            width - 6.0,
            HEIGHT - 6.0,
        );
    }
    let room = width - 8.0;
    let digits = [format!("{percent:.1}"), format!("{percent:.0}")];
    if let Some(said) = digits.iter().find(|said| width_of(said) <= room) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{ink}\">{said}</text>",
            x + width / 2.0,
            y + HEIGHT / 2.0 + 4.0,
        );
    }
    svg.push_str("</g>");
}

/// All of so many places, or as many as are drawn.
fn evenly(count: usize) -> Vec<usize> {
    match count <= MOST {
        true => (0..count).collect(),
        false => (0..MOST)
            .map(|place| place * (count - 1) / (MOST - 1))
            .collect(),
    }
}

/// The colour of a value in 0..=1, and that of black and white which is read on it more easily: with a contrast of 4.5 or
/// more, as the Web Content Accessibility Guidelines ask for.
fn colours(value: f64) -> (String, &'static str) {
    let place = value * (COLOURS.len() - 1) as f64;
    let below = (place as usize).min(COLOURS.len() - 2);
    let part = place - below as f64;
    let (from, to) = (COLOURS[below], COLOURS[below + 1]);
    let channel = |index: usize| (from[index] + part * (to[index] - from[index])).round();
    let rgb = [channel(0), channel(1), channel(2)];
    let [red, green, blue] = rgb.map(|value| value as u8);
    let ink = match contrasts(rgb) {
        [black, white] if black >= white => "#000",
        _ => "#fff",
    };
    (format!("#{red:02x}{green:02x}{blue:02x}"), ink)
}

/// How black and white contrast with a colour.
fn contrasts(rgb: [f64; 3]) -> [f64; 2] {
    let linear = |value: f64| match value / 255.0 {
        value if value <= 0.04045 => value / 12.92,
        value => libm::pow((value + 0.055) / 1.055, 2.4),
    };
    let [red, green, blue] = rgb.map(linear);
    let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    [(luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_their_values_and_the_diagonal_has_a_frame() {
        let rows = [vec![0.1, 0.2], vec![0.987, 0.0], vec![0.5, 1.0]];
        let svg = accuracy_matrix_figure(&rows).unwrap();
        for said in [
            "untrained: context 2: 20.00 %",
            "after 1: context 1: 98.70 %",
            ">98.7<",
            ">100.0<",
            ">0.0<",
        ] {
            assert!(svg.contains(said), "no {said} in {svg}");
        }
        assert_eq!(svg.matches("stroke-width").count(), 2);
        assert_eq!(svg.matches("<title>").count(), 6);
        assert!(svg.ends_with("</svg>"));
    }

    #[test]
    fn numbers_can_be_read_on_every_colour_and_lightness_rises() {
        let mut last = 0.0;
        for step in 0..=1000 {
            let (ground, ink) = colours(f64::from(step) / 1000.0);
            let channel = |at: usize| u8::from_str_radix(&ground[at..at + 2], 16).unwrap();
            let [black, white] = contrasts([1, 3, 5].map(|at| f64::from(channel(at))));
            let read = if ink == "#000" { black } else { white };
            assert!(read >= 4.5, "{ground} {ink} {read}");
            // Contrast with black rises with lightness; colours are rounded.
            assert!(black > last - 0.05, "{ground}");
            last = black;
        }
    }

    #[test]
    fn of_many_contexts_some_are_drawn_and_others_are_errors() {
        let rows = vec![vec![0.5; 100]; 101];
        let svg = accuracy_matrix_figure(&rows).unwrap();
        assert_eq!(svg.matches("<title>").count(), MOST * MOST);
        assert!(
            svg.contains("40 of 101 rows and 40 of 100 contexts"),
            "{svg}"
        );
        assert!(svg.contains("untrained") && svg.contains("after 100"));
        for wrong in [
            vec![],
            vec![vec![]],
            vec![vec![0.1], vec![0.1, 0.2]],
            vec![vec![f64::NAN]],
            vec![vec![1.1]],
        ] {
            assert!(accuracy_matrix_figure(&wrong).unwrap_err().is_bad_input());
        }
    }
}
