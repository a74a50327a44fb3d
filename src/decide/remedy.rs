//! What an operator is told to do about a fault, perhaps at an hour at which nobody reads twice.
//!
//! One rule: **no remedy destroys data where a milder cause fits.** What looks like a lost replica is
//! most often something else: a wrong owner, a disk that is not all there, a directory that was moved.
//! So a remedy names what leaves all data as it is; and where a replica may really be lost, it names
//! the mild things first, and the last resort after them, in the words of [`or_replace`]. These are
//! written here and nowhere else: a test holds the sources, and all that can be found, against it.

use crate::names::RegionName;

/// What opens the last resort.
pub const LAST: &str = "only if that does not bring it back";

/// What is to be done about a fault of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Something that leaves all data as it is. `{dir}` stands for the region's directory, and
    /// `{user}` for the user who runs its downstairs.
    Mild(&'static str),
    /// Some of its data may be gone: what brings it back, before it is replaced.
    Lost(&'static str),
}

impl Remedy {
    /// The words for a region, in this directory and of this user.
    pub fn of(self, name: &RegionName, dir: &str, user: &str) -> String {
        match self {
            Self::Mild(words) => words.replace("{dir}", dir).replace("{user}", user),
            Self::Lost(words) => or_replace(&Self::Mild(words).of(name, dir, user), name),
        }
    }
}

/// What is mild, and if it does not help, to make the replica anew from the others.
pub fn or_replace(mild: &str, name: &RegionName) -> String {
    format!(
        "{mild}; {LAST}, and the volume's other regions are whole: sledctl region delete {name} --yes-destroy {name} \
         (what there is of it is kept for a while), then create it anew, and the host repairs it"
    )
}
