// dk[m] = scale sum_n ds[n, m] q[n] and dv[m] = sum_n p[n, m] dout[n], with p and ds as in attention_grad_query.wgsl.
// One output for both, since there are no more bindings: dv follows dk from quad shape[7] on. A workgroup has SPAN keys.
// shape = [batches, heads, queries, keys, quads, causal, bits of scale, start of dv].

@group(0) @binding(0) var<storage, read_write> q: array<vec4<stored>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<stored>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<stored>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<stored>>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> dout: array<vec4<stored>>;
@group(0) @binding(6) var<storage, read_write> dk_dv: array<vec4<stored>>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

var<workgroup> chunks: u32;
// p and ds of each query of the chunk, for the 4 keys of each group.
var<workgroup> weights: array<vec4<f32>, SPAN * LANES>;
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
    let place = place_of(index, local, shape[0], heads, keys, quads);
    // The first query that sees each key.
    let begins = select(vec4<u32>(), vec4<u32>(place.own) + vec4<u32>(0u, 1u, 2u, 3u), causal);
    let skipped = begins.x / SPAN;
    if local == 0u {
        let all = (queries + SPAN - 1u) / SPAN;
        chunks = max(all, skipped) - skipped;
    }
    let count = workgroupUniformLoad(&chunks);

    let r = tokens_at(place.batch, place.head, place.own, heads, keys, quads);
    let rows = (place.batch * heads + place.head) * queries;
    var first_k = mat4x4<f32>();
    var first_v = mat4x4<f32>();
    var second_k = mat4x4<f32>();
    var second_v = mat4x4<f32>();
    for (var chunk = 0u; chunk < count; chunk++) {
        let start = (skipped + chunk) * SPAN;
        let query = start + place.lane * 4u;
        var s = mat4x4<f32>();
        var d = mat4x4<f32>();
        var mean = vec4<f32>();
        var logarithm = vec4<f32>();
        let useful = place.busy && query < queries && query + 3u >= begins.x;
        if useful {
            let c = tokens_at(place.batch, place.head, query, heads, queries, quads);
            let l = vec4<u32>(rows) + min(vec4<u32>(query) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(queries - 1u));
            logarithm = vec4<f32>(lse[l.x], lse[l.y], lse[l.z], lse[l.w]);
            for (var i = 0u; i < quads; i++) {
                let own = mat4x4<f32>(vec4<f32>(k[r.x + i]), vec4<f32>(k[r.y + i]), vec4<f32>(k[r.z + i]), vec4<f32>(k[r.w + i]));
                s[0] += vec4<f32>(q[c.x + i]) * own;
                s[1] += vec4<f32>(q[c.y + i]) * own;
                s[2] += vec4<f32>(q[c.z + i]) * own;
                s[3] += vec4<f32>(q[c.w + i]) * own;
                let values = mat4x4<f32>(vec4<f32>(v[r.x + i]), vec4<f32>(v[r.y + i]), vec4<f32>(v[r.z + i]), vec4<f32>(v[r.w + i]));
                let d0 = vec4<f32>(dout[c.x + i]);
                let d1 = vec4<f32>(dout[c.y + i]);
                let d2 = vec4<f32>(dout[c.z + i]);
                let d3 = vec4<f32>(dout[c.w + i]);
                d[0] += d0 * values;
                d[1] += d1 * values;
                d[2] += d2 * values;
                d[3] += d3 * values;
                mean.x += dot(d0, vec4<f32>(out[c.x + i]));
                mean.y += dot(d1, vec4<f32>(out[c.y + i]));
                mean.z += dot(d2, vec4<f32>(out[c.z + i]));
                mean.w += dot(d3, vec4<f32>(out[c.w + i]));
            }
        }
        // Exactly 0 where a query does not see a key, and past the last query.
        let at = place.lane * 4u * LANES + place.group;
        for (var i = 0u; i < 4u; i++) {
            let seen = (vec4<u32>(query + i) >= begins) & vec4<bool>(useful && query + i < queries);
            let p = select(vec4<f32>(), exp(column(s, i) * scale - vec4<f32>(logarithm[i])), seen);
            weights[at + i * LANES] = p;
            slopes[at + i * LANES] = select(vec4<f32>(), p * (column(d, i) - vec4<f32>(mean[i])), seen);
        }
        workgroupBarrier();

        let begin = max(begins.x, start) - start;
        let end = select(0u, min(SPAN, queries - start), place.busy);
        let others = (place.batch * queries + start) * heads + place.head;
        if place.quads.x < quads {
            for (var n = begin; n < end; n++) {
                let at = (others + n * heads) * quads + place.quads.x;
                first_k += outer(vec4<f32>(q[at]), slopes[n * LANES + place.group]);
                first_v += outer(vec4<f32>(dout[at]), weights[n * LANES + place.group]);
            }
        }
        if place.quads.y < quads {
            for (var n = begin; n < end; n++) {
                let at = (others + n * heads) * quads + place.quads.y;
                second_k += outer(vec4<f32>(q[at]), slopes[n * LANES + place.group]);
                second_v += outer(vec4<f32>(dout[at]), weights[n * LANES + place.group]);
            }
        }
        workgroupBarrier();
    }

    let values = shape[7];
    for (var i = 0u; i < 4u; i++) {
        let key = place.own + i;
        if place.busy && key < keys {
            let at = ((place.batch * keys + key) * heads + place.head) * quads;
            if place.quads.x < quads {
                dk_dv[at + place.quads.x] = vec4<stored>(column(first_k, i) * scale);
                dk_dv[values + at + place.quads.x] = vec4<stored>(column(first_v, i));
            }
            if place.quads.y < quads {
                dk_dv[at + place.quads.y] = vec4<stored>(column(second_k, i) * scale);
                dk_dv[values + at + place.quads.y] = vec4<stored>(column(second_v, i));
            }
        }
    }
}
