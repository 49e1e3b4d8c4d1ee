//! When to say how far a run is, where nobody sees a bar.

/// A line is due at each of so many parts of the run.
const PARTS: u64 = 20;
/// A line is due after so many seconds without one.
const SILENCE: f64 = 10.0;
/// From here on, a line is due after a silence of this share of the run so far: about 25 lines are enough of any run.
const SHARE: f64 = 0.5;
/// Runs that are over soon say less.
const LEAST: f64 = 0.5;

/// Decides which steps of a run have a line: one at each 5 % of it and after ten seconds without one. In long runs the
/// silences grow, in short ones there are fewer lines; the end always has one.
#[derive(Debug, Default)]
pub struct Heartbeat {
    /// Parts that are done.
    parts: u64,
    /// When the last line was, in seconds of the run.
    last: f64,
}

impl Heartbeat {
    /// Whether a line is due now that `done` of `all` is done, `seconds` after the beginning. `all` is 0 where the end is
    /// not known.
    pub fn due(&mut self, seconds: f64, done: u64, all: u64) -> bool {
        let parts = (PARTS * done.min(all)).checked_div(all).unwrap_or(0);
        let silence = seconds - self.last;
        let (advanced, ended) = (parts > self.parts, parts == PARTS);
        let due =
            silence >= SILENCE.max(SHARE * self.last) || advanced && (ended || silence >= LEAST);
        if due {
            (self.parts, self.last) = (parts, seconds);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When lines are due in a run of so many equal steps.
    fn lines(seconds: f64, steps: u64) -> Vec<f64> {
        let mut heartbeat = Heartbeat::default();
        let at = |step: u64| seconds * step as f64 / steps as f64;
        let due = (1..=steps).filter(|&step| heartbeat.due(at(step), step, steps));
        due.map(at).collect()
    }

    #[test]
    fn each_twentieth_has_a_line_and_so_has_the_end() {
        let minute = lines(60.0, 1000);
        assert_eq!(minute.len(), 20);
        assert_eq!((minute[0], minute[19]), (3.0, 60.0));
        // Too short for more.
        assert!(lines(1.0, 1000).len() <= 3);
        assert_eq!(lines(0.1, 1000), [0.1]);
        assert_eq!(lines(0.1, 1), [0.1]);
    }

    #[test]
    fn ten_seconds_are_not_silent_and_hours_are_not_loud() {
        // 5 % are 30 s.
        let ten_minutes = lines(600.0, 6000);
        assert_eq!(ten_minutes[..3], [10.0, 20.0, 30.0]);
        for seconds in [600.0, 3600.0, 36_000.0, 360_000.0] {
            let lines = lines(seconds, 100_000);
            assert!(
                (20..=40).contains(&lines.len()),
                "{seconds}: {}",
                lines.len()
            );
            for pair in lines.windows(2) {
                let most = SILENCE.max(SHARE * pair[0]).min(seconds / 20.0);
                assert!(
                    pair[1] - pair[0] <= most * 1.01 + 4.0,
                    "{seconds}: {pair:?}"
                );
            }
        }
        // Few steps, each longer than that.
        assert_eq!(lines(90.0, 3), [30.0, 60.0, 90.0]);
    }

    #[test]
    fn an_end_that_is_not_known_is_waited_for() {
        let mut heartbeat = Heartbeat::default();
        let due: Vec<bool> = (1..=30)
            .map(|second| heartbeat.due(f64::from(second), 1, 0))
            .collect();
        let at: Vec<usize> = (1..=30).filter(|second| due[second - 1]).collect();
        assert_eq!(at, [10, 20, 30]);
    }
}
