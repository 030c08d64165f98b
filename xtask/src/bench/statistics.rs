//! Paired throughputs come in; their ratio with an interval goes out.

use serde::Serialize;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// The estimate.
    pub(crate) estimate: f64,
    /// Lower end.
    pub(crate) lower: f64,
    /// Upper end.
    pub(crate) upper: f64,
}

/// The ratio of pairs `(with, without)`: geometric mean, with Student's interval of the logarithms, since noise multiplies.
/// `None` for fewer than two pairs.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Interval> {
    if pairs.len() < 2 {
        return None;
    }
    let logarithms: Vec<f64> = pairs.iter().map(|(with, without)| (with / without).ln()).collect();
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    let variance = logarithms.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let margin = student_975(count - 1.0) * (variance / count).sqrt();
    Some(Interval { estimate: mean.exp(), lower: (mean - margin).exp(), upper: (mean + margin).exp() })
}

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => f64::midpoint(*below, *above),
        (_, Some(middle)) => *middle,
        _ => 0.0,
    }
}

/// The 97.5 % point of Student's t, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5); good to 0.1 %
/// from 4 degrees of freedom on, and too small below.
fn student_975(freedom: f64) -> f64 {
    let z: f64 = 1.959_964;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let fourth =
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z) / 92_160.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3) + fourth / freedom.powi(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_of_student_are_those_of_the_tables() {
        for (freedom, point) in [(4.0, 2.776), (9.0, 2.262), (14.0, 2.145), (29.0, 2.045)] {
            assert!((student_975(freedom) - point).abs() < 0.003, "{freedom}: {}", student_975(freedom));
        }
    }

    #[test]
    fn a_drift_that_both_of_a_pair_share_leaves_the_ratio_exact() {
        let pairs: Vec<(f64, f64)> =
            (1..=15).map(|speed| (f64::from(speed) * 95.0, f64::from(speed) * 100.0)).collect();
        let ratio = ratio(&pairs);
        assert!(ratio.is_some_and(|ratio| (ratio.lower - 0.95).abs() < 1e-9 && (ratio.upper - 0.95).abs() < 1e-9));
    }

    #[test]
    fn one_pair_has_no_interval() {
        assert_eq!(ratio(&[(1.0, 1.0)]), None);
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_two_in_the_middle() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&[]) - 0.0).abs() < 1e-9);
    }
}
