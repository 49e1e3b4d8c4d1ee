//! A rank of the tests and benchmarks over MPI, started by `mpirun`: `forgeling-mpi train|<a way to fail>`,
//! `forgeling-mpi fit FOLDER [kill]` or `forgeling-mpi bench WORKLOAD ROUNDS STEPS`.

use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::process::{Command, ExitCode, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::module::Module;
use forgeling::data::ImageBatch;
use forgeling::nn::Network;
use forgeling::parallel::{Collective, Distributed, Mpi, ParallelConfig, Work};
use forgeling::train::{
    Batch, Batches, CheckpointConfig, CheckpointStore, CrossEntropy, HardwareConfig,
    HardwareManager, Run, Schedule, Sgd, SgdConfig, TrainEvent, Trainer, TrainerConfig,
};
use forgeling::{Device, DeviceChoice, Error, ErrorKind, Result};
use forgeling_tests::networks::with_change;
use forgeling_tests::parallel_bench as bench;
use forgeling_tests::parallel_work::{
    EXAMPLES, Prototypes, RATE, STEPS, classify, config, examples, mlp, values,
};
use serde_json::json;

/// The rank that fails, and in which step.
const FAILING: (usize, usize) = (1, 5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = Mpi::start().and_then(|mpi| {
        let device = pollster::block_on(Device::open(DeviceChoice::Cpu))?;
        let mpi = match words[..] {
            ["bench", workload, rounds, steps] => {
                let pace = [number(rounds)?, number(steps)?];
                measured(workload, pace, mpi, &device)?
            }
            ["fit", folder, ref how @ ..] => fit(folder, how == ["kill"], mpi, &device)?,
            [how] => train(how, mpi, &device)?,
            _ => return Err(Error::invalid("forgeling-mpi", "what to do is missing")),
        };
        mpi.finish();
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> Result<usize> {
    let wrong = |_| Error::invalid("forgeling-mpi", "not a number").got(word);
    word.parse().map_err(wrong)
}

/// The workload of this name.
fn measured(workload: &str, pace: [usize; 2], mpi: Mpi, device: &Device) -> Result<Mpi> {
    match workload {
        "mlp" => {
            let (model, batches) = (bench::mlp(device)?, bench::digits()?);
            measure(
                bench::DIGITS,
                pace,
                mpi,
                device,
                &model,
                &classify,
                &batches,
            )
        }
        "protonet" => {
            let (model, batches) = (bench::encoder(device)?, bench::episodes()?);
            let name = bench::EPISODES;
            measure(name, pace, mpi, device, &model, &Prototypes, &batches)
        }
        other => Err(Error::invalid("forgeling-mpi", "there is no such workload").got(other)),
    }
}

/// The steps of the test; rank 0 prints what came of them.
fn train(how: &str, mpi: Mpi, device: &Device) -> Result<Mpi> {
    let rank = mpi.rank();
    let work = |mlp: &Network, share: ImageBatch, device: &Device| classify(mlp, share, device);
    // Only rank 0's parameters count.
    let model = mlp(rank as u64, device)?;
    let sgd = Sgd::new(SgdConfig {
        momentum: 0.5,
        ..Default::default()
    })?;
    let mut training = Distributed::new(&model, &sgd, device, mpi, config())?;
    let (mut losses, mut events, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..STEPS {
        let fails = (rank, step) == FAILING;
        if fails && how == "leave" {
            drop(training);
            exit(0);
        }
        if fails && how == "tamper" {
            training
                .change(|model, _| Ok(with_change(model, "layers.2.bias", |bias| bias + 0.01)))?;
        }
        let read = |range: Range<usize>| {
            if fails {
                fail(how)?;
            }
            Ok(examples(step, range))
        };
        let done = match training.step(&work, EXAMPLES, read, RATE) {
            Ok(done) => done,
            Err(error) => {
                let line = format!("rank {rank} has an error in step {step}: {error}\n");
                // At once, since all ranks write to the same place.
                let _ = std::io::stderr().write_all(line.as_bytes());
                return Err(error);
            }
        };
        losses.push(done.loss);
        events.extend(done.events);
        shares = done.shares;
    }
    if training.is_first() {
        let values = values(training.model());
        let line =
            json!({ "values": values, "losses": losses, "events": events, "shares": shares });
        println!("{line}");
    }
    Ok(training.into_collective())
}

/// A whole run with checkpoints; the first rank prints its losses, and where it went on.
fn fit(folder: &str, killed: bool, mpi: Mpi, device: &Device) -> Result<Mpi> {
    let (rank, first) = (mpi.rank(), mpi.rank() == 0);
    let config = TrainerConfig {
        steps: Some(STEPS),
        schedule: Schedule::Constant { rate: 1e-2 },
        checkpoint_every: Some(10),
        ..Default::default()
    };
    let batches = (0..STEPS).map(|step| examples(step, 0..EXAMPLES)).collect();
    let mut source = Batches::new(batches);
    let mut store = CheckpointStore::open(folder, CheckpointConfig::default())?;
    let mut model = mlp(rank as u64, device)?;
    let manager = HardwareManager::on(device.clone(), HardwareConfig::default())?;
    let mut trainer = Trainer::new(config, manager)?;
    let (mut losses, mut from) = (Vec::new(), 0);
    let told = |event: &TrainEvent| {
        match event {
            TrainEvent::Step(step) => {
                losses.push(step.loss);
                if killed && (rank, step.step) == (1, 25) {
                    let _ = fail("kill");
                }
            }
            TrainEvent::Resumed { step, .. } => from = *step,
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let run = Run::on(&mut source).saved_in(&mut store);
    let fit = trainer.fit_as_rank(mpi, self::config(), &mut model, &CrossEntropy, run, told);
    let (_, mpi) = pollster::block_on(fit)?;
    if first {
        println!(
            "{}",
            json!({ "losses": losses, "from": from, "values": values(&model) })
        );
    }
    Ok(mpi)
}

/// Fails in one of the ways in which ranks do.
fn fail(how: &str) -> Result<()> {
    match how {
        "error" => Err(Error::new(ErrorKind::Device, "test", "the device was lost")),
        "panic" => panic!("the driver has a fault"),
        "kill" => {
            let own = std::process::id().to_string();
            // Nothing of this process runs afterwards.
            let _ = Command::new("kill").args(["-KILL", &own]).status();
            sleep(Duration::from_secs(60));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Times so many rounds of so many steps; rank 0 prints a line for the table.
fn measure<M: Module, B: Batch, W: Work<M, B, Sgd>>(
    workload: &str,
    [rounds, steps]: [usize; 2],
    mpi: Mpi,
    device: &Device,
    model: &M,
    work: &W,
    batches: &[B],
) -> Result<Mpi> {
    const WARM_UP: usize = 2;
    let ranks = mpi.size();
    let config = ParallelConfig::default();
    let mut training = Distributed::new(model, &bench::sgd()?, device, mpi, config)?;
    let (mut times, mut synchronization) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + rounds {
        let begun = Instant::now();
        for step in 0..steps {
            let batch = &batches[(round * steps + step) % batches.len()];
            let read = |range| Ok(batch.part(range));
            let done = training.step(work, batch.len(), read, bench::RATE)?;
            let busy = done.busy.iter().copied().fold(0.0, f64::max);
            if round >= WARM_UP {
                synchronization.push(1000.0 * (done.seconds - busy));
            }
        }
        if round >= WARM_UP {
            times.push(1000.0 * begun.elapsed().as_secs_f64() / steps as f64);
        }
    }
    if training.is_first() {
        let extreme = |pick: fn(f64, f64) -> f64| times.iter().copied().reduce(pick);
        let mut line = json!({
            "workload": workload,
            "implementation": format!("{ranks} MPI ranks of 1 thread"),
            "device": "cpu (flex)",
            "median_ms": bench::median(times.clone()),
            "min_ms": extreme(f64::min),
            "max_ms": extreme(f64::max),
            "rounds": rounds,
            "steps": steps,
        });
        if ranks > 1 {
            line["sync_ms"] = bench::median(synchronization).into();
        }
        println!("{line}");
    }
    Ok(training.into_collective())
}
