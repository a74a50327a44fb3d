//! Redundancy of the hosts that are connected to a region, by the other replicas that they have
//! beside it: who takes a region down makes sure first that nobody is left with less than two, and
//! waits afterwards until it serves and they are back.

use crate::act::units;
use crate::check::Code;
use crate::config::Configuration;
use crate::decide::attach::{attached, may_let_go, others};
use crate::decide::facts::{Facts, Run};
use crate::decide::repair;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::kernel::processes;
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::region::format::Trailer;
use crate::store::layout::legacy_dir;
use crate::store::region_dir::trailers;
use crate::supervisor::jobs::context::Context;
use crate::supervisor::jobs::{Jobs, Report};
use crate::systemd::names;
use crate::times;
use crate::wire::{self, Refusal};
use Company::{Accompanied, Alone};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use zbus::Connection;

/// Time that a region may take to serve under its new unit, beside [`EXTENT_HASHING_LIMIT`].
const SERVING_LIMIT: Duration = Duration::from_secs(60);
/// Time to hash an extent that was left dirty, before a downstairs listens: up to 0.45 s each was measured.
const EXTENT_HASHING_LIMIT: Duration = Duration::from_millis(600);
/// Time that hosts may take to come back to the regions of a volume, and these to catch up. An
/// upstairs connects anew every 10 s by itself.
const REUNION_LIMIT: Duration = Duration::from_secs(60);
/// Time between looks whether they are back.
const HOSTS_POLL: Duration = Duration::from_millis(250);
/// Longest time between flushes of an upstairs while it writes.
const FLUSH: Duration = Duration::from_secs(2);
/// Number of starts by systemd after which a region's downstairs counts as not serving.
const RESTART_LIMIT: u32 = 3;

/// Reason why a region may not go away.
pub(in crate::supervisor) enum Lack {
    /// Nobody wants it to any more.
    Cancelled,
    /// A host would be left without this.
    Of(String),
}

/// Wait until this region can go away for a moment: a host that is connected must be connected to
/// the volume's other regions on this sled as well, and these must have everything that this one
/// has. That must be so in two looks, between which a host flushes what it has.
///
/// # Errors
/// What a connected host would miss still after [`REUNION_LIMIT`].
pub(in crate::supervisor) async fn wait(
    context: &Context,
    local: &LocalRegion,
    dir: &Path,
    progress: &Progress,
) -> Result<(), Lack> {
    let deadline = Instant::now() + REUNION_LIMIT;
    let mut well = false;
    loop {
        let (config, region, dir) = (context.config.clone(), local.clone(), dir.to_owned());
        let seen = tokio::task::spawn_blocking(move || look(&config, &region, &dir)).await;
        let lacking = match seen.unwrap_or_else(|why| Err(why.to_string())) {
            Ok(Alone) => return Ok(()),
            Ok(Accompanied) if well => return Ok(()),
            Ok(Accompanied) => None,
            Err(lacking) => Some(lacking),
        };
        well = lacking.is_none();
        if let Some(lacking) = lacking.filter(|_| Instant::now() >= deadline) {
            return Err(Lack::Of(lacking));
        }
        progress.step("waiting for the volume's other regions", 0, 0);
        tokio::select! {
            () = sleep(if well { FLUSH } else { HOSTS_POLL }) => {}
            () = progress.cancelled() => return Err(Lack::Cancelled),
        }
    }
}

/// Make sure that hosts that are connected to a region could repair it after it was away: looked at anew,
/// wherever its downstairs listens.
///
/// # Errors
/// That they could not; or it cannot be told who is connected.
pub(in crate::supervisor) async fn repairable(
    context: &Context,
    local: &LocalRegion,
    dir: &Path,
) -> Result<(), wire::Error> {
    let early = || std::io::Error::other("the look at the disk ended early");
    let disk = context.scanner.look().await.ok_or_else(early);
    let (context, region, dir) = (context.clone(), local.clone(), dir.to_owned());
    let look = move || {
        let disk = disk?;
        let hosts = processes::visitors(region.port, processes::runners(&dir)?.into_iter().map(|runner| runner.pid))?;
        Ok(repair::may_go(&context.config, &disk, &region, &hosts))
    };
    let looked: std::io::Result<_> =
        tokio::task::spawn_blocking(look).await.unwrap_or_else(|why| Err(std::io::Error::other(why)));
    match looked {
        Ok(repairable) => repairable,
        Err(why) => {
            let message = format!("{}: it cannot be told who is connected: {why}", local.name);
            Err(wire::Error::new(Refusal::Failed, message, "ask again; see journalctl -u sledd"))
        }
    }
}

/// Company of a region that may go away for a moment.
pub(in crate::supervisor) enum Company {
    /// Nobody is connected to it.
    Alone,
    /// Whoever is has the other two, and they have what it has.
    Accompanied,
}

/// Look who is connected to a region and its siblings, and whether these have caught up.
///
/// # Errors
/// What a connected host would miss if this region went away now.
pub(in crate::supervisor) fn look(config: &Configuration, local: &LocalRegion, dir: &Path) -> Result<Company, String> {
    let connected = |dir: &Path, port| {
        let runners = processes::runners(dir).map(|runners| runners.into_iter().map(|runner| runner.pid));
        let visitors = runners.and_then(|runners| processes::visitors(port, runners));
        visitors.map_err(|why| format!("it cannot be told who is connected: {why}"))
    };
    let hosts = connected(dir, local.port)?;
    if hosts.is_empty() {
        return Ok(Alone);
    }
    let ours = trailers(dir, local.geometry, |_| ())?;
    let name = &local.name;
    let others = config.local_regions().into_iter().filter(|l| l.name.volume() == name.volume() && l.name != *name);
    for sibling in others {
        let places = [config.region_dir(&sibling.name), legacy_dir(&config.sled.storage.root, &sibling.name)];
        let there = places.iter().find(|dir| fs::symlink_metadata(dir).is_ok());
        if let Some(host) = hosts.difference(&connected(there.unwrap_or(&places[0]), sibling.port)?).next() {
            return Err(format!("{host} is connected to it and not to {}", sibling.name));
        }
        // One that is served from elsewhere, and waits to be adopted from there, cannot be read.
        let Some(there) = there else { continue };
        let theirs = trailers(there, sibling.geometry, |_| ()).map_err(|why| format!("{}: {why}", sibling.name))?;
        if behind(&theirs, &ours) {
            return Err(format!("{} has not caught up with it", sibling.name));
        }
    }
    Ok(Accompanied)
}

/// Tell whether some extent was flushed here and not there.
fn behind(theirs: &[Trailer], ours: &[Trailer]) -> bool {
    theirs.iter().zip(ours).any(|(their, our)| (their.generation, their.flush) < (our.generation, our.flush))
}

/// Tell how long a region may take to serve once it was started.
pub(in crate::supervisor) fn patience(local: &LocalRegion) -> Duration {
    SERVING_LIMIT + EXTENT_HASHING_LIMIT * local.geometry.extent_count
}

/// Wait until a region serves that was just started: in another invocation of its unit than the one
/// `before`, of which it may still be known that it served.
///
/// # Errors
/// Why it does not, in words for an operator.
pub(in crate::supervisor) async fn wait_until_it_serves(
    context: &Context,
    local: &LocalRegion,
    bus: &Connection,
    before: Option<String>,
) -> Result<(), String> {
    let time = patience(local);
    let mut serving = context.serving.subscribe();
    let serves = serving.wait_for(|serving| serves_anew(serving, &local.name, before.as_ref()));
    let fails = async {
        loop {
            sleep(HOSTS_POLL).await;
            match units::restarts(bus, &local.name).await {
                Ok(restarts) if restarts >= RESTART_LIMIT => return,
                _ => {}
            }
        }
    };
    let unit = names::unit(&local.name);
    tokio::select! {
        served = tokio::time::timeout(time, serves) => match served {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("it does not serve after {} s under {unit}", time.as_secs())),
        },
        () = fails => Err(format!("its downstairs ends again and again under {unit}: see journalctl -u {unit}")),
    }
}

/// Tell whether a region serves in another invocation than this one.
fn serves_anew(serving: &BTreeMap<RegionName, Run>, name: &RegionName, before: Option<&String>) -> bool {
    serving.get(name).is_some_and(|run| before.is_none() || run.invocation.as_ref() != before)
}

/// Volumes that are being looked at, and who has asked since that look began: it is none of his.
pub(in crate::supervisor) type Looks = BTreeMap<VolumeName, Vec<Reply>>;

/// Find the processes that run on these regions, wherever these listen.
fn run_on(facts: &Facts, regions: &[LocalRegion]) -> BTreeMap<RegionName, u32> {
    let pid = |name: &RegionName| facts.regions.get(name).and_then(|region| region.alive());
    regions.iter().filter_map(|local| Some((local.name.clone(), pid(&local.name)?))).collect()
}

impl Jobs {
    /// Tell who is connected to a volume, by a look that begins after this was asked. There is one at a time of
    /// each volume, and the next one is for all who ask meanwhile.
    pub(in crate::supervisor) fn tell_hosts(&mut self, volume: VolumeName, answer: Reply, facts: &Facts) {
        match self.looks.get_mut(&volume) {
            Some(waiting) => waiting.push(answer),
            None => self.look_for(volume, vec![answer], facts),
        }
    }

    /// Hear that a look at a volume's hosts is over.
    pub(in crate::supervisor) fn hear_hosts(&mut self, volume: VolumeName, facts: &Facts) {
        let mut waiting = self.looks.remove(&volume).unwrap_or_default();
        waiting.retain(|answer| !answer.is_closed());
        if !waiting.is_empty() {
            self.look_for(volume, waiting, facts);
        }
    }

    fn look_for(&mut self, volume: VolumeName, answers: Vec<Reply>, facts: &Facts) {
        let config = self.context.config.clone();
        let here = match may_let_go(&config, &volume) {
            Ok(here) => here,
            Err(why) => return tell_each(answers, &Err(why)),
        };
        self.looks.insert(volume.clone(), Vec::new());
        let over = Report::HostsTold(volume.clone());
        let lost = Report::HostsTold(volume.clone());
        let (since, runs) = (facts.seen_at(&volume), run_on(facts, &here));
        let look = move || -> std::io::Result<wire::Hosts> {
            let mut seen = Vec::new();
            for local in here {
                let visitors = processes::visitors(local.port, runs.get(&local.name).copied())?;
                seen.extend(visitors.into_iter().map(|address| (address, local.name.clone())));
            }
            let hosts = others(&config, &seen, None);
            let since = |address| since.get(&address).copied().map_or_else(times::now, times::in_milliseconds);
            let attached = attached(&config, &hosts, since);
            Ok(wire::Hosts { volume, sled: config.sled.name.clone(), attached })
        };
        self.context.tasks.run(|_| Some(lost), async move {
            let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|why| Err(std::io::Error::other(why)));
            let told = looked.map_err(|why| {
                let message = format!("it cannot be told who is connected: {why}");
                wire::Error::new(Code::NotSeen, message, "ask again; see journalctl -u sledd")
            });
            tell_each(answers, &told);
            Some(over)
        });
    }
}

fn tell_each(answers: Vec<Reply>, told: &Result<wire::Hosts, wire::Error>) {
    answers.into_iter().for_each(|answer| _ = answer.send(told.clone().map(Answer::Hosts)));
}

/// Find the hosts that are connected to a region where the map has it: whoever is elsewhere does not
/// look for it here once it has moved.
///
/// # Errors
/// It cannot be told.
pub(in crate::supervisor) async fn hosts(local: &LocalRegion) -> Result<BTreeSet<IpAddr>, String> {
    let port = local.port;
    let looked = tokio::task::spawn_blocking(move || processes::at_port(port)).await.map_err(|why| why.to_string())?;
    looked.map_err(|why| format!("it cannot be told who is connected: {why}"))
}

/// Wait until those hosts are connected again that were, and that use the volume still: by one of
/// its other regions on this sled.
///
/// # Errors
/// Who is not, after [`REUNION_LIMIT`].
pub(in crate::supervisor) async fn wait_for_return(
    context: &Context,
    local: &LocalRegion,
    before: &BTreeSet<IpAddr>,
    progress: &Progress,
) -> Result<(), String> {
    let deadline = Instant::now() + REUNION_LIMIT;
    let volume = local.name.volume();
    let all = context.config.local_regions().into_iter();
    let siblings: Vec<_> = all.filter(|other| other.name.volume() == volume && other.name != local.name).collect();
    loop {
        let now = hosts(local).await?;
        if before.is_subset(&now) {
            return Ok(());
        }
        let mut elsewhere = BTreeSet::new();
        for sibling in &siblings {
            elsewhere.extend(context.hosts(&sibling.name).await?);
        }
        let Some(away) = before.iter().find(|host| !now.contains(host) && elsewhere.contains(host)) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(format!("{away} has not come back to it for {} s", REUNION_LIMIT.as_secs()));
        }
        progress.step(format!("{}: waiting for {away} to come back", local.name), 0, 0);
        sleep(HOSTS_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::process::Command;

    #[test]
    fn that_it_serves_is_believed_of_another_invocation_only() {
        let name: RegionName = "still-fawn-0".parse().unwrap();
        let served =
            |invocation: &str| BTreeMap::from([(name.clone(), Run { pid: 7, invocation: Some(invocation.into()) })]);
        let before = "a".to_owned();
        // What was last judged is from before the restart: even if the process has the same number.
        assert!(!serves_anew(&served("a"), &name, Some(&before)));
        assert!(serves_anew(&served("b"), &name, Some(&before)));
        assert!(serves_anew(&served("a"), &name, None));
        assert!(!serves_anew(&BTreeMap::new(), &name, None));
    }

    /// As a region that waits to be moved: it serves at another port than the map has by now.
    #[test]
    fn a_host_where_the_map_had_a_region_before_is_one_of_its_hosts() {
        let config = config::shipped("");
        let (local, dir) = (config.local_regions()[0].clone(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let looked = || look(&config, &local, dir.path()).map(|company| matches!(company, Alone));
        let hold = |end: OwnedFd, at: &Path| Command::new("sleep").arg("600").current_dir(at).stdin(end).spawn();
        let host = hold(client.into(), Path::new("/")).unwrap();
        assert_eq!(looked(), Ok(true), "nothing runs on it");
        let downstairs = hold(listener.into(), dir.path()).unwrap();
        assert!(looked().is_err(), "it is looked whether that one has the others as well");
        for mut one in [host, downstairs] {
            one.kill().unwrap();
            one.wait().unwrap();
        }
        assert_eq!(looked(), Ok(true));
    }

    #[test]
    fn a_replica_that_lacks_a_flush_is_behind() {
        let at = |generation, flush| Trailer { dirty: false, generation, flush };
        assert!(!behind(&[at(1, 5), at(1, 5)], &[at(1, 5), at(1, 4)]));
        assert!(behind(&[at(1, 5), at(1, 3)], &[at(1, 5), at(1, 4)]));
        assert!(behind(&[at(1, 9)], &[at(2, 1)]));
    }
}
