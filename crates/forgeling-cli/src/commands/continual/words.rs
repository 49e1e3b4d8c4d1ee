//! How protocols are said.

use forgeling::continual::{Budget, HeadKind, Pace, Policy, Preset, Setting};
use forgeling::train::Schedule;
use serde_json::{Value, json};

/// As `--buffer` takes it.
pub fn budget(budget: Budget) -> String {
    match budget {
        Budget::Total(examples) => examples.to_string(),
        Budget::PerClass(examples) => format!("{examples}/class"),
        Budget::Bytes(bytes) => format!("{bytes}B"),
    }
}

/// A buffer, or that there is none.
pub fn buffer(buffer: Option<(Budget, Policy)>) -> String {
    let Some((kept, policy)) = buffer else {
        return "none".into();
    };
    let how = match policy {
        Policy::Reservoir => "reservoir",
        Policy::ClassBalanced => "balanced over classes",
        Policy::PerClassAtEnd => "kept when contexts end",
    };
    format!("{}, {how}", budget(kept))
}

/// As `--head` takes it.
pub fn head(head: HeadKind) -> &'static str {
    match head {
        HeadKind::All => "all",
        HeadKind::Growing => "growing",
        HeadKind::PerTask => "per-task",
        HeadKind::MaskedAtTest => "masked-at-test",
    }
}

/// As `--setting` takes it.
pub fn setting(setting: Setting) -> &'static str {
    match setting {
        Setting::Task => "task",
        Setting::Domain => "domain",
        Setting::Class => "class",
        Setting::Free => "free",
    }
}

/// As `--preset` takes it.
pub fn preset(preset: Preset) -> &'static str {
    match preset {
        Preset::VanDeVen => "vandeven",
        Preset::Mammoth => "mammoth",
    }
}

pub fn pace(pace: Pace) -> String {
    match pace {
        Pace::Iterations {
            iterations,
            batch_size,
        } => format!("{iterations} batches of {batch_size}"),
        Pace::Epochs {
            epochs: 1,
            batch_size,
        } => format!("one epoch in batches of {batch_size}"),
        Pace::Epochs { epochs, batch_size } => {
            format!("{epochs} epochs in batches of {batch_size}")
        }
    }
}

pub fn rate(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Constant { rate } => rate.to_string(),
        other => numbers(&json!(other)),
    }
}

/// A value with names, for people: `er (examples 128, weight by context)`.
pub fn numbers(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| {
                let name = name.replace('_', " ");
                match value {
                    Value::Object(_) => format!("{name} ({})", numbers(value)),
                    value => format!("{name} {}", numbers(value)),
                }
            };
            let entries: Vec<String> = entries
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(entry)
                .collect();
            entries.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_can_be_read() {
        let value = json!({ "er": { "examples": 8, "weight": "by_context", "online": null } });
        assert_eq!(numbers(&value), "er (examples 8, weight by context)");
        assert_eq!(numbers(&json!("naive")), "naive");
        let kept = Some((Budget::PerClass(100), Policy::PerClassAtEnd));
        assert_eq!(buffer(kept), "100/class, kept when contexts end");
        assert_eq!(budget(Budget::Bytes(2_000_000)), "2000000B");
        let epochs = Pace::Epochs {
            epochs: 1,
            batch_size: 10,
        };
        assert_eq!(pace(epochs), "one epoch in batches of 10");
    }
}
