//! Reports for people: self-contained HTML pages with tables and SVG figures.
//!
//! - [`Page`]: a page built from headings, paragraphs, tables and figures.
//! - [`LineChart`]: curves over an x axis.
//! - [`episode_figure`]: one episode drawn with its predictions.

mod chart;
mod episode;
mod page;

pub use chart::LineChart;
pub use episode::{Verdict, episode_figure};
pub use page::Page;

/// `text` with the characters that mean something in HTML and SVG replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
