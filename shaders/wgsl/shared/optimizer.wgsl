// What optimizers share. Reads gradients = [what optimizer_gather says of each workgroup, the values from `first` on],
// moments and shape = [slots, first, quads, then as bits clip, ...], and writes new_moments, the bindings of the kernel
// that it belongs to.
fn number(index: u32) -> f32 {
    return bitcast<f32>(shape[3u + index]);
}

struct Turn {
    // What gradients are multiplied with: min(1, clip / (norm + 1e-6)), or 1 if clip is 0.
    scale: f32,
    // Whether a gradient, or the norm that is to be clipped, is not finite.
    skip: bool,
    // Steps that were taken, this one included unless it is skipped.
    time: f32,
}

// The state, (whether the last step was skipped, how many were, steps, 0), lies after the moments at `state_at`, and
// one invocation writes the new one.
fn turn(state_at: u32, writes: bool) -> Turn {
    // Few enough that each invocation reads them all: no barrier, and the same sum everywhere.
    var squares = 0.0;
    var skip = false;
    for (var slot = 0u; slot < shape[0]; slot++) {
        let sums = gradients[slot];
        squares += sums.x;
        skip |= sums.y > 0.0;
    }
    let clip = number(0u);
    var scale = 1.0;
    if clip > 0.0 {
        skip |= infinite_or_nan(vec4<f32>(squares));
        scale = min(1.0, clip / (sqrt(squares) + 1e-6));
    }
    let state = moments[state_at];
    let skipped = select(0.0, 1.0, skip);
    let time = state.z + 1.0 - skipped;
    if writes {
        new_moments[state_at] = vec4<f32>(skipped, state.y + skipped, time, 0.0);
    }
    return Turn(scale, skip, time);
}
