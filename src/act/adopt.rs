//! Taking a region over from what served it before: its directory gets its place, its files
//! their owner, the ledger a record of it. Everything is written down first
//! ([`Adoption`]), so that it can be undone wholly, after a crash too.
//!
//! Nothing is copied and no byte of a region is changed. In which order things are stopped and
//! started is the supervisor's.

use super::inspect::{region_json, trailers};
use super::legacy::Served;
use super::peers::{Runner, listening, runners};
use super::{ledger, places};
use crate::config::Configuration;
use crate::files::{move_dir, set_mode};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::format::Trailer;
use crate::region::{Adoption, Record, RegionJson};
use crate::systemd::names;
use jiff::Timestamp;
use nix::NixPath;
use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{Gid, Uid, User, fchownat};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory that may be adopted: a whole region, as the map wants it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub dir: PathBuf,
    /// What it says of itself.
    pub json: RegionJson,
    /// The trailers of its extents.
    pub trailers: Vec<Trailer>,
    /// Who owns it.
    pub owner: (u32, u32),
    /// The mode of the directory.
    pub mode: u32,
}

/// Looks for the directory of a region and checks it. Without `from` it is where the runbook
/// puts it, or in its place already.
///
/// # Errors
/// Why it cannot be adopted, in words for an operator.
pub fn candidate(config: &Configuration, local: &LocalRegion, from: Option<&Path>) -> Result<Candidate, String> {
    let (root, place) = (&config.sled.storage.root, config.region_dir(&local.name));
    let dir = match from {
        Some(dir) => dir.to_owned(),
        None if fs::symlink_metadata(&place).is_ok() => place.clone(),
        None => places::legacy_dir(root, &local.name),
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

/// Refuses what is the supervisor's own: the place of another region, or anything in the trash.
fn not_ours(config: &Configuration, dir: &Path, name: &RegionName) -> Result<(), String> {
    let root = &config.sled.storage.root;
    // Through whatever link the path leads.
    let real = |dir: &Path| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let (real_dir, real_root) = (real(dir), real(root));
    let Ok(below) = real_dir.strip_prefix(&real_root) else { return Ok(()) };
    let first = below.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let own = first.as_deref().is_some_and(|first| [ledger::DIR, places::INCOMING, places::TRASH].contains(&first));
    let mapped = config.local_regions().into_iter().map(|local| local.name);
    let recorded = ledger::load(root).into_iter().flat_map(|loaded| loaded.ledger.regions.into_keys());
    let other = mapped.chain(recorded).any(|other| other != *name && Some(other.to_string()) == first);
    match own || other {
        true => Err(format!("{} is the supervisor's own", dir.display())),
        false => Ok(()),
    }
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

/// Checks what serves a directory against the map.
///
/// # Errors
/// It is served at another port, or a process runs on it that is no unit's that was found.
pub fn check_server(local: &LocalRegion, candidate: &Candidate, served: Option<&Served>) -> Result<(), String> {
    if let Some((unit, port)) = served.and_then(|s| Some((&s.unit.name, s.port?)))
        && port != local.port
    {
        return Err(format!("{unit} serves it on port {port}, and the port map gives it {}: correct one", local.port));
    }
    let known = [Some(names::unit(&local.name)), served.map(|served| served.unit.name.clone())];
    unused(&candidate.dir, |runner| known.contains(&runner.unit) && runner.unit.is_some())?;
    // A command line may leave the port to a variable: what it listens on counts.
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

/// Finds that nothing runs on a directory, but what is `known`.
///
/// # Errors
/// Something does, and how to end it; or it cannot be told.
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

/// What undoing the adoption of a candidate takes.
pub fn adoption(candidate: &Candidate, served: Option<&Served>) -> Adoption {
    Adoption {
        uuid: candidate.json.uuid,
        from: candidate.dir.clone(),
        unit: served.map(|served| served.unit.clone()),
        owner: candidate.owner,
        mode: candidate.mode,
    }
}

/// Notes that an adoption begins. From here on it is finished or undone, and what is returned is
/// what undoing it takes: an earlier adoption that could not be undone has noted that already.
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

/// Gives the directory its place, its files their owner, and the ledger the record. Nothing may
/// run on it.
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
    own(&place, (owner.uid.as_raw(), owner.gid.as_raw()))?;
    set_mode(&place, 0o750)?;
    let by = format!("adopted from {}", candidate.dir.display());
    let record =
        Record { uuid: candidate.json.uuid, geometry: candidate.json.geometry(), created: Timestamp::now(), by };
    let generation = candidate.trailers.iter().map(|trailer| trailer.generation).max().unwrap_or_default();
    ledger::change(root, |ledger| {
        ledger.raise_generation(name.volume(), generation);
        ledger.regions.insert(name.clone(), record);
        Ok(())
    })
}

/// Gives everything below a directory, and it, an owner.
fn own(dir: &Path, owner: (u32, u32)) -> io::Result<()> {
    own_open(open_dir(AT_FDCWD, dir)?, owner)
}

/// Opens a directory, and nothing that a link leads to.
fn open_dir<P: ?Sized + NixPath>(at: impl AsFd, name: &P) -> io::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(Dir::openat(at, name, flags, Mode::empty())?)
}

/// The same for a directory that is open. The files belong to somebody who may move them meanwhile:
/// so no path is walked twice, every name is one in a directory that is held open, and none that is a
/// link is followed.
fn own_open(mut dir: Dir, (uid, gid): (u32, u32)) -> io::Result<()> {
    let names = dir.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names = names.collect::<nix::Result<Vec<_>>>()?;
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        let found = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            own_open(open_dir(&dir, name.as_c_str())?, (uid, gid))?;
        } else if (found.st_uid, found.st_gid) != (uid, gid) {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(&dir, name.as_c_str(), owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
    }
    std::os::unix::fs::fchown(&dir, Some(uid), Some(gid))
}

/// Notes that an adoption is complete: nothing is undone any more.
///
/// # Errors
/// The file system refused.
pub fn commit(root: &Path, name: &RegionName) -> io::Result<()> {
    ledger::change(root, |ledger| {
        ledger.adoptions.remove(name);
        Ok(())
    })
}

/// Puts the directory back where it was, with its owner and mode, and takes the region off the
/// record. Nothing may run on it. Does whatever of that is still to do.
///
/// # Errors
/// It is not where it was, or the file system refused.
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
    own(&adoption.from, adoption.owner).map_err(failed)?;
    set_mode(&adoption.from, adoption.mode).map_err(failed)?;
    // The note stays until the old unit serves again; as long as it does, nothing starts here.
    ledger::change(root, |ledger| {
        if ledger.regions.get(name).is_some_and(|record| record.uuid == adoption.uuid) {
            ledger.regions.remove(name);
        }
        Ok(())
    })
    .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whom the files belong to may put a link in a directory's place at any moment.
    #[test]
    fn no_link_is_followed_that_is_put_in_a_directorys_place() {
        let made = tempfile::tempdir().unwrap();
        let (region, outside) = (made.path().join("region"), made.path().join("outside"));
        let (sub, aside) = (region.join("00"), made.path().join("aside"));
        fs::create_dir_all(&sub).unwrap();
        fs::create_dir(&outside).unwrap();
        let names: Vec<_> = (0..40).map(|number| format!("{number:03}")).collect();
        for name in &names {
            fs::write(sub.join(name), "").unwrap();
            fs::write(outside.join(name), "").unwrap();
        }
        symlink(outside.join("000"), region.join("link")).unwrap();
        let done = AtomicBool::new(false);
        let link = made.path().join("link");
        symlink(&outside, &link).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    _ = fs::rename(&sub, &aside).and_then(|()| fs::rename(&link, &sub));
                    _ = fs::rename(&sub, &link).and_then(|()| fs::rename(&aside, &sub));
                }
            });
            for round in 0..300 {
                // What it does not find, or finds to be a link, is no directory of the region any more.
                _ = own(&region, (60000 + round % 2, 60000));
            }
            done.store(true, Ordering::Relaxed);
        });
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&outside), owner(made.path()));
        assert!(names.iter().all(|name| owner(&outside.join(name)) == owner(made.path())));
        own(&region, (60002, 60000)).unwrap();
        assert!(names.iter().all(|name| owner(&sub.join(name)) == 60002));
        assert_eq!(fs::symlink_metadata(region.join("link")).unwrap().uid(), 60002);
    }
}
