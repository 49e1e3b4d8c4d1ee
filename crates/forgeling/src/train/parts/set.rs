//! The parts of one run.

use std::collections::BTreeSet;

use burn::optim::GradientsParams;

use super::{LossTerm, Method, Needs, Predictor, Replay, Sections, StepContext, Taken};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::{AnyOptimizer, Checkpoint};

const OPERATION: &str = "fit";
/// Under which name the replay buffer is in a checkpoint.
const REPLAY: &str = "replay";

/// What takes the steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// One device.
    One,
    /// Replicas on several devices, with replicas of the methods.
    Replicas,
    /// One of several processes, each with methods of its own.
    Rank,
}

/// What is done between a backward pass and the next step, beside the optimizer's step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Gradients are changed before the step.
    pub gradients: bool,
    /// The model is changed after the step.
    pub model: bool,
}

impl Changes {
    /// Whether there is something.
    pub fn any(self) -> bool {
        self.gradients || self.model
    }
}

/// Whether a step is another one because of it.
fn changes_steps<M, B>(method: &mut dyn Method<M, B>) -> bool {
    method.term().is_some() || method.rule().is_some() || method.after_step().is_some()
}

/// The methods that a run was given, and what they train on again.
pub(crate) struct Parts<'a, M, B> {
    pub methods: Vec<&'a mut dyn Method<M, B>>,
    pub replay: Option<&'a mut dyn Replay<B>>,
}

impl<'a, M, B> Parts<'a, M, B> {
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    pub fn of(methods: Vec<&'a mut dyn Method<M, B>>) -> Self {
        let replay = None;
        Self { methods, replay }
    }

    /// Those methods of which `which` holds, without what they train on again.
    pub fn only(&mut self, which: impl Fn(&dyn Method<M, B>) -> bool) -> Parts<'_, M, B> {
        let methods = self.methods.iter_mut().filter(|method| which(&***method));
        Parts::of(methods.map(|method| &mut **method as _).collect())
    }

    pub fn terms(&self) -> Vec<&dyn LossTerm<M, B>> {
        let methods = self.methods.iter();
        methods.filter_map(|method| method.term()).collect()
    }

    pub fn predictor(&self) -> Option<&dyn Predictor<M, B>> {
        self.methods.iter().find_map(|method| method.predictor())
    }

    /// What the methods change.
    pub fn changes(&mut self) -> Changes {
        let methods = &mut self.methods;
        Changes {
            gradients: methods.iter_mut().any(|method| method.rule().is_some()),
            model: methods
                .iter_mut()
                .any(|method| method.after_step().is_some()),
        }
    }

    /// Has the rule change the gradients, if there is one.
    pub fn rule(
        &mut self,
        at: &StepContext<'_, B>,
        model: &M,
        gradients: &mut GradientsParams,
    ) -> Result<()> {
        let mut rules = self.methods.iter_mut().filter_map(|method| method.rule());
        rules.try_for_each(|rule| rule.apply(at, model, gradients))
    }

    /// Has the methods do what they do after a step.
    pub fn after(
        &mut self,
        at: &StepContext<'_, B>,
        taken: &Taken<'_, M>,
        model: &mut M,
        optimizer: &mut AnyOptimizer,
    ) -> Result<()> {
        let methods = self.methods.iter_mut();
        let mut after = methods.filter_map(|method| method.after_step());
        after.try_for_each(|part| part.after(at, taken, model, optimizer))
    }

    /// Whether they can be in one run, on a source that has `given`, with steps that `takes` takes.
    pub fn check(&mut self, given: Needs, takes: Takes) -> Result<()> {
        let several = match takes {
            Takes::One => None,
            Takes::Replicas => Some("replicas on several devices"),
            Takes::Rank => Some("one rank of several"),
        };
        let refuse = |message: String| {
            let error = Error::invalid(OPERATION, message).expected("one device");
            Err(error.got(several.unwrap_or("one device")))
        };
        let (mut rules, mut names) = (0, BTreeSet::from([REPLAY]));
        for method in &mut self.methods {
            rules += usize::from(method.rule().is_some());
            if takes == Takes::Replicas
                && changes_steps(&mut **method)
                && method.on_replica().is_none()
            {
                let name = method.name();
                return refuse(format!("part '{name}' works on one device only"));
            }
        }
        if several.is_some()
            && self
                .replay
                .as_ref()
                .is_some_and(|replay| replay.keeps_answers())
        {
            return refuse(
                "the replay buffer keeps the model's answers, which one device gives".into(),
            );
        }
        let predictors = self.methods.iter().filter_map(|method| method.predictor());
        let at_most_one = [
            ("gradient rules", rules),
            ("predictors", predictors.count()),
        ];
        for (what, count) in at_most_one {
            if count > 1 {
                let message = format!("{what} do not go together");
                return Err(Error::invalid(OPERATION, message)
                    .expected("one at most")
                    .got(count));
            }
        }
        for method in &self.methods {
            let name = method.name();
            if name.is_empty() || name.contains('/') || !names.insert(name) {
                return Err(Error::invalid(OPERATION, "the name of a part is not right")
                    .expected(format!("one of its own, without '/', and not '{REPLAY}'"))
                    .got(format!("'{name}'")));
            }
            method.needs().check(name, given, self.replay.is_some())?;
        }
        Ok(())
    }

    /// How many examples of before a step needs.
    pub fn replayed(&self) -> usize {
        let needs = self.methods.iter().map(|method| method.needs().replayed);
        needs.max().unwrap_or(0)
    }

    /// Bytes that they keep on the device.
    pub fn bytes(&self) -> u64 {
        self.methods.iter().map(|method| method.bytes()).sum()
    }

    /// Tells them that a task has ended, and that another begins.
    pub fn task(&mut self, ended: Option<usize>, begun: Option<usize>, model: &M) -> Result<()> {
        if let Some(task) = ended {
            for method in &mut self.methods {
                method.end_task(task, model)?;
            }
            if let Some(replay) = &mut self.replay {
                replay.end_task(task)?;
            }
        }
        if let Some(task) = begun {
            for method in &mut self.methods {
                method.begin_task(task, model)?;
            }
        }
        Ok(())
    }

    /// Tells them that an epoch has ended.
    pub fn end_epoch(&mut self, epoch: usize, model: &M) -> Result<()> {
        let mut methods = self.methods.iter_mut();
        methods.try_for_each(|method| method.end_epoch(epoch, model))
    }

    pub async fn save(&self, to: &mut Checkpoint) -> Result<()> {
        for method in &self.methods {
            let mut sections = Sections::default();
            method.save(&mut sections)?;
            sections.write(method.name(), to).await?;
        }
        if let Some(replay) = &self.replay {
            let mut sections = Sections::default();
            replay.save(&mut sections)?;
            sections.write(REPLAY, to).await?;
        }
        Ok(())
    }

    pub fn load(&mut self, from: &mut Checkpoint, device: &TensorDevice) -> Result<()> {
        let mut names: BTreeSet<&str> = self.methods.iter().map(|m| m.name()).collect();
        names.extend(self.replay.is_some().then_some(REPLAY));
        let saved: BTreeSet<&str> = Sections::parts(from).collect();
        if names != saved {
            let list = |names: &BTreeSet<&str>| match names.is_empty() {
                true => "none".to_string(),
                false => names.iter().copied().collect::<Vec<_>>().join(", "),
            };
            let message = "the checkpoint is of a run with other parts";
            return Err(Error::bad_data(OPERATION, message)
                .expected(list(&names))
                .got(list(&saved)));
        }
        for method in &mut self.methods {
            let sections = Sections::read(method.name(), from)?;
            method.load(&sections, device)?;
        }
        match &mut self.replay {
            Some(replay) => replay.load(&Sections::read(REPLAY, from)?, device),
            None => Ok(()),
        }
    }
}
