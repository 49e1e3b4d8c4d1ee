// The lanes of a workgroup: block = shape[4] channels side by side, and of each so many invocations.
var<workgroup> parts: array<vec4<f32>, WORKGROUP_SIZE>;

// Sums over the lanes of a channel, for each of them; all invocations of a workgroup have to call it.
fn over_lanes(value: vec4<f32>, local: u32) -> vec4<f32> {
    // What was there has been read.
    workgroupBarrier();
    parts[local] = value;
    workgroupBarrier();
    let block = shape[4];
    var sum = vec4<f32>();
    for (var other = local % block; other < WORKGROUP_SIZE; other += block) {
        sum += parts[other];
    }
    return sum;
}

// The channel of an invocation, its lane, and how many lanes there are.
fn lane_of(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32) -> vec3<u32> {
    let block = shape[4];
    let group = workgroup.y * workgroups.x + workgroup.x;
    return vec3<u32>(group * block + local % block, local / block, WORKGROUP_SIZE / block);
}
