//! Programs on record after a power cut: which one each region runs, while the record is written, found damaged and
//! written anew from its copy. Never none, by which every region would run another program.

use crate::regions::cuts;
use crucible_sled::act::programs::{load_from, mend_in, save_in};
use crucible_sled::files::sync_dir;
use crucible_sled::programs::Programs;
use std::fs::{self, File};
use std::path::Path;

fn programs(current: &str) -> Programs {
    Programs { current: Some(current.into()), ..Programs::default() }
}

/// Write the record, damage it, find and mend it, and write it again.
fn step(dir: &Path, number: usize) {
    match number {
        0 => save_in(dir, &programs("a")).unwrap(),
        1 | 3 => {
            let record = dir.join("programs.json");
            fs::write(&record, "{").unwrap();
            File::open(record).unwrap().sync_all().unwrap();
            sync_dir(dir).unwrap();
        }
        2 | 4 => mend_in(dir).unwrap(),
        _ => save_in(dir, &programs("b")).unwrap(),
    }
}

const STEPS: usize = 6;

/// The record that was said to be there must be, or the one that was being put there; and it can be mended.
fn is_on_record(dir: &Path, returned: usize) -> Result<(), String> {
    let known = match returned {
        0 => vec![Programs::default(), programs("a")],
        STEPS => vec![programs("b")],
        returned if returned + 1 == STEPS => vec![programs("a"), programs("b")],
        _ => vec![programs("a")],
    };
    for mends in [false, true] {
        if mends {
            mend_in(dir).map_err(|why| format!("it is not mended: {why}"))?;
        }
        let found = load_from(dir).map_err(|why| why.to_string())?;
        if !known.contains(&found) {
            return Err(format!("{:?}, mended: {mends}", found.current));
        }
    }
    Ok(())
}

#[test]
fn a_record_of_programs_is_at_no_moment_none() {
    cuts("programs", STEPS, step, is_on_record);
}
