//! Look at the ground for a configuration before it is taken over, or only shown: what would be so with
//! it, at this moment. Nothing of it changes what is known of the one in force.

use crate::config::Configuration;
use crate::decide::difference::started_anew;
use crate::decide::facts::{Disk, Facts, Fresh, Network, Stranger};
use crate::kernel::ports::{self, By, Taken};
use crate::kernel::processes::visitors;
use crate::names::RegionName;
use crate::observe::call::started_with_tls;
use crate::observe::observer::Kernel;
use crate::observe::scanner::Scanner;
use crate::observe::{network, tls};
use crate::systemd::names;
use crate::wire::{self, Peer, Refusal};
use nix::unistd::{AccessFlags, User, access};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Time that the kernel may take to tell of interfaces.
const NETWORK_LIMIT: Duration = Duration::from_secs(5);

/// Look at the ground: at what, and by whom.
pub(in crate::supervisor) struct Look {
    pub(in crate::supervisor) old: Arc<Configuration>,
    pub(in crate::supervisor) new: Arc<Configuration>,
    pub(in crate::supervisor) scanner: Arc<Scanner>,
    pub(in crate::supervisor) kernel: Kernel,
    /// Main processes of the regions that run.
    pub(in crate::supervisor) pids: BTreeMap<RegionName, u32>,
}

impl Look {
    /// Look at everything. Who is connected comes last: a promise that nobody is cut off is made of it.
    ///
    /// # Errors
    /// It cannot be told what is on the disk, or who is connected.
    pub(in crate::supervisor) async fn take(self) -> Result<Fresh, wire::Error> {
        let network = self.network().await;
        let failed = |why: String| {
            let message = format!("nothing was changed: it cannot be told {why}");
            wire::Error::new(Refusal::Failed, message, "ask again; see journalctl -u sledd")
        };
        let disk = self.scanner.look_for(&self.new).await.ok_or_else(|| failed("what is on the disk".into()))?;
        let looked = spawn_blocking(move || self.rest(network, disk)).await;
        let failed = |why| failed(format!("who is connected: {why}"));
        looked.map_err(|why| failed(why.to_string()))?.map_err(|why| failed(why.to_string()))
    }

    async fn network(&self) -> Option<Network> {
        let look = network::look_once(&self.new, &self.kernel);
        match timeout(NETWORK_LIMIT, look).await {
            Ok(Ok(network)) => Some(network),
            Ok(Err(why)) => {
                tracing::warn!("netlink does not tell of the network: {why}");
                None
            }
            Err(_) => None,
        }
    }

    fn rest(self, network: Option<Network>, disk: Disk) -> std::io::Result<Fresh> {
        let new = &self.new;
        let tls = new.sled.tls.as_ref().map(|files| tls::look_once(files, new));
        let speaks_tls = self.pids.iter().filter_map(|(name, pid)| Some((name.clone(), started_with_tls(*pid)?)));
        let speaks_tls: BTreeMap<_, _> = speaks_tls.collect();
        let mut fresh = Fresh { network, tls, speaks_tls, disk: Some(disk), ..Fresh::default() };
        fresh.taken = self.taken(&fresh);
        fresh.unusable = unusable(&self.old, new);
        for local in self.old.local_regions() {
            let peers = visitors(local.port, self.pids.get(&local.name).copied())?;
            let peers = peers.into_iter().map(|address| Peer { address, port: 0, host: None }).collect();
            fresh.connected.insert(local.name, peers);
        }
        Ok(fresh)
    }

    /// Find the regions that would be started, and whose ports somebody else has: not one that makes room.
    fn taken(&self, fresh: &Fresh) -> BTreeMap<RegionName, Stranger> {
        let mut known = Facts::default();
        for (name, speaks) in &fresh.speaks_tls {
            known.regions.entry(name.clone()).or_default().speaks_tls = Some(*speaks);
        }
        let (before, anew) = (self.old.local_regions(), started_anew(&self.old, &self.new, &known));
        let here = |name: &RegionName| before.iter().find(|local| local.name == *name);
        let unit = |stranger: &Stranger| {
            before.iter().any(|local| stranger.unit.as_deref() == Some(&names::unit(&local.name)))
        };
        let wanted = self.new.local_regions().into_iter().filter(|local| {
            here(&local.name).is_none_or(|old| old.port != local.port && anew.iter().any(|new| new.name == local.name))
        });
        let taken = wanted.filter_map(|local| match ports::free(self.new.address, &local) {
            Err(Taken::Port(_, By::Listener(who) | By::Binder(who) | By::Client(who))) if !unit(&who) => {
                Some((local.name, who))
            }
            Err(Taken::Port(_, By::Unseen)) => {
                Some((local.name, Stranger { pid: None, command: String::new(), unit: None }))
            }
            _ => None,
        });
        taken.collect()
    }
}

/// Tell why the program of a configuration cannot be run, or nobody is its user, if they are others
/// than those in force.
fn unusable(old: &Configuration, new: &Configuration) -> Vec<(&'static str, String)> {
    let (before, after) = (&old.sled.downstairs, &new.sled.downstairs);
    let mut found = Vec::new();
    if before.program != after.program {
        let program = after.program.display();
        let why = match std::fs::metadata(&after.program) {
            Err(why) => Some(format!("{program} cannot be run: {why}")),
            Ok(file) if !file.is_file() => Some(format!("{program} is not a regular file")),
            Ok(_) => {
                access(&after.program, AccessFlags::X_OK).err().map(|why| format!("{program} cannot be run: {why}"))
            }
        };
        found.extend(why.map(|why| ("downstairs.program", why)));
    }
    if before.user != after.user && matches!(User::from_name(&after.user), Ok(None)) {
        found.push(("downstairs.user", format!("there is no user {}", after.user)));
    }
    found
}
