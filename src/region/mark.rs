//! The mark of a data disk: which sled it belongs to. A disk without it, or with another
//! sled's, is not this sled's, whatever is mounted at the storage root.

use crate::names::SledName;
use crate::times;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the text that is written and understood.
const VERSION: u32 = 1;

/// The mark of a data disk; a copy of it is kept on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    version: u32,
    /// The disk's own identity, given when it was marked.
    pub disk: Uuid,
    /// The sled that it belongs to.
    pub sled: SledName,
    /// The time at which it was marked.
    pub marked: Timestamp,
}

impl Mark {
    /// Make a mark for a disk of this sled that has none.
    pub fn new(sled: SledName) -> Self {
        Self { version: VERSION, disk: Uuid::new_v4(), sled, marked: times::now() }
    }

    /// Read a mark's text.
    ///
    /// # Errors
    /// Why the text is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mark: Self = serde_json::from_slice(text).map_err(|why| why.to_string())?;
        match mark.version {
            VERSION => Ok(mark),
            other => Err(format!("it has version {other}, and this supervisor knows version {VERSION}")),
        }
    }

    /// Write the mark's text.
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

    #[test]
    fn a_mark_reads_back_and_half_of_it_is_none() {
        let mark = Mark::new("proper-raptor".parse().unwrap());
        let text = mark.to_text().unwrap();
        assert_eq!(Mark::parse(&text).unwrap(), mark);
        assert!(Mark::parse(&text[..20]).is_err() && Mark::parse(b"").is_err());
    }
}
