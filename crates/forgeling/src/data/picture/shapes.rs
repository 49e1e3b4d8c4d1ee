//! Connected parts of a mask.

/// A part of a mask whose pixels touch, also at corners.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Indices of its pixels.
    pub pixels: Vec<usize>,
    /// The first column and row, and those behind the last.
    pub bounds: [usize; 4],
    /// Whether a pixel lies at the border of the picture.
    pub at_border: bool,
}

/// All parts of a mask of so many columns.
pub(super) fn parts(mask: &[bool], width: usize) -> Vec<Part> {
    let height = mask.len() / width.max(1);
    let mut left = mask.to_vec();
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if !std::mem::replace(&mut left[start], false) {
            continue;
        }
        let mut part = Part {
            pixels: vec![start],
            bounds: [usize::MAX, usize::MAX, 0, 0],
            at_border: false,
        };
        let mut next = 0;
        while next < part.pixels.len() {
            let index = part.pixels[next];
            next += 1;
            let (x, y) = (index % width, index / width);
            let [from_x, from_y, to_x, to_y] = part.bounds;
            part.bounds = [
                from_x.min(x),
                from_y.min(y),
                to_x.max(x + 1),
                to_y.max(y + 1),
            ];
            part.at_border |= x == 0 || y == 0 || x + 1 == width || y + 1 == height;
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let near = row * width + column;
                    if std::mem::replace(&mut left[near], false) {
                        part.pixels.push(near);
                    }
                }
            }
        }
        found.push(part);
    }
    found
}

/// How many sides of the pixels of a mask have no other pixel of it beside them.
pub(super) fn outline(mask: &[bool], width: usize) -> usize {
    let inside = |index: Option<usize>| index.is_some_and(|index| mask.get(index) == Some(&true));
    let mut sides = 0;
    for (index, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        let x = index % width;
        let near = [
            (x > 0).then(|| index - 1),
            (x + 1 < width).then_some(index + 1),
            index.checked_sub(width),
            Some(index + width),
        ];
        sides += near.into_iter().filter(|near| !inside(*near)).count();
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_touch_at_corners_and_know_where_they_lie() {
        let rows = ["#....", ".#...", "...#.", "...#."];
        let mask: Vec<bool> = rows.concat().bytes().map(|byte| byte == b'#').collect();
        let found = parts(&mask, 5);
        let bounds: Vec<_> = found.iter().map(|part| part.bounds).collect();
        assert_eq!(bounds, [[0, 0, 2, 2], [3, 2, 4, 4]]);
        assert!(found[0].at_border && found[1].at_border);
        assert_eq!(outline(&mask, 5), 4 + 4 + 6);
        assert!(parts(&[], 0).is_empty());
    }
}
