// Reads grad and writes dz, the bindings of the kernel that it belongs to.

// A window's value of grad at the pixel that counts.
fn flow_of(cell: Cell, counts: vec4<bool>) -> vec4<f32> {
    if !cell.whole {
        return vec4<f32>();
    }
    return select(vec4<f32>(), vec4<f32>(f32(grad[cell.window])), counts);
}

fn write(cell: Cell, values: vec4<f32>) {
    dz[cell.places.x] = stored(values.x);
    if cell.there.y {
        dz[cell.places.y] = stored(values.y);
    }
    if cell.there.z {
        dz[cell.places.z] = stored(values.z);
    }
    if cell.there.w {
        dz[cell.places.w] = stored(values.w);
    }
}
