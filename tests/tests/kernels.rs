//! No kernel without a comparison. One test, since launches of the whole process are counted.

use burn::tensor::{DType, Device as Tensors};
use forgeling::device::LaunchCounter;
use forgeling::ops::{Levels, Storage};
use forgeling::train::{Adam, AdamConfig, Sgd, SgdConfig};
use forgeling_shaders::ALL;
use forgeling_tests::bag::five_steps;
use forgeling_tests::blocks_parity::{
    ATTENTION_OPTIONS, ATTENTION_SIZES, NORM_SIZES, ROUNDED_SIZES, attend, fake_quantized, norm,
};
use forgeling_tests::conv_parity::{
    CHANNELS, CONVOLUTIONS, NORMS, batch_normed, convolution, moved,
};
use forgeling_tests::gpus;
use forgeling_tests::linear_parity::{ENDS, LAYER_SIZES, PRODUCT_SIZES, layer, products};
use forgeling_tests::ops_parity::{
    BLOCK_SIZES, Body, EPISODE_SIZES, block, distances, episode_loss, running_block,
};
use forgeling_tests::second_order::{IMAGES, moments, pooled, second};
use forgeling_tests::spd_parity::{SPD_SIZES, inverse};
use forgeling_tests::storage_parity::{come_back, numbers, ties};

#[test]
fn every_kernel_is_launched_by_what_is_compared_with_the_reference() {
    for device in gpus() {
        let counter = LaunchCounter::new();
        pollster::block_on(every_body(&device.autodiff()));
        let launched = counter.by_kernel();
        let names = ALL.iter().map(|kernel| kernel.name);
        let missing: Vec<&str> = names.filter(|name| !launched.contains_key(name)).collect();
        let name = &device.info().name;
        assert!(missing.is_empty(), "{missing:?} on {name}: {launched:#?}");
    }
}

/// What the tests beside this one and those in a browser compare with the composite reference.
async fn every_body(device: &Tensors) {
    let (own, single) = (Body::Own, DType::F32);
    for sizes in BLOCK_SIZES {
        block(own, sizes, single, device).await;
        running_block(own, sizes, single, device).await;
    }
    for sizes in CONVOLUTIONS {
        convolution(own, sizes, single, device).await;
    }
    for sizes in NORMS {
        batch_normed(own, sizes, single, device).await;
    }
    for channels in CHANNELS {
        moved(own, channels, device).await;
    }
    for sizes in IMAGES {
        moments(own, sizes, single, device).await;
        pooled(own, sizes, single, device, true).await;
        second(own, sizes, single, device).await;
    }
    for sizes in LAYER_SIZES {
        layer(own, sizes, ENDS[3], single, device).await;
    }
    for sizes in PRODUCT_SIZES {
        products(own, sizes, single, device).await;
    }
    for sizes in NORM_SIZES {
        norm(own, sizes, single, device).await;
    }
    for sizes in ROUNDED_SIZES {
        fake_quantized(own, sizes, Levels::WEIGHTS, single, device).await;
    }
    for sizes in ATTENTION_SIZES {
        attend(own, sizes, ATTENTION_OPTIONS[0], single, device).await;
    }
    for sizes in EPISODE_SIZES {
        episode_loss(own, sizes, single, device).await;
    }
    for sizes in SPD_SIZES {
        inverse(own, sizes, device).await;
    }
    distances(own, [3, 7, 5, 11], single, device).await;
    come_back(&numbers(), Storage::F16, device).await;
    ties(Some(Storage::F16), device).await;
    five_steps(Adam::new(AdamConfig::default()).unwrap(), device).await;
    five_steps(Sgd::new(SgdConfig::default()).unwrap(), device).await;
}
