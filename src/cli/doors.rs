//! At which doors a sled's neighbours are asked.

use crate::config_dir;
use crate::names::SledName;
use crate::port_map::HTTP_PORT;
use crate::wire::{Error, Sled};
use clap::Args;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Where other sleds are asked.
#[derive(Debug, Clone, Args)]
pub(super) struct Elsewhere {
    /// Where another sled answers, if at a port that this sled cannot know: neither the one at which it answers
    /// itself nor 3800. The address as the port map has it; for several sleds several times.
    #[arg(long = "sled", value_name = "ADDRESS:PORT")]
    pub(super) sleds: Vec<SocketAddr>,
}

/// At which ports other sleds are asked: where somebody has said; else where this sled answers itself, as a fleet
/// is mostly configured alike, and where every sled does that was not told otherwise. It is only a guess: what
/// answers there says which sled it is.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) said: BTreeMap<IpAddr, u16>,
    pub(super) usual: Vec<u16>,
}

impl Default for Doors {
    fn default() -> Self {
        Self { said: BTreeMap::new(), usual: vec![HTTP_PORT] }
    }
}

impl Doors {
    /// The doors that the neighbours of this machine's sled are likely to have.
    pub(super) fn usual() -> Self {
        let mut doors = Self::default();
        let config = config_dir::read(Path::new(config_dir::DEFAULT));
        for at in config.iter().flat_map(|config| &config.listen).rev() {
            doors.usual.retain(|port| *port != at.port());
            doors.usual.insert(0, at.port());
        }
        doors
    }

    /// Takes what somebody has said of the doors of a sled's neighbours.
    ///
    /// # Errors
    /// `SLED_UNKNOWN`: what was said is of none of them.
    pub(super) fn hear_of(&mut self, elsewhere: &Elsewhere, sled: &Sled) -> Result<(), Error> {
        let others = sled.volumes.iter().flat_map(|volume| &volume.regions).filter(|region| region.sled != sled.sled);
        self.hear(&elsewhere.sleds, others.map(|region| (region.address, &region.sled)).collect())
    }

    /// The same of neighbours that are known.
    pub(super) fn hear(&mut self, said: &[SocketAddr], others: BTreeMap<IpAddr, &SledName>) -> Result<(), Error> {
        for at in said {
            let address = at.ip().to_canonical();
            if !others.contains_key(&address) {
                let known = others.iter().map(|(address, name)| format!("{name} ({address})")).collect::<Vec<_>>();
                let known = if known.is_empty() { "no other sled".to_owned() } else { known.join(", ") };
                let message = format!("{address} is no sled that shares a volume with this one");
                return Err(Error::new("SLED_UNKNOWN", message, format!("by the port map these are: {known}")));
            }
            self.said.insert(address, at.port());
        }
        Ok(())
    }

    pub(super) fn of(&self, address: IpAddr) -> Vec<SocketAddr> {
        let said = self.said.get(&address.to_canonical()).map(|port| vec![*port]);
        let ports = said.unwrap_or_else(|| self.usual.clone());
        ports.into_iter().map(|port| SocketAddr::new(address, port)).collect()
    }
}
