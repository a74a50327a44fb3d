//! Making a region: upstream's `create` runs aside as the service user in a sandbox of
//! systemd's, what it made is checked and made durable, and only then it gets its name.
//!
//! Nothing that exists is ever written to: the new directory is this attempt's own, and the
//! rename refuses to replace anything. A failed attempt removes what it made itself.

use super::ledger;
use crate::config::{Configuration, Provisioning};
use crate::files::{Room, may_use, open_below, read_below, room, sync_dir};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::format::{TRAILER_BYTES, Trailer, extent_path};
use crate::region::{Record, RegionJson};
use crate::size;
use crate::systemd::{job, names};
use jiff::Timestamp;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{User, chown};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use zbus::Connection;
use zbus::{Fd, Variant};

/// Where attempts are made, below the storage root.
const INCOMING: &str = ".incoming";
/// How long `create` may take in microseconds; 4000 extents took 5.4 s.
const CREATE_TIMEOUT: u64 = 600_000_000;
/// The most that is shown of what `create` complained about, in bytes.
const MOST_COMPLAINT: u64 = 2048;
/// The most bytes of a `region.json` that are read; a real one has under 300.
const MOST_REGION_JSON: u64 = 64 * 1024;

/// Why a region was not created. Unless it says otherwise, nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The data disk has gone.
    #[error("no file system is mounted at {0} any more")]
    NotMounted(String),
    /// The service user does not exist.
    #[error("there is no user {0}, which is to own the regions")]
    NoUser(String),
    /// `create` did not succeed; with what it wrote to stderr or else systemd's word.
    #[error("create failed: {0}")]
    Program(String),
    /// What `create` made is not what was asked for.
    #[error("create ended well, but what it made is wrong: {0}")]
    Wrong(String),
    /// Its blocks do not fit.
    #[error("{0}")]
    NoRoom(String),
    /// The file system refused.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

/// Where a creation tells what it is doing.
pub type Progress<'a> = &'a (dyn Fn(&'static str) + Sync);

/// Makes a region, checks it and makes it durable. The caller has found that it may
/// ([`plan::may_create`](crate::decide::plan::may_create)), lets no two run for one name, and
/// finishes it.
///
/// # Errors
/// See [`CreateError`]; nothing is left behind, unless the connection to systemd broke while
/// `create` was running.
pub async fn create(
    bus: &Connection,
    config: &Arc<Configuration>,
    local: &LocalRegion,
    progress: Progress<'_>,
) -> Result<Made, CreateError> {
    let record = Record { uuid: Uuid::new_v4(), geometry: local.geometry, created: Timestamp::now() };
    let (settings, name) = (config.clone(), local.name.clone());
    let attempt = aside(move || Attempt::begin(&settings, &name)).await??;
    progress("running create");
    if let Err(why) = run(bus, config, local, &attempt.dir, record.uuid).await {
        // Removing it may take a while on a slow disk.
        aside(|| drop(attempt)).await?;
        return Err(why);
    }
    progress("checking");
    let (wanted, storage) = (record.clone(), config.sled.storage.clone());
    let attempt = aside(move || {
        check(&attempt.dir, &wanted)?;
        if storage.provisioning == Provisioning::Thick {
            reserve(&storage, &attempt.dir, &wanted)?;
        }
        sync_tree(&attempt.dir).map_err(|why| CreateError::Io("what create made cannot be synced", why))?;
        Ok(attempt)
    })
    .await??;
    Ok(Made { attempt, record })
}

/// Does something that waits for the disk, aside from the loop.
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
    /// Gives the region its name and puts it on record.
    ///
    /// # Errors
    /// See [`CreateError`]. If it has its name and the ledger cannot be written, it stays
    /// where it is, without a record: it is whole, and removing it is not this one's to do.
    pub fn finish(self, config: &Configuration, name: &RegionName) -> Result<Record, CreateError> {
        self.attempt.finish(config, name)?;
        ledger::record(&config.sled.storage.root, name, self.record.clone())
            .map_err(|why| CreateError::Io("it is in place, and could not be put on record", why))?;
        Ok(self.record)
    }
}

/// A directory of this attempt's own, removed again unless the attempt is finished.
struct Attempt {
    dir: PathBuf,
    finished: bool,
}

impl Attempt {
    fn begin(config: &Configuration, name: &RegionName) -> Result<Self, CreateError> {
        let failed = |why: io::Error| CreateError::Io("no directory could be made for it", why);
        let incoming = usable_root(config)?.join(INCOMING);
        let user = &config.sled.downstairs.user;
        let owner = User::from_name(user).ok().flatten().ok_or_else(|| CreateError::NoUser(user.clone()))?;
        match fs::create_dir(&incoming) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(failed(why)),
            _ => set_mode(&incoming, 0o755).map_err(failed)?,
        }
        let dir = incoming.join(format!("{name}.{}", Uuid::new_v4().simple()));
        fs::create_dir(&dir).map_err(failed)?;
        let attempt = Self { dir, finished: false };
        set_mode(&attempt.dir, 0o750).map_err(failed)?;
        chown(&attempt.dir, Some(owner.uid), Some(owner.gid)).map_err(|why| failed(why.into()))?;
        Ok(attempt)
    }

    fn finish(mut self, config: &Configuration, name: &RegionName) -> Result<(), CreateError> {
        usable_root(config)?;
        let place = config.region_dir(name);
        let failed = |why: io::Error| CreateError::Io("it could not be put in place", why);
        renameat2(AT_FDCWD, &self.dir, AT_FDCWD, &place, RenameFlags::RENAME_NOREPLACE)
            .map_err(|why| failed(why.into()))?;
        self.finished = true;
        sync_dir(&config.sled.storage.root).map_err(failed)
    }
}

/// The storage root, if the data disk is (still) mounted there: time passes between a request
/// and its turn, and nothing may be made on another disk below the mount point.
fn usable_root(config: &Configuration) -> Result<&Path, CreateError> {
    let storage = &config.sled.storage;
    match may_use(&storage.root, storage.require_mount) {
        true => Ok(&storage.root),
        false => Err(CreateError::NotMounted(storage.root.display().to_string())),
    }
}

/// Sets a directory's mode whatever the umask is.
fn set_mode(dir: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
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

/// Runs `create` in a transient unit and waits for its end.
async fn run(
    bus: &Connection,
    config: &Configuration,
    local: &LocalRegion,
    dir: &Path,
    uuid: Uuid,
) -> Result<(), CreateError> {
    let stderr = memfd_create(c"create-stderr", MFdFlags::MFD_CLOEXEC)
        .map_err(|why| CreateError::Io("no memory for what create may complain about", why.into()))?;
    let arguments = arguments(config, local, dir, uuid);
    let properties = sandbox(config, local, dir, &arguments, &stderr);
    job::run_transient(bus, &names::create_unit(&local.name), &properties)
        .await
        .map_err(|why| CreateError::Program(complaint(stderr).unwrap_or(why)))
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

/// It writes in its directory and nowhere else, sees no network and no device, and may become
/// nobody else (systemd.exec(5)).
fn sandbox<'a>(
    config: &Configuration,
    local: &LocalRegion,
    dir: &Path,
    arguments: &[String],
    stderr: &'a OwnedFd,
) -> Vec<(&'static str, Variant<'a>)> {
    let exec = vec![(arguments[0].clone(), arguments.to_vec(), false)];
    let denied: [&str; 0] = [];
    vec![
        ("Description", format!("Create Crucible region {}", local.name).into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", exec.into()),
        ("TimeoutStartUSec", CREATE_TIMEOUT.into()),
        ("User", config.sled.downstairs.user.clone().into()),
        ("StandardOutput", "journal".into()),
        ("StandardErrorFileDescriptor", Fd::from(stderr.as_fd()).into()),
        ("LimitNOFILE", local.geometry.descriptors().into()),
        ("ProtectSystem", "strict".into()),
        ("ReadWritePaths", vec![dir.display().to_string()].into()),
        ("ProtectHome", "yes".into()),
        ("PrivateTmp", true.into()),
        ("PrivateDevices", true.into()),
        ("PrivateNetwork", true.into()),
        ("ProtectKernelTunables", true.into()),
        ("ProtectKernelModules", true.into()),
        ("ProtectKernelLogs", true.into()),
        ("ProtectControlGroups", true.into()),
        ("ProtectClock", true.into()),
        ("ProtectProc", "invisible".into()),
        ("NoNewPrivileges", true.into()),
        ("CapabilityBoundingSet", 0u64.into()),
        ("RestrictNamespaces", 0u64.into()),
        ("RestrictSUIDSGID", true.into()),
        ("RestrictRealtime", true.into()),
        ("LockPersonality", true.into()),
        ("MemoryDenyWriteExecute", true.into()),
        ("RestrictAddressFamilies", (true, denied.as_slice()).into()),
        ("SystemCallFilter", (true, ["@system-service"].as_slice()).into()),
        ("SystemCallErrorNumber", 1i32.into()),
    ]
}

/// What `create` wrote to stderr, if anything.
fn complaint(stderr: OwnedFd) -> Option<String> {
    let mut file = File::from(stderr);
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.take(MOST_COMPLAINT).read_to_end(&mut text)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().trim_start_matches("Error: ");
    (!text.is_empty()).then(|| text.to_owned())
}

/// Holds what `create` made against what it was asked for: `region.json`, and every extent
/// file's length and trailer. A `create` that was killed half way passes none of it.
fn check(dir: &Path, wanted: &Record) -> Result<(), CreateError> {
    let wrong = |what: String| CreateError::Wrong(what);
    let text = read_below(dir, "region.json", MOST_REGION_JSON).map_err(|why| wrong(format!("region.json: {why}")))?;
    let made = RegionJson::parse(&text).map_err(|why| wrong(why.to_string()))?;
    if made.uuid != wanted.uuid || made.geometry() != wanted.geometry || made.encrypted {
        return Err(wrong(format!("region.json says {made:?}")));
    }
    for number in 0..wanted.geometry.extent_count {
        open_below(dir, &extent_path(number))
            .and_then(|file| check_extent(&file, wanted.geometry.extent_file_bytes()))
            .map_err(|why| wrong(format!("extent {number}: {why}")))?;
    }
    Ok(())
}

fn check_extent(file: &File, length: u64) -> io::Result<()> {
    let found = file.metadata()?.len();
    if found != length {
        return Err(io::Error::other(format!("it has {found} bytes, and {length} are right")));
    }
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, length - TRAILER_BYTES as u64)?;
    let trailer = Trailer::parse(&trailer).map_err(io::Error::other)?;
    match trailer {
        Trailer { dirty: false, generation: 0, flush: 0 } => Ok(()),
        other => Err(io::Error::other(format!("a new extent has {other:?}"))),
    }
}

/// Takes every block of the extent files, without changing a byte or a length of them.
fn reserve(storage: &crate::config::Storage, dir: &Path, record: &Record) -> Result<(), CreateError> {
    let failed = |why: io::Error| CreateError::Io("its blocks cannot be reserved", why);
    let Room { capacity, free, .. } = room(dir).map_err(failed)?;
    let (needs, keeps) = (record.geometry.disk_bytes(), storage.reserve.of(capacity));
    if needs.saturating_add(keeps) > free {
        return Err(CreateError::NoRoom(format!(
            "it does not fit: it takes {}, {} is free, and {} is kept in reserve ({}): {needs} + {keeps} > {free} bytes",
            size::spoken(needs),
            size::spoken(free),
            size::spoken(keeps),
            storage.reserve
        )));
    }
    for number in 0..record.geometry.extent_count {
        let file = File::options().write(true).open(dir.join(extent_path(number))).map_err(failed)?;
        let length = record.geometry.extent_file_bytes().try_into().map_err(|why| failed(io::Error::other(why)))?;
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length).map_err(|why| failed(why.into()))?;
    }
    Ok(())
}

/// Makes every file and directory of a tree durable; upstream syncs none of them.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        } else {
            return Err(io::Error::other(format!("{} is neither a file nor a directory", entry.path().display())));
        }
    }
    sync_dir(dir)
}
