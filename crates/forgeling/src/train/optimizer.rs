//! What all optimizers share: which parameters move, and to whom their state belongs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::moved::{Found, Key, Replace};
use super::record::{Entry, OptimizerCounts, OptimizerRecord, Place, places};
use crate::error::{Error, Result};
use crate::ops::{Cohort, OptimizerState, Rule, Scaling, Snapshot, counting_on, step};

/// What moves the parameters of a module by their gradients.
///
/// A clone has the same state, on the same device.
pub trait Optimizer: Clone + Send {
    /// Moves every parameter of `module` that has a gradient; `rate` is the learning rate.
    fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M;

    /// Divides the gradients of the steps that follow by `scale`.
    ///
    /// # Errors
    /// When `scale` or its reciprocal is not a positive number that f32 can hold.
    fn set_loss_scale(&mut self, scale: f64) -> Result<()>;

    /// Whether the last step was skipped (0 or 1), and how many were; `[2]`. `None` before the first step.
    fn skipped(&self) -> Option<Tensor<1>>;
}

/// Implements [`Optimizer`] by the functions of the same names that the type has itself.
macro_rules! optimizer {
    ($type:ty) => {
        impl super::Optimizer for $type {
            fn step<M: Module>(&mut self, rate: f64, module: M, gradients: GradientsParams) -> M {
                <$type>::step(self, rate, module, gradients)
            }

            fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
                <$type>::set_loss_scale(self, scale)
            }

            fn skipped(&self) -> Option<Tensor<1>> {
                <$type>::skipped(self)
            }
        }
    };
}
pub(super) use optimizer;

/// A number of a configuration: its name and value, whether it is right, and what would be.
pub(super) type Check = (&'static str, f64, bool, &'static str);

/// Whether f32 holds a number that is not below 0.
pub(super) fn not_negative(value: f64) -> bool {
    value >= 0.0 && (value as f32).is_finite()
}

/// Whether f32 holds a number above 0.
pub(super) fn positive(value: f64) -> bool {
    value as f32 > 0.0 && (value as f32).is_finite()
}

/// Whether a number is at least 0 and below 1, in f32 too, in which the steps are computed.
pub(super) fn below_one(value: f64) -> bool {
    value >= 0.0 && (value as f32) < 1.0
}

/// The check of a norm that gradients are clipped to.
pub(super) fn clip_check(clip_norm: Option<f64>) -> Check {
    let clip = clip_norm.unwrap_or(1.0);
    ("clip_norm", clip, positive(clip), "a positive number")
}

/// An error that names the first number that is not right.
pub(super) fn check(operation: &'static str, checks: &[Check]) -> Result<()> {
    match checks.iter().find(|(_, _, right, _)| !right) {
        Some((name, value, _, expected)) => {
            Err(Error::invalid(operation, format!("{name} is out of range"))
                .expected(*expected)
                .got(value))
        }
        None => Ok(()),
    }
}

/// The part of an optimizer that changes.
///
/// What is kept belongs to a parameter. Those that have taken the same steps are kept together, and usually that is all
/// of them. When the parameters with gradients are others than those of the last step, they are sorted anew.
#[derive(Debug, Clone)]
pub(super) struct Stepper {
    loss_scale: f64,
    /// The parameters of the last step, in the order of its module.
    keys: Vec<Key>,
    /// What is kept of them. The first one's count of skipped steps is that of the optimizer.
    moving: Vec<Cohort<OptimizerState>>,
    /// What is kept of others.
    resting: Arc<Vec<Resting>>,
}

/// Parameters that have taken the same steps, but not the last one.
#[derive(Debug, Clone)]
struct Resting {
    keys: Vec<Key>,
    state: OptimizerState,
}

impl Stepper {
    /// Before the first step.
    pub fn new() -> Self {
        Self {
            loss_scale: 1.0,
            keys: Vec::new(),
            moving: Vec::new(),
            resting: Arc::default(),
        }
    }

    /// Divides the gradients of the steps that follow.
    pub fn set_loss_scale(&mut self, operation: &'static str, scale: f64) -> Result<()> {
        check_loss_scale(operation, scale)?;
        self.loss_scale = scale;
        Ok(())
    }

    /// What changes, by the names of parameters. `moments` are those of the rule.
    pub async fn state<M: Module>(
        &self,
        operation: &'static str,
        moments: &[&str],
        module: &M,
    ) -> Result<OptimizerRecord> {
        let places = places(module).into_iter();
        let mut places: HashMap<ParamId, Place> = places.map(|place| (place.id, place)).collect();
        let moving = self.moving.iter().filter_map(|cohort| {
            let keys = cohort.members.iter().map(|&member| &self.keys[member]);
            Some((keys.collect::<Vec<_>>(), cohort.state.as_ref()?))
        });
        let resting = self.resting.iter();
        let resting = resting.map(|rest| (rest.keys.iter().collect(), &rest.state));
        let (mut entries, mut skips) = (Vec::new(), None);
        // Parameters that begin anew are of no module.
        let mut known = false;
        for (keys, state) in moving.chain(resting) {
            let snapshot = state.read().await?;
            skips.get_or_insert((snapshot.last_skipped, snapshot.skipped));
            for (key, moments) in keys.into_iter().zip(snapshot.moments) {
                known |= !key.is_forgotten();
                let place = places.remove(&key.id);
                if let Some(place) = place.filter(|place| place.shape == key.shape) {
                    let steps = snapshot.steps;
                    entries.push(Entry {
                        place,
                        moments,
                        steps,
                    });
                }
            }
        }
        if entries.is_empty() && known {
            let message = "the module is not the one that the optimizer moved";
            return Err(Error::invalid(operation, message));
        }
        // How many were skipped is kept with what took the others.
        let skips = skips.filter(|_| !entries.is_empty()).unwrap_or_default();
        Ok(OptimizerRecord::new(
            entries,
            moments,
            skips,
            self.loss_scale,
        ))
    }

    /// Goes on from a record; an error changes nothing.
    pub fn load_state<M: Module>(
        &mut self,
        operation: &'static str,
        moments: &[&str],
        module: &M,
        record: OptimizerRecord,
    ) -> Result<()> {
        let OptimizerCounts {
            last_skipped,
            skipped,
            loss_scale,
            ..
        } = record.summary;
        check_loss_scale(operation, loss_scale)?;
        let mut cohorts: BTreeMap<u64, (Vec<Key>, Snapshot)> = BTreeMap::new();
        for Entry {
            place,
            moments,
            steps,
        } in record.fit(operation, moments, module)?
        {
            let (keys, snapshot) = cohorts.entry(steps).or_default();
            keys.push(Key {
                id: place.id,
                shape: place.shape,
                kind: None,
            });
            snapshot.moments.push(moments);
        }
        let resting = cohorts.into_iter().map(|(steps, (keys, snapshot))| {
            let state = OptimizerState::Read(Snapshot {
                steps,
                last_skipped,
                skipped,
                ..snapshot
            });
            Resting { keys, state }
        });
        *self = Self {
            loss_scale,
            keys: Vec::new(),
            moving: Vec::new(),
            resting: Arc::new(resting.collect()),
        };
        Ok(())
    }

    /// Says that parameter `from` has become `to`, of another shape. An error changes nothing.
    pub fn grow(
        &mut self,
        operation: &'static str,
        from: ParamId,
        to: ParamId,
        shape: &[usize],
    ) -> Result<()> {
        self.rearrange(operation, [from, to], |old| {
            Ok((shape.to_vec(), origins(operation, old, shape)?))
        })
    }

    /// Says that of a parameter those values are left that have these indices along each side. An error changes nothing.
    pub fn shrink(
        &mut self,
        operation: &'static str,
        id: ParamId,
        kept: &[Vec<usize>],
    ) -> Result<()> {
        self.rearrange(operation, [id, id], |old| {
            let origins = chosen(operation, old, kept)?;
            Ok((kept.iter().map(Vec::len).collect(), origins))
        })
    }

    /// Says that a parameter has become another, whose shape and origins follow from its own.
    fn rearrange(
        &mut self,
        operation: &'static str,
        [from, to]: [ParamId; 2],
        follow: impl FnOnce(&[usize]) -> Result<(Vec<usize>, Vec<Option<usize>>)>,
    ) -> Result<()> {
        let resting = self.resting.iter().flat_map(|rest| &rest.keys);
        let mut all = self.keys.iter().chain(resting);
        if from != to && all.clone().any(|key| key.id == to && !key.is_forgotten()) {
            let message = "the new parameter has taken steps of its own";
            return Err(Error::invalid(operation, message));
        }
        let known = all.find(|key| key.id == from && !key.is_forgotten());
        let Some(old) = known.map(|key| key.shape.clone()) else {
            return Ok(());
        };
        let (shape, origins) = follow(&old)?;
        let changed = |key: &mut Key| {
            key.id = to;
            key.shape.clone_from(&shape);
        };
        for cohort in &mut self.moving {
            let place = |&member: &usize| self.keys[member].id == from;
            if let (Some(place), Some(state)) =
                (cohort.members.iter().position(place), &mut cohort.state)
            {
                *state = state.rearranged(place, &origins);
                changed(&mut self.keys[cohort.members[place]]);
                return Ok(());
            }
        }
        for rest in Arc::make_mut(&mut self.resting) {
            if let Some(place) = rest.keys.iter().position(|key| key.id == from) {
                rest.state = rest.state.rearranged(place, &origins);
                changed(&mut rest.keys[place]);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Has a parameter begin anew.
    pub fn forget(&mut self, id: ParamId) {
        let resting = Arc::make_mut(&mut self.resting).iter_mut();
        let all = resting
            .flat_map(|rest| &mut rest.keys)
            .chain(&mut self.keys);
        all.filter(|key| key.id == id).for_each(Key::forget);
    }

    /// Moves every parameter of `module` that has a gradient.
    pub fn step<R: Rule, M: Module>(
        &mut self,
        rule: &R,
        clip_norm: Option<f64>,
        module: M,
        gradients: GradientsParams,
    ) -> M {
        let mut found = Found {
            gradients,
            all: Vec::new(),
            keys: Vec::new(),
            parameters: Vec::new(),
            trained: Vec::new(),
        };
        module.visit(&mut found);
        if found.keys.is_empty() {
            return module;
        }
        if self.keys != found.keys {
            self.sort(rule, &found);
        }
        let scaling = Scaling {
            clip_norm,
            loss_scale: self.loss_scale,
        };
        let cohorts = std::mem::take(&mut self.moving);
        let (updated, cohorts) = step(rule, scaling, cohorts, found.parameters, found.trained);
        self.moving = cohorts;
        let ids = found.keys.iter().map(|key| key.id);
        let mut replace = Replace(ids.zip(updated).collect());
        module.map(&mut replace)
    }

    /// Sorts what is kept by who moves and who rests. What the module has no more is forgotten.
    fn sort<R: Rule>(&mut self, rule: &R, found: &Found) {
        let skipped = self.skipped();
        let keys = std::mem::replace(&mut self.keys, found.keys.clone());
        let moving = std::mem::take(&mut self.moving).into_iter();
        let moved = moving.filter_map(|cohort| {
            let keys = cohort.members.iter().map(|&member| keys[member].clone());
            let (keys, state) = (keys.collect(), cohort.state?);
            Some((Resting { keys, state }, true))
        });
        let resting = Arc::unwrap_or_clone(std::mem::take(&mut self.resting));
        let rested = resting.into_iter().map(|rest| (rest, false));
        let there: HashSet<ParamId> = found.all.iter().copied().collect();
        let mut places: BTreeMap<ParamId, usize> = found
            .keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.id, place))
            .collect();
        let (mut still, mut goes_on) = (Vec::new(), false);
        for (Resting { keys, state }, moved) in moved.chain(rested) {
            let (mut going, mut staying) = (Vec::new(), Vec::new());
            for (member, key) in keys.iter().enumerate() {
                match places.get(&key.id) {
                    Some(&place) if key.fits(&found.keys[place]) => {
                        places.remove(&key.id);
                        going.push((place, member));
                    }
                    None if there.contains(&key.id) && !key.is_forgotten() => staying.push(member),
                    _ => {}
                }
            }
            let part = |members: &[usize]| match members.iter().copied().eq(0..keys.len()) {
                true => state.clone(),
                false => state.part(members),
            };
            if !going.is_empty() {
                going.sort_unstable();
                let (members, own): (_, Vec<usize>) = going.into_iter().unzip();
                let state = Some(part(&own));
                self.moving.push(Cohort { members, state });
                goes_on |= moved;
            }
            if !staying.is_empty() {
                let state = part(&staying);
                let keys = staying.iter().map(|&member| keys[member].clone()).collect();
                still.push(Resting { keys, state });
            }
        }
        let mut members: Vec<usize> = places.into_values().collect();
        if !members.is_empty() {
            members.sort_unstable();
            let state = None;
            self.moving.push(Cohort { members, state });
        }
        self.resting = Arc::new(still);
        if let (Some(skipped), false) = (skipped, goes_on) {
            let (parameters, trained) = (&found.parameters, &found.trained);
            counting_on(rule, &mut self.moving[0], skipped, parameters, trained);
        }
    }

    /// Whether the last step was skipped, and how many were: `[2]`.
    pub fn skipped(&self) -> Option<Tensor<1>> {
        let state = self.moving.first()?.state.as_ref();
        state.map(OptimizerState::skipped)
    }
}

/// For each value of a tensor of shape `new` which value of one of shape `old` it is, where that lies in its first corner.
fn origins(operation: &'static str, old: &[usize], new: &[usize]) -> Result<Vec<Option<usize>>> {
    let larger = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old <= new);
    let length = new
        .iter()
        .try_fold(1, |length: usize, &side| length.checked_mul(side));
    let length = length.filter(|&length| larger && i32::try_from(length).is_ok());
    let Some(length) = length else {
        let message = "a parameter cannot grow from its shape to that one";
        return Err(Error::invalid(operation, message)
            .expected(format!("no side below those of {old:?}"))
            .got(format!("{new:?}")));
    };
    let origin = |place: usize| {
        let (mut rest, mut origin, mut stride) = (place, 0, 1);
        for (&old, &new) in old.iter().zip(new).rev() {
            let at = rest % new;
            if at >= old {
                return None;
            }
            origin += at * stride;
            (rest, stride) = (rest / new, stride * old);
        }
        Some(origin)
    };
    Ok((0..length).map(origin).collect())
}

/// For each of the values with these indices along each side of a tensor of shape `old` which one of it that is.
fn chosen(
    operation: &'static str,
    old: &[usize],
    kept: &[Vec<usize>],
) -> Result<Vec<Option<usize>>> {
    let within = |(side, kept): (&usize, &Vec<usize>)| {
        let ascending = kept.windows(2).all(|pair| pair[0] < pair[1]);
        ascending && kept.last().is_some_and(|last| last < side)
    };
    if old.len() != kept.len() || !old.iter().zip(kept).all(within) {
        let message = "a parameter has no such values to keep";
        let lengths: Vec<usize> = kept.iter().map(Vec::len).collect();
        return Err(Error::invalid(operation, message)
            .expected(format!("ascending indices along each side of {old:?}"))
            .got(format!("{lengths:?} of them")));
    }
    let mut origins = vec![0];
    for (&side, kept) in old.iter().zip(kept) {
        let along = |&before: &usize| kept.iter().map(move |index| before * side + index);
        origins = origins.iter().flat_map(along).collect();
    }
    Ok(origins.into_iter().map(Some).collect())
}

fn check_loss_scale(operation: &'static str, scale: f64) -> Result<()> {
    let holds = |value: f64| (value as f32).is_normal() && value > 0.0;
    if holds(scale) && holds(1.0 / scale) {
        return Ok(());
    }
    Err(Error::invalid(operation, "the loss scale is out of range")
        .expected("a positive number")
        .got(scale))
}
