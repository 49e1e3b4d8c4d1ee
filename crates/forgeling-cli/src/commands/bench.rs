//! `forgeling bench`

use std::time::Instant;

use forgeling::burn::module::Module;
use forgeling::burn::tensor::{Tensor, TensorData};
use forgeling::data::Rng;
use forgeling::nn::{Network, Normalization, Pass};
use forgeling::report::grouped;
use forgeling::{Device, Error, Readback, Result};
use serde_json::{Value, json};

use super::supervised::readable;
use super::{load_network, open, unless_interrupted};
use crate::args::{Bench, BenchModel, Common};
use crate::output::Output;

const OPERATION: &str = "bench";
/// Passes that pack weights, compile kernels and fill pools.
const WARM_UP: usize = 3;
/// The largest batch: beyond it a mistyped number would take the machine's memory.
const LARGEST: usize = 65_536;

pub async fn run(what: &Bench, common: &Common, output: &Output) -> Result<()> {
    match what {
        Bench::Model(args) => model(args, common, output).await,
    }
}

async fn model(args: &BenchModel, common: &Common, output: &Output) -> Result<()> {
    let wrong = |what: &str, expected: String, got: usize| {
        Err(Error::invalid(OPERATION, format!("{what} is out of range"))
            .expected(expected)
            .got(got))
    };
    if args.rounds == 0 {
        return wrong("--rounds", "at least 1".into(), 0);
    }
    if let Some(&batch) = args
        .batch
        .iter()
        .find(|batch| !(1..=LARGEST).contains(*batch))
    {
        return wrong("--batch", format!("1 to {LARGEST}"), batch);
    }
    let device = open(common, output).await?;
    let saved = load_network(&args.model, &device)?;
    let bytes = saved.to_bytes().await?.len() as u64;
    let network = saved.network.valid();
    let graph = network.graph();
    output.line(format_args!(
        "{}: {}, a file of {}, {} trained values, {} multiply-adds",
        args.model.display(),
        saved.model,
        readable(bytes),
        grouped(graph.trained_values()),
        grouped(graph.multiply_adds()),
    ));
    let mut latencies = Vec::new();
    for &batch in &args.batch {
        let times = measure(&network, batch, args.rounds, common.seed, &device).await?;
        let [low, median, high] = spread(times);
        output.line(format_args!(
            "batch {batch}: {median:.3} ms ({low:.3} to {high:.3}), {:.0} images/s",
            1e3 * batch as f64 / median
        ));
        latencies.push(json!({
            "batch": batch,
            "median_ms": median,
            "low_ms": low,
            "high_ms": high,
            "images_per_second": 1e3 * batch as f64 / median,
        }));
    }
    let object: Value = json!({
        "network": saved.model,
        "model": args.model.display().to_string(),
        "bytes": bytes,
        "parameters": graph.trained_values(),
        "macs": graph.multiply_adds(),
        "rounds": args.rounds,
        "latencies": latencies,
    });
    output.object(OPERATION, &device, common.seed, object);
    Ok(())
}

/// Milliseconds of each pass.
async fn measure(
    network: &Network,
    batch: usize,
    rounds: usize,
    seed: u64,
    device: &Device,
) -> Result<Vec<f64>> {
    let shape = network.graph().image_shape();
    let sizes = [batch, shape.channels, shape.height, shape.width];
    let mut rng = Rng::new(seed);
    let noise: Vec<f32> = (0..sizes.iter().product())
        .map(|_| rng.range(0.0, 1.0))
        .collect();
    let images = Tensor::<4>::from_data(TensorData::new(noise, sizes), device.tensors());
    let interrupted = unless_interrupted();
    let mut times = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let begun = Instant::now();
        let mut pass = Pass::new(Normalization::Running, device.tensors());
        let logits = network.forward(images.clone(), &mut pass)?;
        Readback::new().with(logits).run_all().await?;
        if round >= WARM_UP {
            times.push(1e3 * begun.elapsed().as_secs_f64());
        }
        if interrupted().is_break() {
            let message = "stopped before all rounds were measured";
            return Err(Error::new(
                forgeling::ErrorKind::Cancelled,
                OPERATION,
                message,
            ));
        }
    }
    Ok(times)
}

/// What a tenth is below, the median, and what a tenth is above.
fn spread(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1) as f64;
    [0.1, 0.5, 0.9].map(|part| times[(part * last).round() as usize])
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_tenth_is_left_out_at_either_end() {
        let times = (0..=10).rev().map(f64::from).collect();
        assert_eq!(spread(times), [1.0, 5.0, 9.0]);
        assert_eq!(spread(vec![2.0]), [2.0; 3]);
    }
}
