//! Failures of the kernel's network block device, in sentences of cause and remedy.

use super::backend::Backend;
use crate::nbd::handshake::HandshakeError;
use crate::wire::{Error, Refusal};
use std::io;
use std::time::Duration;

/// A step with a device that did not work, and why.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel knows no family `nbd`.
    #[error("this kernel has no network block device (nbd), or has not loaded it")]
    NoModule,
    /// The process may not.
    #[error("this process may not set up network block devices")]
    Forbidden,
    /// The device of this number is connected already.
    #[error("/dev/nbd{0} is connected to something already")]
    InUse(u32),
    /// There is no device of this number.
    #[error("there is no /dev/nbd{0}")]
    NoDevice(u32),
    /// The device of this number is connected to nothing.
    #[error("/dev/nbd{0} is not connected")]
    NotConnected(u32),
    /// The device of this number is connected to something else, or nobody knows to what.
    #[error("/dev/nbd{index} is connected to {}, and not to {wanted}", found.as_deref().unwrap_or("something without a name"))]
    OtherBackend {
        /// Its number.
        index: u32,
        /// The backend that the kernel names, if it was told.
        found: Option<String>,
        /// The backend that it should be connected to.
        wanted: Backend,
    },
    /// The kernel does not keep what a device is connected to.
    #[error("this kernel does not remember what a network block device is connected to")]
    NoIdentifier,
    /// The kernel refuses for another reason.
    #[error("the kernel refuses {what}: {why}")]
    Refused {
        /// The step that was asked for.
        what: String,
        /// The kernel's error.
        why: io::Error,
    },
    /// A server cannot be reached.
    #[error("the NBD server at {server} cannot be reached: {why}")]
    Unreachable {
        /// The address at which it was looked for.
        server: String,
        /// The error of the connection.
        why: io::Error,
    },
    /// A server has ended the connection, or it broke, before it was a connection.
    #[error("the NBD server at {server} has ended the connection: {why}")]
    Dropped {
        /// The server's address.
        server: String,
        /// The error of the connection.
        why: io::Error,
    },
    /// A server did not say in time what it serves.
    #[error("the NBD server at {server} has not answered in {} s", .patience.as_secs_f64())]
    Late {
        /// The server's address.
        server: String,
        /// The time that it was waited for.
        patience: Duration,
    },
    /// A server does not serve what was asked.
    #[error("{server}: {why}")]
    Handshake {
        /// The server's address.
        server: String,
        /// The server's refusal.
        why: HandshakeError,
    },
    /// Something else went wrong on the way.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// The failure's stable code.
    pub fn code(&self) -> Refusal {
        match self {
            Self::NoModule => Refusal::NbdNoModule,
            Self::Forbidden => Refusal::NbdForbidden,
            Self::InUse(_) => Refusal::NbdInUse,
            Self::NoDevice(_) => Refusal::NbdNoDevice,
            Self::NotConnected(_) => Refusal::NbdNotConnected,
            Self::OtherBackend { .. } => Refusal::NbdOtherBackend,
            Self::NoIdentifier => Refusal::NbdNoIdentifier,
            Self::Refused { .. } => Refusal::NbdRefused,
            Self::Unreachable { .. } => Refusal::NbdUnreachable,
            Self::Dropped { .. } => Refusal::NbdDropped,
            Self::Late { .. } => Refusal::NbdLate,
            Self::Handshake { .. } => Refusal::NbdHandshake,
            Self::Io(_) => Refusal::Failed,
        }
    }

    /// The remedy, in a sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoModule => "modprobe nbd, as root and on the host itself: no container can".into(),

            Self::Forbidden => "run it as root (CAP_SYS_ADMIN), on the host itself and not in a container".into(),
            Self::InUse(_) => "leave the number away, and the kernel takes a device that is free".into(),
            Self::NoDevice(_) => "ls /sys/block shows which devices there are".into(),
            Self::NotConnected(index) => {
                format!("connect it anew; /sys/block/nbd{index}/pid is there while it is connected")
            }
            Self::OtherBackend { index, .. } => {
                format!("leave it alone: /sys/block/nbd{index}/backend says whose it is; connect another device")
            }
            Self::NoIdentifier => "use a kernel of 5.14 or later".into(),
            Self::Refused { .. } => "journalctl -k says more".into(),
            Self::Unreachable { .. } => "see whether the server runs, and where it listens".into(),
            Self::Dropped { .. } => "see what the server says; one that knows no such export may just hang up".into(),
            Self::Late { .. } => "see what the server does; it may wait for its volume".into(),
            Self::Handshake { why, .. } => match why {
                HandshakeError::Unknown(_) => "name one that it has (nbdinfo --list URI)".into(),
                HandshakeError::Tls(_) => "let it listen on a unix socket or on loopback without TLS".into(),
                HandshakeError::ShutsDown(_) => "try again when another one runs".into(),
                HandshakeError::LongName => "name it shorter".into(),
                _ => "see whether it is the right server".into(),
            },
            Self::Io(_) => "try again; it may be a matter of memory or descriptors".into(),
        }
    }

    /// The failure as it is shown.
    pub fn error(&self) -> Error {
        Error::new(self.code(), self.to_string(), self.remedy())
    }
}
