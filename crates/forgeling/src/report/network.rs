//! A network drawn: its layers from top to bottom, what goes between them, and what they hold and cost.

use std::fmt::Write as _;

use super::escape;
use super::svg::{colour, open, shorten, text, width_of};
use crate::nn::graph::{Graph, Layer, LuminanceStandard, Wire};

const ROW: f64 = 28.0;
/// Of a box, within its row.
const HEIGHT: f64 = 20.0;
/// Between two wires that go around boxes.
const LANE: f64 = 9.0;
/// Characters of a name.
const LONGEST: usize = 40;

/// A layer's row.
struct Row {
    name: String,
    /// What it does, with its options.
    does: String,
    shape: String,
    trained: String,
    multiply_adds: String,
}

/// A network's layers from top to bottom, each with the shape that comes out, its trained values and its multiplications
/// with additions for one example. What takes more than the layer above has a wire around. Blocks are framed.
pub fn network_figure(graph: &Graph) -> String {
    let rows = rows(graph);
    let lanes = lanes(graph);
    let deepest = lanes.iter().map(|lane| lane.2 + 1).max().unwrap_or(0);
    let left = 14.0 + LANE * deepest as f64;
    let widest = |of: fn(&Row) -> &str, title: &str| {
        let widths = rows.iter().map(|row| width_of(of(row)));
        widths.fold(width_of(title), f64::max)
    };
    let boxes = widest(|row| &row.name, "layer") + 20.0;
    let columns = [
        (widest(|row| &row.does, "does"), "does", "start"),
        (widest(|row| &row.shape, "gives"), "gives", "end"),
        (
            widest(|row| &row.trained, "trained values"),
            "trained values",
            "end",
        ),
        (
            widest(|row| &row.multiply_adds, "multiply-adds"),
            "multiply-adds",
            "end",
        ),
    ];
    let mut places = Vec::new();
    let mut x = left + boxes + 16.0;
    for (width, title, anchor) in columns {
        let at = if anchor == "end" { x + width } else { x };
        places.push((at, title, anchor));
        x += width + 20.0;
    }
    let top = 34.0;
    let bottom = top + ROW * (rows.len() + 1) as f64;
    let mut svg = open(x, bottom + 6.0, "network");
    text(&mut svg, (left + 2.0, 20.0), "start", true, "layer");
    for &(at, title, anchor) in &places {
        text(&mut svg, (at, 20.0), anchor, true, title);
    }
    let y = |row: usize| top + ROW * row as f64;
    frames(&mut svg, graph, [left - 5.0, x - 8.0], &y);
    for (from, to, lane) in &lanes {
        let (start, end) = (y(*from) + HEIGHT / 2.0, y(*to) + HEIGHT / 2.0);
        let around = left - 8.0 - LANE * *lane as f64;
        let _ = write!(
            svg,
            "<path d=\"M{left:.1} {start:.1}H{around:.1}V{end:.1}H{left:.1}\" fill=\"none\" stroke=\"{}\"/>",
            colour(1)
        );
    }
    for (index, row) in rows.iter().enumerate() {
        let middle = y(index) + HEIGHT / 2.0 + 4.0;
        if index > 0 && follows(graph, index - 1) {
            let x = left + 16.0;
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"currentColor\"/>",
                y(index - 1) + HEIGHT,
                y(index)
            );
        }
        let holds = !row.trained.is_empty();
        let _ = write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{boxes:.1}\" height=\"{HEIGHT:.1}\" rx=\"5\" fill=\"{}\" \
             fill-opacity=\"{}\" stroke=\"currentColor\" stroke-opacity=\".4\"/>",
            y(index),
            colour(0),
            if holds { ".25" } else { ".05" }
        );
        text(&mut svg, (left + 10.0, middle), "start", false, &row.name);
        let cells = [&row.does, &row.shape, &row.trained, &row.multiply_adds];
        for (&(at, _, anchor), cell) in places.iter().zip(cells) {
            text(&mut svg, (at, middle), anchor, false, cell);
        }
    }
    svg + "</svg>"
}

/// Whether a node takes the output of the one above, or the first one the input.
fn follows(graph: &Graph, node: usize) -> bool {
    let above = match node {
        0 => Wire::Input,
        node => Wire::Node(node - 1),
    };
    graph.nodes()[node].inputs.contains(&above)
}

/// The input, and every node.
fn rows(graph: &Graph) -> Vec<Row> {
    let mut rows = vec![Row {
        name: "input".into(),
        does: String::new(),
        shape: graph.input().to_string(),
        trained: String::new(),
        multiply_adds: String::new(),
    }];
    for (place, node) in graph.nodes().iter().enumerate() {
        let parameters = graph.parameters(place).into_iter();
        let trained: usize = parameters.filter(|p| p.trained).map(|p| p.len()).sum();
        let said = |count: u64| match count {
            0 => String::new(),
            count => grouped(count),
        };
        rows.push(Row {
            name: shorten(&node.name, LONGEST),
            does: said_of(&node.layer),
            shape: graph.shape(Wire::Node(place)).to_string(),
            trained: said(trained as u64),
            multiply_adds: said(graph.multiply_adds_of(place)),
        });
    }
    rows
}

/// What a layer does, with what is not usual of it.
pub fn said_of(layer: &Layer) -> String {
    let pair = |sizes: [usize; 2]| format!("{}×{}", sizes[0], sizes[1]);
    match layer {
        Layer::Conv2d(conv) => {
            let mut said = format!("conv2d {}", pair(conv.kernel));
            if conv.stride != [1; 2] {
                let _ = write!(said, ", stride {}", pair(conv.stride));
            }
            if conv.groups > 1 {
                let _ = write!(said, ", {} groups", conv.groups);
            }
            said
        }
        Layer::MaxPool(window) => format!("maxPool {}", pair(window.size)),
        Layer::MeanPool(window) => format!("meanPool {}", pair(window.size)),
        Layer::Luminance(luminance) if luminance.standard == LuminanceStandard::Bt601 => {
            "luminance, BT.601".into()
        }
        Layer::Channels(channels) => format!(
            "channels {} to {}",
            channels.from + 1,
            channels.from + channels.count
        ),
        Layer::Attention(attention) => {
            let fused = if attention.fused { ", fused" } else { "" };
            let width = attention
                .head_width
                .map_or(String::new(), |width| format!(" of {width}"));
            format!("attention, {} heads{width}{fused}", attention.heads)
        }
        Layer::Patches(patches) => {
            let token = if patches.class_token {
                ", class token"
            } else {
                ""
            };
            format!("patches {}{token}", pair([patches.size; 2]))
        }
        other => other.kind().into(),
    }
}

/// A number with its digits in threes.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Wires that do not go to the next row: from row, to row, and which lane they go in.
fn lanes(graph: &Graph) -> Vec<(usize, usize, usize)> {
    let mut lanes: Vec<(usize, usize, usize)> = Vec::new();
    for (place, node) in graph.nodes().iter().enumerate() {
        for wire in &node.inputs {
            let from = match wire {
                Wire::Input => 0,
                Wire::Node(before) => before + 1,
            };
            let to = place + 1;
            if from + 1 == to {
                continue;
            }
            let taken = |lane: usize| {
                let mut others = lanes.iter();
                others.any(|&(a, b, other)| other == lane && a < to && from < b)
            };
            let lane = (0..).find(|&lane| !taken(lane)).unwrap_or_default();
            lanes.push((from, to, lane));
        }
    }
    lanes
}

/// A frame around the nodes of each block.
fn frames(svg: &mut String, graph: &Graph, [left, right]: [f64; 2], y: &impl Fn(usize) -> f64) {
    let mut begun: Option<(&str, usize)> = None;
    let count = graph.nodes().len();
    for place in 0..=count {
        let block = (place < count).then(|| graph.block(place)).flatten();
        if begun.map(|(name, _)| name) == block {
            continue;
        }
        if let Some((name, first)) = begun {
            let (top, bottom) = (y(first + 1) - 4.0, y(place) + HEIGHT + 4.0);
            let _ = write!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\" fill=\"currentColor\" \
                 fill-opacity=\".04\" stroke=\"currentColor\" stroke-opacity=\".25\"><title>{}</title></rect>",
                right - left,
                bottom - top,
                escape(name)
            );
        }
        begun = block.map(|block| (block, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::catalog::{MODELS, ModelConfig};

    #[test]
    fn every_layer_has_a_row_and_shortcuts_go_around() {
        for entry in &MODELS {
            let graph = ModelConfig::new(entry.name).unwrap().graph().unwrap();
            let svg = network_figure(&graph);
            for node in graph.nodes() {
                assert!(svg.contains(&format!(">{}<", node.name)), "{}", node.name);
            }
            let around = svg.matches("<path").count();
            let mut nodes = graph.nodes().iter();
            let joined = nodes.any(|node| matches!(node.layer, Layer::Add | Layer::Concat));
            assert_eq!(around > 0, joined, "{}", entry.name);
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
