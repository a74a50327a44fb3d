//! Steps of an installation, and what one can do to the host. Pure.

use std::path::PathBuf;

/// The steps of an installation, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Kernel,
    Server,
    Takeover,
    Configuration,
    Service,
    Device,
    FileSystem,
    Mountpoint,
    Unit,
    Mount,
    Storage,
}

impl Step {
    /// All of them.
    pub(super) const ALL: [Self; 11] = [
        Self::Kernel,
        Self::Server,
        Self::Takeover,
        Self::Configuration,
        Self::Service,
        Self::Device,
        Self::FileSystem,
        Self::Mountpoint,
        Self::Unit,
        Self::Mount,
        Self::Storage,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Server => "server",
            Self::Takeover => "takeover",
            Self::Configuration => "configuration",
            Self::Service => "service",
            Self::Device => "device",
            Self::FileSystem => "file-system",
            Self::Mountpoint => "mountpoint",
            Self::Unit => "mount-unit",
            Self::Mount => "mount",
            Self::Storage => "storage",
        }
    }
}

/// An action that changes the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Loads the kernel's module, now and at each boot.
    Load { now: bool, at_boot: bool },
    /// Makes a copy of this file the server.
    CopyServer(PathBuf),
    /// Stops what was set up by hand, and puts its units aside.
    TakeOver,
    /// Writes the configuration.
    Configure(String),
    /// Enables the service and starts it, or starts it anew.
    Serve { restart: bool },
    /// Waits until udev has given the device its name.
    Await,
    /// Makes a file system of so many bytes.
    MakeFileSystem { size: u64 },
    /// Makes the mountpoint, so that nothing can be written into it.
    Shield,
    /// Writes the mount's unit, and has it follow the service.
    WriteUnit(String),
    /// Mounts.
    Mount,
    /// Changes Proxmox' storages.
    Store(Change),
}

/// The verdict on a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The host is so.
    Already(String),
    /// The host is going to be so by this.
    Do(Action, String),
    /// The verdict cannot be given before the steps before it are done.
    Later(String),
    /// The step does not belong to this installation.
    Skipped(String),
}

/// The arguments of `pvesm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change(pub(super) Vec<String>);

impl Change {
    pub(super) fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }
}
