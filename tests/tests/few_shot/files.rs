//! Model files of every method.

use forgeling::data::Split;
use forgeling::meta::{EpisodeTrainer, Learner, Method};
use forgeling::train::weights::collect;
use forgeling::{Device, DeviceChoice};
use forgeling_tests::methods::{config, fit, glyphs, tasks};

fn cpu() -> Device {
    pollster::block_on(Device::open(DeviceChoice::Cpu)).unwrap()
}

#[test]
fn a_model_that_was_read_goes_on_as_the_one_that_was_written() {
    let data = glyphs(Split::Train).unwrap();
    for method in Method::ALL {
        let mut model = Learner::new(&config(method), &cpu()).unwrap();
        let mut trainer = EpisodeTrainer::new(fit().unwrap()).unwrap();
        pollster::block_on(trainer.step(&mut model, &data)).unwrap();
        model.finish(&data).unwrap();
        let bytes = pollster::block_on(model.to_bytes()).unwrap();
        let mut read = Learner::from_bytes(&bytes, &cpu()).unwrap();
        assert_eq!((read.method(), read.config()), (method, model.config()));
        let queries = tasks(2).unwrap();
        let answers = |model: &Learner| pollster::block_on(model.answer(&queries, false)).unwrap();
        assert_eq!(answers(&model), answers(&read), "{method}");
        let step = |model: &mut Learner| {
            let mut trainer = EpisodeTrainer::new(fit().unwrap()).unwrap();
            pollster::block_on(trainer.step(model, &data)).unwrap();
            pollster::block_on(collect(model.model())).unwrap()
        };
        assert_eq!(step(&mut model), step(&mut read), "{method}");
    }
}

#[test]
fn a_file_that_claims_too_much_is_refused() {
    let model = Learner::new(&config(Method::SimpleShot), &cpu()).unwrap();
    let bytes = pollster::block_on(model.to_bytes()).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let at = text
        .find("classes\\\":20")
        .expect("the header names the classes");
    let mut larger = bytes.clone();
    larger[at + 10..at + 12].copy_from_slice(b"99");
    let error = Learner::from_bytes(&larger, &cpu()).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}
