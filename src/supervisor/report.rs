//! Reports of what was done aside, as the loop hears them: of each room its own.
//!
//! The rule: **a report says what it is a result of**, and nothing is believed for a world that has
//! changed meanwhile. Most name it: a run of a region's unit, a job, a disk, a request. What systemd
//! answered is a result of the connection on which it was asked and of the configuration for which
//! ([`World`](crate::supervisor::systemd::World)); of another one it is not believed, what had waited for it waits no
//! more, and what there is now is asked for again. Which of the two a report is, is its type: only
//! [`systemd::Report`] has a world, and
//! [`Supervisor::hear_systemd`](crate::supervisor::Supervisor::hear_systemd) is the only one to take it. What
//! observers tell is bound in the same way to the observer that told it ([`observe::Told`](crate::observe::Told)).

use crate::supervisor::{configuration, facts, fencing, hosts, jobs, notify, recovery, requests, shutdown, systemd};

/// Declares the report of every room, and how the loop's is made of it.
macro_rules! reports {
    ($($(#[$doc:meta])* $room:ident($report:path),)*) => {
        /// Report of something that was done aside: its end, or a step of it.
        pub(in crate::supervisor) enum Report {
            $($(#[$doc])* $room($report),)*
        }

        $(impl From<$report> for Report {
            fn from(report: $report) -> Self {
                Self::$room(report)
            }
        })*
    };
}

reports! {
    /// What systemd was asked was done, or was not.
    Systemd(systemd::Report),
    /// What an earlier supervisor left undone is done, or is not.
    Recovery(recovery::Report),
    /// Something was seen that no observer sees.
    Facts(facts::Report),
    /// A job is so far, or has ended, or needs something.
    Jobs(jobs::Report),
    /// Somebody who waited for a ticket was served.
    Fencing(fencing::Report),
    /// A configuration was read, or put on record.
    Configuration(configuration::Report),
    /// What hosts are asked was written, or was not.
    Hosts(hosts::Report),
    /// A notification was delivered, or was not.
    Notify(notify::Report),
    /// The disk was looked at for a request.
    Requests(requests::Report),
    /// The machine is being switched off.
    Shutdown(shutdown::Report),
}
