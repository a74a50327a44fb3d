//! Data disk taken into use: its mark, its ledger, and the machine's memory of it.

use crate::config::Configuration;
use crate::files::may_use;
use crate::region::Mark;
use crate::store::mark;
use crate::times::in_seconds;
use std::io;
use uuid::Uuid;

/// Mark the disk at the storage root as this sled's, or find that it is. `replace` names the disk that this one is to
/// replace, or the one that is taken over from another sled. Whatever lies on the disk is left as it is.
///
/// # Errors
/// Nothing is mounted there; it, or the one that this sled had, is another disk and was not
/// named; or it cannot be written.
pub fn init(config: &Configuration, replace: Option<Uuid>) -> io::Result<Mark> {
    let (storage, sled) = (&config.sled.storage, &config.sled.name);
    let refuse = |why: String| Err(io::Error::other(why));
    let root = storage.root.display();
    if !may_use(&storage.root, storage.require_mount) {
        return refuse(format!("no file system is mounted at {root}"));
    }
    let known = mark::remembered(&mark::memory()).unwrap_or_default();
    let there = match mark::read(&storage.root) {
        // A mark that cannot be read is written anew where the disk that it was is named.
        Err(_) if replace.is_some() && known.as_ref().is_none_or(|known| replace == Some(known.disk)) => None,
        there => there.map_err(io::Error::other)?,
    };
    let taken_over = there.as_ref().is_some_and(|there| replace == Some(there.disk));
    if let Some(known) = known.filter(|known| there.as_ref().is_none_or(|there| there.disk != known.disk))
        && replace != Some(known.disk)
        && !taken_over
    {
        return refuse(format!(
            "this sled's disk is {}, marked {}, and another is mounted at {root}; if that one is lost for good: \
             sledctl storage init --replace {}",
            known.disk,
            in_seconds(known.marked),
            known.disk
        ));
    }
    let mark = match there {
        Some(mark) if mark.sled == *sled => mark,
        Some(mark) if !taken_over => {
            return refuse(format!(
                "the disk at {root} belongs to the sled {}; to take it over for good: sledctl storage init --replace {}",
                mark.sled, mark.disk
            ));
        }
        _ => {
            let regions = config.local_regions().into_iter().map(|local| local.name).collect();
            mark::put(&storage.root, sled, &regions)?
        }
    };
    mark::remember(&mark::memory(), &mark)?;
    Ok(mark)
}

/// Remember the disk that is in use, for the day on which another is mounted. A disk that is remembered already
/// stays: only an operator replaces it ([`init`]).
///
/// # Errors
/// The memory cannot be written.
pub fn remember(config: &Configuration) -> io::Result<()> {
    let there = mark::read(&config.sled.storage.root).map_err(io::Error::other)?;
    let known = mark::remembered(&mark::memory()).unwrap_or_default();
    match there.filter(|_| known.is_none()) {
        Some(mark) => mark::remember(&mark::memory(), &mark),
        None => Ok(()),
    }
}
