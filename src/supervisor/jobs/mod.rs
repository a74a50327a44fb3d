//! The long work: what is asked for, waits its turn, tells how far it is, and ends.
//!
//! | module | job |
//! |---|---|
//! | [`list`] | the jobs, how far each is, and how each ended |
//! | [`run`] | each kind of work from its turn to its end |
//! | [`context`] | what all of it has in common |
//! | [`restart`], [`restart_check`], [`program_checks`] | restarting, holding, releasing; and whether a region could start again |
//! | [`host_redundancy`], [`other_sleds`] | what its hosts have beside a region before it goes away |
//! | [`adoption`] | taking regions over from what served them before |
//! | [`upgrade`], [`upgrade_watch`] | another program, rolled over every region |
//! | [`removals`] | what is removed from the trash |
//! | [`endings`] | what is so when a job has ended |

pub(super) mod adoption;
pub(super) mod context;
pub(super) mod endings;
pub(super) mod host_redundancy;
pub(super) mod list;
pub(super) mod other_sleds;
pub(super) mod program_checks;
pub(super) mod removals;
pub(super) mod restart;
pub(super) mod restart_check;
pub(super) mod run;
pub(super) mod upgrade;
pub(super) mod upgrade_watch;
