//! All runs of a command.

use std::fs;
use std::path::Path;

use forgeling::continual::{Experiment, Preset, Scenario, Seeds, Setting, StrategyName};
use forgeling::data::Dataset as _;
use forgeling::nn::Network;
use forgeling::nn::graph::Graph;
use forgeling::train::{HardwareConfig, HardwareManager, SavedNetwork};
use forgeling::{Device, Error, Result};
use serde_json::{Map, Value, json};

use super::super::supervised::image_count;
use super::super::{load_network, open};
use super::data::Data;
use super::one::{self, Done, One};
use super::plan::{self, Plan};
use super::row::Row;
use super::{report, words};
use crate::args::{Common, ContinualArgs, ScenarioKind};
use crate::output::Output;
use crate::sounds::Prepared;

/// All runs of a command, ready to begin.
pub struct Bench<'a> {
    pub args: &'a ContinualArgs,
    pub preset: Preset,
    pub setting: Setting,
    pub device: Device,
    /// Each with its runs.
    pub strategies: Vec<(Plan, Vec<One>)>,
    hardware: HardwareConfig,
    data: Data,
}

/// A network that was trained before.
struct Trained {
    saved: SavedNetwork,
    /// Tells its file from others.
    hash: u64,
}

impl Trained {
    fn load(path: &Path, device: &Device) -> Result<Self> {
        let saved = load_network(path, device)?;
        if saved.normalization.is_some() {
            let message = "the network takes standardised images, which are not learned one task after the other";
            return Err(Error::invalid("continual", message)
                .expected("one that was trained with --normalize none")
                .path(path));
        }
        let bytes = fs::read(path).map_err(|error| Error::io("load_model", path, &error))?;
        // FNV-1a.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(Self { saved, hash })
    }

    /// Its layers below a last one that is drawn anew.
    fn network(&self, graph: &Graph, seed: u64, device: &Device) -> Network {
        Network::new(graph, seed, device).with_values(|node, drawn| {
            let trained = self.saved.network.values(node);
            match trained.filter(|_| node != graph.output()) {
                Some(values) => values.clone(),
                None => drawn,
            }
        })
    }
}

impl<'a> Bench<'a> {
    /// Loads the data, and checks everything that can be checked before the first step.
    pub async fn new(
        args: &'a ContinualArgs,
        common: &Common,
        names: &[StrategyName],
        output: &Output,
    ) -> Result<Self> {
        let device = open(common, output).await?;
        let trained = args.network.weights.as_deref();
        let trained = trained
            .map(|path| Trained::load(path, &device))
            .transpose()?;
        let input = trained.as_ref().map(|trained| trained.saved.input());
        let heard = trained.as_ref().and_then(|trained| trained.saved.sounds);
        let shape = input.or(args.network.input());
        let data = Data::load(args, shape, heard.map(Prepared::Sounds), output)?;
        let setting = args.scenario.setting();
        let preset = args.protocol.preset(setting);
        let seeds = (0..args.seeds).map(|run| common.seed.wrapping_add(run));
        let scenarios = seeds.map(|seed| Ok((seed, data.scenario(&args.scenario, preset, seed)?)));
        let scenarios = scenarios.collect::<Result<Vec<_>>>()?;
        let first = &scenarios[0].1;
        let graph = |strategy| match (&trained, args.network.named()) {
            (Some(trained), _) => {
                let graph = trained.saved.network.graph();
                graph.with_outputs(first.outputs())
            }
            (None, Some(named)) => named.graph(first.image_shape(), first.outputs()),
            (None, None) => preset.network(strategy, first),
        };
        let hardware = HardwareConfig {
            precision: args.precision,
            ..Default::default()
        };
        let mut bench = Self {
            args,
            preset,
            setting,
            device,
            strategies: Vec::new(),
            hardware,
            data,
        };
        for plan in plan::all(&args.protocol, preset, names, first)? {
            let graph = graph(plan.name)?;
            let runs = scenarios.iter().map(|(seed, scenario)| {
                bench.one(&plan, *seed, scenario.clone(), &graph, trained.as_ref())
            });
            let runs = runs.collect::<Result<Vec<_>>>()?;
            bench.strategies.push((plan, runs));
        }
        Ok(bench)
    }

    fn one(
        &self,
        plan: &Plan,
        seed: u64,
        scenario: Scenario,
        graph: &Graph,
        trained: Option<&Trained>,
    ) -> Result<One> {
        let protocol = plan.protocol.clone();
        let identity = self.identity(plan, seed, &scenario, graph, trained)?;
        let seeds = Seeds::all(seed);
        let mut experiment = Experiment::new(scenario, graph.clone(), protocol, seeds)?
            .saving_every(self.args.checkpoint_every);
        if let Some(steps) = self.args.test_every {
            experiment = experiment.testing_every(steps);
        }
        if let Some(trained) = trained {
            experiment = experiment.from_weights(trained.network(graph, seed, &self.device))?;
        }
        Ok(One {
            strategy: plan.name,
            seed,
            experiment,
            identity,
            folder: one::folder(&self.args.out, plan.name, seed),
        })
    }

    /// All that must be the same for a run to go on, and for its outcome to be that of another command.
    fn identity(
        &self,
        plan: &Plan,
        seed: u64,
        scenario: &Scenario,
        graph: &Graph,
        trained: Option<&Trained>,
    ) -> Result<Map<String, Value>> {
        let Data {
            train,
            test,
            preparation,
            classes,
            ..
        } = &self.data;
        let protocol = &plan.protocol;
        let manager = HardwareManager::on(self.device.clone(), self.hardware.clone())?;
        let precision = manager.precision();
        let identity = json!({
            "scenario": scenario.config(),
            "seed": seed,
            "classes": classes,
            "number of images": image_count(train),
            "number of images to test on": image_count(test),
            "reading of pictures": preparation.pictures(),
            "reading of sounds": preparation.sounds(),
            "shape of images": train.image_shape(),
            "strategy": protocol.strategy,
            "head": protocol.head,
            "number of batches": protocol.pace,
            "optimizer": protocol.optimizer,
            "learning rate schedule": protocol.schedule,
            "buffer": protocol.buffer,
            "trained network": trained.map(|trained| trained.hash),
            "steps between tests": self.args.test_every,
            "precision": [precision.compute, &precision.storage.to_string()],
            // Told after the others, which say more.
            "wiring and sizes of the network": graph,
        });
        Ok(identity.as_object().cloned().unwrap_or_default())
    }

    /// The first run's.
    pub fn experiment(&self) -> &Experiment {
        &self.strategies[0].1[0].experiment
    }

    /// Takes all runs to their ends, and writes the results.
    pub async fn run(&self, output: &Output) -> Result<Vec<Row>> {
        let out = &self.args.out;
        report::try_files(self)?;
        let all = || self.strategies.iter().flat_map(|(_, runs)| runs);
        if self.args.restart
            && let Some(aside) = one::set_aside(out, all().map(|run| run.folder.as_path()))?
        {
            output.line(format_args!("Moved earlier runs to {}", aside.display()));
        }
        all().try_for_each(One::check)?;
        self.say(output);
        let mut rows = Vec::new();
        for (plan, runs) in &self.strategies {
            let mut done: Vec<Done> = Vec::new();
            for run in runs {
                done.push(run.run(&self.device, &self.hardware, output).await?);
            }
            rows.push(Row {
                plan: plan.clone(),
                runs: done,
                batches: runs.first().map_or(Ok(0), One::batches)?,
            });
        }
        report::write(self, &rows, output)?;
        Ok(rows)
    }

    fn say(&self, output: &Output) {
        output.line(self.said());
        output.line(format_args!("Preset {}:", words::preset(self.preset)));
        for (plan, _) in &self.strategies {
            output.line(format_args!("  {}: {}", plan.name, plan.said(self.setting)));
            for change in &plan.changed {
                let (option, to, from) = (change.option, &change.to, &change.from);
                output.line(format_args!(
                    "    changed by {option}: {to} instead of {from}"
                ));
            }
        }
        output.line("Ctrl-C stops and saves; the same command goes on.");
    }

    /// What is learned.
    pub fn said(&self) -> String {
        let scenario = self.experiment().scenario();
        let graph = self.experiment().graph();
        format!(
            "{} contexts, {}, setting {}, of {} classes of {}; a network of {} outputs and {} values; {} of each strategy.",
            scenario.len(),
            scenario_name(self.args.scenario.scenario),
            words::setting(self.setting),
            self.data.classes.len(),
            self.args.data.data,
            scenario.outputs(),
            graph.counts().all(),
            match self.args.seeds {
                1 => "one run".to_string(),
                runs => format!("{runs} runs"),
            },
        )
    }

    /// Where data and runs of the report are.
    pub fn origin(&self) -> [(&'static str, String); 3] {
        [
            ("data", self.args.data.data.to_string()),
            ("test data", self.data.tested.clone()),
            ("runs", self.args.out.display().to_string()),
        ]
    }

    /// What is common to all rows, under `--json`.
    pub fn object(&self) -> Map<String, Value> {
        let object = json!({
            "scenario": scenario_name(self.args.scenario.scenario),
            "contexts": self.experiment().scenario().len(),
            "setting": words::setting(self.setting),
            "preset": words::preset(self.preset),
            "report": self.args.out.join("report.html"),
        });
        object.as_object().cloned().unwrap_or_default()
    }
}

fn scenario_name(scenario: ScenarioKind) -> &'static str {
    match scenario {
        ScenarioKind::Split => "split",
        ScenarioKind::Permuted => "permuted",
        ScenarioKind::Rotated => "rotated",
        ScenarioKind::Blurred => "blurred",
    }
}
