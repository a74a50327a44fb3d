//! Targets of Prometheus: the sleds of the port map, as its service discovery over HTTP reads them. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A target group of Prometheus: an entry of `GET /v1/targets`, which has one for each sled of the port map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroup {
    /// The address and port at which the sled answers. This sled knows its own port; the others are taken to have the
    /// same.
    pub targets: Vec<SocketAddr>,
    /// The labels that everything has which is read there: `sled`, its name.
    pub labels: BTreeMap<String, String>,
}
