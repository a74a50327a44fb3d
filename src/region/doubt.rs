//! Doubt since a ledger was lost: of which regions it may have known something.

use crate::names::RegionName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The doubt of a ledger that was begun anew. Anything else that stands there does not fit the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// The time at which it was begun anew.
    pub since: Timestamp,
    /// The regions of which it is not known whether they existed.
    #[serde(flatten)]
    pub doubt: Doubt,
}

/// The regions of which it is not known whether they existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// These regions: those that the port map had here then, but for those of which something has been on record
    /// since. Never empty: with the last of them the doubt is over.
    #[serde(rename = "doubted")]
    Of(BTreeSet<RegionName>),
    /// Any but these regions, of which something has been on record since: so says a ledger of version 4, until it is
    /// settled by the map.
    #[serde(rename = "known")]
    AllBut(BTreeSet<RegionName>),
}

impl Doubt {
    /// Whether this region is in doubt.
    pub(super) fn is_about(&self, region: &RegionName) -> bool {
        match self {
            Self::Of(regions) => regions.contains(region),
            Self::AllBut(known) => !known.contains(region),
        }
    }

    /// Whether nothing is in doubt any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Of(regions) if regions.is_empty())
    }

    /// Learn of these regions: they are known from now on.
    pub(super) fn learn<'a>(&mut self, recorded: impl Iterator<Item = &'a RegionName>) {
        match self {
            Self::Of(regions) => recorded.for_each(|name| _ = regions.remove(name)),
            Self::AllBut(known) => known.extend(recorded.cloned()),
        }
    }

    /// Settle a doubt of any region that is not known: it is of none but `regions` from now on.
    pub(super) fn settle(&mut self, regions: &BTreeSet<RegionName>) {
        if let Self::AllBut(known) = self {
            *self = Self::Of(regions - known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ledger;
    use super::super::ledger::LedgerError;
    use super::*;

    /// The text of a supervisor that did not put on record what the map had.
    const EARLIER: &str = concat!(
        r#"{"version":4,"sha256":"f0e823984b55b8ce2fdb9ef3cb6af59db6b052eae5948abf5bbaafafc6637232","ledger":{"#,
        r#""serial":3,"regions":{},"tombstones":[],"adoptions":{},"generations":{"a":9},"#,
        r#""holds":{"a-0":{"by":"operator","why":"a new disk","remedy":null,"since":"1970-01-01T00:00:07Z"}},"#,
        r#""rebuilt":{"since":"1970-01-01T00:00:07Z","known":["a-0"]}}}"#,
    );

    #[test]
    fn a_ledger_that_was_begun_anew_by_an_earlier_supervisor_is_read_and_settled_by_the_map() {
        let names = ["a-0", "a-1", "b-0"].map(|name| name.parse::<RegionName>().unwrap());
        let [known, other, unmapped] = &names;
        let mut ledger = Ledger::parse(EARLIER.as_bytes()).unwrap();
        let since = Timestamp::from_second(7).unwrap();
        assert!(ledger.holds.contains_key(known) && ledger.generations.values().eq([&9]) && ledger.serial == 3);
        assert_eq!([known, other, unmapped].map(|name| ledger.doubted(name)), [None, Some(since), Some(since)]);
        // The ledger reads back as it was, before it is settled and after that.
        let text = ledger.to_text().unwrap();
        assert!(String::from_utf8_lossy(&text).contains("\"version\": 4") && Ledger::parse(&text).unwrap() == ledger);
        ledger.settle(&[known.clone(), other.clone()].into());
        assert_eq!([known, other, unmapped].map(|name| ledger.doubted(name)), [None, Some(since), None]);
        let text = ledger.to_text().unwrap();
        assert!(String::from_utf8_lossy(&text).contains("\"version\": 5") && Ledger::parse(&text).unwrap() == ledger);
        ledger.settle(&BTreeSet::new());
        assert_eq!(ledger.doubted(other), Some(since), "what the map had then is known");
        let mut whole = Ledger::parse(EARLIER.as_bytes()).unwrap();
        whole.settle(&[known.clone()].into());
        assert_eq!(whole.rebuilt, None);
        // The ledger is no less checked than others.
        for altered in [EARLIER.replace("a-0\"]", "a-1\"]"), EARLIER.replace("\"known\"", "\"knows\"")] {
            assert!(matches!(Ledger::parse(altered.as_bytes()), Err(LedgerError::Garbage(_))), "{altered}");
        }
    }
}
