//! Figures of a run: medians, and how far they spread.

use std::time::Duration;

/// The median of times in their order.
pub fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// One of the times of each round, in their order.
pub fn sorted<T>(rounds: &[T], of: impl Fn(&T) -> Duration) -> Vec<Duration> {
    let mut times: Vec<_> = rounds.iter().map(of).collect();
    times.sort_unstable();
    times
}

/// Prints times in their order: the median, the smallest and the largest.
pub fn show(what: &str, sorted: &[Duration]) {
    let (least, most) = (&sorted[0], &sorted[sorted.len() - 1]);
    println!("  {what:<38} {:>8.2}  ({:.2} to {:.2})", ms(&median(sorted)), ms(least), ms(most));
}

/// In milliseconds.
pub fn ms(time: &Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
