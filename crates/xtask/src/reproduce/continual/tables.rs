//! What was published.

/// A published table.
pub struct Table {
    pub name: &'static str,
    /// What is the same in all cells, for people.
    pub protocol: &'static str,
    /// The same for the command.
    pub arguments: &'static [&'static str],
    pub seeds: u32,
    pub cells: Vec<Cell>,
}

/// One of its cells.
pub struct Cell {
    pub setting: &'static str,
    pub strategy: &'static str,
    /// What tells it from another cell of that strategy.
    pub suffix: &'static str,
    pub arguments: &'static [&'static str],
    /// Values of `--lambda`, of which that is taken with which images held out of the training set are told best.
    pub lambdas: &'static [f64],
    pub published: Option<Published>,
    /// Runs, where they are not as many as the table's.
    pub seeds: Option<u32>,
    /// What it has to reach, in percent.
    pub least: Option<f64>,
    pub source: &'static str,
    pub note: Option<&'static str>,
}

/// A mean in percent, and its standard error.
#[derive(Clone, Copy)]
pub struct Published {
    pub value: f64,
    pub se: f64,
}

impl Cell {
    pub fn name(&self) -> String {
        let Self {
            setting,
            strategy,
            suffix,
            ..
        } = self;
        match suffix.is_empty() {
            true => format!("{setting}-{strategy}"),
            false => format!("{setting}-{strategy}-{suffix}"),
        }
    }

    /// Whether it trains in so many steps, and not in passes over what it keeps or none at all.
    pub fn takes_steps(&self) -> bool {
        !["gdumb", "slda", "rff"].contains(&self.strategy)
    }

    fn reaching(self, least: f64) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }

    fn running(self, seeds: u32) -> Self {
        Self {
            seeds: Some(seeds),
            ..self
        }
    }

    fn with(self, suffix: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            suffix,
            arguments,
            ..self
        }
    }

    fn choosing(self, lambdas: &'static [f64]) -> Self {
        Self {
            lambdas,
            suffix: "validated",
            note: Some("the factor chosen on a tenth of the training images, with one seed"),
            ..self
        }
    }

    fn noting(self, note: &'static str) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

fn cell(setting: &'static str, strategy: &'static str, source: &'static str) -> Cell {
    Cell {
        setting,
        strategy,
        suffix: "",
        arguments: &[],
        lambdas: &[],
        published: None,
        seeds: None,
        least: None,
        source,
        note: None,
    }
}

fn published(
    setting: &'static str,
    strategy: &'static str,
    value: f64,
    se: f64,
    source: &'static str,
) -> Cell {
    Cell {
        published: Some(Published { value, se }),
        ..cell(setting, strategy, source)
    }
}

const VANDEVEN: &str =
    "van de Ven, Tuytelaars and Tolias, 2022; not yet compared with the paper itself";
const OURS: &str = "no published value";

pub fn split_mnist() -> Table {
    let of = |setting, strategy, value, se| published(setting, strategy, value, se, VANDEVEN);
    let cells = vec![
        of("task", "naive", 84.3, 1.0),
        of("task", "joint", 99.7, 0.0),
        of("task", "ewc", 99.1, 0.15),
        of("task", "si", 99.2, 0.1),
        of("task", "lwf", 99.6, 0.0),
        of("task", "er", 99.0, 0.0),
        of("task", "agem", 98.5, 0.0),
        of("domain", "naive", 60.1, 1.7),
        of("domain", "joint", 98.6, 0.0),
        of("domain", "ewc", 63.0, 1.6),
        of("domain", "si", 66.9, 1.1),
        of("domain", "lwf", 71.2, 1.4),
        of("domain", "er", 93.8, 0.2),
        of("domain", "agem", 81.5, 1.3),
        of("class", "naive", 19.9, 0.0),
        of("class", "joint", 98.2, 0.0),
        of("class", "ewc", 20.6, 0.5),
        of("class", "si", 21.2, 0.6),
        of("class", "lwf", 21.9, 0.3),
        of("class", "er", 88.8, 0.2),
        of("class", "agem", 65.1, 3.6),
        of("class", "icarl", 92.5, 0.1),
        cell("class", "er", OURS).with("growing", &["--head", "growing"]),
        cell("class", "lwf", OURS).with("growing", &["--head", "growing"]),
        cell("domain", "ewc", OURS).choosing(&[1e2, 1e4, 1e6, 1e8, 1e10]),
        cell("domain", "si", OURS).choosing(&[5.0, 5e1, 5e2, 5e3, 5e4]),
        cell("class", "ewc", OURS).choosing(&[1e1, 1e3, 1e5, 1e7, 1e9]),
        cell("class", "si", OURS).choosing(&[5e-1, 5.0, 5e1, 5e2, 5e3]),
        cell("class", "slda", OURS)
            .reaching(95.0)
            .noting("random features, one pass, no buffer"),
        cell("class", "rff", OURS)
            .reaching(95.0)
            .noting("random features, one pass, no buffer"),
        published(
            "class",
            "gdumb",
            97.8,
            0.1,
            "Prabhu, Torr and Dokania, 2020",
        )
        .reaching(96.5)
        .running(3)
        .noting("4,400 examples; a run takes twenty minutes"),
    ];
    Table {
        name: "split-mnist",
        protocol: "five contexts of two classes, shuffled by seed; perceptron 2 x 400 on raw pixels; Adam 1e-3, kept from context \
                   to context; 2,000 batches of 128 a context (10,000 for joint)",
        arguments: &[
            "--scenario",
            "split",
            "--contexts",
            "5",
            "--preset",
            "vandeven",
        ],
        seeds: 10,
        cells,
    }
}

pub fn mammoth_mnist() -> Table {
    const MAMMOTH: &str = "Buzzega et al., 2020; not yet compared with the paper itself";
    const SMALL: &[&str] = &["--buffer", "200"];
    const LARGE: &[&str] = &["--buffer", "500"];
    let of = |strategy, value| published("class", strategy, value, 0.0, MAMMOTH);
    let cells = vec![
        of("naive", 19.6),
        of("online-ewc", 20.5),
        of("si", 19.3),
        cell("class", "lwf", OURS),
        of("er", 80.4).with("200", SMALL),
        of("er", 86.1).with("500", LARGE),
        cell("class", "er-ace", OURS).with("200", SMALL),
        cell("class", "er-ace", OURS).with("500", LARGE),
        of("der", 84.6).with("200", SMALL),
        of("der", 90.5).with("500", LARGE),
        of("derpp", 85.6).with("200", SMALL),
        of("derpp", 91.0).with("500", LARGE),
        of("agem", 45.7).with("200", SMALL),
        cell("class", "agem", OURS).with("500", LARGE),
    ];
    Table {
        name: "mammoth-mnist",
        protocol: "five contexts of two classes in the order of the digits; perceptron 2 x 100; SGD, one epoch, batches of 10",
        arguments: &[
            "--scenario",
            "split",
            "--contexts",
            "5",
            "--class-order",
            "data",
            "--preset",
            "mammoth",
        ],
        seeds: 10,
        cells,
    }
}

pub fn permuted_mnist() -> Table {
    const PAPERS: &str =
        "Kirkpatrick et al., 2017, and Zenke et al., 2017, as read off their figures";
    let cells = vec![
        cell("domain", "naive", OURS),
        cell("domain", "joint", OURS),
        published("domain", "ewc", 94.0, 0.0, PAPERS).reaching(90.0),
        published("domain", "si", 95.0, 0.0, PAPERS).reaching(90.0),
    ];
    Table {
        name: "permuted-mnist",
        protocol: "ten contexts of permuted pixels, 32 x 32; perceptron 2 x 1000; Adam 1e-4; 5,000 batches of 128 a context",
        arguments: &[
            "--scenario",
            "permuted",
            "--contexts",
            "10",
            "--preset",
            "vandeven",
        ],
        seeds: 3,
        cells,
    }
}
