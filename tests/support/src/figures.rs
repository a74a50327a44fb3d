//! Figures of a run: medians, and how far they spread.

use std::time::Duration;

/// The median of times in their order.
pub fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

/// Sort one of the times of each round.
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

/// Whether it is only to be seen that the benchmark runs (`--short`): few rounds, and no limit counts.
pub fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

/// So many rounds, or a few.
pub fn rounds(whole: usize) -> usize {
    if is_short() { whole.min(3) } else { whole }
}

/// This long, or a moment.
pub fn calm(whole: Duration) -> Duration {
    if is_short() { whole.min(Duration::from_secs(2)) } else { whole }
}

/// Whether figures are good enough: always, if few rounds gave them.
pub fn is_within(limits: bool) -> bool {
    limits || is_short()
}
