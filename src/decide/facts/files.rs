//! Files of the configuration, and what is in force of them; and what was looked at for a configuration that is not
//! in force.

use super::{Disk, Network, Stranger, Tls};
use crate::config::Configuration;
use crate::names::RegionName;
use crate::source::Fault;
use crate::wire::Peer;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files as they lie in their directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The directory.
    pub dir: String,
    /// The digest of their texts.
    pub digest: String,
    /// The time at which one of them was changed last.
    pub changed: Option<Timestamp>,
    /// The configuration that they are, or their faults.
    pub read: Result<Arc<Configuration>, Vec<Fault>>,
}

/// The configuration in force, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// The digest of its texts.
    pub digest: String,
    /// Its number, once it is kept.
    pub number: Option<u64>,
    /// The time since when it is in force.
    pub since: Option<Timestamp>,
    /// The reason why it could not be kept.
    pub not_kept: Option<String>,
}

/// The facts that were looked at for a configuration that is not in force, at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fresh {
    /// Its interface and its bridge; `None` if the kernel did not tell.
    pub network: Option<Network>,
    /// Its files of `[tls]`, if it has any.
    pub tls: Option<Tls>,
    /// Its disk, and its regions on it.
    pub disk: Option<Disk>,
    /// The hosts that are connected to each region that runs.
    pub connected: BTreeMap<RegionName, Vec<Peer>>,
    /// The regions that run, and whether each was started with TLS.
    pub speaks_tls: BTreeMap<RegionName, bool>,
    /// The regions of which a port is another process's.
    pub taken: BTreeMap<RegionName, Stranger>,
    /// The reason why its program cannot be run, or its user is none, if it is another than the one in force.
    pub unusable: Vec<(&'static str, String)>,
}
