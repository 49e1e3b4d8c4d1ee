//! Train on invented characters, then teach the network three classes of its own with one drawing each.
//!
//! `cargo run --release --package forgeling-examples --bin few_shot`

use std::ops::ControlFlow;

use forgeling::data::{Dataset, Glyphs, Split};
use forgeling::meta::{FitConfig, Learner};
use forgeling::nn::zoo::Conv4Config;
use forgeling::{Device, DeviceChoice, Result};

fn main() -> Result<()> {
    pollster::block_on(run())
}

async fn run() -> Result<()> {
    let device = Device::open(DeviceChoice::Auto).await?;
    println!("{}", device.reason());

    let train = Glyphs::new(0, Split::Train, 1000)?;
    let encoder = Conv4Config {
        filters: 16,
        ..Default::default()
    };
    let mut model = Learner::protonet(&encoder.graph()?, 0, &device)?;
    let config = FitConfig {
        episodes: Some(150),
        ..Default::default()
    };
    model
        .fit(&train, config, |event| {
            if event.episode.is_multiple_of(50) {
                println!("episode {}: loss {:.3}", event.episode, event.loss);
            }
            ControlFlow::Continue(())
        })
        .await?;

    let unseen = Glyphs::new(0, Split::Test, 3)?;
    let drawing = |class, example| -> Result<Vec<f32>> {
        let mut image = vec![0.0; unseen.image_shape().len()];
        unseen.read(class, example, &mut image)?;
        Ok(image)
    };
    let mut classifier = model.classifier();
    for class in 0..3 {
        classifier
            .add(&unseen.class_name(class), &drawing(class, 0)?)
            .await?;
    }
    for class in 0..3 {
        let best = classifier.classify(&drawing(class, 1)?).await?.remove(0);
        println!(
            "{} was taken for {} at {:.0} %",
            unseen.class_name(class),
            best.label,
            100.0 * best.probability
        );
    }
    Ok(())
}
