// The register tile: two rows of 7 pixels, of 4 channels each. Images of 28, 14, 7 or 84, 42, 21 pixels
// leave no rest in x.
const TILE_WIDTH = 7u;
const TILE_HEIGHT = 2u;

struct Row {
    p0: vec4<f32>,
    p1: vec4<f32>,
    p2: vec4<f32>,
    p3: vec4<f32>,
    p4: vec4<f32>,
    p5: vec4<f32>,
    p6: vec4<f32>,
}
