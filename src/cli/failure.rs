//! Failures of `sledctl`: why a command was not carried out, and what to do about it.

use crate::wire::{Error, ErrorCode, Refusal};
use std::io;
use std::path::PathBuf;

/// Reason why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Supervisor that cannot be reached, by its socket.
    #[error("{0}: {1}")]
    Unreachable(PathBuf, #[source] io::Error),
    /// Refusal, of the supervisor or of `sledctl` itself.
    #[error("{0}")]
    Refused(Error),
    /// Regions of which some were not done; each was told of where it happened.
    #[error("{failed} of {all} regions: not done")]
    Several {
        /// Number of regions that were not done.
        failed: usize,
        /// Number of regions that were asked for.
        all: usize,
    },
    /// Supervisor that ended under way: what becomes of the job is not known.
    #[error("the supervisor ended while it was at it; what has become of it: sledctl jobs")]
    Gone,
    /// Interrupt by whoever followed these jobs: they go on.
    #[error("{}", left(.0))]
    Left(Vec<u64>),
    /// Supervisor that cannot be reached, which was told, with what there is to see without it.
    #[error("the supervisor cannot be reached")]
    Down,
    /// Failure on the way, of this machine.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Make a refusal of `sledctl` itself.
    pub(super) fn refused(code: impl Into<ErrorCode>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused(Error::new(code, message, remedy))
    }

    /// Describe the failure as it is shown.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Unreachable(socket, why) => Error::new(
                Refusal::Unreachable,
                format!("the supervisor cannot be reached at {}: {why}", socket.display()),
                match why.kind() {
                    io::ErrorKind::PermissionDenied => "use sudo, or: adduser NAME sled",
                    _ => "systemctl status sledd.socket sledd.service",
                },
            ),
            Self::Refused(error) => error.clone(),
            Self::Several { .. } => {
                Error::new(Refusal::Failed, self.to_string(), "see above: each says why, and what to do")
            }
            Self::Gone => {
                Error::new(Refusal::Unreachable, self.to_string(), "systemctl status sledd.service; then: sledctl jobs")
            }
            Self::Left(jobs) => Error::new(Refusal::Failed, self.to_string(), next(jobs)),
            Self::Down => {
                Error::new(Refusal::Unreachable, self.to_string(), "systemctl status sledd.socket sledd.service")
            }
            Self::Io(why) => Error::new(Refusal::Failed, why.to_string(), "see dmesg, and journalctl -b -p warning"),
        }
    }
}

fn left(jobs: &[u64]) -> String {
    match jobs {
        [] => "interrupted; what was asked for goes on".into(),
        [job] => format!("job {job} goes on"),
        jobs => format!("jobs {} go on", jobs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn next(jobs: &[u64]) -> String {
    match jobs {
        [job] => format!("to follow it again: sledctl jobs follow {job}; to end it: sledctl jobs cancel {job}"),
        _ => "to see them: sledctl jobs; to follow one again: sledctl jobs follow JOB".into(),
    }
}
