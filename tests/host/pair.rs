//! A sled and one host on a network of their own, for tests of a volume that is mounted and under load.

use crate::machine::{Host, Machine};
use crate::mounted::{IsHost, share_load};
use crate::network::{IsSled, Network};
use crate::steps::Steps;

/// Both, switched off.
pub struct Pair {
    pub sled: Host,
    pub host: Host,
    _network: Network,
}

impl Pair {
    /// Neither has ever booted; the host has the load, and whatever this makes of it.
    pub fn new(with: impl FnOnce(Host) -> Host) -> Self {
        let network = Network::new();
        let (sled, host) = (network.sled(), with(network.host(1)));
        share_load(&host);
        Self { sled, host, _network: network }
    }

    /// Boots both for the first time, and has the volume mounted on the host.
    pub fn boot(&self) -> (Machine<'_>, Machine<'_>, Steps) {
        let (sled, host) = (self.sled.boot(), self.host.boot());
        let mut steps = Steps::new();
        sled.create();
        steps.took("the boots, and the regions");
        host.mounts();
        steps.took("the file system");
        (sled, host, steps)
    }
}
