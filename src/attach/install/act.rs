//! Actions of an installation on a host: what a step says is carried out, and nothing else; each of these can be cut
//! off at any point and done again.

use super::super::arguments::Target;
use super::super::endpoint::Endpoint;
use super::super::failure::Failure;
use super::super::show::note;
use super::super::sleds::Aim;
use super::super::units::Units;
use super::super::wait;
use super::command;
use super::facts::{Facts, Flag};
use super::places::{self, UNITS};
use super::plan::Action;
use super::storage::Change;
use super::trouble;
use super::{flag, undo};
use crate::attach::texts;
use crate::files;
use crate::names::VolumeName;
use crate::wire::Refusal;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep_until, timeout};

/// How long one of Proxmox' programs may take.
const PROXMOX_LIMIT: Duration = Duration::from_secs(120);
/// How long the kernel may take to load a module.
const MODPROBE_LIMIT: Duration = Duration::from_secs(60);
/// The pause before it is said again that a service is waited for, if it says nothing new.
const TELL_PAUSE: Duration = Duration::from_secs(15);

/// The hand that carries actions out.
pub(super) struct Hand<'a> {
    pub(super) volume: &'a VolumeName,
    pub(super) units: &'a Units,
    /// How long a service may take to be ready.
    pub(super) limit: Duration,
}

impl Hand<'_> {
    /// Do an action. What it returns is to be said beside it.
    ///
    /// # Errors
    /// The part that could not be done.
    pub(super) async fn does(&self, action: &Action, facts: &Facts) -> Result<Option<String>, Failure> {
        match action {
            Action::Load { now, at_boot } => load(*now, *at_boot).await?,
            Action::CopyServer(from) => copy_server(from)?,
            Action::TakeOver => self.take_over(facts).await?,
            Action::Configure(text) => {
                let file = format!("{}.conf", self.volume);
                write(Path::new(places::CONFIGURATIONS), &file, text)?;
            }
            Action::Serve { restart } => self.serve(*restart, facts).await?,
            Action::Await => self.named(&facts.service.says).await?,
            Action::MakeFileSystem { .. } => {
                let device = texts::device(self.volume).display().to_string();
                // Its sleds may be away for however long: what is cut off would be half of one.
                command::done("mkfs.ext4", "e2fsprogs", &["-q", &device], None).await?;
            }
            Action::Shield => return shield(&facts.path),
            Action::WriteUnit(text) => {
                let name = texts::mount_name(&facts.path);
                write(Path::new(UNITS), &name, text)?;
                self.units.reload().await?;
                self.units.enable(&name).await?;
            }
            Action::Mount => self.units.start(&texts::mount_name(&facts.path), false).await?,
            Action::Store(change) => store(change).await?,
        }
        Ok(None)
    }

    /// Undo an action.
    ///
    /// # Errors
    /// The part that could not be undone.
    pub(super) async fn undoes(&self, action: &undo::Action, facts: &Facts) -> Result<(), Failure> {
        match action {
            undo::Action::Store(change) => store(change).await,
            undo::Action::Unmount => self.units.stop(&texts::mount_name(&facts.path)).await,
            undo::Action::RemoveUnit => {
                let name = texts::mount_name(&facts.path);
                self.units.disable(&[&name]).await?;
                remove(&Path::new(UNITS).join(&name))?;
                self.units.reload().await
            }
            undo::Action::Unshield { remove } => unshield(&facts.path, *remove),
            undo::Action::Stop => {
                let name = texts::service(self.volume);
                self.units.disable(&[&name]).await?;
                self.units.stop(&name).await?;
                if !self.units.service(&name).await?.unflushed {
                    self.units.forget(&name).await;
                }
                Ok(())
            }
            undo::Action::RemoveConfiguration => Ok(remove(&places::conf(self.volume))?),
        }
    }

    /// Stop what was set up by hand, in this order: what is mounted is unmounted before its device goes.
    async fn take_over(&self, facts: &Facts) -> Result<(), Failure> {
        let units = &facts.old.units;
        for unit in units {
            self.units.stop(&unit.name).await?;
        }
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        self.units.disable(&names).await?;
        for unit in units {
            let aside = unit.file.with_file_name(format!("{}{}", unit.name, places::ASIDE));
            let moved = files::move_dir(&unit.file, &aside);
            moved.map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", aside.display())))?;
        }
        self.units.reload().await
    }

    /// Start the service, and wait until it is ready, saying meanwhile why it is not.
    async fn serve(&self, restart: bool, facts: &Facts) -> Result<(), Failure> {
        let name = texts::service(self.volume);
        self.units.reload().await?;
        self.units.enable(&name).await?;
        let values = texts::values(facts.conf.as_deref().unwrap_or_default());
        let sleds = values.get(texts::SLEDS).map(|text| endpoints(text)).unwrap_or_default();
        let deadline = Instant::now() + self.limit;
        // Cancel-safe: a job goes on by itself, and the others only tell.
        tokio::select! {
            started = self.units.start(&name, restart) => started?,
            why = self.hopeless(sleds) => return Err(why),
            () = self.tell(&name, deadline) => {}
            () = sleep_until(deadline) => return Err(self.late(&name)),
        }
        Ok(())
    }

    /// Wait until udev has given the device its name, for as long as its service may take to be ready.
    async fn named(&self, says: &str) -> Result<(), Failure> {
        let device = texts::device(self.volume);
        let (limit, name) = (format!("--timeout={}", self.limit.as_secs().max(1)), device.display().to_string());
        match command::run("udevadm", "udev", &["wait", &limit, &name], None).await?.code {
            0 => Ok(()),
            _ => Err(Failure::Refused(trouble::no_device(&device, says))),
        }
    }

    /// Return when the sleds say that it is of no use to wait for them; they are asked why it is, and that is told.
    async fn hopeless(&self, sleds: Vec<Endpoint>) -> Failure {
        let target = Target::of(self.volume.clone(), sleds);
        match target.sleds() {
            Err(why) => why,
            Ok(given) => match wait::until_ready(self.volume, given, None, Aim::Win, &|_| Ok(())).await {
                Err(why) => why,
                // The wait is between this host and its server from here on.
                Ok(_) => std::future::pending().await,
            },
        }
    }

    /// Tell what the service says of itself, when that is something else; never returns.
    async fn tell(&self, name: &str, deadline: Instant) {
        let (mut ticks, mut last) = (interval(TELL_PAUSE), String::new());
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let says = self.units.says(name).await;
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            let said = if says.is_empty() || says == last { String::new() } else { format!("; it says: {says}") };
            note(&format!("{name} is not ready yet{said}; {left} s are left to wait"));
            last = says;
        }
    }

    fn late(&self, name: &str) -> Failure {
        let message = format!(
            "{name} is not ready after {} s; it stays enabled, goes on waiting, and attaches {} when it can",
            self.limit.as_secs(),
            self.volume
        );
        let remedy = format!("see systemctl status {name}; when it runs, the same command again does the rest");
        Failure::refused(Refusal::TimedOut, message, remedy)
    }
}

/// Read a list of sleds, as far as it can be read: the service says what cannot.
pub(super) fn endpoints(text: &str) -> Vec<Endpoint> {
    text.split([' ', ',', '\t']).filter_map(|word| word.parse().ok()).collect()
}

async fn load(now: bool, at_boot: bool) -> Result<(), Failure> {
    if now {
        command::done("modprobe", "kmod", &["nbd"], Some(MODPROBE_LIMIT)).await?;
    }
    if at_boot {
        let path = Path::new(places::MODULES);
        let (dir, file) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        write(dir, &file.to_string_lossy(), "# For the volumes of crucible-attach(1).\nnbd\n")?;
    }
    Ok(())
}

/// Copy a server to its place: one that runs from there goes on running the old one.
fn copy_server(from: &Path) -> Result<(), Failure> {
    let path = Path::new(places::SERVER);
    let (dir, file) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let named = |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", path.display()));
    fs::create_dir_all(dir).map_err(named)?;
    let aside = files::write_aside(dir, &file.to_string_lossy(), &fs::read(from)?).map_err(named)?;
    fs::set_permissions(&aside, Permissions::from_mode(0o755)).map_err(named)?;
    fs::rename(&aside, path).map_err(named)?;
    Ok(files::sync_dir(dir)?)
}

fn write(dir: &Path, file: &str, text: &str) -> io::Result<()> {
    let named = |why: io::Error| io::Error::new(why.kind(), format!("{}/{file}: {why}", dir.display()));
    fs::create_dir_all(dir).map_err(named)?;
    files::replace(dir, file, text.as_bytes()).map_err(named)
}

/// Remove a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != ErrorKind::NotFound => {
            Err(io::Error::new(why.kind(), format!("{}: {why}", path.display())))
        }
        _ => path.parent().map_or(Ok(()), files::sync_dir),
    }
}

/// Make a mountpoint, and make it immutable, where that is known.
fn shield(path: &Path) -> Result<Option<String>, Failure> {
    fs::create_dir_all(path)?;
    Ok(match flag::set(path, true)? {
        Flag::Set => None,
        _ => Some(format!("{} is there; its file system knows no immutable directories", path.display())),
    })
}

/// Make a mountpoint an ordinary directory again, or remove it.
fn unshield(path: &Path, and_remove: bool) -> Result<(), Failure> {
    flag::set(path, false)?;
    if and_remove {
        // Removing takes nothing away that is in it.
        fs::remove_dir(path)?;
    }
    Ok(())
}

async fn store(change: &Change) -> Result<(), Failure> {
    let words: Vec<_> = change.0.iter().map(String::as_str).collect();
    match timeout(PROXMOX_LIMIT, command::done("pvesm", "libpve-storage-perl", &words, None)).await {
        Ok(done) => done.map(|_| ()),
        Err(_) => {
            let message = format!("pvesm {} has not ended in {} s", words.join(" "), PROXMOX_LIMIT.as_secs());
            Err(Failure::refused(Refusal::ProgramHangs, message, "see pvesm status, and try again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there_and_what_is_removed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("a/b");
        write(&at, "v.conf", "x=1\n").unwrap();
        write(&at, "v.conf", "x=2\n").unwrap();
        assert_eq!(fs::read_to_string(at.join("v.conf")).unwrap(), "x=2\n");
        remove(&at.join("v.conf")).unwrap();
        remove(&at.join("v.conf")).unwrap();
        assert!(!at.join("v.conf").exists());
    }

    #[test]
    fn a_mountpoint_is_made_and_removed_and_what_is_in_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mnt/crucible-v");
        let said = shield(&path).unwrap();
        let shielded = flag::of(&path).unwrap() == Flag::Set;
        // This machine decides whether it can be.
        assert_eq!(said.is_none(), shielded);
        assert_eq!(fs::write(path.join("x"), "").is_err(), shielded);
        flag::set(&path, false).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(unshield(&path, true).is_err() && path.join("x").exists());
        fs::remove_file(path.join("x")).unwrap();
        unshield(&path, true).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn sleds_are_read_as_they_are_on_record() {
        let all: Vec<_> = endpoints("192.168.4.189:3800,10.0.0.1 https://x").iter().map(ToString::to_string).collect();
        assert_eq!(all, ["192.168.4.189:3800", "10.0.0.1:3800"]);
    }
}
