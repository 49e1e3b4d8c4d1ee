//! PyTorch in a process of its own, which is told by lines on its standard input what to do.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::data::{Digits, Episodes, Pictures};
use crate::depthwise;
use crate::network;
use crate::runner::{Contestant, Result, Turn};

/// From the workspace's folder, where `cargo xtask bench` starts this.
const SCRIPT: &str = "tests/peers/torch_bench.py";

pub struct Torch {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    name: String,
    device: String,
}

impl Torch {
    /// Starts the script in each mode that suits the device: on the CPU, or on CUDA in f32 and with automatic mixed
    /// precision, where there is CUDA.
    pub fn start_all(python: &Path, cpu: bool) -> Result<Vec<Self>> {
        let modes = if cpu {
            &["cpu"][..]
        } else {
            &["cuda", "cuda-amp"]
        };
        let mut all = Vec::new();
        for mode in modes {
            all.extend(Self::start(python, mode)?);
        }
        Ok(all)
    }

    /// Starts the script with as many threads as the others have. `None` when it finds no such device.
    fn start(python: &Path, mode: &str) -> Result<Option<Self>> {
        let threads = std::thread::available_parallelism()?;
        if !Path::new(SCRIPT).is_file() {
            return Err(
                format!("there is no {SCRIPT} here: start this in the workspace's folder").into(),
            );
        }
        let mut process = Command::new(python)
            .arg(SCRIPT)
            .args([&threads.to_string(), mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| format!("cannot start {}: {cause}", python.display()))?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the pipes of PyTorch's process are missing".into());
        };
        let mut torch = Self {
            process,
            requests,
            answers: BufReader::new(answers),
            name: String::new(),
            device: String::new(),
        };
        let hello = torch.answer()?;
        if hello == "none" {
            return Ok(None);
        }
        let (name, device) = hello.split_once('\t').ok_or("PyTorch did not greet")?;
        (torch.name, torch.device) = (name.to_owned(), device.to_owned());
        Ok(Some(torch))
    }

    /// Makes it train a ProtoNet from now on.
    pub fn protonet(&mut self, filters: usize, episodes: &Episodes) -> Result<()> {
        let (per_step, batches) = (episodes.episodes, episodes.batches.len());
        self.prepare(
            &format!("protonet {filters} {per_step} {batches}"),
            episodes.values(),
        )
    }

    /// Makes it train a perceptron from now on.
    pub fn mlp(&mut self, digits: &Digits) -> Result<()> {
        self.prepare(&format!("mlp {}", digits.batches.len()), digits.values())
    }

    /// Makes it run a network from now on.
    pub fn network(&mut self, work: network::Work, pictures: &Pictures) -> Result<()> {
        let request = format!("{} {}", work.request(), pictures.batches.len());
        self.prepare(&request, pictures.values())
    }

    /// Makes it convolve each channel by itself from now on.
    pub fn depthwise(&mut self, work: depthwise::Work) -> Result<()> {
        let depthwise::Work {
            channels,
            kernel,
            stride,
            training,
        } = work;
        let training = u8::from(training);
        let request = format!("depthwise {channels} {kernel} {stride} {training}");
        self.prepare(&request, work.values())
    }

    fn prepare(&mut self, request: &str, values: impl Iterator<Item = f32>) -> Result<()> {
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        writeln!(self.requests, "{request}")?;
        self.requests.write_all(&bytes)?;
        self.requests.flush()?;
        match self.answer()?.as_str() {
            "ready" => Ok(()),
            other => Err(format!("PyTorch says '{other}' to '{request}'").into()),
        }
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("PyTorch's process has ended".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Contestant for Torch {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn turn(&mut self, steps: usize) -> Result<Turn> {
        writeln!(self.requests, "run {steps}")?;
        self.requests.flush()?;
        let line = self.answer()?;
        read_turn(&line, steps)
            .ok_or_else(|| format!("PyTorch says '{line}' to 'run {steps}'").into())
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It ends when its input does; one that hangs must not keep the benchmark.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Milliseconds of each step, then the last step's loss.
fn read_turn(line: &str, steps: usize) -> Option<Turn> {
    let mut values = line
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<Vec<f64>, _>>()
        .ok()?;
    let loss = values.pop()?;
    let valid = values.len() == steps && values.iter().all(|ms| ms.is_finite() && *ms >= 0.0);
    valid.then(|| Turn {
        elapsed: Duration::from_secs_f64(values.iter().sum::<f64>() / 1000.0),
        loss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_adds_its_steps_up() {
        let turn = read_turn("10.5 9.5 0.25", 2).unwrap();
        assert_eq!(turn.elapsed, Duration::from_millis(20));
        assert_eq!(turn.loss, 0.25);
    }

    #[test]
    fn a_turn_of_another_form_is_refused() {
        for line in [
            "",
            "1.0",
            "1.0 2.0",
            "1.0 x 2.0",
            "1.0 -1.0 2.0",
            "error: no",
        ] {
            assert_eq!(read_turn(line, 2), None, "{line}");
        }
    }
}
