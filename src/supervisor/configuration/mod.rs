//! Configuration that is in force, and another that takes its place.
//!
//! | module | job |
//! |---|---|
//! | [`reload`] | another configuration is shown, and taken over |
//! | [`preview`] | what would be so with it |
//! | [`in_force`] | what is in force, as it is kept |

pub(super) mod in_force;
pub(super) mod preview;
pub(super) mod reload;
