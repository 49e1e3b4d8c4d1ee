//! Print a sheet of invented characters as a PGM image, eight drawings of each.
//!
//! `cargo run --release --package forgeling-examples --bin glyph_sheet > sheet.pgm`

use std::io::Write;

use forgeling::data::{Glyphs, Split};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (width, height, pixels) = Glyphs::new(0, Split::Train, 1000)?.sheet(20, 8)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "P5 {width} {height} 255")?;
    out.write_all(&pixels)?;
    Ok(())
}
