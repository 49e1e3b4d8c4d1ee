//! A miniature of `cargo xtask reproduce sine`.

use forgeling_tests::sine::{Regression, STEPS};

#[test]
fn maml_continues_waves_that_pretraining_cannot() {
    let regression = Regression {
        steps: 1500,
        tests: 100,
        seed: 0,
    };
    let figures = regression.run(|_, _| {}).unwrap();
    let (maml, pretrained) = (figures.maml[STEPS], figures.pretrained[STEPS]);
    assert!(
        figures.maml[0] > 2.0,
        "no network knows a wave before it sees it: {figures:?}"
    );
    assert!(maml < 0.5 * pretrained, "{maml} against {pretrained}");
    assert!(figures.chart.render().contains("truth"));
}
