//! How busy other programs kept the machine during a benchmark.
//!
//! Implementations that divide their work evenly among threads suffer several times more from company than
//! others do, so ratios are of use only where there was none.

use std::fs;
use std::time::Instant;

/// The unit in which Linux tells processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time since some moment.
pub struct Company {
    begun: Instant,
    everyone: f64,
    children: f64,
}

impl Company {
    /// Begins to count, where the system tells (Linux).
    pub fn watch() -> Option<Self> {
        let (everyone, children) = seconds()?;
        Some(Self {
            begun: Instant::now(),
            everyone,
            children,
        })
    }

    /// Cores that others kept busy on average. The benchmark's processes must have ended.
    pub fn cores(&self) -> Option<f64> {
        let (everyone, children) = seconds()?;
        let others = (everyone - self.everyone) - (children - self.children);
        Some((others / self.begun.elapsed().as_secs_f64()).max(0.0))
    }
}

/// Processor seconds of all programs, and of this process's children that have ended.
fn seconds() -> Option<(f64, f64)> {
    let read = |path| fs::read_to_string(path).ok();
    let everyone = everyone(&read("/proc/stat")?)?;
    let children = children(&read("/proc/self/stat")?)?;
    Some((everyone / TICKS_PER_SECOND, children / TICKS_PER_SECOND))
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guests count as users already.
fn everyone(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks = numbers(line)?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().take(8).sum::<f64>() - idle)
}

/// `pid (name) state ppid …`: of the numbers after the state, the 13th and 14th.
fn children(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let (_, rest) = rest.trim_start().split_once(' ')?;
    let fields = numbers(rest)?;
    Some(fields.get(12)? + fields.get(13)?)
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_idle_time_is_busy() {
        let stat = "cpu  10 1 20 500 7 0 3 2 4 0\ncpu0 1 2 3\n";
        assert_eq!(everyone(stat), Some(36.0));
        assert_eq!(everyone("cpu 1 2\n"), None);
        assert_eq!(everyone(""), None);
    }

    #[test]
    fn children_are_found_behind_any_name() {
        let stat = "42 (a) b) S 1 2 3 0 -1 5 6 7 8 9 10 11 1200 34 20 0";
        assert_eq!(children(stat), Some(1234.0));
        assert_eq!(children("42 (x) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_tells() {
        assert!(
            Company::watch()
                .and_then(|company| company.cores())
                .is_some()
        );
    }
}
