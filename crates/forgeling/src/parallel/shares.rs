//! Into which parts a batch is split.

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// How a batch is split among devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shares {
    /// The same number of examples for each, one more for the first ones where it does not divide. Depends on nothing
    /// that is measured, so that the same run gives the same numbers.
    Equal,
    /// As many as each device computes in the same time. Speeds are examples per second, exponentially averaged, of all
    /// steps but the first two of each device, which compile kernels.
    BySpeed {
        /// Steps from one plan to the next. At each, every device gets an example at least where there are enough, so
        /// that slow ones are measured anew.
        every: usize,
    },
}

impl Shares {
    /// [`Equal`](Self::Equal) among devices of one kind, otherwise [`BySpeed`](Self::BySpeed), planned every 20 steps.
    pub fn for_devices(devices: &[Device]) -> Self {
        let what = |device: &Device| {
            let info = device.info();
            (info.kind, info.name.clone(), info.backend.clone())
        };
        let alike = devices.windows(2).all(|two| what(&two[0]) == what(&two[1]));
        if alike {
            Self::Equal
        } else {
            Self::BySpeed { every: 20 }
        }
    }
}

/// Weight of the newest speed.
const NEWEST: f64 = 0.3;
/// Steps of a device that tell nothing of its speed.
const WARM_UP: usize = 2;

/// Measures speeds and plans shares.
#[derive(Debug, Clone)]
pub(super) struct Planner {
    shares: Shares,
    measured: Vec<Speed>,
    /// Relative speeds that shares follow.
    planned: Vec<f64>,
    steps: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    seen: usize,
    per_second: Option<f64>,
}

impl Planner {
    pub fn new(shares: Shares, devices: usize) -> Self {
        Self {
            shares,
            measured: vec![Speed::default(); devices],
            planned: vec![1.0; devices],
            steps: 0,
        }
    }

    /// Examples for each device, and each one's part if that has changed.
    pub fn plan(&mut self, examples: usize) -> (Vec<usize>, Option<Vec<f64>>) {
        let Shares::BySpeed { every } = self.shares else {
            return (apportion(examples, &self.planned, 0), None);
        };
        let mut news = None;
        let now = self.steps.is_multiple_of(every);
        if now {
            let speeds: Option<Vec<f64>> = self.measured.iter().map(|s| s.per_second).collect();
            if let Some(speeds) = speeds {
                let sum: f64 = speeds.iter().sum();
                self.planned = speeds.iter().map(|speed| speed / sum).collect();
                news = Some(self.planned.clone());
            }
        }
        let least = usize::from(now && examples >= self.planned.len());
        (apportion(examples, &self.planned, least), news)
    }

    /// Takes in what a step took.
    pub fn learn(&mut self, shares: &[usize], busy: &[f64]) {
        self.steps += 1;
        for ((speed, &examples), &seconds) in self.measured.iter_mut().zip(shares).zip(busy) {
            if examples == 0 || seconds <= 0.0 {
                continue;
            }
            speed.seen += 1;
            if speed.seen > WARM_UP {
                let new = examples as f64 / seconds;
                let old = speed.per_second.unwrap_or(new);
                speed.per_second = Some(old + NEWEST * (new - old));
            }
        }
    }

    /// Leaves a device out.
    pub fn remove(&mut self, device: usize) {
        self.measured.remove(device);
        self.planned.remove(device);
    }
}

/// Whole numbers in proportion to `weights` whose sum is `total`, none below `least`, of which there must be enough.
fn apportion(total: usize, weights: &[f64], least: usize) -> Vec<usize> {
    let rest = (total - least * weights.len()) as f64;
    let sum: f64 = weights.iter().sum();
    let exact = |weight: &f64| rest * weight / sum;
    let mut parts: Vec<usize> = weights.iter().map(|w| least + exact(w) as usize).collect();
    // What rounding down has left goes to where it took most, to the first ones among equals.
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| {
        let lost = |device: usize| exact(&weights[device]).fract();
        lost(b).total_cmp(&lost(a))
    });
    let given: usize = parts.iter().sum();
    for &device in order.iter().cycle().take(total.saturating_sub(given)) {
        parts[device] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_and_in_proportion() {
        assert_eq!(apportion(7, &[1.0, 1.0, 1.0], 0), [3, 2, 2]);
        assert_eq!(apportion(2, &[1.0; 4], 0), [1, 1, 0, 0]);
        assert_eq!(apportion(100, &[3.0, 1.0], 0), [75, 25]);
        assert_eq!(apportion(10, &[1.0, 1e-6], 0), [10, 0]);
        assert_eq!(apportion(10, &[1.0, 1e-6], 1), [9, 1]);
        assert_eq!(apportion(0, &[1.0, 1.0], 0), [0, 0]);
        for total in 0..60 {
            let parts = apportion(total, &[0.7, 2.9, 1.3], 0);
            assert_eq!(parts.iter().sum::<usize>(), total);
        }
    }

    #[test]
    fn equal_shares_never_change() {
        let mut planner = Planner::new(Shares::Equal, 2);
        for _ in 0..5 {
            assert_eq!(planner.plan(9), (vec![5, 4], None));
            planner.learn(&[5, 4], &[1.0, 100.0]);
        }
    }

    #[test]
    fn shares_follow_speed_after_warming_up() {
        let mut planner = Planner::new(Shares::BySpeed { every: 4 }, 2);
        // The second device compiles at first, then is three times as fast.
        for step in 0..4 {
            let (shares, news) = planner.plan(16);
            assert_eq!((shares.clone(), news), (vec![8, 8], None));
            let second = if step < 2 { 50.0 } else { 1.0 };
            planner.learn(&shares, &[3.0, second]);
        }
        let (shares, news) = planner.plan(16);
        assert_eq!((shares, news), (vec![5, 11], Some(vec![0.25, 0.75])));
        planner.learn(&[5, 11], &[1.0, 1.0]);
        assert_eq!(planner.plan(16), (vec![4, 12], None));
        planner.remove(0);
        assert_eq!(planner.plan(16).0, [16]);
    }
}
