// out[n] = sum_m p[n, m] v[m], p[n, m] = exp(s[n, m] - lse[n]), s[n, m] = scale dot(q[n], k[m]), and
// lse[n] = log sum_m exp(s[n, m]), in one pass over the keys with the largest score so far (Milakov and Gimelshein,
// arXiv 1805.02867; Dao et al., arXiv 2205.14135). If causal, over m <= n only.
// A workgroup has SPAN queries. shape = [batches, heads, queries, keys, quads, causal, bits of scale, ...].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<stored>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<stored>>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

// Not minus infinity, whose difference from itself is NaN.
const LOWEST = -3.4e38;

var<workgroup> chunks: u32;
// The largest scores of each invocation's keys, for its group's 4 queries.
var<workgroup> largest: array<vec4<f32>, WORKGROUP_SIZE>;
// exp(s - largest) of each key of the chunk, for the 4 queries of each group.
var<workgroup> powers: array<vec4<f32>, SPAN * LANES>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let heads = shape[1];
    let queries = shape[2];
    let keys = shape[3];
    let quads = shape[4];
    let causal = shape[5] != 0u;
    let scale = bitcast<f32>(shape[6]);
    let index = workgroup.y * workgroups.x + workgroup.x;
    let place = place_of(index, local, shape[0], heads, queries, quads);
    let rows = vec4<u32>(place.own) + vec4<u32>(0u, 1u, 2u, 3u);
    // The first key that each query does not see.
    let ends = select(vec4<u32>(keys), min(rows + vec4<u32>(1u), vec4<u32>(keys)), causal);
    if local == 0u {
        let end = select(keys, min(keys, place.own + SPAN), causal);
        chunks = (end + SPAN - 1u) / SPAN;
    }
    let count = workgroupUniformLoad(&chunks);

    let r = tokens_at(place.batch, place.head, place.own, heads, queries, quads);
    var top = vec4<f32>(LOWEST);
    var sum = vec4<f32>();
    var first = mat4x4<f32>();
    var second = mat4x4<f32>();
    for (var chunk = 0u; chunk < count; chunk++) {
        let start = chunk * SPAN;
        let key = start + place.lane * 4u;
        var s0 = vec4<f32>();
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        var s3 = vec4<f32>();
        if place.busy && key < ends.w {
            let c = tokens_at(place.batch, place.head, key, heads, keys, quads);
            for (var i = 0u; i < quads; i++) {
                let own = mat4x4<f32>(vec4<f32>(q[r.x + i]), vec4<f32>(q[r.y + i]), vec4<f32>(q[r.z + i]), vec4<f32>(q[r.w + i]));
                s0 += vec4<f32>(k[c.x + i]) * own;
                s1 += vec4<f32>(k[c.y + i]) * own;
                s2 += vec4<f32>(k[c.z + i]) * own;
                s3 += vec4<f32>(k[c.w + i]) * own;
            }
        }
        let seen0 = vec4<u32>(key) < ends;
        let seen1 = vec4<u32>(key + 1u) < ends;
        let seen2 = vec4<u32>(key + 2u) < ends;
        let seen3 = vec4<u32>(key + 3u) < ends;
        s0 *= scale;
        s1 *= scale;
        s2 *= scale;
        s3 *= scale;
        let lowest = vec4<f32>(LOWEST);
        let left = max(select(lowest, s0, seen0), select(lowest, s1, seen1));
        let right = max(select(lowest, s2, seen2), select(lowest, s3, seen3));
        largest[local] = max(left, right);
        workgroupBarrier();

        // max() may drop NaN, which comes back with the power of the score itself.
        var now = top;
        for (var lane = 0u; lane < LANES; lane++) {
            now = max(now, largest[place.group * LANES + lane]);
        }
        let correction = exp(top - now);
        top = now;
        let at = place.lane * 4u * LANES + place.group;
        let zero = vec4<f32>();
        powers[at] = select(zero, exp(s0 - now), seen0);
        powers[at + LANES] = select(zero, exp(s1 - now), seen1);
        powers[at + 2u * LANES] = select(zero, exp(s2 - now), seen2);
        powers[at + 3u * LANES] = select(zero, exp(s3 - now), seen3);
        workgroupBarrier();

        sum *= correction;
        first = mat4x4<f32>(first[0] * correction.x, first[1] * correction.y, first[2] * correction.z, first[3] * correction.w);
        second = mat4x4<f32>(second[0] * correction.x, second[1] * correction.y, second[2] * correction.z, second[3] * correction.w);
        // Nothing for a group past the last query.
        let end = select(0u, min(SPAN, max(ends.w, start) - start), place.busy);
        let value = (place.batch * keys + start) * heads + place.head;
        for (var m = 0u; m < end; m++) {
            sum += powers[m * LANES + place.group];
        }
        if place.quads.x < quads {
            for (var m = 0u; m < end; m++) {
                let power = powers[m * LANES + place.group];
                first += outer(vec4<f32>(v[(value + m * heads) * quads + place.quads.x]), power);
            }
        }
        if place.quads.y < quads {
            for (var m = 0u; m < end; m++) {
                let power = powers[m * LANES + place.group];
                second += outer(vec4<f32>(v[(value + m * heads) * quads + place.quads.y]), power);
            }
        }
    }

    let logarithm = top + log(sum);
    for (var i = 0u; i < 4u; i++) {
        let row = place.own + i;
        if place.busy && row < queries {
            let at = ((place.batch * queries + row) * heads + place.head) * quads;
            if place.quads.x < quads {
                out[at + place.quads.x] = vec4<stored>(column(first, i) / sum[i]);
            }
            if place.quads.y < quads {
                out[at + place.quads.y] = vec4<stored>(column(second, i) / sum[i]);
            }
            if place.quads.x == 0u {
                lse[(place.batch * heads + place.head) * queries + row] = logarithm[i];
            }
        }
    }
}
