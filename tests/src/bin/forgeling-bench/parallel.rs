//! Several devices of one process, and several processes.

use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use forgeling::parallel::{DataParallel, ParallelConfig, Shares, Work};
use forgeling::train::Batch;
use forgeling::train::Sgd;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::parallel_bench::{
    DIGITS, EPISODES, RATE, digits, encoder, episodes, median, mlp, sgd,
};
use forgeling_tests::parallel_work::{Prototypes, classify};

use crate::runner::{Contestant, Extent, OURS, Pace, Result, Turn, compare, description};

/// Rounds of each workload.
const PACE: Pace = Pace::of(false, 1);

/// Steps of CPU replicas, of GPUs if there are some, and of processes if there is an `mpirun`.
pub fn bench(extent: Extent) -> Result<()> {
    let pace = extent.pace(PACE);
    let cpu = pollster::block_on(Device::open(DeviceChoice::Cpu))?;
    let work = Arc::new(classify);
    replicas(DIGITS, &mlp(&cpu)?, work, &digits()?, &cpu, pace)?;
    processes("mlp", pace)?;
    if !extent.smallest {
        let work = Arc::new(Prototypes);
        replicas(EPISODES, &encoder(&cpu)?, work, &episodes()?, &cpu, pace)?;
        processes("protonet", pace)?;
    }
    gpus(pace)
}

/// Names, devices and threads of each.
type Setting<'a> = (&'a str, Vec<Device>, Option<usize>);

fn replicas<M, B, W>(
    workload: &str,
    model: &M,
    work: Arc<W>,
    batches: &[B],
    cpu: &Device,
    pace: Pace,
) -> Result<()>
where
    M: Module + 'static,
    B: Batch + Send + 'static,
    W: Work<M, B, Sgd> + Send + Sync + 'static,
{
    let cpus = |count| vec![cpu.clone(); count];
    let settings: [Setting; 4] = [
        (OURS, cpus(1), None),
        ("1 replica of 1 thread", cpus(1), Some(1)),
        ("2 replicas of 1 thread", cpus(2), Some(1)),
        ("4 replicas of 1 thread", cpus(4), Some(1)),
    ];
    turns(workload, model, work, batches, &settings, pace)
}

/// One device against two logical ones of the same adapter, which share what it can compute.
fn gpus(pace: Pace) -> Result<()> {
    let Ok(gpu) = pollster::block_on(Device::open(DeviceChoice::GpuIndex(0))) else {
        eprintln!("bench: no GPU");
        return Ok(());
    };
    let two = vec![gpu.clone(), pollster::block_on(gpu.open_another())?];
    let settings: [Setting; 2] = [
        (OURS, vec![gpu.clone()], None),
        ("2 logical devices", two, None),
    ];
    let model = mlp(&gpu)?;
    let (work, batches) = (Arc::new(classify), digits()?);
    turns(DIGITS, &model, work, &batches, &settings, pace)
}

fn turns<M, B, W>(
    workload: &str,
    model: &M,
    work: Arc<W>,
    batches: &[B],
    settings: &[Setting],
    pace: Pace,
) -> Result<()>
where
    M: Module + 'static,
    B: Batch + Send + 'static,
    W: Work<M, B, Sgd> + Send + Sync + 'static,
{
    let started = settings.iter().map(|(name, devices, cpu_threads)| {
        let config = ParallelConfig {
            cpu_threads: *cpu_threads,
            shares: Some(Shares::Equal),
            ..Default::default()
        };
        Ok(Several {
            name: (*name).to_owned(),
            device: description(&devices[0]),
            training: DataParallel::new(model, &sgd()?, devices, config)?,
            work: work.clone(),
            batches,
            steps: 0,
            synchronization: Vec::new(),
        })
    });
    let mut started = started.collect::<Result<Vec<_>>>()?;
    let mut all: Vec<&mut dyn Contestant> = Vec::new();
    for several in &mut started {
        all.push(several);
    }
    let device = &settings[0].1[0];
    compare(workload, None, pace, device, &mut all)
}

/// Devices in training.
struct Several<'a, M: Module + 'static, B, W> {
    name: String,
    device: String,
    training: DataParallel<M, Sgd>,
    work: Arc<W>,
    batches: &'a [B],
    steps: usize,
    synchronization: Vec<f64>,
}

impl<M, B, W> Contestant for Several<'_, M, B, W>
where
    M: Module + 'static,
    B: Batch + Send + 'static,
    W: Work<M, B, Sgd> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        let begun = Instant::now();
        let mut loss = f64::NAN;
        for _ in 0..steps {
            let batch = &self.batches[self.steps % self.batches.len()];
            let step = self.training.step(&self.work, batch, RATE)?;
            let busy = step.busy.iter().copied().fold(0.0, f64::max);
            self.synchronization.push(1000.0 * (step.seconds - busy));
            self.steps += 1;
            loss = step.loss;
        }
        Ok(Turn {
            elapsed: begun.elapsed(),
            loss,
        })
    }

    fn synchronization(&self) -> Option<f64> {
        (self.training.devices() > 1).then(|| median(self.synchronization.clone()))
    }
}

/// Lines from the program that was built beside this one with the cargo feature `mpi`.
fn processes(workload: &str, pace: Pace) -> Result<()> {
    let name = format!("forgeling-mpi{}", env::consts::EXE_SUFFIX);
    let program = env::current_exe()?.with_file_name(name);
    if !program.is_file() {
        eprintln!("bench: no MPI: {} was not built", program.display());
        return Ok(());
    }
    for ranks in ["1", "2", "4"] {
        let status = Command::new("mpirun")
            .args(["--allow-run-as-root", "--oversubscribe", "-n", ranks])
            .arg(&program)
            .args(["bench", workload])
            .args([pace.rounds, pace.steps].map(|number| number.to_string()))
            // Each rank would take all cores.
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("mpirun failed: {status}").into());
        }
    }
    Ok(())
}
