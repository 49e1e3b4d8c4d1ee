//! What every method promises: tasks of any sizes, values that come back from files, errors with words.

use burn::tensor::Tensor;
use forgeling::data::{Dataset, Examples, Glyphs, ImageShape, Split, Targets, Task, TaskPlan};
use forgeling::meta::{
    Centroids, Distance, Embedded, FewShot, Matching, MetricHead, MetricLearner, Prototypes,
    Relation, Ridge, Side, SimpleShot, Stack, TaskLoss,
};
use forgeling::nn::{Network, Normalization, Pass, absorb};
use forgeling::train::weights::{collect, load};
use forgeling::train::{Encoder, Objective};
use forgeling_tests::few_shot::{tasks, train};
use forgeling_tests::ops_parity::tensor;
use forgeling_tests::{F32_TOLERANCE, assert_close};

use super::{encoder, flex, numbers};

/// Calls `$check(name, head, rest..)` with every head, for feature maps `[4, 2, 2]`.
macro_rules! every_head {
    ($check:ident, $device:expr $(, $rest:expr)*) => {{
        let device = $device;
        let prototypes = |distance| Prototypes::new(distance, device);
        $check("euclidean", prototypes(Distance::Euclidean) $(, $rest)*);
        $check("cosine", prototypes(Distance::Cosine) $(, $rest)*);
        $check("mahalanobis", prototypes(Distance::Mahalanobis) $(, $rest)*);
        $check("matching", Matching::new(device) $(, $rest)*);
        $check("relation", Relation::new([4, 2, 2], 3, 5, device).unwrap() $(, $rest)*);
        $check("ridge", Ridge::new(device) $(, $rest)*);
        $check("centroids", Centroids::new(tensor([16], 3.0, device)) $(, $rest)*);
    }};
}

fn glyphs() -> Glyphs {
    Glyphs::new(0, Split::Train, 20)
        .unwrap()
        .with_size(16)
        .unwrap()
}

/// Tasks of unlike sizes; the first and the last are of one.
fn unlike() -> Vec<Task> {
    let plan = |classes: &[usize], support: &[usize], query: &[usize]| {
        let lists = |counts: &[usize], first: usize| {
            let list = |count: &usize| (first..first + count).collect();
            counts.iter().map(list).collect()
        };
        let plan = TaskPlan {
            classes: classes.to_vec(),
            support: lists(support, 0),
            query: lists(query, 10),
        };
        Task::read(plan, &glyphs()).unwrap()
    };
    vec![
        plan(&[3, 1, 7], &[1, 2, 3], &[2, 0, 1]),
        plan(&[2, 9], &[4, 1], &[1, 3]),
        plan(&[5, 6, 0], &[3, 1, 2], &[0, 1, 2]),
    ]
}

fn learner<H: MetricHead>(head: H) -> MetricLearner<Network, H> {
    MetricLearner {
        // Maps of [4, 2, 2].
        encoder: encoder(16, 4, 3),
        head,
    }
}

fn loss<M: FewShot>(model: &M, tasks: &[Task], normalization: Normalization) -> f32 {
    let mut pass = Pass::new(normalization, &flex());
    let outcome = TaskLoss.forward(model, &tasks.to_vec(), &mut pass).unwrap();
    numbers(outcome.loss)[0]
}

fn answers<M: FewShot>(model: &M, stack: &Stack<'_>, normalization: Normalization) -> Vec<f32> {
    numbers(model.predict(stack, normalization).unwrap())
}

#[test]
fn tasks_of_unlike_sizes_count_alike_and_do_not_see_each_other() {
    fn check<H: MetricHead>(name: &str, head: H, tasks: &[Task]) {
        let model = learner(head);
        let each = tasks.chunks(1);
        let losses: f32 = each
            .map(|task| loss(&model, task, Normalization::Running))
            .sum();
        let mean = loss(&model, tasks, Normalization::Running);
        assert!(
            (mean - losses / 3.0).abs() < 1e-5 * mean.abs(),
            "{name}: {mean}"
        );
        for normalization in [Normalization::Running, Normalization::Batch] {
            let stacks = Stack::of(tasks);
            assert_eq!(stacks.len(), 2);
            for stack in stacks {
                let logits = model.predict(&stack, normalization).unwrap();
                let shape = [stack.len(), stack.rows(Side::Query), stack.outputs()];
                assert_eq!(logits.dims(), shape, "{name}");
                let alone: Vec<f32> = stack
                    .places()
                    .iter()
                    .flat_map(|&place| {
                        let alone = Stack::of(&tasks[place..=place]);
                        answers(&model, &alone[0], normalization)
                    })
                    .collect();
                assert_close(name, &numbers(logits), &alone, 1e-5);
            }
        }
    }
    every_head!(check, &flex(), &unlike());
}

/// Examples class after class have a way of their own in some heads.
#[test]
fn the_order_of_examples_is_of_no_account() {
    fn check<H: MetricHead>(name: &str, head: H) {
        let [task, ..] = &tasks(&glyphs(), [3, 2, 2], 1, 5)[..] else {
            panic!("no task")
        };
        let reversed = |side: &Examples| {
            let mut classes = side.classes().unwrap().to_vec();
            classes.reverse();
            let inputs = side.inputs.rchunks(task.shape().len());
            Examples {
                inputs: inputs.flatten().copied().collect(),
                targets: Targets::Classes(classes),
            }
        };
        let (support, query) = (reversed(task.support()), reversed(task.query()));
        let turned = Task::new(task.shape(), task.outputs(), support, query).unwrap();
        let model = learner(head);
        let [expected, got] = [task, &turned].map(|task| {
            let stack = &Stack::of(std::slice::from_ref(task))[0];
            answers(&model, stack, Normalization::Running)
        });
        let got: Vec<f32> = got.rchunks(3).flatten().copied().collect();
        assert_close(name, &got, &expected, 1e-5);
    }
    every_head!(check, &flex());
}

#[test]
fn a_trained_network_comes_back_from_its_values() {
    fn check<M: FewShot>(name: &str, mut model: M, fresh: M, tasks: &[Task]) {
        pollster::block_on(train(&mut model, 0.05, &[tasks.to_vec(), tasks.to_vec()]));
        let values = pollster::block_on(collect(&model)).unwrap();
        let stack = &Stack::of(tasks)[0];
        let expected = answers(&model, stack, Normalization::Running);
        let before = answers(&fresh, stack, Normalization::Running);
        assert_ne!(before, expected, "{name} has learned nothing");
        let back = load(fresh, values).unwrap();
        assert_eq!(
            answers(&back, stack, Normalization::Running),
            expected,
            "{name}"
        );
    }
    fn twice<H: MetricHead>(name: &str, head: H, tasks: &[Task]) {
        check(name, learner(head.clone()), learner(head), tasks);
    }
    every_head!(twice, &flex(), &unlike());
    let simple = || SimpleShot::new(encoder(16, 4, 3), 16, 20, 3).unwrap();
    let mut centered = simple();
    centered.center(&glyphs(), 40).unwrap();
    check("simple shot", centered, simple(), &unlike());
}

/// Means and variances of encoder and head go to where they belong, also of several stacks in one pass.
#[test]
fn statistics_are_told_apart() {
    let model = learner(Relation::new([4, 2, 2], 3, 5, &flex()).unwrap());
    let passes = |tasks: &[Task]| {
        let mut pass = Pass::new(Normalization::Batch, &flex());
        TaskLoss
            .forward(&model, &tasks.to_vec(), &mut pass)
            .unwrap();
        pass.take_statistics()
    };
    let all = unlike();
    let together = absorb(model.clone(), passes(&all)).unwrap();
    let (first, second) = ([all[0].clone(), all[2].clone()], [all[1].clone()]);
    let apart = absorb(model.clone(), passes(&first)).unwrap();
    let apart = absorb(apart, passes(&second)).unwrap();
    let values = |model| pollster::block_on(collect(model)).unwrap();
    assert_eq!(values(&together), values(&apart));
    let changed = |name: &str| {
        let of = |tensors: Vec<forgeling::train::weights::NamedTensor>| {
            tensors
                .into_iter()
                .find(|tensor| tensor.name == name)
                .unwrap()
                .values
        };
        of(values(&together)) != of(values(&model))
    };
    assert!(changed("encoder.blocks.2.norm.running_var"));
    assert!(changed("head.blocks.0.running_mean"));
    assert!(!changed("head.blocks.0.weight"));
}

#[test]
fn the_center_is_the_mean_of_as_many_of_each_class() {
    let (encoder, glyphs) = (encoder(16, 4, 3), glyphs());
    // 20 classes have 2 images each, and 5 a third one. More than one pass would hold is the other size.
    for count in [45, 300] {
        let head = Centroids::of(&encoder, &glyphs, count).unwrap();
        let mut sum = [0.0f64; 16];
        for place in 0..count {
            let mut image = vec![0.0; 256];
            glyphs.read(place % 20, place / 20, &mut image).unwrap();
            let image = burn::tensor::TensorData::new(image, [1, 1, 16, 16]);
            let mut pass = Pass::new(Normalization::Running, &flex());
            let image = pass.values(image);
            let features = numbers(encoder.maps(image, &mut pass).unwrap());
            for (sum, value) in sum.iter_mut().zip(features) {
                *sum += f64::from(value);
            }
        }
        let expected: Vec<f32> = sum.iter().map(|sum| (sum / count as f64) as f32).collect();
        let values = pollster::block_on(collect(&head)).unwrap();
        assert_close("mean", &values[0].values, &expected, F32_TOLERANCE);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = flex();
    let refuse = |what: &str, error: Option<forgeling::Error>| {
        let error = error.unwrap_or_else(|| panic!("{what} went through"));
        assert!(error.is_bad_input(), "{what}: {error}");
    };
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refuse("tau", Matching::with_scale(tau, &device).err());
    }
    for (map, filters) in [([0, 2, 2], 3), ([4, 2, 0], 3), ([4, 2, 2], 0)] {
        refuse("sizes", Relation::new(map, filters, 1, &device).err());
    }

    fn check<H: MetricHead>(name: &str, head: H, refuse: &dyn Fn(&str, Option<forgeling::Error>)) {
        let device = flex();
        let embedded = |support: [usize; 3], onehot: [usize; 3], query: [usize; 3]| Embedded {
            support: Tensor::ones(support, &device),
            onehot: Tensor::ones(onehot, &device),
            query: Tensor::ones(query, &device),
            map: [4, 2, 2],
        };
        for tasks in [
            embedded([1, 3, 16], [1, 2, 2], [1, 4, 16]),
            embedded([1, 3, 16], [2, 3, 2], [1, 4, 16]),
            embedded([1, 3, 16], [1, 3, 2], [1, 4, 15]),
            embedded([1, 3, 15], [1, 3, 2], [1, 4, 15]),
            embedded([1, 3, 16], [1, 3, 2], [1, 0, 16]),
        ] {
            let mut pass = Pass::new(Normalization::Batch, &device);
            refuse(name, head.logits(&tasks, &mut pass).err());
        }
        let side = || Examples {
            inputs: vec![0.5; 2 * 256],
            targets: Targets::Values(vec![1.0, 2.0]),
        };
        let task = Task::new(ImageShape::new(1, 16, 16), 1, side(), side()).unwrap();
        let stack = &Stack::of(std::slice::from_ref(&task))[0];
        let model = learner(head);
        refuse(name, model.predict(stack, Normalization::Running).err());
    }
    every_head!(check, &device, &refuse);

    let other = Embedded {
        support: Tensor::ones([1, 3, 8], &device),
        onehot: Tensor::ones([1, 3, 2], &device),
        query: Tensor::ones([1, 4, 8], &device),
        map: [2, 2, 2],
    };
    let relation = Relation::new([4, 2, 2], 3, 5, &device).unwrap();
    let centroids = Centroids::new(tensor([16], 3.0, &device));
    let mut pass = Pass::new(Normalization::Batch, &device);
    refuse("maps", relation.logits(&other, &mut pass).err());
    refuse("mean", centroids.logits(&other, &mut pass).err());
    let logits = || tensor([2, 3], 1.0, &device);
    refuse("labels", relation.loss(logits(), vec![0]).err());
    refuse("labels", relation.loss(logits(), vec![0, 3]).err());

    let glyphs = glyphs();
    let all: usize = (0..20).map(|class| glyphs.class_len(class)).sum();
    for count in [0, all + 1] {
        let few = forgeling::data::Subset::first(glyphs, 3).unwrap();
        refuse(
            "images",
            Centroids::of(&encoder(16, 4, 3), &few, count).err(),
        );
    }
    for (features, classes) in [(0, 5), (16, 0)] {
        refuse(
            "simple shot",
            SimpleShot::new(encoder(16, 4, 3), features, classes, 1).err(),
        );
    }
    let simple = |classes| SimpleShot::new(encoder(16, 4, 3), 16, classes, 1).unwrap();
    let read = tasks(&glyphs, [3, 1, 2], 1, 5);
    let named = read[0].plan().unwrap().classes.iter().max().unwrap();
    let task = &read[0];
    let nameless = Task::new(
        task.shape(),
        task.outputs(),
        task.support().clone(),
        task.query().clone(),
    );
    let nameless = [nameless.unwrap()];
    for (tasks, classes) in [(&read[..], *named), (&nameless[..], 20)] {
        let stack = &Stack::of(tasks)[0];
        let model = simple(classes);
        let mut pass = Pass::new(Normalization::Batch, &device);
        refuse("classes", model.loss(stack, &mut pass).err());
        assert!(model.predict(stack, Normalization::Running).is_ok());
    }
}
