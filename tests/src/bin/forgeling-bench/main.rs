//! Measurements of `cargo xtask bench cpu|gpu|memory|leak|parallel|tasks|int8`: one JSON line for each implementation of each workload.
//!
//! - `runner`: lets the implementations of a workload take turns.
//! - `data`: the batches that all of them train on.
//! - `protonet`: ours, and the same made of stock burn operations.
//! - `engine`: a network with the library's trainer, in half precision.
//! - `maml`: a meta-step over many tasks, in one computation and task by task.
//! - `memory`: ways of saving memory, and whether it grows.
//! - `mlp`: perceptrons, ours and one of burn's layers.
//! - `network`: ResNet-18 and two pathways, likewise.
//! - `depthwise`: depthwise convolutions, likewise.
//! - `int8`: networks that multiply bytes, beside the same in f32.
//! - `torch`: PyTorch in a process of its own.
//! - `parallel`: several devices and processes.

mod data;
mod depthwise;
mod engine;
mod int8;
mod maml;
mod memory;
mod mlp;
mod network;
mod parallel;
mod protonet;
mod runner;
mod torch;

use std::path::PathBuf;
use std::process::ExitCode;

use forgeling::device::DeviceKind;
use forgeling::{Device, DeviceChoice};

use data::{Digits, Episodes};
use depthwise::Convolution;
use runner::{Contestant, Extent, Pace, Result, compare};
use torch::Torch;

/// Filters and episodes per step, the smallest first.
const PROTONETS: [(usize, usize); 5] = [(32, 1), (64, 1), (32, 8), (64, 8), (64, 32)];

struct Options {
    what: What,
    /// A Python that has PyTorch.
    python: Option<PathBuf>,
    burn_version: String,
    extent: Extent,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("bench: {problem}");
            return ExitCode::from(2);
        }
    };
    match bench(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
enum What {
    /// One device.
    One(DeviceChoice),
    /// One GPU, with ways of saving memory and no peers.
    Memory,
    /// One GPU and the CPU, for many steps.
    Leak,
    /// The figure of what [`Self::Leak`] measured here and in a browser, at this path.
    LeakFigure(PathBuf),
    /// Several devices.
    Several,
    /// The CPU and one GPU, many few-shot tasks at a time.
    Tasks,
    /// The CPU, networks in 8 bits.
    Int8,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> std::result::Result<Self, String> {
        let mut arguments = arguments;
        let (mut what, mut python, mut burn_version) = (None, None, String::new());
        let mut extent = Extent::default();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "cpu" => what = Some(What::One(DeviceChoice::Cpu)),
                "gpu" => what = Some(What::One(DeviceChoice::Gpu)),
                "memory" => what = Some(What::Memory),
                "leak" => what = Some(What::Leak),
                "leak-figure" => what = Some(What::LeakFigure(value()?.into())),
                "parallel" => what = Some(What::Several),
                "tasks" => what = Some(What::Tasks),
                "int8" => what = Some(What::Int8),
                "--json" => {}
                "--python" => python = Some(value()?.into()),
                "--burn-version" => burn_version = format!(" {}", value()?),
                "--rounds" => {
                    let text = value()?;
                    let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
                    let wrong = || format!("--rounds takes a number above 0, not '{text}'");
                    extent.rounds = Some(rounds.ok_or_else(wrong)?);
                }
                "--smallest" => extent.smallest = true,
                other => return Err(format!("unknown argument '{other}'")),
            }
        }
        Ok(Self {
            what: what.ok_or("expected cpu, gpu, memory, leak, parallel, tasks or int8")?,
            python,
            burn_version,
            extent,
        })
    }
}

fn bench(options: &Options) -> Result<()> {
    let extent = options.extent;
    let device = match &options.what {
        What::One(choice) => open(*choice)?,
        What::Memory => return memory::savings(&open(DeviceChoice::Gpu)?, extent),
        What::Leak => return memory::leak(&open(DeviceChoice::Gpu)?, extent),
        What::LeakFigure(path) => return memory::leak_figure(path),
        What::Several => return parallel::bench(extent),
        What::Tasks => {
            let devices = [open(DeviceChoice::Cpu)?, open(DeviceChoice::Gpu)?];
            return maml::bench(&devices, extent);
        }
        What::Int8 => return int8(&open(DeviceChoice::Cpu)?, extent),
    };
    let back_end = if device.is_cpu() { "flex" } else { "wgpu" };
    let mut bench = Bench {
        slow: device.info().kind == DeviceKind::SoftwareGpu,
        burn: format!("burn {back_end}{}", options.burn_version),
        torch: match &options.python {
            Some(python) => Torch::start_all(python, device.is_cpu())?,
            None => Vec::new(),
        },
        extent,
        device,
    };
    let protonets = if extent.smallest { 1 } else { PROTONETS.len() };
    for (filters, episodes) in PROTONETS.into_iter().take(protonets) {
        // A software adapter takes minutes for several episodes, and the CPU for many.
        let most = match (bench.slow, bench.device.is_cpu()) {
            (true, _) => 1,
            (false, true) => 8,
            (false, false) => usize::MAX,
        };
        if episodes <= most {
            bench.protonet(filters, episodes)?;
        }
    }
    // A step takes seconds on a software adapter.
    let networks = match (extent.smallest, bench.slow) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => network::WORKS.len(),
    };
    for work in network::WORKS.into_iter().take(networks) {
        bench.network(work)?;
    }
    bench.mlp()?;
    let works = if extent.smallest {
        1
    } else {
        depthwise::WORKS.len()
    };
    for work in depthwise::WORKS.into_iter().take(works) {
        bench.depthwise(work)?;
    }
    Ok(())
}

/// What the workloads have in common. Each drops its networks before the next.
struct Bench {
    device: Device,
    slow: bool,
    extent: Extent,
    /// The name of plain burn.
    burn: String,
    torch: Vec<Torch>,
}

impl Bench {
    fn protonet(&mut self, filters: usize, episodes: usize) -> Result<()> {
        let batches = Episodes::draw(episodes)?;
        let mut ours = protonet::Trained::ours(filters, &batches, &self.device)?;
        let mut burn = protonet::Trained::composite(&self.burn, filters, &batches, &self.device)?;
        let has_half = self.device.info().f16;
        let half = || engine::protonet(filters, &batches, &self.device);
        let half = has_half.then(half);
        let mut half = half.transpose()?;
        let mut all: Vec<&mut dyn Contestant> = vec![&mut ours];
        if let Some(half) = &mut half {
            all.push(half);
        }
        all.push(&mut burn);
        for torch in &mut self.torch {
            torch.protonet(filters, &batches)?;
            all.push(torch);
        }
        let pace = self.extent.pace(Pace::of(self.slow, filters * episodes));
        let workload = protonet::workload(filters, episodes);
        compare(&workload, Some(episodes), pace, &self.device, &mut all)
    }

    fn network(&mut self, work: network::Work) -> Result<()> {
        let pictures = work.pictures()?;
        let mut ours = network::Running::ours(work, &pictures, &self.device)?;
        let mut burn = network::Running::composite(&self.burn, work, &pictures, &self.device)?;
        let mut all: Vec<&mut dyn Contestant> = vec![&mut ours];
        // With stock operations a step takes minutes on a software adapter, and large images more memory than machines have.
        if !self.slow && work == network::Work::ResNet18 {
            all.push(&mut burn);
        }
        for torch in &mut self.torch {
            torch.network(work, &pictures)?;
            all.push(torch);
        }
        let pace = self.extent.pace(Pace::long(self.slow));
        compare(work.name(), None, pace, &self.device, &mut all)
    }

    fn depthwise(&mut self, work: depthwise::Work) -> Result<()> {
        let mut ours = Convolution::ours(work, &self.device);
        let mut burn = Convolution::composite(&self.burn, work, &self.device);
        let mut all: Vec<&mut dyn Contestant> = vec![&mut ours];
        // With stock operations it takes long on a software adapter.
        if !self.slow {
            all.push(&mut burn);
        }
        for torch in &mut self.torch {
            torch.depthwise(work)?;
            all.push(torch);
        }
        let pace = self.extent.pace(Pace::of(self.slow, 1));
        compare(&work.name(), None, pace, &self.device, &mut all)
    }

    fn mlp(&mut self) -> Result<()> {
        let digits = Digits::draw()?;
        let mut ours = mlp::Ours::new(&digits, &self.device)?;
        let mut burn = mlp::Trained::new(&self.burn, &digits, &self.device);
        let mut all: Vec<&mut dyn Contestant> = vec![&mut ours, &mut burn];
        for torch in &mut self.torch {
            torch.mlp(&digits)?;
            all.push(torch);
        }
        let pace = self.extent.pace(Pace::of(self.slow, 0));
        compare(mlp::WORKLOAD, None, pace, &self.device, &mut all)
    }
}

/// Networks in 8 bits beside the same in f32.
fn int8(device: &Device, extent: Extent) -> Result<()> {
    let works = if extent.smallest {
        1
    } else {
        int8::WORKS.len()
    };
    for work in int8::WORKS.into_iter().take(works) {
        let [mut bytes, mut floats] = int8::pair(work, device)?;
        let all: &mut [&mut dyn Contestant] = &mut [&mut bytes, &mut floats];
        let pace = Pace {
            rounds: 25,
            steps: 20,
        };
        compare(&work.name(), None, extent.pace(pace), device, all)?;
    }
    Ok(())
}

fn open(choice: DeviceChoice) -> forgeling::Result<Device> {
    match pollster::block_on(Device::open(choice)) {
        // A software adapter is worth a figure too, when it is all there is.
        Err(error) if choice == DeviceChoice::Gpu => {
            eprintln!("bench: {error}; taking gpu:0");
            pollster::block_on(Device::open(DeviceChoice::GpuIndex(0)))
        }
        device => device,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let options = parse("cpu --json --python py --burn-version 1.2").unwrap();
        assert_eq!(options.what, What::One(DeviceChoice::Cpu));
        assert_eq!(parse("parallel").unwrap().what, What::Several);
        assert_eq!(options.python, Some("py".into()));
        assert_eq!(options.burn_version, " 1.2");
        assert_eq!(options.extent, Extent::default());
        let extent = parse("gpu --rounds 3 --smallest").unwrap().extent;
        assert_eq!((extent.rounds, extent.smallest), (Some(3), true));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, problem) in [
            (
                "",
                "expected cpu, gpu, memory, leak, parallel, tasks or int8",
            ),
            ("gpu --python", "--python needs a value"),
            ("leak-figure", "leak-figure needs a value"),
            ("tpu", "unknown argument 'tpu'"),
            ("cpu --rounds 0", "--rounds takes a number above 0, not '0'"),
        ] {
            assert_eq!(parse(line).err().unwrap(), problem);
        }
    }
}
