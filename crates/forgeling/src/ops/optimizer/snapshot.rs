//! What an optimizer keeps, on the host and the same whatever device it came from.

/// Moments and counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Snapshot {
    /// The moments of each parameter.
    pub moments: Vec<Vec<Vec<f32>>>,
    /// Steps that were taken.
    pub steps: u64,
    /// Whether the last one was skipped.
    pub last_skipped: bool,
    /// How many were.
    pub skipped: u64,
}

impl Snapshot {
    /// Counts as f32, which is what devices hold: `[whether the last step was skipped, how many were, steps]`.
    pub fn counts(&self) -> [f32; 3] {
        let last = f32::from(self.last_skipped);
        [last, self.skipped as f32, self.steps as f32]
    }

    /// Of [`counts`](Self::counts).
    pub fn new(moments: Vec<Vec<Vec<f32>>>, counts: [f32; 3]) -> Self {
        let [last, skipped, steps] = counts;
        Self {
            moments,
            steps: steps as u64,
            last_skipped: last > 0.0,
            skipped: skipped as u64,
        }
    }

    /// That of some of the parameters, with these places.
    pub fn part(&self, members: &[usize]) -> Self {
        let moments = members.iter().map(|&member| self.moments[member].clone());
        Self {
            moments: moments.collect(),
            ..*self
        }
    }

    /// As [`OptimizerState::rearranged`](super::OptimizerState::rearranged).
    pub fn rearrange(&mut self, member: usize, origins: &[Option<usize>]) {
        for moment in &mut self.moments[member] {
            let value = |origin: &Option<usize>| origin.map_or(0.0, |origin| moment[origin]);
            *moment = origins.iter().map(value).collect();
        }
    }
}
