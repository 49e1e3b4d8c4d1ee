// packed[destination + i] = scale * tensor[i] for up to 6 tensors, zero after the last value of each up to a multiple
// of 64; and for each workgroup packed[slot + workgroup] = (sum of squares, 1 if a value is not finite, 0, 0).
// Quads of all workgroups take turns. Destinations and slots count in vec4, lengths in f32.
// shape = [slot, scale as bits, then destination and length of each tensor].

@group(0) @binding(0) var<storage, read_write> tensor0: array<f32>;
@group(0) @binding(1) var<storage, read_write> tensor1: array<f32>;
@group(0) @binding(2) var<storage, read_write> tensor2: array<f32>;
@group(0) @binding(3) var<storage, read_write> tensor3: array<f32>;
@group(0) @binding(4) var<storage, read_write> tensor4: array<f32>;
@group(0) @binding(5) var<storage, read_write> tensor5: array<f32>;
@group(0) @binding(6) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> shape: array<u32>;

const TENSORS = 6u;

var<workgroup> lane_squares: array<f32, WORKGROUP_SIZE>;
var<workgroup> lane_bad: array<u32, WORKGROUP_SIZE>;

fn load(tensor: u32, i: vec4<u32>) -> vec4<f32> {
    switch tensor {
        case 0u: {
            return vec4<f32>(tensor0[i.x], tensor0[i.y], tensor0[i.z], tensor0[i.w]);
        }
        case 1u: {
            return vec4<f32>(tensor1[i.x], tensor1[i.y], tensor1[i.z], tensor1[i.w]);
        }
        case 2u: {
            return vec4<f32>(tensor2[i.x], tensor2[i.y], tensor2[i.z], tensor2[i.w]);
        }
        case 3u: {
            return vec4<f32>(tensor3[i.x], tensor3[i.y], tensor3[i.z], tensor3[i.w]);
        }
        case 4u: {
            return vec4<f32>(tensor4[i.x], tensor4[i.y], tensor4[i.z], tensor4[i.w]);
        }
        default: {
            return vec4<f32>(tensor5[i.x], tensor5[i.y], tensor5[i.z], tensor5[i.w]);
        }
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let scale = bitcast<f32>(shape[1]);
    let first = workgroup.x * WORKGROUP_SIZE + local;
    var squares = 0.0;
    var bad = false;
    for (var tensor = 0u; tensor < TENSORS; tensor++) {
        let destination = shape[2u + 2u * tensor];
        let length = shape[3u + 2u * tensor];
        let quads = (length + PART - 1u) / PART * (PART / 4u);
        for (var quad = first; quad < quads; quad += workgroups.x * WORKGROUP_SIZE) {
            let i = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
            let loaded = scale * load(tensor, min(i, vec4<u32>(length - 1u)));
            let value = select(vec4<f32>(), loaded, i < vec4<u32>(length));
            packed[destination + quad] = value;
            squares += dot(value, value);
            bad |= infinite_or_nan(value);
        }
    }

    lane_squares[local] = squares;
    lane_bad[local] = u32(bad);
    workgroupBarrier();
    if local == 0u {
        var any_bad = 0u;
        squares = 0.0;
        for (var lane = 0u; lane < WORKGROUP_SIZE; lane++) {
            squares += lane_squares[lane];
            any_bad |= lane_bad[lane];
        }
        packed[shape[0] + workgroup.x] = vec4<f32>(squares, f32(any_bad), 0.0, 0.0);
    }
}
