//! Reports for people: self-contained HTML pages with tables and SVG figures.
//!
//! - [`Page`]: a page built from headings, paragraphs, tables and figures.
//! - [`LineChart`]: curves over an x axis.
//! - [`network_figure`]: the layers of a network; [`described_layer`], [`grouped`]: how one is described.
//! - [`episode_figure`]: one episode drawn with its predictions.
//! - [`bars_figure`]: methods compared, with their intervals.
//! - [`accuracy_matrix_figure`]: how well each context of continual learning is known after each.
//! - [`mix_figure`]: how a network weights its pathways over training.
//! - [`confusion_figure`]: which classes are taken for which.
//! - [`reliability_figure`]: whether probabilities can be believed.
//! - [`scatter_figure`]: examples as points of a plane, for example of the one that [`pca`] finds.

mod bars;
mod chart;
mod confusion;
mod episode;
mod matrix;
mod mixes;
mod network;
mod page;
mod pca;
mod reliability;
mod scatter;
mod svg;

pub use bars::{Bar, bars_figure};
pub use chart::LineChart;
pub use confusion::confusion_figure;
pub use episode::{QueryPrediction, episode_figure};
pub use matrix::accuracy_matrix_figure;
pub use mixes::mix_figure;
pub use network::{grouped, network_figure, said_of as described_layer};
pub use page::Page;
pub use pca::{Pca, pca};
pub use reliability::reliability_figure;
pub use scatter::{ScatterPoint, scatter_figure};

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
