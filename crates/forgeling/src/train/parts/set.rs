//! The parts of one run.

use std::collections::BTreeSet;

use super::{AfterStep, GradientRule, LossTerm, Needs, Part, Predictor, Replay, Sections};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::Checkpoint;

const OPERATION: &str = "fit";
/// Under which name the replay buffer is in a checkpoint.
const REPLAY: &str = "replay";

/// The parts that a run was given.
pub(crate) struct Parts<'a, M, B> {
    pub terms: Vec<&'a mut dyn LossTerm<M, B>>,
    /// One at most, once checked.
    pub rules: Vec<&'a mut dyn GradientRule<M, B>>,
    pub after: Vec<&'a mut dyn AfterStep<M, B>>,
    /// One at most, once checked.
    pub predictors: Vec<&'a mut dyn Predictor<M, B>>,
    pub replay: Option<&'a mut dyn Replay<B>>,
}

impl<M, B> Parts<'_, M, B> {
    pub fn none() -> Self {
        Self {
            terms: Vec::new(),
            rules: Vec::new(),
            after: Vec::new(),
            predictors: Vec::new(),
            replay: None,
        }
    }

    /// Those that change what a step does.
    fn of_steps(&self) -> impl Iterator<Item = &dyn Part<M>> {
        let terms = self.terms.iter().map(|part| &**part as &dyn Part<M>);
        let rules = self.rules.iter().map(|part| &**part as &dyn Part<M>);
        let after = self.after.iter().map(|part| &**part as &dyn Part<M>);
        terms.chain(rules).chain(after)
    }

    fn all(&self) -> impl Iterator<Item = &dyn Part<M>> {
        let predictors = self.predictors.iter();
        self.of_steps()
            .chain(predictors.map(|part| &**part as &dyn Part<M>))
    }

    /// Does something with each of them.
    fn each(&mut self, mut act: impl FnMut(&mut dyn Part<M>) -> Result<()>) -> Result<()> {
        for part in &mut self.terms {
            act(&mut **part)?;
        }
        for part in &mut self.rules {
            act(&mut **part)?;
        }
        for part in &mut self.after {
            act(&mut **part)?;
        }
        for part in &mut self.predictors {
            act(&mut **part)?;
        }
        Ok(())
    }

    /// Whether they can be in one run, on a source that has `given`. `several` says what takes the steps, where that is not
    /// one device.
    pub fn check(&self, given: Needs, several: Option<&str>) -> Result<()> {
        if let (Some(several), Some(part)) = (several, self.of_steps().next()) {
            let message = format!("part '{}' works on one device only", part.name());
            return Err(Error::invalid(OPERATION, message)
                .expected("one device")
                .got(several));
        }
        let at_most_one = [
            ("gradient rules", self.rules.len()),
            ("predictors", self.predictors.len()),
        ];
        for (what, count) in at_most_one {
            if count > 1 {
                let message = format!("{what} do not go together");
                return Err(Error::invalid(OPERATION, message)
                    .expected("one at most")
                    .got(count));
            }
        }
        let mut names = BTreeSet::from([REPLAY]);
        for part in self.all() {
            let name = part.name();
            if name.is_empty() || name.contains('/') || !names.insert(name) {
                return Err(Error::invalid(OPERATION, "the name of a part is not right")
                    .expected(format!("one of its own, without '/', and not '{REPLAY}'"))
                    .got(format!("'{name}'")));
            }
            part.needs().check(name, given, self.replay.is_some())?;
        }
        Ok(())
    }

    /// How many examples of before a step needs.
    pub fn replayed(&self) -> usize {
        let needs = self.all().map(|part| part.needs().replayed);
        needs.max().unwrap_or(0)
    }

    /// Bytes that they keep on the device.
    pub fn bytes(&self) -> u64 {
        self.all().map(Part::bytes).sum()
    }

    /// Whether someone wants to see the gradients of a step.
    pub fn want_gradients(&self) -> bool {
        !(self.rules.is_empty() && self.after.is_empty())
    }

    /// Tells them that the task has changed.
    pub fn task(&mut self, before: Option<usize>, now: Option<usize>, model: &M) -> Result<()> {
        if let Some(task) = before {
            self.each(|part| part.end_task(task, model))?;
            if let Some(replay) = &mut self.replay {
                replay.end_task(task)?;
            }
        }
        match now {
            Some(task) => self.each(|part| part.begin_task(task, model)),
            None => Ok(()),
        }
    }

    pub async fn save(&self, to: &mut Checkpoint) -> Result<()> {
        for part in self.all() {
            let mut sections = Sections::default();
            part.save(&mut sections)?;
            sections.write(part.name(), to).await?;
        }
        if let Some(replay) = &self.replay {
            let mut sections = Sections::default();
            replay.save(&mut sections)?;
            sections.write(REPLAY, to).await?;
        }
        Ok(())
    }

    pub fn load(&mut self, from: &mut Checkpoint, device: &TensorDevice) -> Result<()> {
        let mut names: BTreeSet<&str> = self.all().map(Part::name).collect();
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
        self.each(|part| {
            let sections = Sections::read(part.name(), from)?;
            part.load(&sections, device)
        })?;
        match &mut self.replay {
            Some(replay) => replay.load(&Sections::read(REPLAY, from)?, device),
            None => Ok(()),
        }
    }
}
