// One step of stochastic gradient descent on packed parameters, or none where a gradient is not finite:
// g = scale * gradient + decay p, v' = momentum v + g, p' = p - rate (nesterov ? g + momentum v' : v'),
// where scale is that of `turn` in shared/optimizer.wgsl. Without momentum v' = g, and no v is kept.
// moments = [v if there is momentum, (whether the last step was skipped, how many were, t, 0), ...]. Quads of all
// workgroups take turns; shape counts in vec4.
// shape = [slots, first, quads, then as bits clip, rate, decay, momentum, nesterov (0 or 1)].

@group(0) @binding(0) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> new_parameters: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> new_moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> shape: array<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = shape[1];
    let quads = shape[2];
    let rate = number(1u);
    let decay = number(2u);
    let momentum = number(3u);
    let nesterov = number(4u) > 0.0;
    let keeps = momentum > 0.0;

    let index = workgroup.x * WORKGROUP_SIZE + local;
    let now = turn(select(0u, quads, keeps), index == 0u);
    for (var quad = index; quad < quads; quad += workgroups.x * WORKGROUP_SIZE) {
        let parameter = parameters[quad];
        let gradient = now.scale * gradients[first + quad] + decay * parameter;
        var direction = gradient;
        if keeps {
            let old = moments[quad];
            let velocity = momentum * old + gradient;
            direction = velocity;
            if nesterov {
                direction = gradient + momentum * velocity;
            }
            new_moments[quad] = select(velocity, old, vec4<bool>(now.skip));
        }
        new_parameters[quad] = select(parameter - rate * direction, parameter, vec4<bool>(now.skip));
    }
}
