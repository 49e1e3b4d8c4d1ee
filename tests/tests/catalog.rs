//! The page's list of networks is the catalog's.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use forgeling::nn::catalog::MODELS;
use forgeling::nn::graph::Layer;

const PLACE: &str = "www/package/src/models.ts";
/// Rewrites the file instead of comparing it.
const AGAIN: &str = "FORGELING_WRITE=1 cargo test --release --workspace --test catalog";

/// The file as it should be.
fn typescript() -> String {
    let mut text =
        String::from("// The library's catalog of networks, and its layers. Written by\n");
    text += &format!("//   {AGAIN}\n\n");
    text += "/**\n * The networks by name, with the images (channels, rows, columns) that each is usually shown, and its options.\n */\n";
    text += "export const MODELS = {\n";
    for entry in &MODELS {
        let input = entry.input;
        let (channels, rows, columns) = (input.channels, input.height, input.width);
        text += &format!("  {}: {{\n", entry.name);
        text += &format!("    about: {},\n", quoted(entry.about));
        text += &format!("    input: [{channels}, {rows}, {columns}],\n");
        text += "    options: {\n";
        for option in entry.options {
            let about = quoted(option.about);
            let range = format!("least: {}, most: {}", option.least, option.most);
            let _ = writeln!(
                text,
                "      {}: {{ about: {about}, default: {}, {range} }},",
                option.name, option.default
            );
        }
        text += "    },\n  },\n";
    }
    text += "} as const;\n\n";
    text += "/** What a layer of a network can be. */\nexport const LAYERS = [\n";
    for kind in Layer::KINDS {
        text += &format!("  {},\n", quoted(kind));
    }
    text += "] as const;\n";
    text
}

/// A text as JavaScript writes it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn the_page_knows_the_networks_of_the_catalog() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PLACE);
    let expected = typescript();
    if env::var("FORGELING_WRITE").is_ok_and(|value| value == "1") {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    // Git may have written the ends of lines as Windows does.
    let found = found.replace("\r\n", "\n");
    if found == expected {
        return;
    }
    let mut lines = expected.lines().zip(found.lines());
    let differs = lines.position(|(expected, found)| expected != found);
    let line = differs.unwrap_or_else(|| expected.lines().count().min(found.lines().count()));
    panic!(
        "{PLACE} is not as the catalog: line {} should be\n{}\nand is\n{}\nTo write it anew: {AGAIN}",
        line + 1,
        expected.lines().nth(line).unwrap_or("absent"),
        found.lines().nth(line).unwrap_or("absent"),
    );
}
