// loss = -1/rows sum_r log softmax(logits[r])[label r] and its gradient, (softmax(logits[r]) - onehot) / rows.
// One workgroup, whose invocations take rows in turn. shape = [rows, classes, labels...].

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;
@group(0) @binding(3) var<storage, read_write> shape: array<u32>;

var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) local: u32) {
    let rows = shape[0];
    let classes = shape[1];
    let share = 1.0 / f32(rows);
    var total = 0.0;
    for (var row = local; row < rows; row += WORKGROUP_SIZE) {
        let start = row * classes;
        var largest = logits[start];
        for (var i = 1u; i < classes; i++) {
            largest = max(largest, logits[start + i]);
        }
        var sum = 0.0;
        for (var i = 0u; i < classes; i++) {
            let power = exp(logits[start + i] - largest);
            grad[start + i] = power;
            sum += power;
        }
        let label = start + shape[2u + row];
        for (var i = 0u; i < classes; i++) {
            grad[start + i] = grad[start + i] / sum * share;
        }
        grad[label] -= share;
        total += log(sum) + largest - logits[label];
    }
    sums[local] = total;
    workgroupBarrier();
    for (var reach = WORKGROUP_SIZE / 2u; reach > 0u; reach /= 2u) {
        if local < reach {
            sums[local] += sums[local + reach];
        }
        workgroupBarrier();
    }
    if local == 0u {
        loss[0] = sums[0] * share;
    }
}
