//! The facts: what observers tell becomes them, and what is remembered of them over time.
//!
//! | module | job |
//! |---|---|
//! | [`observers`] | the observers' tasks, and what they are told |
//! | [`apply`] | a fact that was told becomes a fact that is known, and a reason to look elsewhere |
//! | [`exits`] | a region's downstairs has ended or hangs: why, and what follows |
//! | [`crash_history`] | a region's recent ends |
//! | [`outside_stops`] | who stopped a region |
//! | [`running_programs`] | which program each process runs |
//! | [`staleness`] | facts whose observer says nothing any more |
//! | [`timer`] | what has not happened in time |

pub(super) mod apply;
pub(super) mod crash_history;
pub(super) mod exits;
pub(super) mod observers;
pub(super) mod outside_stops;
pub(super) mod running_programs;
pub(super) mod staleness;
pub(super) mod timer;
