//! Runs that take steps.

use std::ops::ControlFlow;

use super::measured::{Keeper, Measured};
use super::{Ended, Experiment, Outcome, RunEvent};
use crate::continual::{ContinualBatch, ContinualLoss, InOrder, Shows};
use crate::device::TensorDevice;
use crate::error::Result;
use crate::nn::Network;
use crate::train::parts::{Replay, RunState, Sections};
use crate::train::{
    Checkpoints, HardwareManager, Run, Source, StopReason, TrainEvent, Trainer, TrainerConfig,
};

/// A replay buffer whose draws are counted.
struct Counted<'a> {
    replay: &'a mut dyn Replay<ContinualBatch>,
    measured: Measured,
}

impl RunState for Counted<'_> {
    fn save(&self, to: &mut Sections) -> Result<()> {
        self.replay.save(to)
    }

    fn load(&mut self, from: &Sections, device: &TensorDevice) -> Result<()> {
        self.replay.load(from, device)
    }
}

impl Replay<ContinualBatch> for Counted<'_> {
    fn remember(
        &mut self,
        batch: &ContinualBatch,
        task: Option<usize>,
        answers: Option<&[f32]>,
    ) -> Result<()> {
        self.replay.remember(batch, task, answers)
    }

    fn keeps_answers(&self) -> bool {
        self.replay.keeps_answers()
    }

    fn end_task(&mut self, task: usize) -> Result<()> {
        self.replay.end_task(task)
    }

    fn draw(&mut self, examples: usize) -> Result<Option<ContinualBatch>> {
        let drawn = self.replay.draw(examples)?;
        let count = drawn.as_ref().map_or(0, crate::train::Batch::len);
        self.measured.replays(count);
        Ok(drawn)
    }
}

/// Trains with the parts of a strategy.
pub(super) async fn run(
    experiment: &Experiment,
    manager: HardwareManager,
    checkpoints: Option<&mut dyn Checkpoints>,
    mut on_event: impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Ended> {
    let Experiment {
        scenario,
        graph,
        protocol,
        test_every,
        checkpoint_every,
        ..
    } = experiment;
    let mut stream = experiment.stream()?;
    let ends = stream.ends();
    let last = ends.last().copied().unwrap_or(0);
    let hidden = protocol.strategy.shows() == Shows::Each && !stream.provides().task_boundaries;
    let head = experiment.head()?;
    let mut parts = protocol.strategy.parts(experiment, &head)?;
    let mut tests = experiment.tests()?;
    let measured = Measured::default();
    let mut keeper = Keeper(measured.clone());
    let mut progress = head.progress();
    let mut model = experiment.network(manager.device())?;
    let config = TrainerConfig {
        epochs: Some(stream.epochs()),
        optimizer: protocol.optimizer,
        schedule: protocol.schedule.clone(),
        validate_every: *test_every,
        checkpoint_every: *checkpoint_every,
        ..Default::default()
    };
    let mut trainer = Trainer::new(config, manager)?;
    let contexts = scenario.len();
    // What is known before anything is learned is the same whenever it is asked for.
    test(&trainer, &model, &parts.objective, &mut tests, 0, &measured).await?;
    let mut asked = false;
    let mut checkpoints = checkpoints;
    loop {
        let mut counted = parts.kept.as_mut().map(|kept| Counted {
            replay: kept.replay(),
            measured: measured.clone(),
        });
        let mut run = Run::on(&mut stream)
            .with_method(&mut keeper)
            .with_method(&mut progress);
        for method in &mut parts.methods {
            run = run.with_method(&mut **method);
        }
        if let Some(counted) = &mut counted {
            run = run.replaying(counted);
        }
        for (context, test) in tests.iter_mut().enumerate() {
            run = run.validated_on(&context.to_string(), test);
        }
        if let Some(checkpoints) = &mut checkpoints {
            run = run.saved_in(&mut **checkpoints);
        }
        let fit = trainer.fit(&mut model, &parts.objective, run, |event| {
            asked |= on_event(RunEvent::Training(event)).is_break();
            if let TrainEvent::Validated {
                step,
                set,
                validation,
                ..
            } = event
            {
                let (step, accuracy) = (*step, validation.accuracy.unwrap_or(0.0));
                measured.tested(contexts, step, accuracy);
                let context = set.parse().unwrap_or(0);
                let tested = RunEvent::Tested {
                    step,
                    context,
                    accuracy,
                };
                asked |= on_event(tested).is_break();
            }
            let taken = match event {
                TrainEvent::Step(step) => Some(step.step),
                TrainEvent::Skipped { step, .. } => Some(*step),
                _ => None,
            };
            // Contexts whose ends nobody is told of are tested all the same.
            let ends_unseen = hidden && taken.is_some_and(|step| ends.contains(&step));
            match asked || ends_unseen {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let steps = fit.await?.steps;
        if asked {
            return Ok(Ended::Asked(steps));
        }
        if !measured.has(steps) {
            test(
                &trainer,
                &model,
                &parts.objective,
                &mut tests,
                steps,
                &measured,
            )
            .await?;
        }
        if steps >= last {
            break;
        }
    }
    let summary = trainer.summary(StopReason::Finished);
    let replayed = measured.replayed();
    let counts = graph.counts();
    Ok(Ended::Finished(Box::new(Outcome {
        accuracies: measured.result(
            experiment.scores()?,
            experiment.tells_contexts_apart()?,
            &ends,
        )?,
        steps: summary.steps,
        examples_seen: summary.examples as u64,
        examples_replayed: replayed,
        multiply_adds: 3 * graph.multiply_adds() * (summary.examples as u64 + replayed),
        model_bytes: 4 * counts.all(),
        buffer_bytes: parts.kept.map_or(0, |kept| kept.bytes()),
        state_bytes: parts.methods.iter().map(|method| method.bytes()).sum(),
        seconds: summary.seconds,
    })))
}

/// Tests on all contexts after so many steps.
async fn test(
    trainer: &Trainer,
    model: &Network,
    objective: &ContinualLoss,
    tests: &mut [InOrder],
    step: usize,
    measured: &Measured,
) -> Result<()> {
    let contexts = tests.len();
    for test in tests {
        let found = trainer.validate(model, objective, test).await?;
        measured.tested(contexts, step, found.accuracy.unwrap_or(0.0));
    }
    Ok(())
}
