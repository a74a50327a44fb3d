//! The ledger: which regions exist on this data disk, and who they are. Only the text of it;
//! reading and writing the file is `act::ledger`'s.

use super::Geometry;
use crate::names::RegionName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The version of the text that is written and understood.
pub const LEDGER_VERSION: u32 = 1;

/// What exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    version: u32,
    /// The regions by name.
    pub regions: BTreeMap<RegionName, Record>,
}

/// What is on record of a region. Never changes while the region exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its identity.
    pub uuid: Uuid,
    /// Its geometry.
    #[serde(flatten)]
    pub geometry: Geometry,
    /// When it was made.
    pub created: Timestamp,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { version: LEDGER_VERSION, regions: BTreeMap::new() }
    }
}

impl Ledger {
    /// Reads a ledger's text.
    ///
    /// # Errors
    /// Why it is none: not this version's JSON, or an identity twice.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let ledger: Self = serde_json::from_slice(text).map_err(|why| why.to_string())?;
        match ledger.version {
            LEDGER_VERSION => Ok(ledger),
            other => Err(format!("it has version {other}, and this supervisor knows version {LEDGER_VERSION}")),
        }
    }

    /// The ledger's text.
    ///
    /// # Errors
    /// None that occurs: every field has a JSON form.
    pub fn to_text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one() -> Ledger {
        let geometry = Geometry { block_size: 512, extent_size: 100, extent_count: 2 };
        let record = Record { uuid: Uuid::from_u128(7), geometry, created: Timestamp::UNIX_EPOCH };
        let mut ledger = Ledger::default();
        ledger.regions.insert("still-fawn-0".parse().unwrap(), record);
        ledger
    }

    #[test]
    fn a_ledger_reads_back_as_it_was_written() {
        assert_eq!(Ledger::parse(&one().to_text().unwrap()).unwrap(), one());
    }

    #[test]
    fn a_newer_or_broken_ledger_is_refused() {
        let text = String::from_utf8(one().to_text().unwrap()).unwrap();
        assert!(Ledger::parse(text.replace("\"version\": 1", "\"version\": 2").as_bytes()).unwrap_err().contains('2'));
        assert!(Ledger::parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn no_truncation_of_a_ledger_is_a_ledger(cut in 0usize..200) {
            let text = one().to_text().unwrap();
            let cut = cut.min(text.len() - 2);
            prop_assert!(Ledger::parse(&text[..cut]).is_err());
        }
    }
}
