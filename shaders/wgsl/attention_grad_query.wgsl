// dq[n] = scale sum_m ds[n, m] k[m], ds[n, m] = p[n, m] (dot(dout[n], v[m]) - dot(dout[n], out[n])), with p computed
// again from lse as in attention.wgsl. A workgroup has SPAN queries.
// shape = [batches, heads, queries, keys, quads, causal, bits of scale, ...].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<stored>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<stored>>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> dout: array<vec4<stored>>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<stored>>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

var<workgroup> chunks: u32;
// ds of each key of the chunk, for the 4 queries of each group.
var<workgroup> slopes: array<vec4<f32>, SPAN * LANES>;

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
    let l = vec4<u32>((place.batch * heads + place.head) * queries) + min(rows, vec4<u32>(queries - 1u));
    var logarithm = vec4<f32>();
    var mean = vec4<f32>();
    if place.busy {
        logarithm = vec4<f32>(lse[l.x], lse[l.y], lse[l.z], lse[l.w]);
        for (var i = 0u; i < quads; i++) {
            mean.x += dot(vec4<f32>(dout[r.x + i]), vec4<f32>(out[r.x + i]));
            mean.y += dot(vec4<f32>(dout[r.y + i]), vec4<f32>(out[r.y + i]));
            mean.z += dot(vec4<f32>(dout[r.z + i]), vec4<f32>(out[r.z + i]));
            mean.w += dot(vec4<f32>(dout[r.w + i]), vec4<f32>(out[r.w + i]));
        }
    }
    var first = mat4x4<f32>();
    var second = mat4x4<f32>();
    for (var chunk = 0u; chunk < count; chunk++) {
        let start = chunk * SPAN;
        let key = start + place.lane * 4u;
        var s = mat4x4<f32>();
        var d = mat4x4<f32>();
        if place.busy && key < ends.w {
            let c = tokens_at(place.batch, place.head, key, heads, keys, quads);
            for (var i = 0u; i < quads; i++) {
                let own = mat4x4<f32>(vec4<f32>(q[r.x + i]), vec4<f32>(q[r.y + i]), vec4<f32>(q[r.z + i]), vec4<f32>(q[r.w + i]));
                s[0] += vec4<f32>(k[c.x + i]) * own;
                s[1] += vec4<f32>(k[c.y + i]) * own;
                s[2] += vec4<f32>(k[c.z + i]) * own;
                s[3] += vec4<f32>(k[c.w + i]) * own;
                let flow = mat4x4<f32>(vec4<f32>(dout[r.x + i]), vec4<f32>(dout[r.y + i]), vec4<f32>(dout[r.z + i]), vec4<f32>(dout[r.w + i]));
                d[0] += vec4<f32>(v[c.x + i]) * flow;
                d[1] += vec4<f32>(v[c.y + i]) * flow;
                d[2] += vec4<f32>(v[c.z + i]) * flow;
                d[3] += vec4<f32>(v[c.w + i]) * flow;
            }
        }
        let at = place.lane * 4u * LANES + place.group;
        slopes[at] = slope(s[0] * scale - logarithm, d[0] - mean, vec4<u32>(key) < ends);
        slopes[at + LANES] = slope(s[1] * scale - logarithm, d[1] - mean, vec4<u32>(key + 1u) < ends);
        slopes[at + 2u * LANES] = slope(s[2] * scale - logarithm, d[2] - mean, vec4<u32>(key + 2u) < ends);
        slopes[at + 3u * LANES] = slope(s[3] * scale - logarithm, d[3] - mean, vec4<u32>(key + 3u) < ends);
        workgroupBarrier();

        let end = select(0u, min(SPAN, max(ends.w, start) - start), place.busy);
        let others = (place.batch * keys + start) * heads + place.head;
        if place.quads.x < quads {
            for (var m = 0u; m < end; m++) {
                first += outer(vec4<f32>(k[(others + m * heads) * quads + place.quads.x]), slopes[m * LANES + place.group]);
            }
        }
        if place.quads.y < quads {
            for (var m = 0u; m < end; m++) {
                second += outer(vec4<f32>(k[(others + m * heads) * quads + place.quads.y]), slopes[m * LANES + place.group]);
            }
        }
        workgroupBarrier();
    }

    for (var i = 0u; i < 4u; i++) {
        let row = place.own + i;
        if place.busy && row < queries {
            let at = ((place.batch * queries + row) * heads + place.head) * quads;
            if place.quads.x < quads {
                dq[at + place.quads.x] = vec4<stored>(column(first, i) * scale);
            }
            if place.quads.y < quads {
                dq[at + place.quads.y] = vec4<stored>(column(second, i) * scale);
            }
        }
    }
}

fn slope(logarithm: vec4<f32>, d: vec4<f32>, seen: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(), exp(logarithm) * d, seen);
}
