//! Doors of a sled's neighbours: the ports at which they are asked.

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::config_dir;
use crate::names::SledName;
use crate::port_map::HTTP_PORT;
use crate::wire::{Error, Refusal, Sled};
use clap::Args;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Elsewhere {
    /// Where another sled answers, if at a port that this sled cannot know: neither the one at which it answers
    /// itself nor 3800. The address as the port map has it; for several sleds several times.
    #[arg(long = "sled", value_name = "ADDRESS:PORT")]
    sleds: Vec<SocketAddr>,
}

/// Ports at which other sleds are asked: where somebody has said; else where this sled answers itself, as a fleet
/// is mostly configured alike, and where every sled does that was not told otherwise. The ports are a guess: what
/// answers there says which sled it is.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Doors {
    pub(super) said: BTreeMap<IpAddr, u16>,
    pub(super) usual: Vec<u16>,
}

impl Elsewhere {
    /// Find the doors of the neighbours of this machine's sled, by what somebody has said of them.
    ///
    /// # Errors
    /// `SLED_UNKNOWN`: a sled that was named is none of them.
    pub(in crate::cli) async fn doors(&self, client: &Client) -> Result<Doors, Failure> {
        let mut doors = Doors::usual();
        if !self.sleds.is_empty() {
            doors.hear_of(&self.sleds, &client.sled().await?).map_err(Failure::Refused)?;
        }
        Ok(doors)
    }
}

impl Default for Doors {
    fn default() -> Self {
        Self { said: BTreeMap::new(), usual: vec![HTTP_PORT] }
    }
}

impl Doors {
    /// Guess the doors that the neighbours of this machine's sled have.
    fn usual() -> Self {
        let mut doors = Self::default();
        let config = config_dir::read(Path::new(config_dir::DEFAULT));
        for at in config.iter().flat_map(|config| &config.listen).rev() {
            doors.usual.retain(|port| *port != at.port());
            doors.usual.insert(0, at.port());
        }
        doors
    }

    /// Take what somebody has said of the doors of a sled's neighbours.
    ///
    /// # Errors
    /// `SLED_UNKNOWN`: a sled that was named is none of them.
    fn hear_of(&mut self, said: &[SocketAddr], sled: &Sled) -> Result<(), Error> {
        let others = sled.volumes.iter().flat_map(|volume| &volume.regions).filter(|region| region.sled != sled.sled);
        self.hear(said, others.map(|region| (region.address, &region.sled)).collect())
    }

    /// Take what somebody has said, of neighbours that are known.
    pub(super) fn hear(&mut self, said: &[SocketAddr], others: BTreeMap<IpAddr, &SledName>) -> Result<(), Error> {
        for at in said {
            let address = at.ip().to_canonical();
            if !others.contains_key(&address) {
                let known = others.iter().map(|(address, name)| format!("{name} ({address})")).collect::<Vec<_>>();
                let known = if known.is_empty() { "no other sled".to_owned() } else { known.join(", ") };
                let message = format!("{address} is no sled that shares a volume with this one");
                return Err(Error::new(Refusal::SledUnknown, message, format!("by the port map these are: {known}")));
            }
            self.said.insert(address, at.port());
        }
        Ok(())
    }

    /// List the doors of one neighbour.
    pub(in crate::cli) fn of(&self, address: IpAddr) -> Vec<SocketAddr> {
        let said = self.said.get(&address.to_canonical()).map(|port| vec![*port]);
        let ports = said.unwrap_or_else(|| self.usual.clone());
        ports.into_iter().map(|port| SocketAddr::new(address, port)).collect()
    }
}
