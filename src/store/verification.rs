//! Verification after an end without a shutdown on record, and the signs of life by which it is decided what that is to be:
//! `verification.json` and `sign.json` in the machine's memory. Only the files.
//!
//! The order is what counts at a start: how the boot before ended is found, then what is to be verified is written down by
//! its last sign, and only then a sign of this boot takes its place. Whoever is cut off in between finds an older sign,
//! by which more is verified.

use crate::files::{make_dir, replace};
use crate::region::verification::{Sign, Verification};
use crate::store::mark::{MEMORY_MODE, memory};
use crate::times;
use crate::update::record::boot_id;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "verification.json";
const SIGN: &str = "sign.json";

/// Find what is to be verified in this boot, write it down, and give the first sign of life. `unclean`: the boot before
/// ended without a shutdown.
pub fn begin(unclean: bool) -> Option<Verification> {
    // Of a boot that the kernel does not name it is not known how the one before ended.
    let boot = boot_id().ok()?;
    let found = begin_in(&memory(), &boot, unclean);
    found.unwrap_or_else(|failed| {
        let (why, verification) = *failed;
        tracing::warn!("what is to be verified cannot be written down: {why}");
        verification
    })
}

fn begin_in(
    memory: &Path,
    boot: &str,
    unclean: bool,
) -> Result<Option<Verification>, Box<(io::Error, Option<Verification>)>> {
    let known = read(memory, FILE);
    let verification = match &known {
        // A sign that cannot be read is none: then all extents count as changed.
        Ok(known) => {
            let sign = read(memory, SIGN).unwrap_or_default();
            Verification::of_boot(known.clone(), boot, unclean, sign, times::now())
        }
        Err(why) => {
            tracing::error!("what is to be verified cannot be read, so that everything is: {why}");
            Some(Verification::lost(boot, why.to_string()))
        }
    };
    let known = known.unwrap_or_default();
    let written = match &verification {
        Some(verification) if known.as_ref() != Some(verification) => put(memory, FILE, verification),
        _ => Ok(()),
    };
    let written = written.and_then(|()| put(memory, SIGN, &Sign::at(times::now(), None)));
    written.map(|()| verification.clone()).map_err(|why| Box::new((why, verification)))
}

/// Write down how far the verification is, durably.
///
/// # Errors
/// The file system's error; then it is as it was.
pub fn write(verification: &Verification) -> io::Result<()> {
    put(&memory(), FILE, verification)
}

/// Give a sign of life, durably.
///
/// # Errors
/// The file system's error; then the one before counts.
pub fn sign(sign: &Sign) -> io::Result<()> {
    put(&memory(), SIGN, sign)
}

/// Read a record; `None` if there is none.
fn read<T: DeserializeOwned>(memory: &Path, file: &str) -> io::Result<Option<T>> {
    match fs::read(memory.join(file)) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

fn put(memory: &Path, file: &str, value: &impl Serialize) -> io::Result<()> {
    make_dir(memory, MEMORY_MODE)?;
    replace(memory, file, &serde_json::to_vec(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn what_is_to_be_verified_goes_by_the_last_sign_of_the_boot_before() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |boot, unclean| begin_in(dir.path(), boot, unclean).unwrap();
        assert_eq!(begin("a", false), None);
        let last = Sign::at(Timestamp::from_second(1000).unwrap(), None);
        put(dir.path(), SIGN, &last).unwrap();
        let found = begin("b", true).unwrap();
        assert_eq!(found.since, Some(last.changed_since));
        assert_ne!(read::<Sign>(dir.path(), SIGN).unwrap(), Some(last), "this boot has given no sign");
        // Whoever comes after it in this boot goes on.
        assert_eq!(begin("b", true), Some(found));
        // No sign that can be read: everything is looked at.
        fs::remove_file(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(SIGN), "{").unwrap();
        let found = begin("c", true).unwrap();
        assert_eq!((found.since, found.lost), (None, None));
        // A record that cannot be read does not say that nothing is due, whichever way the boot before ended; and that it
        // was lost is known to who comes after.
        for (boot, unclean) in [("d", false), ("e", true)] {
            fs::write(dir.path().join(FILE), "{").unwrap();
            let found = begin(boot, unclean).unwrap();
            assert!(found.lost.as_ref().is_some_and(|why| why.contains("EOF")), "{found:?}");
            assert_eq!((found.boot.as_str(), found.since, &found.regions), (boot, None, &None));
            assert_eq!(begin(boot, unclean), Some(found));
        }
    }
}
