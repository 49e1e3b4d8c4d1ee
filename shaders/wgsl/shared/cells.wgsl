// Reads z and shape, the bindings of the kernel that it belongs to: images of stored values, channels last.
// shape = [images, height, width, channels, block, ...]. A workgroup works on `block` channels side by side, which keeps
// neighbours on neighbouring addresses; its lanes share the pixels.

// Up to 2x2 neighbouring pixels. Where an image has an odd row or column, its last cells are no windows.
struct Cell {
    // Places of a channel's values. Those of pixels that are not there are the first again.
    places: vec4<u32>,
    there: vec4<bool>,
    // The place in the pooled image, if it is a window.
    window: u32,
    whole: bool,
}

// Of a channel in all images.
fn pixel_count() -> f32 {
    return f32(shape[0]) * f32(shape[1] * shape[2]);
}

fn cell_count() -> u32 {
    return shape[0] * ((shape[1] + 1u) / 2u) * ((shape[2] + 1u) / 2u);
}

fn cell_of(index: u32, channel: u32) -> Cell {
    let height = shape[1];
    let width = shape[2];
    let channels = shape[3];
    let columns = (width + 1u) / 2u;
    let rows = (height + 1u) / 2u;
    let column = index % columns;
    let row = index / columns % rows;
    let image = index / (columns * rows);
    let first = ((image * height + 2u * row) * width + 2u * column) * channels + channel;
    let window = (image * (height / 2u) + row) * (width / 2u) + column;
    let wide = 2u * column + 1u < width;
    let high = 2u * row + 1u < height;
    let there = vec4<bool>(true, wide, high, wide && high);
    let places = vec4<u32>(first) + vec4<u32>(0u, 1u, width, width + 1u) * channels;
    return Cell(select(vec4<u32>(first), places, there), there, window * channels + channel, wide && high);
}

// What is there, 0 elsewhere.
fn values_of(cell: Cell) -> vec4<f32> {
    let p = cell.places;
    let values = vec4<f32>(vec4<stored>(z[p.x], z[p.y], z[p.z], z[p.w]));
    return select(vec4<f32>(), values, cell.there);
}

// Which pixel counts: in a window the first of the largest under the line, if that is above 0.
fn route_of(cell: Cell, values: vec4<f32>, scale: f32, shift: f32) -> vec4<bool> {
    let y = scale * values + shift;
    let right = larger(y.ywyw, y.xzxz);
    let best = select(y.xzxz, y.ywyw, right);
    let lower = larger(best.yyyy, best.xxxx).x;
    let top = select(best.x, best.y, lower);
    // What is not a number is let through.
    let alive = cell.whole && !(top <= 0.0);
    let column = select(right.x, right.y, lower);
    let place = select(0u, 2u, lower) + select(0u, 1u, column);
    return (vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(place)) & vec4<bool>(alive);
}
