//! Creation of a region: upstream's `create` runs aside as the service user in a sandbox of systemd's, what it made
//! is checked and made durable, and only then it gets its name.
//!
//! Nothing that exists is ever written to: the new directory is this attempt's own, and the
//! rename refuses to replace anything. A failed attempt removes what it made itself.

use crate::act::thick::{ReserveError, fits, reserve};
use crate::clean;
use crate::config::{Configuration, Provisioning};
use crate::files::{make_dir, set_mode, sync_dir};
use crate::kernel::ports::Taken;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::{Cancelled, Progress};
use crate::region::Record;
use crate::region::format::{Trailer, extent_path};
use crate::store::layout::INCOMING;
use crate::store::ledger;
use crate::store::mark::is_mounted;
use crate::store::places;
use crate::store::region_dir::{region_json, trailers};
use crate::systemd::{job, names, sandbox};
use crate::times;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{User, chown};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use zbus::Connection;
use zbus::{Fd, Variant};

/// The time that `create` may take, in microseconds; 4000 extents took 5.4 s.
const CREATE_LIMIT_MICROSECONDS: u64 = 600_000_000;
/// The longest complaint of `create` that is shown, in bytes.
const COMPLAINT_LIMIT_BYTES: u64 = 2048;
/// The pause between two looks how far `create` is.
const PROGRESS_POLL: Duration = Duration::from_millis(200);

/// A region that was not created, and why. Unless it says otherwise, nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The data disk has gone.
    #[error("{0}")]
    NotMounted(String),
    /// A port that the map gives to it is taken.
    #[error("{0}")]
    PortTaken(Taken),
    /// The service user does not exist.
    #[error("there is no user {0}, which is to own the regions")]
    NoUser(String),
    /// `create` did not succeed; with what it wrote to stderr or else systemd's word.
    #[error("create failed: {0}")]
    Program(String),
    /// The files that `create` made are not what was asked for.
    #[error("create ended well, but what it made is wrong: {0}")]
    Wrong(String),
    /// The region's blocks do not fit, or cannot be taken.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// The operator who asked for it has changed his mind.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The file system refused.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

/// Make a region, check it and make it durable. The caller has found that it may
/// ([`may_create`](crate::decide::permits::may_create)), lets no two run for one name, and finishes it. It is made on this
/// `disk`, and `by` is its maker, as its record has it.
///
/// # Errors
/// See [`CreateError`]; nothing is left behind, unless the connection to systemd broke while
/// `create` was running.
pub async fn create(
    bus: &Connection,
    config: &Arc<Configuration>,
    local: &LocalRegion,
    (disk, by): (Uuid, String),
    progress: &Progress,
) -> Result<Made, CreateError> {
    let record = Record { uuid: Uuid::new_v4(), geometry: local.geometry, created: times::now(), by };
    let (settings, name) = (config.clone(), local.clone());
    let attempt = aside(move || Attempt::begin(&settings, disk, &name)).await??;
    if let Err(why) = run(bus, config, local, &attempt.dir, record.uuid, progress).await {
        // Removal may take a while on a slow disk.
        aside(|| drop(attempt)).await?;
        return Err(why);
    }
    let (wanted, thick, progress) =
        (record.clone(), config.sled.storage.provisioning == Provisioning::Thick, progress.clone());
    let attempt = aside(move || harden(&attempt.dir, &wanted, thick, &progress).map(|()| attempt)).await??;
    Ok(Made { attempt, record })
}

/// Check what `create` made, take its blocks, and make it durable.
///
/// # Errors
/// See [`CreateError`].
pub fn harden(dir: &Path, wanted: &Record, thick: bool, progress: &Progress) -> Result<(), CreateError> {
    let total = wanted.geometry.extent_count.into();
    // Told now and then: the loop need not hear of every extent.
    let tell = |doing| {
        move |done| {
            if done % 16 == 0 {
                progress.step(doing, done, total)
            }
        }
    };
    check(dir, wanted, tell("checking"))?;
    progress.check()?;
    if thick {
        reserve(dir, wanted.geometry, tell("reserving"))?;
    }
    progress.check()?;
    progress.step("syncing", total, total);
    sync_tree(dir).map_err(|why| CreateError::Io("what create made cannot be synced", why))
}

/// Do something that waits for the disk, aside from the loop.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CreateError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|why| CreateError::Io("the work ended early", io::Error::other(why)))
}

/// A region that is whole, and not in its place yet.
pub struct Made {
    attempt: Attempt,
    record: Record,
}

impl Made {
    /// Give the region its name and put it on record.
    ///
    /// # Errors
    /// See [`CreateError`]; then the region has neither.
    pub fn finish(self, config: &Configuration, name: &RegionName) -> Result<Record, CreateError> {
        let mut attempt = self.attempt;
        places::place(&config.sled.storage.root, &attempt.dir, name, &self.record)
            .map_err(|why| CreateError::Io("it could not be put in place", why))?;
        attempt.finished = true;
        Ok(self.record)
    }
}

/// A directory of this attempt's own, removed again unless the attempt is finished.
struct Attempt {
    dir: PathBuf,
    finished: bool,
}

impl Attempt {
    fn begin(config: &Configuration, disk: Uuid, local: &LocalRegion) -> Result<Self, CreateError> {
        let failed = |why: io::Error| CreateError::Io("no directory could be made for it", why);
        let storage = &config.sled.storage;
        is_mounted(storage, disk).map_err(|why| CreateError::NotMounted(why.to_string()))?;
        let incoming = storage.root.join(INCOMING);
        let known = ledger::load(&storage.root).into_iter().flat_map(|loaded| loaded.ledger.regions.into_values());
        let repair = known.map(|record| record.geometry.extent_file_bytes()).max().unwrap_or_default();
        fits(storage, local.geometry, repair)?;
        let user = &config.sled.downstairs.user;
        let owner = User::from_name(user).ok().flatten().ok_or_else(|| CreateError::NoUser(user.clone()))?;
        make_dir(&incoming, 0o755).map_err(failed)?;
        let dir = incoming.join(format!("{}.{}", local.name, Uuid::new_v4().simple()));
        fs::create_dir(&dir).map_err(failed)?;
        let attempt = Self { dir, finished: false };
        set_mode(&attempt.dir, 0o750).map_err(failed)?;
        chown(&attempt.dir, Some(owner.uid), Some(owner.gid)).map_err(|why| failed(why.into()))?;
        Ok(attempt)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.finished
            && let Err(why) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!("{} is left over from a failed attempt: {why}", self.dir.display());
        }
    }
}

/// Run `create` in a transient unit and wait for its end.
async fn run(
    bus: &Connection,
    config: &Configuration,
    local: &LocalRegion,
    dir: &Path,
    uuid: Uuid,
    progress: &Progress,
) -> Result<(), CreateError> {
    let stderr = memfd_create(c"create-stderr", MFdFlags::MFD_CLOEXEC)
        .map_err(|why| CreateError::Io("no memory for what create may complain about", why.into()))?;
    let arguments = arguments(config, local, dir, uuid);
    let properties = settings(config, local, dir, &arguments, &stderr);
    let unit = names::create_unit(&local.name);
    let ended = tokio::select! {
        ended = job::run_transient(bus, &unit, &properties) => ended,
        () = watch(dir, local, progress) => Ok(()),
        // Nothing that runs is left alone: its unit is stopped before its directory goes.
        () = progress.cancelled() => {
            job::stop(bus, &unit).await.map_err(CreateError::Program)?;
            return Err(Cancelled.into());
        }
    };
    ended.map_err(|why| CreateError::Program(complaint(stderr).unwrap_or(why)))
}

/// Tell how many extents there are, for as long as it is asked to.
async fn watch(dir: &Path, local: &LocalRegion, progress: &Progress) {
    let total = local.geometry.extent_count;
    let mut made = 0;
    loop {
        // The extents are made in order; the next ones are looked for from where the last look ended.
        let (dir, from) = (dir.to_owned(), made);
        let next = move || (from..total).find(|n| fs::symlink_metadata(dir.join(extent_path(*n))).is_err());
        made = aside(next).await.ok().flatten().unwrap_or(total);
        progress.step("running create", made.into(), total.into());
        tokio::time::sleep(PROGRESS_POLL).await;
    }
}

fn arguments(config: &Configuration, local: &LocalRegion, dir: &Path, uuid: Uuid) -> Vec<String> {
    let geometry = &local.geometry;
    let path = |path: &Path| path.display().to_string();
    [
        path(&config.sled.downstairs.program),
        "create".into(),
        "--data".into(),
        path(dir),
        "--uuid".into(),
        uuid.to_string(),
        "--block-size".into(),
        geometry.block_size.to_string(),
        "--extent-size".into(),
        geometry.extent_size.to_string(),
        "--extent-count".into(),
        geometry.extent_count.to_string(),
    ]
    .into()
}

/// The sandbox of `create`: it writes in its directory and nowhere else, opens no socket but a local one, and may
/// become nobody else (systemd.exec(5)). Not all that a downstairs has that serves the network: every private mount
/// more costs about 10 ms a region, and an ordinary user without a capability gains nothing by what they hide.
fn settings<'a>(
    config: &Configuration,
    region: &LocalRegion,
    dir: &Path,
    arguments: &[String],
    stderr: &'a OwnedFd,
) -> Vec<(&'static str, Variant<'a>)> {
    let exec = vec![(arguments[0].clone(), arguments.to_vec(), false)];
    let own = vec![
        ("Description", format!("Create Crucible region {}", region.name).into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", exec.into()),
        ("TimeoutStartUSec", CREATE_LIMIT_MICROSECONDS.into()),
        ("User", config.sled.downstairs.user.clone().into()),
        ("StandardOutput", "journal".into()),
        ("StandardErrorFileDescriptor", Fd::from(stderr.as_fd()).into()),
        ("LimitNOFILE", region.geometry.descriptors().into()),
        ("ReadWritePaths", vec![dir.display().to_string()].into()),
    ];
    own.into_iter().chain(sandbox::confined()).collect()
}

/// Read what `create` wrote to stderr, if anything.
fn complaint(stderr: OwnedFd) -> Option<String> {
    let mut file = File::from(stderr);
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.take(COMPLAINT_LIMIT_BYTES).read_to_end(&mut text)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().trim_start_matches("Error: ");
    (!text.is_empty()).then(|| clean::lines(text).into_owned())
}

/// Hold what `create` made against what it was asked for: `region.json`, and every extent file's length and trailer.
/// A `create` that was killed half way passes none of it.
fn check(dir: &Path, wanted: &Record, progress: impl Fn(u64)) -> Result<(), CreateError> {
    let made = region_json(dir).map_err(CreateError::Wrong)?;
    if made.uuid != wanted.uuid || made.geometry() != wanted.geometry || made.encrypted {
        return Err(CreateError::Wrong(format!("region.json says {made:?}")));
    }
    let fresh = Trailer { dirty: false, generation: 0, flush: 0 };
    let trailers = trailers(dir, wanted.geometry, progress).map_err(CreateError::Wrong)?;
    match trailers.iter().enumerate().find(|(_, trailer)| **trailer != fresh) {
        None => Ok(()),
        Some((number, other)) => Err(CreateError::Wrong(format!("extent {number}: a new extent has {other:?}"))),
    }
}

/// Make every file and directory of a tree durable; upstream syncs none of them.
fn sync_tree(dir: &Path) -> io::Result<()> {
    // All are on their way to the disk before the first is waited for: its commit is that of
    // the others, too.
    for_each_file(dir, &|file| {
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    })?;
    sync_each(dir)
}

/// Do something to every file of a tree.
fn for_each_file(dir: &Path, work: &impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => for_each_file(&entry.path(), work)?,
            kind if kind.is_file() => work(&File::open(entry.path())?)?,
            _ => return Err(io::Error::other(format!("{} is neither a file nor a directory", entry.path().display()))),
        }
    }
    Ok(())
}

fn sync_each(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_each(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    sync_dir(dir)
}
