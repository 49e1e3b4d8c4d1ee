// What one invocation does when a workgroup works on up to 16 quads (of 4 channels) side by side, which
// keeps neighbours on neighbouring addresses. The other dimension of the workgroup, its lanes, and the
// workgroups of the same quads, its slots, share the pixels.
const QUADS_SIDE_BY_SIDE = 16u;

struct Place {
    quad: u32,
    block: u32,
    lane: u32,
    lanes: u32,
    slot: u32,
    slots: u32,
    busy: bool,
}

fn place(workgroup: vec3<u32>, workgroups: vec3<u32>, local: u32, quads: u32) -> Place {
    let blocks = (quads + QUADS_SIDE_BY_SIDE - 1u) / QUADS_SIDE_BY_SIDE;
    let block = (quads + blocks - 1u) / blocks;
    let group = workgroup.y * workgroups.x + workgroup.x;
    let quad = group % blocks * block + local % block;
    let lane = local / block;
    let lanes = WORKGROUP_SIZE / block;
    let slot = group / blocks;
    let slots = workgroups.x * workgroups.y / blocks;
    return Place(quad, block, lane, lanes, slot, slots, quad < quads && lane < lanes && slot < slots);
}
