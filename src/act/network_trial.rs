//! Trial of the network of another configuration, in a process of its own (sled-network.service): it is put in force, and
//! taken back unless another machine is heard on a connection to the sled within some time, or an operator has said that
//! it is to stay. Whatever ends meanwhile, the record of what was before is on disk.
//!
//! Nothing but the files of the image below `/var/etc`, systemd-networkd, and the interfaces that it has made is touched:
//! of an interface whose making has changed the old one is removed, as networkd leaves one that is there as it is.

use crate::appliance::trial::{self, Files, MEMORY, Record};
use crate::appliance::{OWN, network};
use crate::config::Configuration;
use crate::decide::network_trial::{Trial, Verdict, verdict};
use crate::kernel::links::name;
use crate::kernel::{clock, connections};
use crate::systemd::job;
use crate::terminal::note;
use crate::times;
use crate::update::record::boot_id;
use futures_util::TryStreamExt;
use netlink_packet_route::link::LinkMessage;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use zbus::Connection;

const NETWORKD: &str = "systemd-networkd.service";
/// The time between two looks for somebody who has reached the sled.
const LOOK: Duration = Duration::from_millis(250);
/// The port of ssh, by which an operator comes.
const SSH: u16 = 22;

/// Try out the network of the configuration in force for so long, if it is another than that of the machine.
///
/// # Errors
/// The record or the files cannot be written, or systemd-networkd does not run: then the network before is in force, or
/// is put back by who tries again.
pub async fn try_out(config: &Configuration, lasts: Duration) -> io::Result<()> {
    let (own, memory, boot) = (Path::new(OWN), Path::new(MEMORY), boot_id()?);
    let files = trial::named(network::files(config));
    let asked = trial::digest_of(&files);
    let known = trial::load(memory);
    let running = known.as_ref().filter(|known| !known.taken_back);
    let mut record = match running {
        Some(running) if running.asked == asked => running.clone(),
        _ if trial::present(own, &files) == files => return trial::forget(memory),
        // What was before is what somebody was heard by last, and not what is on trial.
        _ => {
            let before = running.map_or_else(|| trial::present(own, &files), |running| running.before.clone());
            Record { taken_back: false, boot: boot.clone(), applied: None, asked, at: times::now(), before }
        }
    };
    let bus = Connection::system().await.map_err(io::Error::other)?;
    if record.applied.is_none() && running.is_none_or(|running| running.asked != record.asked) {
        trial::unconfirm(memory)?;
        trial::store(memory, &record)?;
        note("another network is on trial");
        match put(own, &files, &bus).await {
            Ok(()) => record.applied = Some(millis(now()?)),
            Err(why) => note(&format!("it cannot be put in force: {why}")),
        }
        trial::store(memory, &record)?;
    }
    watch(config, lasts, &boot, record, &bus).await
}

/// Wait until somebody is heard, or the time is over.
async fn watch(
    config: &Configuration,
    lasts: Duration,
    boot: &str,
    record: Record,
    bus: &Connection,
) -> io::Result<()> {
    let (own, memory) = (Path::new(OWN), Path::new(MEMORY));
    loop {
        let trial = Trial {
            same_boot: record.boot == boot,
            applied: record.applied.map(Duration::from_millis),
            heard: heard(config)?,
            confirmed: trial::is_confirmed(memory),
        };
        match verdict(trial, lasts, now()?) {
            Verdict::Wait(_) => sleep(LOOK).await,
            Verdict::Keep => {
                note("the network stays: the sled was reached by it");
                return trial::forget(memory);
            }
            Verdict::TakeBack => {
                note("nobody has reached the sled by the network: the one before is put back");
                // On record first: a boot in between has the one before as well.
                let taken = Record { taken_back: true, at: times::now(), ..record };
                trial::store(memory, &taken)?;
                return put(own, &taken.before, bus).await;
            }
        }
    }
}

/// The time at which another machine was last heard, by the clock since the boot.
fn heard(config: &Configuration) -> io::Result<Option<Duration>> {
    let regions = config.local_regions().into_iter().map(|local| local.port);
    let ports: Vec<_> = config.listen.iter().map(|at| at.port()).chain([SSH]).chain(regions).collect();
    let now = now()?;
    let others = connections::heard(&ports)?.into_iter();
    let others = others.filter(|(peer, _)| !peer.ip().is_loopback() && peer.ip() != config.address);
    Ok(others.map(|(_, silent)| now.saturating_sub(silent)).max())
}

fn now() -> io::Result<Duration> {
    clock::now().map(|(_, since_boot)| since_boot).ok_or_else(|| io::Error::other("the kernel does not tell the time"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Put files in force.
async fn put(own: &Path, files: &Files, bus: &Connection) -> io::Result<()> {
    let before = trial::present(own, files);
    trial::put(own, files)?;
    let made = |file: &&String| Path::new(file).extension().is_some_and(|kind| kind == "netdev");
    let other = files.keys().filter(made).filter(|file| before.get(*file) != files.get(*file));
    let gone: Vec<_> = other.filter_map(|file| device(before.get(file)?.as_deref()?)).collect();
    remove(&gone).await?;
    job::restart(bus, NETWORKD).await.map_err(io::Error::other)
}

/// The interface that a file of systemd-networkd makes.
fn device(netdev: &str) -> Option<String> {
    netdev.lines().find_map(|line| line.strip_prefix("Name=")).map(ToOwned::to_owned)
}

/// Remove interfaces that are there.
async fn remove(names: &[String]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // It ends with this future, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
    for link in links.iter().filter(|link| name(link).is_some_and(|name| names.contains(name))) {
        handle.link().del(link.header.index).execute().await.map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_the_interface_that_it_makes() {
        assert_eq!(device("[NetDev]\nName=br0\nKind=bridge\n").as_deref(), Some("br0"));
        assert_eq!(device("[NetDev]\n"), None);
    }
}
