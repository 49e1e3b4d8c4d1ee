// y[r, c] = gamma[c] (x[r, c] - mean[r]) inverse[r] + beta[c], inverse = 1 / sqrt(variance + epsilon)
// The biased variance, from each lane's deviations from its own mean, so that it does not cancel; statistics has mean
// and inverse of each row. LANES invocations side by side share a row. shape = [rows, width, bits of epsilon].

@group(0) @binding(0) var<storage, read_write> x: array<stored>;
@group(0) @binding(1) var<storage, read_write> gamma: array<f32>;
@group(0) @binding(2) var<storage, read_write> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<stored>;
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

const LANES = 16u;
var<workgroup> parts: array<vec2<f32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = shape[0];
    let width = shape[1];
    let lane = local % LANES;
    let row = flat_index(workgroup, workgroups, local) / LANES;
    let start = row * width;
    let busy = row < rows;
    let end = select(0u, width, busy);

    var sum = 0.0;
    for (var c = lane; c < end; c += LANES) {
        sum += f32(x[start + c]);
    }
    let own = sum / max(count_of(lane, width), 1.0);
    var squares = 0.0;
    for (var c = lane; c < end; c += LANES) {
        let deviation = f32(x[start + c]) - own;
        squares += deviation * deviation;
    }
    parts[local] = vec2<f32>(own, squares);
    workgroupBarrier();

    // Chan's formula, lane after lane.
    var mean = 0.0;
    var total = 0.0;
    var count = 0.0;
    for (var other = 0u; other < LANES; other++) {
        let part = parts[local - lane + other];
        let more = count_of(other, width);
        let share = more / max(count + more, 1.0);
        let delta = part.x - mean;
        mean += delta * share;
        total += part.y + delta * delta * (count * share);
        count += more;
    }
    let inverse = 1.0 / sqrt(total / count + bitcast<f32>(shape[2]));
    if busy && lane == 0u {
        statistics[2u * row] = mean;
        statistics[2u * row + 1u] = inverse;
    }
    for (var c = lane; c < end; c += LANES) {
        y[start + c] = stored((f32(x[start + c]) - mean) * inverse * gamma[c] + beta[c]);
    }
}

// Columns of a row that a lane has.
fn count_of(lane: u32, width: u32) -> f32 {
    return f32((width + LANES - 1u - lane) / LANES);
}
