//! Which examples stand for their class.

/// The numbers of `count` of the examples with these `features`, rows of `width`, in the order in which they are taken: each
/// time the one with which the mean of all that were taken is nearest to `mean`. Of several the first.
pub(super) fn herd(features: &[f32], width: usize, mean: &[f64], count: usize) -> Vec<usize> {
    let rows: Vec<&[f32]> = features.chunks_exact(width).collect();
    let squares = rows
        .iter()
        .map(|row| dot(row, row.iter().map(|x| f64::from(*x))));
    let squares: Vec<f64> = squares.collect();
    let mut sum = vec![0.0; width];
    let mut free: Vec<usize> = (0..rows.len()).collect();
    let mut taken = Vec::with_capacity(count);
    for place in 1..=count.min(rows.len()) {
        // |(sum + f) / place − mean|² is smallest where |f|² + 2 f·(sum − place mean) is.
        let goal: Vec<f64> = sum
            .iter()
            .zip(mean)
            .map(|(sum, mean)| sum - place as f64 * mean)
            .collect();
        let cost = |row: usize| squares[row] + 2.0 * dot(rows[row], goal.iter().copied());
        let costs = free.iter().map(|row| cost(*row)).enumerate();
        let nearest = costs.min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((at, _)) = nearest else { break };
        let row = free.remove(at);
        for (sum, feature) in sum.iter_mut().zip(rows[row]) {
            *sum += f64::from(*feature);
        }
        taken.push(row);
    }
    taken
}

fn dot(row: &[f32], others: impl Iterator<Item = f64>) -> f64 {
    row.iter().zip(others).map(|(a, b)| f64::from(*a) * b).sum()
}

/// The mean of rows of `width`, scaled to length 1 where it is not 0.
pub(super) fn unit_mean(features: &[f32], width: usize) -> Vec<f64> {
    let mut mean = vec![0.0; width];
    for row in features.chunks_exact(width) {
        for (sum, feature) in mean.iter_mut().zip(row) {
            *sum += f64::from(*feature);
        }
    }
    let norm = libm::sqrt(mean.iter().map(|sum| sum * sum).sum());
    if norm > 0.0 {
        mean.iter_mut().for_each(|sum| *sum /= norm);
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn features(count: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..count * width).map(|_| rng.range(-1.0, 1.0)).collect()
    }

    /// How far the mean of these rows is from `mean`.
    fn distance(features: &[f32], width: usize, mean: &[f64], rows: &[usize]) -> f64 {
        let of = |column: usize| {
            let values = rows
                .iter()
                .map(|row| f64::from(features[row * width + column]));
            values.sum::<f64>() / rows.len() as f64 - mean[column]
        };
        (0..width).map(|column| of(column) * of(column)).sum()
    }

    #[test]
    fn each_choice_is_the_best_of_all_that_were_left() {
        for seed in 0..20 {
            let (count, width) = (9, 3);
            let features = features(count, width, seed);
            let mean = unit_mean(&features, width);
            let taken = herd(&features, width, &mean, count);
            for place in 0..count {
                let rest = (0..count).filter(|row| !taken[..place].contains(row));
                let far = |row: usize| {
                    let rows = [&taken[..place], &[row]].concat();
                    distance(&features, width, &mean, &rows)
                };
                let best = rest.min_by(|a, b| far(*a).total_cmp(&far(*b)));
                assert_eq!(best, Some(taken[place]), "seed {seed}, place {place}");
            }
        }
    }

    #[test]
    fn two_that_are_taken_are_nearly_the_best_pair() {
        let mut right = 0;
        for seed in 0..50 {
            let (count, width) = (8, 1);
            let features = features(count, width, seed);
            let mean: Vec<f64> = vec![features.iter().map(|x| f64::from(*x)).sum::<f64>() / 8.0];
            let taken = herd(&features, width, &mean, 2);
            let far = |rows: &[usize]| distance(&features, width, &mean, rows);
            let pairs = (0..count).flat_map(|a| (0..a).map(move |b| [a, b]));
            let mut pairs: Vec<f64> = pairs.map(|pair| far(&pair)).collect();
            pairs.sort_by(f64::total_cmp);
            // Among the best third of all pairs, also where greed is not best.
            right += usize::from(far(&taken) <= pairs[pairs.len() / 3]);
        }
        assert!(right >= 45, "{right} of 50");
    }

    #[test]
    fn what_is_taken_first_does_not_depend_on_how_many() {
        let features = features(12, 4, 7);
        let mean = unit_mean(&features, 4);
        let all = herd(&features, 4, &mean, 12);
        for count in 0..=12 {
            assert_eq!(herd(&features, 4, &mean, count), all[..count]);
        }
        assert_eq!(herd(&features, 4, &mean, 99), all);
        let length: f64 = mean.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-12);
        assert_eq!(unit_mean(&[0.0; 4], 2), [0.0; 2]);
    }
}
