//! Events on record after a power cut: in batches, over the beginning of the record and of several of its files.

use crate::regions::cuts;
use crucible_sled::lived::Moment;
use crucible_sled::store::events::{Bounds, Line, Ring, read_after};
use crucible_sled::wire::EventKind;
use crucible_sled::{events::News, wire::Event};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Small enough that every few batches begin a file, and large enough that none is lost.
const BOUNDS: Bounds = Bounds { bytes: 16 << 10, age: Duration::from_hours(24) };
const LIVED_MOMENT: Moment = Moment { clock: Uuid::from_u128(7), ms: 7 };
/// The batches, and the events of each.
const BATCHES: usize = 10;
const EACH: u64 = 3;

fn batch(number: u64) -> Vec<Arc<Line>> {
    let event = |id| Event { id, cause: Some("x".repeat(200)), ..News::of(EventKind::CheckRaised, "sled").0 };
    (1..=EACH).map(|at| Arc::new(Line::of(event(number * EACH + at)).unwrap())).collect()
}

fn append(root: &Path, number: u64) -> Result<(), String> {
    let (mut ring, opened) = Ring::open(&root.join("events"), BOUNDS);
    opened.map_err(|why| format!("it cannot be opened: {why}"))?;
    ring.append(&batch(number), LIVED_MOMENT).map_err(|why| format!("it cannot be written to: {why}"))
}

/// Every batch that was said to be on record is there whole; of the one that was being written, its first events
/// may be; and the next is written behind them.
fn is_on_record(root: &Path, returned: usize) -> Result<(), String> {
    let read = || read_after(&root.join("events"), 0, usize::MAX, |_| true).map_err(|why| why.to_string());
    let ids = || Ok::<_, String>(read()?.lines.iter().map(|line| line.event.id).collect::<Vec<_>>());
    let (found, certain) = (ids()?, returned as u64 * EACH);
    let count = found.len() as u64;
    if found != (1..=count).collect::<Vec<_>>() || !(certain..=certain + EACH).contains(&count) {
        return Err(format!("{found:?}, and {certain} were written"));
    }
    append(root, 1000)?;
    let after = ids()?;
    if after[..found.len()] == found && after.len() == found.len() + EACH as usize {
        Ok(())
    } else {
        Err(format!("{after:?} after {found:?}"))
    }
}

#[test]
fn an_event_that_was_written_is_on_record() {
    cuts("events", BATCHES, |root, number| append(root, number as u64).unwrap(), is_on_record);
}
