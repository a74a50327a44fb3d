//! Adoption of a region from what served it before: its directory gets its place, its files their owner, the ledger a
//! record of it. Everything is written down first ([`Adoption`]), so that it can be undone wholly, after a crash too.
//!
//! Nothing is copied and no byte of a region is changed. The supervisor decides in which order things are stopped and
//! started.

use crate::act::legacy::Served;
use crate::act::owner;
use crate::config::Configuration;
use crate::files::move_dir;
use crate::kernel::processes::{Runner, listening, runners};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::format::Trailer;
use crate::region::{Adoption, Record, RegionJson};
use crate::store::layout;
use crate::store::ledger;
use crate::store::region_dir::{region_json, trailers};
use crate::systemd::names;
use crate::times;
use nix::unistd::User;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory that may be adopted: a whole region, as the map wants it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The path of the directory.
    pub dir: PathBuf,
    /// The region's `region.json`.
    pub json: RegionJson,
    /// The trailers of its extents.
    pub trailers: Vec<Trailer>,
    /// The owner of the directory: user and group.
    pub owner: (u32, u32),
    /// The mode of the directory.
    pub mode: u32,
}

/// Look for the directory of a region and check it. Without `from` it is where the runbook puts it, or in its place
/// already.
///
/// # Errors
/// Why the directory cannot be adopted, in words for an operator.
pub fn candidate(config: &Configuration, local: &LocalRegion, from: Option<&Path>) -> Result<Candidate, String> {
    let (root, place) = (&config.sled.storage.root, config.region_dir(&local.name));
    let dir = match from {
        Some(dir) => dir.to_owned(),
        None if fs::symlink_metadata(&place).is_ok() => place.clone(),
        None => layout::legacy_dir(root, &local.name),
    };
    if dir != place && fs::symlink_metadata(&place).is_ok() {
        return Err(format!("{} exists: nothing is put over it", place.display()));
    }
    let at = |why: String| format!("{}: {why}", dir.display());
    not_ours(config, &dir, &local.name)?;
    let found = fs::symlink_metadata(&dir).map_err(|why| at(why.to_string()))?;
    if !found.is_dir() {
        return Err(at("it is not a directory".into()));
    }
    if fs::metadata(root).map_err(|why| at(why.to_string()))?.dev() != found.dev() {
        return Err(at(format!(
            "it is on another file system than {}: a region is moved, never copied",
            root.display()
        )));
    }
    let json = region_json(&dir).map_err(at)?;
    if json.geometry() != local.geometry {
        let (has, wants) = (json.geometry(), local.geometry);
        return Err(at(format!("it has the geometry {has}, and the port map wants {wants}: correct the port map")));
    }
    let trailers = trailers(&dir, json.geometry(), |_| ()).map_err(at)?;
    let owner = (found.uid(), found.gid());
    if let Some((path, other)) = of_another(&dir, owner).map_err(|why| at(why.to_string()))? {
        let ((uid, gid), path) = (owner, path.display());
        return Err(format!(
            "{path} belongs to the user with id {} (group {}), and its directory to {uid} ({gid}): chown it",
            other.0, other.1
        ));
    }
    Ok(Candidate { dir, json, trailers, owner, mode: found.mode() & 0o7777 })
}

/// Refuse what is the supervisor's own: the place of another region, or anything in the trash.
fn not_ours(config: &Configuration, dir: &Path, name: &RegionName) -> Result<(), String> {
    let root = &config.sled.storage.root;
    // The path may lead through a link.
    let real = |dir: &Path| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let (real_dir, real_root) = (real(dir), real(root));
    let Ok(below) = real_dir.strip_prefix(&real_root) else { return Ok(()) };
    let first = below.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let own = first.as_deref().is_some_and(|first| [layout::DIR, layout::INCOMING, layout::TRASH].contains(&first));
    let mapped = config.local_regions().into_iter().map(|local| local.name);
    let recorded = ledger::load(root).into_iter().flat_map(|loaded| loaded.ledger.regions.into_keys());
    let other = mapped.chain(recorded).any(|other| other != *name && Some(other.to_string()) == first);
    if own || other { Err(format!("{} is the supervisor's own", dir.display())) } else { Ok(()) }
}

/// The first file below a directory that does not belong to its owner, and to whom it does.
fn of_another(dir: &Path, owner: (u32, u32)) -> io::Result<Option<(PathBuf, (u32, u32))>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if (found.uid(), found.gid()) != owner {
            return Ok(Some((path, (found.uid(), found.gid()))));
        }
        if found.is_dir()
            && let Some(other) = of_another(&path, owner)?
        {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Check what serves a directory against the map.
///
/// # Errors
/// The region is served at another port, or a process runs on it that is no unit's that was found.
pub fn check_server(local: &LocalRegion, candidate: &Candidate, served: Option<&Served>) -> Result<(), String> {
    if let Some((unit, port)) = served.and_then(|s| Some((&s.unit.name, s.port?)))
        && port != local.port
    {
        return Err(format!("{unit} serves it on port {port}, and the port map gives it {}: correct one", local.port));
    }
    let known = [Some(names::unit(&local.name)), served.map(|served| served.unit.name.clone())];
    unused(&candidate.dir, |runner| known.contains(&runner.unit) && runner.unit.is_some())?;
    // The port of a command line may be a variable: what it listens on counts.
    let untold = |why: io::Error| format!("it cannot be told where it listens: {why}");
    for runner in runners(&candidate.dir).map_err(untold)? {
        let ports = listening(runner.pid).map_err(untold)?;
        if let Some(port) = ports.into_iter().find(|port| ![local.port, local.repair_port()].contains(port)) {
            let (pid, wants) = (runner.pid, local.port);
            return Err(format!(
                "process {pid} serves it on port {port}, and the port map gives it {wants}: correct one"
            ));
        }
    }
    Ok(())
}

/// Find that nothing runs on a directory, but what is `known`.
///
/// # Errors
/// The process that does, and how to end it; or it cannot be told.
pub fn unused(dir: &Path, known: impl Fn(&Runner) -> bool) -> Result<(), String> {
    let runners = runners(dir).map_err(|why| format!("it cannot be told what runs on it: {why}"))?;
    match runners.into_iter().find(|runner| !known(runner)) {
        None => Ok(()),
        // A shell that stands in the directory is of a session, which is nothing to stop.
        Some(Runner { pid, command, unit: Some(unit) }) if unit.ends_with(".service") && !unit.starts_with("user@") => {
            Err(format!("process {pid} ({command}) of {unit} runs on {}: systemctl stop {unit}", dir.display()))
        }
        Some(Runner { pid, command, .. }) => {
            Err(format!("process {pid} ({command}) runs on {}: end it first", dir.display()))
        }
    }
}

/// The adoption of a candidate, as undoing it needs it.
pub fn adoption(candidate: &Candidate, served: Option<&Served>) -> Adoption {
    Adoption {
        uuid: candidate.json.uuid,
        from: candidate.dir.clone(),
        unit: served.map(|served| served.unit.clone()),
        owner: candidate.owner,
        mode: candidate.mode,
    }
}

/// Note that an adoption begins. From here on it is finished or undone, and what is returned is what undoing it
/// takes: an earlier adoption that could not be undone has noted that already.
///
/// # Errors
/// Another volume's region has its identity, it is on record, the adoption of another region is
/// noted under its name, or the file system refused.
pub fn begin(root: &Path, name: &RegionName, adoption: Adoption) -> io::Result<Adoption> {
    ledger::change(root, |ledger| {
        let same = ledger.regions.iter().find(|(other, record)| {
            record.uuid == adoption.uuid && (other.volume() != name.volume() || *other == name)
        });
        match same {
            Some((other, _)) => Err(io::Error::other(format!("{other} has the identity {} already", adoption.uuid))),
            None => match ledger.adoptions.get(name) {
                Some(noted) if noted.uuid == adoption.uuid => Ok(noted.clone()),
                Some(noted) => Err(io::Error::other(format!("the adoption of {} is not undone yet", noted.uuid))),
                None => {
                    ledger.adoptions.insert(name.clone(), adoption.clone());
                    Ok(adoption)
                }
            },
        }
    })
}

/// Give the directory its place, its files their owner, and the ledger the record. Nothing may run on it.
///
/// # Errors
/// The file system refused; whoever called this undoes it.
pub fn take_over(config: &Configuration, name: &RegionName, candidate: &Candidate) -> io::Result<()> {
    let (root, place) = (&config.sled.storage.root, config.region_dir(name));
    let user = &config.sled.downstairs.user;
    let owner = User::from_name(user)?.ok_or_else(|| io::Error::other(format!("there is no user {user}")))?;
    if candidate.dir != place {
        move_dir(&candidate.dir, &place)?;
    }
    owner::give(&place, Some(candidate.owner), (owner.uid.as_raw(), owner.gid.as_raw()), 0o750)?;
    let by = format!("adopted from {}", candidate.dir.display());
    let record = Record { uuid: candidate.json.uuid, geometry: candidate.json.geometry(), created: times::now(), by };
    let generation = candidate.trailers.iter().map(|trailer| trailer.generation).max().unwrap_or_default();
    ledger::change(root, |ledger| {
        ledger.raise_generation(name.volume(), generation);
        ledger.regions.insert(name.clone(), record);
        Ok(())
    })
}

/// Note that an adoption is complete: nothing is undone any more.
///
/// # Errors
/// The file system refused.
pub fn commit(root: &Path, name: &RegionName) -> io::Result<()> {
    ledger::change(root, |ledger| {
        ledger.adoptions.remove(name);
        Ok(())
    })
}

/// Put the directory back where it was, with its owner and mode, and take the region off the record. Nothing may run
/// on it. Does whatever of that is still to do.
///
/// # Errors
/// The directory is not where it was, or the file system refused.
pub fn give_back(config: &Configuration, name: &RegionName, adoption: &Adoption) -> Result<(), String> {
    let (root, place) = (&config.sled.storage.root, config.region_dir(name));
    let failed = |why: io::Error| why.to_string();
    let is_it = |dir: &Path| {
        let found = fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir());
        found && region_json(dir).is_ok_and(|json| json.uuid == adoption.uuid)
    };
    if adoption.from != place && is_it(&place) {
        unused(&place, |_| false)?;
        if fs::symlink_metadata(&adoption.from).is_ok() {
            return Err(format!("{} exists again: move it away", adoption.from.display()));
        }
        move_dir(&place, &adoption.from).map_err(failed)?;
    }
    if !is_it(&adoption.from) {
        return Err(format!("the region {} is not in {} again", adoption.uuid, adoption.from.display()));
    }
    let user = User::from_name(&config.sled.downstairs.user).ok().flatten();
    let ours = user.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
    owner::give(&adoption.from, ours, adoption.owner, adoption.mode).map_err(failed)?;
    // The note stays until the old unit serves again; as long as it does, nothing starts here.
    ledger::change(root, |ledger| {
        if ledger.regions.get(name).is_some_and(|record| record.uuid == adoption.uuid) {
            ledger.regions.remove(name);
        }
        Ok(())
    })
    .map_err(failed)
}
