// Sums over the lanes of a workgroup. Reads shape and writes dweight, the bindings of the kernel that it belongs to.
const PARTS = 3u;
var<workgroup> parts: array<vec4<f32>, WORKGROUP_SIZE * PARTS>;

// Sums a, b and c, which belong to three taps from `tap` on, over the lanes, and writes the sums.
fn reduce(local: u32, first_quad: u32, input: u32, tap: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) {
    let inputs = shape[3];
    let channels = shape[4];
    let block = shape[6];
    let lanes = WORKGROUP_SIZE / block;
    parts[local * PARTS] = a;
    parts[local * PARTS + 1u] = b;
    parts[local * PARTS + 2u] = c;
    workgroupBarrier();
    for (var i = local; i < 12u * block; i += WORKGROUP_SIZE) {
        let part = i / 4u;
        var sum = 0.0;
        for (var lane = 0u; lane < lanes; lane++) {
            sum += parts[lane * block * PARTS + part][i % 4u];
        }
        let channel = (first_quad + part / PARTS) * 4u + i % 4u;
        if channel < channels && input < inputs {
            dweight[(channel * inputs + input) * 9u + tap + part % PARTS] = sum;
        }
    }
    workgroupBarrier();
}
