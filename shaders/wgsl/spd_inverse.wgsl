// inverse[e] = a[e]^-1 of symmetric positive definite matrices, by Gauss-Jordan elimination in place: such matrices need
// no pivot but the diagonal's. One workgroup per matrix. A pivot that is not above rounding beside the diagonal, or is
// NaN, makes the whole matrix NaN. Large matrices take several launches, each a range of steps: some devices end launches
// that are too long, and llvmpipe ends their loops without a word.
// shape = [batch, n, bits of NaN, first step, end of steps], n <= LARGEST.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> inverse: array<f32>;
@group(0) @binding(2) var<storage, read_write> shape: array<u32>;

const LARGEST = 512u;
const EPSILON = 1.1920929e-7;

// The side n (0 where there is no matrix), first step and end.
var<workgroup> work: vec3<u32>;
// Of the matrix before a step.
var<workgroup> pivot_row: array<f32, LARGEST>;
var<workgroup> pivot_column: array<f32, LARGEST>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let matrix = workgroup.y * workgroups.x + workgroup.x;
    if local == 0u {
        work = select(vec3<u32>(), vec3<u32>(shape[1], shape[3], shape[4]), matrix < shape[0]);
    }
    let given = workgroupUniformLoad(&work);
    let n = given.x;
    let start = matrix * n * n;
    let copied = select(0u, n * n, given.y == 0u);
    for (var i = local; i < copied; i += WORKGROUP_SIZE) {
        inverse[start + i] = a[start + i];
    }
    storageBarrier();
    workgroupBarrier();

    for (var k = given.y; k < given.z; k++) {
        for (var i = local; i < n; i += WORKGROUP_SIZE) {
            pivot_row[i] = inverse[start + k * n + i];
            pivot_column[i] = inverse[start + i * n + k];
        }
        storageBarrier();
        workgroupBarrier();
        let pivot = pivot_row[k];
        let sound = pivot > EPSILON * abs(a[start + k * n + k]);
        let factor = select(bitcast<f32>(shape[2]), 1.0 / pivot, sound);
        for (var i = local; i < n * n; i += WORKGROUP_SIZE) {
            let row = i / n;
            let column = i % n;
            let in_row = select(pivot_row[column], 1.0, column == k) * factor;
            let eliminated = inverse[start + i] - pivot_column[row] * in_row;
            // In the pivot's column nothing is left to subtract from.
            let below = select(eliminated, -pivot_column[row] * factor, column == k);
            inverse[start + i] = select(below, in_row, row == k);
        }
        storageBarrier();
        workgroupBarrier();
    }
}
