//! Trial of the network of another configuration, in a process of its own (sled-network.service): it is put in force, and
//! taken back unless another machine is heard on a connection to the sled within some time, or an operator has said that
//! it is to stay. Whatever ends meanwhile, the record of what was before is on disk.
//!
//! Nothing but the files of the image below `/var/etc`, systemd-networkd, and the interfaces that it has made is touched:
//! of an interface whose making has changed the old one is removed, as networkd leaves one that is there as it is.

use crate::appliance::trial::{self, Files, MEMORY, Record};
use crate::appliance::{OWN, network};
use crate::config::Configuration;
use crate::decide::network_trial::{First, Trial, Verdict, first, verdict};
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
/// The time after a failure to put the network before back, until it is tried again by another process.
const AGAIN: Duration = Duration::from_secs(5);
/// The port of ssh, by which an operator comes.
const SSH: u16 = 22;

/// Try out the network of the configuration in force for so long, if it is another than that of the machine. What an
/// earlier process has left undone comes first: a network that is to be taken back is, and is not tried again by that.
///
/// # Errors
/// The record or the files cannot be written, or systemd-networkd does not run: then the network before is in force, or
/// is put back by who tries again.
pub async fn try_out(config: &Configuration, lasts: Duration) -> io::Result<()> {
    let (own, memory) = (Path::new(OWN), Path::new(MEMORY));
    if trial::put_away_lost(memory)? {
        note("the record of a network on trial cannot be read: what is in force may be that");
    }
    let (files, asked) = (trial::named(network::files(config)), network::asked(config));
    let (known, present) = (trial::load(memory), trial::present(own, &files));
    let open = known.as_ref().and_then(|known| known.open(&asked, &files));
    let first = first(open, present == files);
    if first == First::Nothing {
        return trial::forget(memory);
    }
    let bus = Connection::system().await.map_err(io::Error::other)?;
    let boot = boot_id()?;
    match (first, known) {
        (First::PutBack, Some(known)) => put_back(known, &bus).await,
        (First::Restore, Some(known)) => {
            put_surely(&known.before, &bus).await?;
            trial::forget(memory)
        }
        (First::GoOn, Some(known)) => watch(config, lasts, &boot, known, &bus).await,
        (_, known) => {
            // What was before is what somebody was heard by last, and neither what is on trial nor a mixture of the two.
            let open = known.filter(|_| open.is_some());
            let before = open.map_or(present, |open| open.before);
            let (began, at) = (boot.clone(), times::now());
            let record = Record { taken_back: false, put_back: false, boot: began, applied: None, asked, at, before };
            watch(config, lasts, &boot, begin(record, &files, &bus).await?, &bus).await
        }
    }
}

/// Put files on trial: on record first.
async fn begin(mut record: Record, files: &Files, bus: &Connection) -> io::Result<Record> {
    let memory = Path::new(MEMORY);
    trial::unconfirm(memory)?;
    trial::store(memory, &record)?;
    note("another network is on trial");
    match put(files, bus).await {
        Ok(()) => record.applied = Some(millis(now()?)),
        Err(why) => note(&format!("it cannot be put in force: {why}")),
    }
    trial::store(memory, &record)?;
    Ok(record)
}

/// Wait until somebody is heard, or the time is over.
async fn watch(
    config: &Configuration,
    lasts: Duration,
    boot: &str,
    record: Record,
    bus: &Connection,
) -> io::Result<()> {
    let memory = Path::new(MEMORY);
    let mut deaf = false;
    loop {
        // Whoever cannot listen has heard nobody, and takes it back in the end.
        let heard = heard(config).unwrap_or_else(|why| {
            if !std::mem::replace(&mut deaf, true) {
                note(&format!("whether another machine reaches the sled cannot be told: {why}"));
            }
            None
        });
        let trial = Trial {
            same_boot: record.boot == boot,
            applied: record.applied.map(Duration::from_millis),
            heard,
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
                let record = record.taken_back();
                // On record first: whoever goes on with it does not try it again. It is put back in any case.
                keep(&record);
                return put_back(record, bus).await;
            }
        }
    }
}

/// Put the network before back, and say on record that it is only when it is.
async fn put_back(record: Record, bus: &Connection) -> io::Result<()> {
    put_surely(&record.before, bus).await?;
    keep(&Record { put_back: true, ..record });
    Ok(())
}

/// Keep a record, where what it tells is done with or without it: by one that could not be kept it is done once more.
fn keep(record: &Record) {
    if let Err(why) = trial::store(Path::new(MEMORY), record) {
        note(&format!("what became of the network cannot be kept: {why}"));
    }
}

/// Put the files of the network before in force; after a failure another process goes on with it, in a while.
async fn put_surely(files: &Files, bus: &Connection) -> io::Result<()> {
    let done = put(files, bus).await;
    if let Err(why) = &done {
        note(&format!("the network before cannot be put back: {why}; it is tried again in {} s", AGAIN.as_secs()));
        sleep(AGAIN).await;
    }
    done
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

/// Put files in force. The old interfaces are removed first: whoever goes on with it then knows them by their files still.
async fn put(files: &Files, bus: &Connection) -> io::Result<()> {
    let own = Path::new(OWN);
    remove(&outdated(&trial::present(own, files), files)).await?;
    trial::put(own, files)?;
    job::restart(bus, NETWORKD).await.map_err(io::Error::other)
}

/// The interfaces that were made by files that are to be others.
fn outdated(present: &Files, files: &Files) -> Vec<String> {
    let made = |file: &&String| Path::new(file).extension().is_some_and(|kind| kind == "netdev");
    let other = files.keys().filter(made).filter(|file| present.get(*file) != files.get(*file));
    other.filter_map(|file| device(present.get(file)?.as_deref()?)).collect()
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

    /// Those of files that stay are left alone, and what is removed is made anew by networkd.
    #[test]
    fn an_interface_is_removed_when_its_making_is_another() {
        let files = |bond: Option<&str>, bridge: &str| {
            let all = [
                ("network/10-bridge.netdev", Some(bridge)),
                ("network/11-bond.netdev", bond),
                ("network/20-bridge.network", Some("[Match]\nName=br0\n")),
            ];
            Files::from(all.map(|(file, text)| (file.to_owned(), text.map(ToOwned::to_owned))))
        };
        let (bridge, bond) = ("[NetDev]\nName=br0\n", "[NetDev]\nName=bond0\n");
        let (with, without) = (files(Some(bond), bridge), files(None, bridge));
        assert_eq!(outdated(&with, &with), [""; 0]);
        assert_eq!(outdated(&with, &without), ["bond0"]);
        assert_eq!(outdated(&without, &with), [""; 0]);
        let filtering = files(None, "[NetDev]\nName=br0\n[Bridge]\nVLANFiltering=yes\n");
        assert_eq!(outdated(&filtering, &with), ["br0"]);
    }

    #[test]
    fn a_file_names_the_interface_that_it_makes() {
        assert_eq!(device("[NetDev]\nName=br0\nKind=bridge\n").as_deref(), Some("br0"));
        assert_eq!(device("[NetDev]\n"), None);
    }
}
