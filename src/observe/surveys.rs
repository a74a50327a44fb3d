//! Surveys of the regions' files, remembered: there are a hundred of each region, and to look at all of
//! them takes a thousand questions to the disk. Of what a survey is stands beside it.

use crate::config::Configuration;
use crate::decide::facts::Survey;
use crate::names::RegionName;
use crate::region::{Ledger, Record};
use crate::store::region_dir::{self, survey};
use nix::unistd::User;
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Time for which a survey of a region's files is good: a hundred files each, so not at every look.
/// Whoever has changed something, or has seen a downstairs end, distrusts it before.
const SURVEY_LIFETIME: Duration = Duration::from_secs(60);

/// The same while more is promised than is free, once anything was taken: how much of it is looked at with what
/// is free.
pub(super) const SCARCE_LIFETIME: Duration = Duration::from_secs(5);

/// Knowledge of the regions' files from earlier looks.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    /// The last survey of each: to look at every file again whenever somebody asks would be too much.
    surveyed: BTreeMap<RegionName, Surveyed>,
    /// Number of extents of those whose downstairs has ended were dirty then, once they are
    /// counted.
    dirty: BTreeMap<RegionName, Option<u32>>,
}

/// A survey, and of what it is.
#[derive(Debug)]
struct Surveyed {
    at: Instant,
    record: Record,
    /// Number of bytes that were free then.
    free: u64,
    survey: Survey,
}

impl Surveyed {
    /// Tell whether a survey shows how things are, by what is free now: while more is promised than is free,
    /// for as long as `scarce` says, or as nothing more was taken.
    fn is_good(&self, free: u64, scarce: Option<Duration>) -> bool {
        let age = self.at.elapsed();
        let taken = scarce.is_some_and(|scarce| age >= scarce && (scarce.is_zero() || self.free != free));
        // What is wrong is looked at each time: it may have been put right.
        self.survey.fault.is_none() && age < SURVEY_LIFETIME && !taken
    }
}

impl Surveys {
    /// The files of every region are to be looked at anew.
    pub(super) fn forget(&mut self) {
        self.surveyed.clear();
    }

    /// So are this one's, whose downstairs has ended: what it left dirty is counted once.
    pub(super) fn distrust(&mut self, region: RegionName) {
        self.surveyed.remove(&region);
        self.dirty.insert(region, None);
    }

    /// The files of every region on record whose directory is there, as a survey has them that is good still
    /// ([`Surveyed::is_good`]).
    pub(super) fn of(
        &mut self,
        config: &Configuration,
        ledger: &Ledger,
        free: u64,
        scarce: Option<Duration>,
    ) -> BTreeMap<RegionName, Survey> {
        // To ask for a user is to read files: once, and only for a survey that is made.
        let user = || User::from_name(&config.sled.downstairs.user).ok().flatten().map(|user| user.uid.as_raw());
        let owner = LazyCell::new(user);
        let Self { surveyed: known, dirty } = self;
        known.retain(|name, known| ledger.regions.get(name) == Some(&known.record) && known.is_good(free, scarce));
        let mut surveys = BTreeMap::new();
        for (name, record) in &ledger.regions {
            let dir = config.region_dir(name);
            if fs::symlink_metadata(&dir).is_ok() {
                let count = || region_dir::dirty(&dir, record.geometry);
                let dirty = dirty.get_mut(name).map_or(0, |counted| *counted.get_or_insert_with(count));
                let survey = || Survey { dirty, ..survey(&dir, record.geometry, *owner) };
                let fresh = || Surveyed { at: Instant::now(), record: record.clone(), free, survey: survey() };
                let surveyed = known.entry(name.clone()).or_insert_with(fresh);
                surveys.insert(name.clone(), surveyed.survey.clone());
            } else {
                known.remove(name);
            }
        }
        surveys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_again_where_something_was_taken_and_is_missed() {
        let geometry = crate::region::Geometry { block_size: 512, extent_size: 1, extent_count: 1 };
        let created = jiff::Timestamp::UNIX_EPOCH;
        let record = Record { uuid: uuid::Uuid::nil(), geometry, created, by: "a test".into() };
        let survey = Survey { allocated: 0, dirty: 0, fault: None };
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let of = |seconds| Surveyed { at: ago(seconds), record: record.clone(), free: 70, survey: survey.clone() };
        let good = |seconds, free, scarce: Option<u64>| of(seconds).is_good(free, scarce.map(Duration::from_secs));
        assert!(good(30, 70, None) && good(30, 60, None) && !good(61, 70, None));
        assert!(good(30, 70, Some(5)) && !good(30, 60, Some(5)) && good(3, 60, Some(5)) && !good(61, 70, Some(5)));
        // A region has come or gone.
        assert!(!good(30, 70, Some(0)));
    }
}
