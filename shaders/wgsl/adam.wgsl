// One step of Adam on packed parameters, or none where a gradient is not finite:
// m' = beta1 m + (1 - beta1) g, v' = beta2 v + (1 - beta2) g^2, t' = t + 1,
// p' = keep p - rate / (1 - beta1^t') m' / (sqrt(v' / (1 - beta2^t')) + epsilon), keep = 1 - rate decay,
// where g is the gradient times the scale of `turn` in shared/optimizer.wgsl.
// moments = [m, v, (whether the last step was skipped, how many were, t, 0), ...]. Quads of all workgroups take turns;
// shape counts in vec4.
// shape = [slots, first, quads, then as bits clip, rate, keep, beta1, 1 - beta1, beta2, 1 - beta2, ln(beta1), ln(beta2),
// epsilon].

@group(0) @binding(0) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> new_parameters: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> new_moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

// 1 - exp(x) for x <= 0, by its series where the difference would cancel.
fn one_minus_exp(exponent: f32) -> f32 {
    let x = max(exponent, -80.0);
    if x < -0.5 {
        return 1.0 - exp(x);
    }
    let inner = 1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0));
    return -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * inner)));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = shape[1];
    let quads = shape[2];
    let rate = number(1u);
    let keep = number(2u);
    let beta1 = number(3u);
    let rest1 = number(4u);
    let beta2 = number(5u);
    let rest2 = number(6u);
    let epsilon = number(9u);

    let index = workgroup.x * WORKGROUP_SIZE + local;
    let now = turn(2u * quads, index == 0u);
    let step = rate / one_minus_exp(now.time * number(7u));
    let root = sqrt(one_minus_exp(now.time * number(8u)));
    for (var quad = index; quad < quads; quad += workgroups.x * WORKGROUP_SIZE) {
        var parameter = parameters[quad];
        var m = moments[quad];
        var v = moments[quads + quad];
        if !now.skip {
            let gradient = now.scale * gradients[first + quad];
            m = beta1 * m + rest1 * gradient;
            v = beta2 * v + rest2 * gradient * gradient;
            parameter = keep * parameter - step * m / (sqrt(v) / root + epsilon);
        }
        new_parameters[quad] = parameter;
        new_moments[quad] = m;
        new_moments[quads + quad] = v;
    }
}
