//! Failures of a command, and the exit codes that say so.

use crate::wire::{Error, ErrorCode, Refusal};
use std::io;
use std::process::ExitCode;

/// Another host has the volume now.
pub(super) const TAKEN: Refusal = Refusal::VolumeTaken;
/// Something else has the volume's name.
pub(super) const CHANGED: Refusal = Refusal::BackendChanged;
/// The record of what the volume was cannot be read.
pub(super) const NOT_RECORDED: Refusal = Refusal::NotRecorded;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line asks for something that makes no sense.
    #[error("{}", .0.message)]
    Usage(Error),
    /// No sled can be reached.
    #[error("{}", .0.message)]
    Unreachable(Error),
    /// The volume is not to be had, and why.
    #[error("{}", .0.message)]
    Refused(Error),
    /// Something else went wrong on the way.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Name a wrong usage, and the right one.
    pub(super) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage(Error::new(Refusal::Usage, message, remedy))
    }

    /// Make a refusal from its parts.
    pub(super) fn refused(code: impl Into<ErrorCode>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused(Error::new(code, message, remedy))
    }

    /// The failure as it is shown.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Usage(error) | Self::Unreachable(error) | Self::Refused(error) => error.clone(),
            Self::Io(why) => Error::new(Refusal::Failed, why.to_string(), "see crucible-attach(1)"),
        }
    }

    /// Whether no time will cure it: the volume is another host's, or another one.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(error) if error.code == TAKEN || error.code == CHANGED)
    }

    /// The exit code.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) if self.is_final() => 5,
            Self::Refused(_) | Self::Io(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 4,
        })
    }
}
