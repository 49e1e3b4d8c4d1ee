//! `forgeling batch-size`

use forgeling::data::{Dataset, ImageBatch, Rng, Split};
use forgeling::device::MemoryBudget;
use forgeling::nn::graph::Graph;
use forgeling::nn::{MemoryPlan, Network};
use forgeling::train::{
    AnyOptimizer, Batch, CrossEntropy, HardwareConfig, HardwareManager, MicroBatch,
    find_micro_batch,
};
use forgeling::{Device, Error, ErrorKind, Result};
use serde_json::json;

use super::open;
use super::supervised::{self, Wanted};
use crate::args::{BatchSizeArgs, Common, OptimizerKind};
use crate::output::Output;

/// The second one finds the optimizer's moments there already, and takes the most memory.
const STEPS: usize = 2;

pub async fn run(args: &BatchSizeArgs, common: &Common, output: &Output) -> Result<()> {
    const OPERATION: &str = "batch_size";
    let (shape, classes) = match &args.data {
        None => {
            let usual = args.network.model.architecture.usual_input()?;
            (args.input.map_or(usual, |input| input.0), args.classes)
        }
        Some(source) => {
            let wanted = Wanted {
                shape: supervised::wanted_shape(args.input, &args.network, source)?,
                glyphs: args.classes,
                per_class: None,
                pictures: &args.pictures,
                model: None,
            };
            let data = wanted.load_classes(source, Split::Train, output)?.data;
            (data.image_shape(), data.class_count())
        }
    };
    if args.most == 0 {
        return Err(Error::invalid(OPERATION, "--most is out of range")
            .expected("at least 1")
            .got(0));
    }
    let network = args.network.graph(shape, classes)?;
    let device = open(common, output).await?;
    let mut hardware = args.hardware.config();
    let budget = supervised::budget(&hardware, &device)?;
    // What is planned is what the steps are held to.
    hardware.memory_budget = Some(MemoryBudget::Bytes(budget));
    let (_, _, planned) = supervised::optimizer(OptimizerKind::Adam);
    let config = supervised::plan_config(&hardware, planned, &device);
    let most = MemoryPlan::largest_batch(&network, args.most, config, &device, budget)?;
    let Some(most) = most else {
        let one = MemoryPlan::new(&network, 1, config, &device)?;
        return Err(Error::new(
            ErrorKind::OutOfMemory,
            OPERATION,
            "not even one image fits into the budget",
        )
        .expected(format!("at most {budget} bytes"))
        .got(format!("{} bytes", one.peak)));
    };
    let plan = MemoryPlan::new(&network, most, config, &device)?;
    output.line(format_args!(
        "{} on {} images, {} classes, within {}:\n\n{}",
        args.network.model.text,
        supervised::sides(shape),
        classes,
        supervised::readable(budget),
        plan.explain()
    ));
    let found = verify(&network, most, &hardware, &device, common.seed).await?;
    let size = found.micro_batch.size;
    for refused in &found.refused {
        output.line(format_args!("{refused} images did not fit after all."));
    }
    output.line(format_args!(
        "Batch size {size}: {STEPS} steps held {} at most, the plan said {}.{}",
        supervised::readable(found.value),
        supervised::readable(plan.peak),
        if size == args.most {
            " Larger ones were not looked for (--most)."
        } else {
            ""
        }
    ));
    output.object(
        "batch-size",
        &device,
        common.seed,
        json!({
            "network": args.network.model.text,
            "input": shape,
            "classes": classes,
            "batch_size": size,
            "planned": most,
            "refused": found.refused,
            "budget_bytes": budget,
            "peak_bytes": found.value,
            "plan": plan,
        }),
    );
    Ok(())
}

/// Takes steps on so many invented images, and on fewer where that does not fit; gives the most bytes held.
async fn verify(
    network: &Graph,
    batch: usize,
    hardware: &HardwareConfig,
    device: &Device,
    seed: u64,
) -> Result<forgeling::train::FoundMicroBatch<u64>> {
    let mut rng = Rng::new(seed);
    let shape = network.image_shape();
    let classes = network.output_shape().len();
    let whole = ImageBatch {
        shape,
        images: (0..batch * shape.len()).map(|_| rng.unit_f32()).collect(),
        labels: (0..batch).map(|image| image % classes).collect(),
    };
    let (optimizer, rate, _) = supervised::optimizer(OptimizerKind::Adam);
    find_micro_batch(batch, batch, device, async |micro: MicroBatch| {
        let mut manager = HardwareManager::on(device.clone(), hardware.clone())?;
        let mut model = Network::new(network, seed, device);
        let mut optimizer = AnyOptimizer::new(optimizer)?;
        let images = [whole.part(0..micro.size)];
        for _ in 0..STEPS {
            manager.passes(&model, &CrossEntropy, &images, micro.size)?;
            manager.step(&mut optimizer, rate, &mut model).await?;
        }
        Ok(supervised::peak_bytes(&manager))
    })
    .await
}
