//! Layers that work in 8 bits.

use std::ops::ControlFlow;

use forgeling::Result;
use forgeling::compress::{
    QuantizationPlan, Quantized, QuantizedTraining, fold_batch_norms, quantize, train_quantized,
    upcoming_batches,
};
use forgeling::nn::Network;
use forgeling::train::parts::Method;
use forgeling::train::{
    CrossEntropy, Distillation, Epochs, HardwareManager, Schedule, TrainEvent, TrainSummary,
    TrainerConfig,
};

use crate::args::Compress;
use crate::commands::unless_interrupted;
use crate::output::Output;

/// What a network as it is would become.
pub async fn plan(network: &Network, args: &Compress) -> Result<QuantizationPlan> {
    let folded = fold_batch_norms(network).await?;
    QuantizationPlan::new(folded.graph(), &args.quantization.config())
}

/// Finds scales, from the first batches.
pub async fn after_training(
    network: &Network,
    args: &Compress,
    source: &mut Epochs,
    manager: &HardwareManager,
) -> Result<Quantized> {
    let batches = upcoming_batches(source, args.quantization.calibration_batches).await?;
    let config = args.quantization.config();
    quantize(network, &config, &CrossEntropy, &batches, manager.device()).await
}

/// How a network in 8 bits is trained.
pub fn training(args: &Compress) -> QuantizedTraining {
    let epochs = args.quantization.qat_epochs;
    QuantizedTraining {
        training: TrainerConfig {
            epochs: Some(epochs.max(1)),
            schedule: Schedule::Constant {
                rate: args.quantization.qat_learning_rate,
            },
            ..Default::default()
        },
        // Weights settle in the last third.
        learning_epochs: (2 * epochs).div_ceil(3),
        ..Default::default()
    }
}

/// Trains a network that rounds.
pub async fn train(
    network: &mut Network,
    args: &Compress,
    manager: HardwareManager,
    source: &mut Epochs,
    teacher: Option<&mut Distillation>,
    output: &Output,
) -> Result<TrainSummary> {
    let interrupted = unless_interrupted();
    let tell = |event: &TrainEvent| -> ControlFlow<()> {
        if let TrainEvent::Epoch {
            epoch,
            loss,
            accuracy,
            ..
        } = event
        {
            output.line(format_args!(
                "  8 bits, epoch {epoch}: loss {loss:.3}, accuracy {:.1} %",
                100.0 * accuracy.unwrap_or(0.0)
            ));
        }
        interrupted()
    };
    let method = teacher.map(|teacher| teacher as &mut dyn Method<_, _>);
    let config = training(args);
    train_quantized(
        network,
        manager,
        &CrossEntropy,
        source,
        method,
        &config,
        tell,
    )
    .await
}
