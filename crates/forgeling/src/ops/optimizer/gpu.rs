//! Optimizers on GPUs. All parameters of a model lie in one buffer, each a part of it, so that one launch moves them all;
//! gradients, which lie where the backward pass left them, are gathered into such a buffer first.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::wgpu::{CubeBackend, CubeTensor, into_contiguous};
use burn::tensor::Tensor;
use cubecl::server::Handle;
use forgeling_shaders::OPTIMIZER_GATHER;
use forgeling_shaders::cpu::GATHERED;

use super::{Rule, Scaling, Snapshot};
use crate::device::Readback;
use crate::error::Result;
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Launch, PART, empty, f32s, overlap, part, upload, zeros};

#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The parameters that the last step gave, each in its part; none where there was no step on this device yet.
    parameters: Option<CubeTensor>,
    /// The moments, one after the other, then `[whether the last step was skipped, how many were, steps, 0]`.
    moments: CubeTensor,
    /// Where each parameter lies, and each of its moments among those of its kind.
    layout: Layout,
    /// Where the moments end.
    kept: usize,
}

impl State {
    pub fn skipped(&self) -> Tensor<1> {
        Tensor::from_primitive::<CubeBackend>(part(&self.moments, self.kept, 2))
    }

    pub async fn read(&self) -> Result<Snapshot> {
        let all = Tensor::<1>::from_primitive::<CubeBackend>(self.moments.clone());
        let [all] = Readback::new().with(all).run().await?;
        let (moments, counts) = all.split_at(self.kept);
        let counts = [counts[0], counts[1], counts[2]];
        Ok(Snapshot::new(self.layout.unpack(moments), counts))
    }

    pub fn restore(snapshot: &Snapshot, parameters: &[Tensor<1>]) -> Self {
        let layout = Layout::new(parameters.iter().map(|tensor| tensor.dims()[0]));
        let mut values = layout.pack(&snapshot.moments);
        let kept = values.len();
        values.extend(snapshot.counts());
        values.resize(kept + PART, 0.0);
        let like = primitive(parameters[0].clone());
        Self {
            parameters: None,
            moments: upload(&like, &values),
            layout,
            kept,
        }
    }
}

/// Where each tensor lies in a packed buffer.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    parts: Vec<Range<usize>>,
    length: usize,
}

impl Layout {
    fn new(lengths: impl Iterator<Item = usize>) -> Self {
        let mut length = 0;
        let parts = lengths
            .map(|numbers| {
                let start = length;
                let end = start + numbers;
                length = end.next_multiple_of(PART);
                start..end
            })
            .collect();
        Self { parts, length }
    }

    /// The moments of each parameter: first the first one of all, then the second.
    fn pack(&self, moments: &[Vec<Vec<f32>>]) -> Vec<f32> {
        let kinds = moments.first().map_or(0, Vec::len);
        let mut packed = vec![0.0; kinds * self.length];
        for (kind, pack) in packed.chunks_exact_mut(self.length).enumerate() {
            for (moments, part) in moments.iter().zip(&self.parts) {
                pack[part.clone()].copy_from_slice(&moments[kind]);
            }
        }
        packed
    }

    /// What [`pack`](Self::pack) packed.
    fn unpack(&self, packed: &[f32]) -> Vec<Vec<Vec<f32>>> {
        let of = |part: &Range<usize>| {
            let packs = packed.chunks_exact(self.length);
            packs.map(|pack| pack[part.clone()].to_vec()).collect()
        };
        self.parts.iter().map(of).collect()
    }

    /// The parts of `packed`.
    fn split(&self, packed: &CubeTensor) -> Vec<CubeTensor> {
        let part = |range: &Range<usize>| part(packed, range.start, range.len());
        self.parts.iter().map(part).collect()
    }
}

/// Whether kernels that count in 32 bits can count all values.
pub(super) fn countable(parameters: &[Tensor<1>]) -> bool {
    let length: usize = parameters
        .iter()
        .map(|tensor| tensor.dims()[0].next_multiple_of(PART))
        .sum();
    i32::try_from(length.saturating_mul(4)).is_ok()
}

fn primitive(tensor: Tensor<1>) -> CubeTensor {
    let tensor = tensor
        .try_into_primitive::<CubeBackend>()
        .expect("the caller checked that the tensor is on a GPU");
    into_contiguous(tensor)
}

/// The bytes that a tensor is bound as.
fn bytes(handle: &Handle) -> impl PartialEq + use<> {
    handle.clone().binding().claim_key()
}

/// Indices of tensors that may be read in one launch: at most six, no two of which overlap.
fn groups(tensors: &[CubeTensor]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let fits = |group: &Vec<usize>| {
            group.len() < GATHERED && group.iter().all(|&other| !overlap(tensor, &tensors[other]))
        };
        match groups.iter_mut().find(|group| fits(group)) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// Tensors side by side, after a sum of squares for each workgroup that has gathered them.
struct Gathered {
    buffer: CubeTensor,
    slots: usize,
    /// Where the tensors begin.
    first: usize,
}

fn gather(tensors: &[CubeTensor], layout: &Layout, scale: f32, workgroups: usize) -> Gathered {
    let groups = groups(tensors);
    let slots = groups.len() * workgroups;
    let first = (slots * 4).next_multiple_of(PART);
    let mut buffer = None;
    for (number, group) in groups.iter().enumerate() {
        let mut inputs: Vec<CubeTensor> = group.iter().map(|&i| tensors[i].clone()).collect();
        let mut sizes = vec![number * workgroups, scale.to_bits() as usize];
        for &i in group {
            let range = &layout.parts[i];
            sizes.extend([(first + range.start) / 4, range.len()]);
        }
        if inputs.len() < GATHERED {
            // Bindings without a tensor need some bytes too, and not the same ones.
            let none = empty(&tensors[0], GATHERED * PART);
            for i in inputs.len()..GATHERED {
                inputs.push(part(&none, i * PART, 1));
                sizes.extend([0, 0]);
            }
        }
        let grid = OPTIMIZER_GATHER.spread(workgroups).expect("few workgroups");
        let kernel = &OPTIMIZER_GATHER;
        buffer = match buffer {
            None => {
                let outputs = [f32s([first + layout.length])];
                let [made] = Launch {
                    kernel,
                    inputs,
                    outputs,
                    sizes,
                    grid,
                }
                .run();
                Some(made)
            }
            Some(made) => {
                inputs.push(CubeTensor::clone(&made));
                let [] = Launch {
                    kernel,
                    inputs,
                    outputs: [],
                    sizes,
                    grid,
                }
                .run();
                Some(made)
            }
        };
    }
    Gathered {
        buffer: buffer.expect("the caller gives a tensor at least"),
        slots,
        first,
    }
}

pub(super) fn step<R: Rule>(
    rule: &R,
    scaling: Scaling,
    state: Option<State>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, State) {
    let heuristics = Heuristics::of(&parameters[0].device());
    let kernel = rule.kernel();
    let parameters: Vec<CubeTensor> = parameters.into_iter().map(primitive).collect();
    let gradients: Vec<CubeTensor> = gradients.into_iter().map(primitive).collect();
    let layout = Layout::new(
        parameters
            .iter()
            .map(|tensor| tensor.shape().num_elements()),
    );
    let workgroups = |values: usize, most: usize| {
        let quads = values / 4;
        quads
            .div_ceil(kernel.workgroup_size as usize)
            .clamp(1, most)
    };
    let gathering = workgroups(layout.length, heuristics.gather_workgroups);

    let kept = rule.moments().len() * layout.length;
    let (old, moments) = match state {
        Some(state) => (state.parameters, state.moments),
        None => (None, zeros(&parameters[0], kept + PART)),
    };
    let unchanged = |packed: &CubeTensor| {
        let parts = layout.split(packed);
        let mut pairs = parts.iter().zip(&parameters);
        pairs.all(|(part, parameter)| bytes(&part.handle) == bytes(&parameter.handle))
    };
    let packed = old.filter(unchanged).unwrap_or_else(|| {
        let gathered = gather(&parameters, &layout, 1.0, gathering);
        part(&gathered.buffer, gathered.first, layout.length)
    });
    let scale = (1.0 / scaling.loss_scale) as f32;
    let gathered = gather(&gradients, &layout, scale, gathering);

    let numbers = [scaling.clip_norm.unwrap_or(0.0)]
        .into_iter()
        .chain(rule.numbers());
    let mut sizes = vec![gathered.slots, gathered.first / 4, layout.length / 4];
    sizes.extend(numbers.map(|number| (number as f32).to_bits() as usize));
    let groups = workgroups(layout.length, heuristics.update_workgroups);
    let [parameters, moments] = Launch {
        kernel,
        inputs: vec![packed, gathered.buffer, moments],
        outputs: [f32s([layout.length]), f32s([kept + PART])],
        sizes,
        grid: kernel.spread(groups).expect("few workgroups"),
    }
    .run();
    let updated = layout
        .split(&parameters)
        .into_iter()
        .map(Tensor::from_primitive::<CubeBackend>)
        .collect();
    let state = State {
        parameters: Some(parameters),
        moments,
        layout,
        kept,
    };
    (updated, state)
}
