//! Runs in which batches only pass by: what is learned of them is no step.

use std::ops::ControlFlow;

use web_time::Instant;

use super::measured::{Keeper, Measured};
use super::{Ended, Experiment, OPERATION, Outcome, RunEvent};
use crate::continual::{ContinualBatch, InOrder, Stream};
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::train::parts::{RunState, Sections};
use crate::train::{Batch, Checkpoint, Checkpoints, Source};

const SOURCE: &str = "source";
const SPENT: &str = "time";
const LEARNER: &str = "learner";
const MEASURED: &str = "measured";

/// What learns of batches as they pass by.
pub(super) trait Learner: RunState {
    /// Takes notice of a batch.
    async fn learn(&mut self, batch: &ContinualBatch) -> Result<()>;

    /// Before a test of all contexts; gives false where it was asked to stop.
    async fn begin_test(
        &mut self,
        on_event: &mut impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
    ) -> Result<bool>;

    /// The share of a context's test examples that it tells right.
    async fn test(&mut self, tests: &mut InOrder) -> Result<f64>;

    /// What it did and keeps.
    fn spent(&self) -> Spent;
}

/// What a learner did and keeps.
pub(super) struct Spent {
    pub steps: usize,
    /// Examples that were trained on again.
    pub replayed: u64,
    pub multiply_adds: u64,
    pub model_bytes: u64,
    pub buffer_bytes: u64,
    pub state_bytes: u64,
}

/// Takes a run to its end.
pub(super) async fn run(
    experiment: &Experiment,
    mut learner: impl Learner,
    mut checkpoints: Option<&mut dyn Checkpoints>,
    mut on_event: impl FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Ended> {
    let mut stream = experiment.stream()?;
    let mut tests = experiment.tests()?;
    let ends = stream.ends();
    let last = ends.last().copied().unwrap_or(0);
    let mut kept = Keeper(Measured::default());
    let (mut steps, mut seen, mut spent) = (0, 0u64, 0.0);
    if let Some(checkpoints) = &mut checkpoints
        && let Some(mut checkpoint) = latest(&mut **checkpoints)?
    {
        stream.resume(&checkpoint.section(SOURCE)?)?;
        (steps, seen, spent) = checkpoint.section(SPENT)?;
        let device = TensorDevice::flex();
        kept.load(&Sections::read(MEASURED, &mut checkpoint)?, &device)?;
        learner.load(&Sections::read(LEARNER, &mut checkpoint)?, &device)?;
    }
    let begun = Instant::now();
    loop {
        if (steps == 0 || ends.contains(&steps)) && !kept.0.has(steps) {
            if !learner.begin_test(&mut on_event).await? {
                return Ok(Ended::Asked(steps));
            }
            for (context, test) in tests.iter_mut().enumerate() {
                let accuracy = learner.test(test).await?;
                kept.0.tested(experiment.scenario.len(), steps, accuracy);
                if on_event(RunEvent::Tested {
                    step: steps,
                    context,
                    accuracy,
                })
                .is_break()
                {
                    return Ok(Ended::Asked(steps));
                }
            }
            if let Some(checkpoints) = &mut checkpoints {
                let seconds = spent + begun.elapsed().as_secs_f64();
                let progress = (steps, seen, seconds);
                let checkpoint = checkpoint(&stream, &progress, &kept, &learner).await?;
                checkpoints.save(&checkpoint)?;
            }
        }
        if steps >= last {
            break;
        }
        // Epochs end where contexts do, or earlier.
        let Some(batch) = stream.next().await? else {
            continue;
        };
        learner.learn(&batch).await?;
        steps += 1;
        seen += batch.len() as u64;
        if on_event(RunEvent::Learned {
            batches: steps,
            of: last,
        })
        .is_break()
        {
            return Ok(Ended::Asked(steps));
        }
    }
    let did = learner.spent();
    Ok(Ended::Finished(Box::new(Outcome {
        accuracies: kept.0.result(
            experiment.scores()?,
            experiment.tells_contexts_apart()?,
            &ends,
        )?,
        steps: did.steps,
        examples_seen: seen,
        examples_replayed: did.replayed,
        multiply_adds: did.multiply_adds,
        model_bytes: did.model_bytes,
        buffer_bytes: did.buffer_bytes,
        state_bytes: did.state_bytes,
        seconds: spent + begun.elapsed().as_secs_f64(),
    })))
}

/// The latest checkpoint that is whole.
fn latest(checkpoints: &mut dyn Checkpoints) -> Result<Option<Checkpoint>> {
    let (latest, damaged) = checkpoints.latest()?;
    match latest.is_none() && !damaged.is_empty() {
        // To begin anew would be to replace what may still be mended.
        true => Err(Error::bad_data(OPERATION, "every checkpoint is damaged")
            .expected("one that is whole, or none at all")
            .got(damaged.join("; "))),
        false => Ok(latest),
    }
}

async fn checkpoint(
    stream: &Stream,
    progress: &(usize, u64, f64),
    kept: &Keeper,
    learner: &impl Learner,
) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::new(progress.0 as u64);
    checkpoint.set_section(SOURCE, &stream.state())?;
    checkpoint.set_section(SPENT, progress)?;
    let mut sections = Sections::default();
    kept.save(&mut sections)?;
    sections.write(MEASURED, &mut checkpoint).await?;
    let mut sections = Sections::default();
    learner.save(&mut sections)?;
    sections.write(LEARNER, &mut checkpoint).await?;
    Ok(checkpoint)
}
