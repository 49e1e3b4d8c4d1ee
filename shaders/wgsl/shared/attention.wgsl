// How the kernels of attention are cut: a workgroup has SPAN rows (or keys) of its own, and takes the others SPAN at a
// time. Its 64 invocations lie in 8 groups of 8 lanes. First an invocation computes a tile of 4 x 4 scores, of its
// group's 4 rows and its lane's 4 others; then the group's 4 rows of the result, in quads (of 4 numbers) dealt to the
// lanes, two each, so that a workgroup covers 16 quads. Matrices have a column for each of the 4 rows.
// Tensors lie in memory as [batch, tokens, heads, quads].
const LANES = 8u;
const SPAN = 32u;
const QUADS = 16u;

struct Place {
    batch: u32,
    head: u32,
    // First token of the group.
    own: u32,
    // First quads of the lane; the second is past the end where there is none.
    quads: vec2<u32>,
    // Where the tile's numbers lie in workgroup memory.
    group: u32,
    lane: u32,
    busy: bool,
}

// Workgroups are ordered [batch, head, span, block of quads].
fn place_of(group: u32, local: u32, batches: u32, heads: u32, tokens: u32, quads: u32) -> Place {
    let spans = (tokens + SPAN - 1u) / SPAN;
    let blocks = (quads + QUADS - 1u) / QUADS;
    let head = group / (blocks * spans);
    let first = group % blocks * QUADS + local % LANES;
    let own = group / blocks % spans * SPAN + local / LANES * 4u;
    return Place(
        head / heads,
        head % heads,
        own,
        vec2<u32>(first, first + LANES),
        local / LANES,
        local % LANES,
        own < tokens && head < batches * heads,
    );
}

// Where 4 tokens begin, in quads; those past the last repeat it.
fn tokens_at(batch: u32, head: u32, token: u32, heads: u32, tokens: u32, quads: u32) -> vec4<u32> {
    let all = min(vec4<u32>(token) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(tokens - 1u));
    return ((vec4<u32>(batch * tokens) + all) * heads + vec4<u32>(head)) * quads;
}

fn outer(values: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(values * columns.x, values * columns.y, values * columns.z, values * columns.w);
}

// A column by a number that varies: an index that varies would keep the matrix out of the registers.
fn column(m: mat4x4<f32>, i: u32) -> vec4<f32> {
    return select(select(m[0], m[1], i == 1u), select(m[2], m[3], i == 3u), i >= 2u);
}
