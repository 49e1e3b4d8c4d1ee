//! Optimizers on GPUs. All parameters of a model lie in one buffer, each a part of it, so that one launch moves them all;
//! gradients, which lie where the backward pass left them, are gathered into such a buffer first.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::wgpu::{CubeBackend, CubeTensor, into_contiguous};
use burn::tensor::Tensor;
use cubecl::server::Handle;
use forgeling_shaders::OPTIMIZER_GATHER;
use forgeling_shaders::optimizer_gather::TENSORS;

use super::{Cohort, OptimizerState, Rule, Scaling, Snapshot, chosen, composite, cpu};
use crate::device::Readback;
use crate::error::Result;
use crate::ops::heuristics::Heuristics;
use crate::ops::launch::{Grid, Launch, PART, empty, f32s, overlap, part, upload, zeros};

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

    /// Of the members of a cohort among these parameters, which are f32 and on one GPU, as they were before.
    pub fn of(state: OptimizerState, members: &[usize], parameters: &[Tensor<1>]) -> Self {
        match state {
            OptimizerState::Gpu(state) => *state,
            OptimizerState::Composite(state) => Self::together(*state, members, parameters),
            OptimizerState::Cpu(cpu::State(snapshot)) | OptimizerState::Read(snapshot) => {
                Self::restore(&snapshot, &chosen(parameters, members))
            }
        }
    }

    fn restore(snapshot: &Snapshot, parameters: &[Tensor<1>]) -> Self {
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

    fn together(state: composite::State, members: &[usize], parameters: &[Tensor<1>]) -> Self {
        let device = parameters[0].device();
        let layout = Layout::new(members.iter().map(|&place| parameters[place].dims()[0]));
        let counts = state.counts().map(|count| count.to_device(&device));
        let moments = state.into_moments();
        let kinds = moments.first().map_or(0, Vec::len);
        let of_kind = |kind: usize| moments.iter().map(move |moments| &moments[kind]);
        let tensors = (0..kinds).flat_map(of_kind).cloned();
        let tensors = tensors.chain([Tensor::cat(counts.to_vec(), 0)]);
        let tensors: Vec<CubeTensor> = tensors.map(primitive).collect();
        let all = Layout::new(tensors.iter().map(|tensor| tensor.shape().num_elements()));
        let gathered = gather(&tensors, &all, 1.0, 1);
        Self {
            parameters: None,
            moments: part(&gathered.buffer, gathered.first, all.length),
            kept: kinds * layout.length,
            layout,
        }
    }

    /// Each tensor by itself.
    pub fn apart(&self) -> composite::State {
        let tensor = |start: usize, length: usize| {
            Tensor::<1>::from_primitive::<CubeBackend>(part(&self.moments, start, length))
        };
        let of = |range: &Range<usize>| {
            let kinds = (0..self.kept).step_by(self.layout.length);
            let of_kind = |kind| tensor(kind + range.start, range.len());
            kinds.map(of_kind).collect()
        };
        let moments = self.layout.parts.iter().map(of).collect();
        composite::State::new(moments, &tensor(self.kept, 4))
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
            group.len() < TENSORS && group.iter().all(|&other| !overlap(tensor, &tensors[other]))
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
        if inputs.len() < TENSORS {
            // Bindings without a tensor need some bytes too, and not the same ones.
            let none = empty(&tensors[0], TENSORS * PART);
            for i in inputs.len()..TENSORS {
                inputs.push(part(&none, i * PART, 1));
                sizes.extend([0, 0]);
            }
        }
        let grid = Grid::Workgroups(workgroups);
        let kernel = &OPTIMIZER_GATHER;
        buffer = match buffer {
            None => {
                let output = f32s([first + layout.length]);
                Some(Launch::one(kernel, inputs, output, sizes, grid))
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
    cohorts: Vec<Cohort<State>>,
    parameters: Vec<Tensor<1>>,
    gradients: Vec<Tensor<1>>,
) -> (Vec<Tensor<1>>, Vec<Cohort<State>>) {
    let heuristics = Heuristics::of(&parameters[0].device());
    let kernel = rule.kernel();
    let mut parameters: Vec<CubeTensor> = parameters.into_iter().map(primitive).collect();
    let workgroups = |values: usize, most: usize| {
        let quads = values / 4;
        quads
            .div_ceil(kernel.workgroup_size as usize)
            .clamp(1, most)
    };
    let gathering = |layout: &Layout| workgroups(layout.length, heuristics.gather_workgroups);

    // The gradients of a cohort lie side by side.
    let mut gradients: Vec<Option<CubeTensor>> = gradients
        .into_iter()
        .map(|tensor| Some(primitive(tensor)))
        .collect();
    let order = cohorts.iter().flat_map(|cohort| &cohort.members);
    let gradients: Vec<CubeTensor> = order.filter_map(|&place| gradients[place].take()).collect();
    let all = Layout::new(gradients.iter().map(|tensor| tensor.shape().num_elements()));
    let scale = (1.0 / scaling.loss_scale) as f32;
    let gathered = gather(&gradients, &all, scale, gathering(&all));

    let mut before = 0;
    let mut moved = |Cohort { members, state }: Cohort<State>| {
        let own: Vec<CubeTensor> = members
            .iter()
            .map(|&place| parameters[place].clone())
            .collect();
        let layout = Layout::new(own.iter().map(|tensor| tensor.shape().num_elements()));
        let kept = rule.moments().len() * layout.length;
        let (old, moments) = match state {
            Some(state) => (state.parameters, state.moments),
            None => (None, zeros(&own[0], kept + PART)),
        };
        let unchanged = |packed: &CubeTensor| {
            let parts = layout.split(packed);
            let mut pairs = parts.iter().zip(&own);
            pairs.all(|(part, parameter)| bytes(&part.handle) == bytes(&parameter.handle))
        };
        let packed = old.filter(unchanged).unwrap_or_else(|| {
            let gathered = gather(&own, &layout, 1.0, gathering(&layout));
            part(&gathered.buffer, gathered.first, layout.length)
        });
        let numbers = [scaling.clip_norm.unwrap_or(0.0)]
            .into_iter()
            .chain(rule.numbers());
        let first = (gathered.first + before) / 4;
        before += layout.length;
        let mut sizes = vec![gathered.slots, first, layout.length / 4];
        sizes.extend(numbers.map(|number| (number as f32).to_bits() as usize));
        let groups = workgroups(layout.length, heuristics.update_workgroups);
        let [packed, moments] = Launch {
            kernel,
            inputs: vec![packed, gathered.buffer.clone(), moments],
            outputs: [f32s([layout.length]), f32s([kept + PART])],
            sizes,
            grid: Grid::Workgroups(groups),
        }
        .run();
        for (&place, part) in members.iter().zip(layout.split(&packed)) {
            parameters[place] = part;
        }
        let state = Some(State {
            parameters: Some(packed),
            moments,
            layout,
            kept,
        });
        Cohort { members, state }
    };
    let cohorts = cohorts.into_iter().map(&mut moved).collect();
    let updated = parameters.into_iter();
    let updated = updated.map(Tensor::from_primitive::<CubeBackend>).collect();
    (updated, cohorts)
}
