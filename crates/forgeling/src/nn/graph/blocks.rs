//! Which nodes are a block, by their names.

use super::Graph;

/// The first part of a name, and the second if that is a number.
fn key(name: &str) -> &str {
    let mut dots = name.match_indices('.').map(|(place, _)| place);
    let Some(first) = dots.next() else {
        return name;
    };
    let second = dots.next().unwrap_or(name.len());
    let number = &name[first + 1..second];
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        &name[..second]
    } else {
        &name[..first]
    }
}

/// The block of a node; `None` of one that stands by itself, whose key is a plain name that no other has.
pub(super) fn of(graph: &Graph, node: usize) -> Option<&str> {
    let nodes = graph.nodes();
    let own = key(&nodes[node].name);
    let neighbour = |other: Option<usize>| {
        let other = other.and_then(|other| nodes.get(other));
        other.is_some_and(|other| key(&other.name) == own)
    };
    let shared = neighbour(node.checked_sub(1)) || neighbour(Some(node + 1));
    (shared || own.contains('.')).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_are_a_name_and_a_number() {
        for (name, expected) in [
            ("head", "head"),
            ("stem.norm", "stem"),
            ("blocks.0", "blocks.0"),
            ("blocks.10.first.norm", "blocks.10"),
            ("layer1.0.conv1", "layer1.0"),
            ("a.b.0", "a"),
        ] {
            assert_eq!(key(name), expected);
        }
    }
}
