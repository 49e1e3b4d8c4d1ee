// The body of weight gradients. Calls `inputs_at` and `flow_at`, which give four channels, and writes dweight, the
// binding of the kernel. shape = [images, groups, inputs and outputs of a group, height, width, out height, out width,
// kernel rows, kernel columns, stride 0, stride 1, padding 0, padding 1, parts].
const BLOCK = 8u;

fn outer(channels: vec4<f32>, inputs: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(channels * inputs.x, channels * inputs.y, channels * inputs.z, channels * inputs.w);
}

// One input channel with four output channels, from `start` on with `step` from one output to the next.
fn store_column(column: vec4<f32>, start: u32, step: u32, count: u32) {
    dweight[start] = column.x;
    if count > 1u {
        dweight[start + step] = column.y;
    }
    if count > 2u {
        dweight[start + 2u * step] = column.z;
    }
    if count > 3u {
        dweight[start + 3u * step] = column.w;
    }
}

fn store_block(sums: mat4x4<f32>, part: u32, group: u32, input: u32, output: u32, tap: u32) {
    let inputs = shape[2];
    let outputs = shape[3];
    if input >= inputs || output >= outputs {
        return;
    }
    let taps = shape[8] * shape[9];
    let step = inputs * taps;
    let count = outputs - output;
    let start = ((part * shape[1] + group) * outputs + output) * step + input * taps + tap;
    store_column(sums[0], start, step, count);
    if input + 1u < inputs {
        store_column(sums[1], start + taps, step, count);
    }
    if input + 2u < inputs {
        store_column(sums[2], start + 2u * taps, step, count);
    }
    if input + 3u < inputs {
        store_column(sums[3], start + 3u * taps, step, count);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let groups = shape[1];
    let inputs = shape[2];
    let outputs = shape[3];
    let height = shape[4];
    let width = shape[5];
    let taps = shape[8] * shape[9];
    let stride = vec2<u32>(shape[10], shape[11]);
    let padding = vec2<u32>(shape[12], shape[13]);
    let parts = shape[14];
    let output_blocks = (outputs + BLOCK - 1u) / BLOCK;
    let input_blocks = (inputs + BLOCK - 1u) / BLOCK;
    let index = flat_index(workgroup, workgroups, local);
    let output = index % output_blocks * BLOCK;
    let input = index / output_blocks % input_blocks * BLOCK;
    let tap = index / (output_blocks * input_blocks) % taps;
    let group = index / (output_blocks * input_blocks * taps) % groups;
    let part = index / (output_blocks * input_blocks * taps * groups);
    if part >= parts {
        return;
    }
    let k = tap / shape[9];
    let l = tap % shape[9];
    // The columns whose pixel below the tap lies inside the image.
    let before = padding.y - min(l, padding.y);
    let first = (before + stride.y - 1u) / stride.y;
    let reach = width + padding.y;
    let end = select(0u, min((reach - l + stride.y - 1u) / stride.y, shape[7]), l < reach);
    let rows = shape[0] * shape[6];
    // Rows of a part, rounded up: a product of both could exceed 32 bits.
    let each = (rows + parts - 1u) / parts;

    var s00 = mat4x4<f32>();
    var s01 = mat4x4<f32>();
    var s10 = mat4x4<f32>();
    var s11 = mat4x4<f32>();
    for (var row = part * each; row < min((part + 1u) * each, rows); row++) {
        let y = row % shape[6] * stride.x + k - padding.x;
        if y >= height {
            continue;
        }
        let x_row = (row / shape[6] * height + y) * width;
        for (var column = first; column < end; column++) {
            let x_at = (x_row + column * stride.y + l - padding.y) * groups * inputs + group * inputs;
            let dy_at = (row * shape[7] + column) * groups * outputs + group * outputs;
            let x0 = inputs_at(x_at, input, inputs);
            let x1 = inputs_at(x_at, input + 4u, inputs);
            let d0 = flow_at(dy_at, output, outputs);
            let d1 = flow_at(dy_at, output + 4u, outputs);
            s00 += outer(d0, x0);
            s01 += outer(d0, x1);
            s10 += outer(d1, x0);
            s11 += outer(d1, x1);
        }
    }
    store_block(s00, part, group, input, output, tap);
    store_block(s01, part, group, input + 4u, output, tap);
    store_block(s10, part, group, input, output + 4u, tap);
    store_block(s11, part, group, input + 4u, output + 4u, tap);
}
