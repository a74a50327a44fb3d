//! Verdict as the faces show it.
//!
//! | module | job |
//! |---|---|
//! | [`bulletin`] | everything that the faces show |
//! | [`publisher`] | puts times to a verdict, and publishes it |
//! | [`storage_view`] | what is shown of the data disk alone |
//! | [`body`] | a body of JSON, written once |
//! | [`since`] | since when things are so, for the next supervisor |

pub(super) mod body;
pub(super) mod bulletin;
pub(super) mod publisher;
pub(super) mod since;
pub(super) mod storage_view;
