//! Tickets on record after a power cut: of two volumes in turns, from the first ticket on, by which the record
//! begins.

use crate::regions::cuts;
use crucible_sled::files::make_dir;
use crucible_sled::names::VolumeName;
use crucible_sled::region::Grant;
use crucible_sled::store::grants::{load, record};
use crucible_sled::store::layout::DIR;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

/// The volume of each ticket, in the order in which they are granted.
const ORDER: [usize; 9] = [0, 0, 1, 0, 0, 1, 1, 0, 1];

fn name(volume: usize) -> VolumeName {
    format!("volume{volume}").parse().unwrap()
}

fn host(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// The next grant: to two hosts in turns, and every third time it is an operator's word, by which the generation
/// stays as it is.
fn next(last: &Grant, volume: usize) -> Grant {
    let (one, other) = if last.serial.is_multiple_of(2) { (host(1), host(2)) } else { (host(2), host(1)) };
    match last.serial % 3 {
        2 => last.with(host(3), last.serial.is_multiple_of(2)),
        _ => last.to(one, last.generation + 7 + volume as u64, Timestamp::UNIX_EPOCH, &BTreeSet::from([other])),
    }
}

/// The grant on record of a volume after so many.
fn grant(volume: usize, count: usize) -> Grant {
    (0..count).fold(Grant::default(), |last, _| next(&last, volume))
}

/// The disk has been marked, and then one is granted after the other.
fn step(root: &Path, number: usize) {
    let Some(number) = number.checked_sub(1) else { return make_dir(&root.join(DIR), 0o700).unwrap() };
    let volume = ORDER[number];
    let count = ORDER[..=number].iter().filter(|other| **other == volume).count();
    record(root, &name(volume), &grant(volume, count)).unwrap();
}

/// Of each volume the last grant that was said to be on record must be there, or the one that was
/// being put there; and nothing of the cut stands in the way of the next.
fn is_on_record(root: &Path, returned: usize) -> Result<(), String> {
    let Some(returned) = returned.checked_sub(1) else { return Ok(()) };
    let read = || load(root).map_err(|why| why.to_string());
    let found = read()?;
    for volume in [0, 1] {
        let (name, begun) = (name(volume), ORDER.get(returned) == Some(&volume));
        let count = ORDER[..returned].iter().filter(|other| **other == volume).count();
        // Before the first there is no file.
        let here = found.get(&name).cloned().unwrap_or(Ok(Grant::default()))?;
        let known = (count..=count + usize::from(begun)).any(|count| grant(volume, count) == here);
        if !known {
            return Err(format!("{here:?} of {name}, and {count} were granted"));
        }
        let next = next(&here, volume);
        record(root, &name, &next).map_err(|why| format!("no more can be granted of {name}: {why}"))?;
        match read()?.get(&name) {
            Some(Ok(after)) if *after == next => {}
            other => return Err(format!("{other:?} of {name} after {next:?}")),
        }
    }
    Ok(())
}

#[test]
fn a_ticket_that_was_answered_is_on_record() {
    cuts("tickets", ORDER.len() + 1, step, is_on_record);
}
