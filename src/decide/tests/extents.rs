//! Extents: what each is, by its file and by the last scrub.

use super::*;
use crate::decide::extents::judge;
use crate::region::format::{Counters, Trailer};
use crate::region::scrub::{Passed, Scrubs};
use crate::region::standing::Standing;
use crate::wire::ExtentState as Is;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn standing(dirty: bool, (generation, flush): (u64, u64), modified: i64) -> Result<Standing, String> {
    let counters = Counters { bonus_syncs: 2, defragmentations: 1 };
    Ok(Standing { trailer: Trailer { dirty, generation, flush }, counters, modified: at(modified), allocated: 8192 })
}

#[test]
fn an_extent_is_judged_by_its_file_and_by_the_last_scrub() {
    let geometry = Geometry { block_size: 512, extent_size: 64, extent_count: 9 };
    let record = Record { uuid: Uuid::from_u128(7), geometry, created: Timestamp::UNIX_EPOCH, by: "a test".into() };
    let mut scrubs = Scrubs::first(record.uuid, at(0));
    scrubs.pass(5, Passed { rotten: 3, ..Passed::default() });
    scrubs.pass(6, Passed { rotten: 1, unreadable: 2, ..Passed::default() });
    let cases = [
        ("just made", standing(false, (0, 0), 999), Is::Untouched, false),
        ("written for the first time", standing(true, (0, 0), 999), Is::Dirty, true),
        ("flushed long ago", standing(false, (3, 9), 940), Is::Clean, false),
        ("flushed just now", standing(false, (4, 2), 941), Is::Clean, true),
        ("flushed by a clock that was ahead", standing(false, (4, 1), 5000), Is::Clean, true),
        ("rotten, and dirty by now", standing(true, (3, 9), 999), Is::Rotten, true),
        ("rotten, and not read whole", standing(false, (3, 9), 0), Is::Unreadable, false),
        ("gone", Err("No such file".into()), Is::Unreadable, false),
        ("dirty for long", standing(true, (3, 9), 0), Is::Dirty, false),
    ];
    let stand = cases.iter().map(|(_, one, ..)| one.clone()).collect();
    let told = judge((first(), &record), stand, Some(&scrubs), at(1000));
    for ((name, _, state, hot), told) in cases.into_iter().zip(&told.extents) {
        assert_eq!((told.state, told.hot), (state, hot), "{name}");
    }
    assert_eq!((told.generation, told.flush), (4, 2), "the highest flush is that of the highest generation");
    assert_eq!(
        (told.allocated_bytes, told.bonus_syncs, told.defragmentations, told.extent_bytes),
        (65_536, 16, 8, 32_768)
    );
    assert_eq!((told.extents[5].rotten, told.extents[7].unreadable.as_deref()), (3, Some("No such file")));
    let without = judge((first(), &record), vec![standing(false, (3, 9), 0)], None, at(1000));
    assert_eq!(without.extents[0].state, Is::Clean);
}
