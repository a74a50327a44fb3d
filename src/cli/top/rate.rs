//! Rates of what a region takes, from two accounts of it. Pure.

use super::account::{Account, Io};
use serde::Serialize;
use std::cmp::Reverse;
use std::time::Duration;

/// What is taken in a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    pub(super) read_bytes_per_second: Option<u64>,
    pub(super) written_bytes_per_second: Option<u64>,
    pub(super) operations_per_second: Option<u64>,
    /// Share of one processor.
    pub(super) cpu_percent: u64,
    pub(super) memory_bytes: Option<u64>,
}

impl Rates {
    /// Find the rates between two accounts of one process, this time apart.
    pub(super) fn of(before: &Account, now: &Account, took: Duration) -> Self {
        let micros = took.as_micros().max(1);
        // A count that is less than before was begun anew.
        let rate = |before: u64, now: u64, unit: u128| {
            let more = u128::from(now.saturating_sub(before)) * unit;
            u64::try_from(more.div_ceil(micros)).unwrap_or(u64::MAX)
        };
        let io = before.io.as_ref().zip(now.io.as_ref());
        let second = |of: fn(&Io) -> u64| io.map(|(before, now)| rate(of(before), of(now), 1_000_000));
        let counted = io.and_then(|(before, now)| Some((before.operations?, now.operations?)));
        Self {
            read_bytes_per_second: second(|io| io.read_bytes),
            written_bytes_per_second: second(|io| io.written_bytes),
            operations_per_second: counted.map(|(before, now)| rate(before, now, 1_000_000)),
            cpu_percent: rate(before.cpu_us, now.cpu_us, 100),
            memory_bytes: now.memory_bytes,
        }
    }

    /// The bytes that are read and written.
    pub(super) fn moved(&self) -> u64 {
        self.read_bytes_per_second.unwrap_or(0).saturating_add(self.written_bytes_per_second.unwrap_or(0))
    }
}

/// Sort by what is moved, then by what is computed, the most first; what is alike stays as it is.
pub(super) fn sorted<T>(mut all: Vec<T>, rates: impl Fn(&T) -> &Rates) -> Vec<T> {
    all.sort_by_key(|one| {
        let rates = rates(one);
        Reverse((rates.moved(), rates.cpu_percent, rates.memory_bytes))
    });
    all
}

/// Sum all; what is known of none is not known.
pub(super) fn total<'a>(all: impl Iterator<Item = &'a Rates>) -> Rates {
    let add =
        |a: Option<u64>, b: Option<u64>| if a.is_none() { b } else { a.map(|a| a.saturating_add(b.unwrap_or(0))) };
    all.fold(Rates::default(), |sum, one| Rates {
        read_bytes_per_second: add(sum.read_bytes_per_second, one.read_bytes_per_second),
        written_bytes_per_second: add(sum.written_bytes_per_second, one.written_bytes_per_second),
        operations_per_second: add(sum.operations_per_second, one.operations_per_second),
        cpu_percent: sum.cpu_percent.saturating_add(one.cpu_percent),
        memory_bytes: add(sum.memory_bytes, one.memory_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(cpu_us: u64, io: Option<(u64, u64)>) -> Account {
        let io =
            io.map(|(read_bytes, written_bytes)| Io { read_bytes, written_bytes, operations: Some(written_bytes) });
        Account { cpu_us, memory_bytes: Some(7), io }
    }

    #[test]
    fn rates_are_what_was_taken_between() {
        let two = Duration::from_secs(2);
        let rates = Rates::of(&account(0, Some((100, 0))), &account(500_000, Some((300, 4000))), two);
        assert_eq!(
            (rates.read_bytes_per_second, rates.written_bytes_per_second, rates.cpu_percent, rates.memory_bytes),
            (Some(100), Some(2000), 25, Some(7))
        );
        assert_eq!(rates.operations_per_second, Some(2000));
        // What is not counted is not zero, and what began anew is.
        assert_eq!(Rates::of(&account(0, None), &account(0, None), two).read_bytes_per_second, None);
        let anew = Rates::of(&account(9, Some((9, 9))), &account(0, Some((0, 0))), Duration::ZERO);
        assert_eq!((anew.read_bytes_per_second, anew.cpu_percent), (Some(0), 0));
    }

    #[test]
    fn the_busiest_is_first_and_all_are_summed() {
        let rates = |written: Option<u64>, cpu_percent: u64| Rates {
            written_bytes_per_second: written,
            cpu_percent,
            ..Rates::default()
        };
        let all = sorted(vec![rates(None, 1), rates(Some(5), 0), rates(Some(9), 0), rates(None, 3)], |rates| rates);
        let order: Vec<_> = all.iter().map(|rates| (rates.moved(), rates.cpu_percent)).collect();
        assert_eq!(order, [(9, 0), (5, 0), (0, 3), (0, 1)]);
        let sum = total(all.iter());
        assert_eq!((sum.written_bytes_per_second, sum.read_bytes_per_second, sum.cpu_percent), (Some(14), None, 4));
    }
}
