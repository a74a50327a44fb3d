//! Configuration that is in force, and another that takes its place.
//!
//! | module | job |
//! |---|---|
//! | [`reload`] | another configuration is shown, and taken over |
//! | [`preview`] | what would be so with it |
//! | [`old_facts`] | what is forgotten when it is taken over |
//! | [`in_force`] | what is in force, as it is kept |

pub(super) mod in_force;
mod old_facts;
pub(super) mod preview;
pub(super) mod reload;

use crate::config::History;
use reload::{Reading, Recorded};

/// Report of a configuration.
pub(super) enum Report {
    /// One was read, for a request, and what it speaks of was looked at.
    Read(Box<Reading>),
    /// One that is to be taken over was put on record, or could not be.
    Recorded(Box<Recorded>),
    /// The one in force was kept at last, or could not be again, and why.
    Kept(Result<History, String>),
}
