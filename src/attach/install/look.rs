//! Look at a host: everything that the plan is made of, and again what a step may have changed. Changes nothing.

use super::super::backing::Backing;
use super::super::failure::Failure;
use super::super::program::runnable;
use super::super::units::{Service, Units};
use super::super::{disk, mounts, users};
use super::command::{self, LOOK_LIMIT};
use super::facts::{Content, Device, Facts, Flag, Kernel, Place, Program, Proxmox, Wanted, mountpoint};
use super::places::{self, STATE, UNITS};
use super::{flag, old, storage};
use crate::attach::texts::{self, made_for};
use crate::device::backend::Backend;
use crate::device::sysfs::Sysfs;
use crate::wire::Refusal;
use procfs::process::MountInfo;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program may take to say what it is.
const HELP_LIMIT: Duration = Duration::from_secs(10);
/// How long blkid may take: it reads the volume in many places, and its sleds may be slow, or away for a moment.
const BLKID_LIMIT: Duration = Duration::from_secs(180);
/// The bytes that are read at both ends of a device in which blkid finds nothing.
const END_BYTES: usize = 1 << 20;
/// The directories in which udev's rule may lie.
const RULES: [&str; 3] = ["/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
/// The places where it may be said what the kernel loads at each boot.
const MODULES: [&str; 4] =
    ["/etc/modules-load.d", "/run/modules-load.d", "/usr/lib/modules-load.d", "/usr/local/lib/modules-load.d"];

/// The looker at a host, and what there is to look for.
pub(super) struct Looker<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) units: &'a Units,
    /// The addresses of the volume's regions, as its sleds have said.
    pub(super) targets: BTreeSet<SocketAddr>,
}

impl Looker<'_> {
    /// Look at everything.
    ///
    /// # Errors
    /// The part that cannot be looked at, and why.
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let wanted = self.wanted;
        let mut facts = Facts {
            kernel: Kernel::default(),
            rule: false,
            server: program(Path::new(places::SERVER), HELP_LIMIT).await?,
            given: None,
            old: super::facts::Old::default(),
            targets: self.targets.clone(),
            conf: None,
            service: Service::default(),
            device: None,
            size: None,
            mounts: Vec::new(),
            path: super::facts::usual(&wanted.volume),
            place: Place::Nothing,
            stranger: false,
            users: Vec::new(),
            proxmox: None,
        };
        if let Some(path) = &wanted.server {
            facts.given = Some(program(path, HELP_LIMIT).await?);
        }
        facts.kernel = kernel().await?;
        facts.proxmox = self.proxmox().await?;
        self.again(&mut facts).await?;
        Ok(facts)
    }

    /// Look again at what changes by itself and by most steps, and is quickly looked at: what is on a device is not.
    ///
    /// # Errors
    /// The part that cannot be looked at, and why.
    pub(super) async fn again(&self, facts: &mut Facts) -> Result<(), Failure> {
        let volume = &self.wanted.volume;
        facts.rule = RULES.iter().any(|dir| Path::new(dir).join("66-crucible.rules").exists());
        facts.old = old::look(Path::new(UNITS), self.units).await?;
        facts.conf = read(&places::conf(volume))?;
        facts.service = self.units.service(&texts::service(volume)).await?;
        facts.size = Backing::recorded(Path::new(STATE), volume)?.map(|backing| backing.size_bytes());
        facts.mounts = mounts::of(Path::new(UNITS), &self.wanted.volume)?;
        facts.path = mountpoint(self.wanted, &facts.mounts, &facts.old);
        let name = texts::mount_name(&facts.path);
        let text = read(&Path::new(UNITS).join(&name))?;
        facts.stranger = text.is_some_and(|text| made_for(&text).as_ref() != Some(volume));
        let mounts = disk::all_mounts()?;
        let before = facts.device.take();
        facts.device = self.device(facts, before, &mounts).await?;
        facts.place = place(&facts.path, facts.device.as_ref(), &mounts)?;
        facts.users = match facts.place {
            Place::Volume => users::of_mount(&facts.path, &mounts),
            _ => Vec::new(),
        };
        Ok(())
    }

    /// Look again at the server, after it was copied.
    ///
    /// # Errors
    /// If it cannot be asked what it is.
    pub(super) async fn server(&self, facts: &mut Facts) -> Result<(), Failure> {
        facts.server = program(Path::new(places::SERVER), HELP_LIMIT).await?;
        Ok(())
    }

    /// Look again at the kernel.
    ///
    /// # Errors
    /// If modprobe hangs.
    pub(super) async fn kernel(&self, facts: &mut Facts) -> Result<(), Failure> {
        facts.kernel = kernel().await?;
        Ok(())
    }

    /// Look again at Proxmox' storages.
    ///
    /// # Errors
    /// The words of its program.
    pub(super) async fn storages(&self, facts: &mut Facts) -> Result<(), Failure> {
        facts.proxmox = self.proxmox().await?;
        Ok(())
    }

    /// Look again at what is on the device, before and after something is made on it. Nothing of it is remembered by
    /// the kernel: each look has it read over the network.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn content(&self, facts: &mut Facts) -> Result<(), Failure> {
        if let Some(device) = &mut facts.device {
            device.content = content(&texts::device(&self.wanted.volume), device.size).await?;
        }
        Ok(())
    }

    /// The device; its content as it was `before`, if that was the same.
    async fn device(
        &self,
        facts: &Facts,
        before: Option<Device>,
        mounts: &[MountInfo],
    ) -> Result<Option<Device>, Failure> {
        let name = texts::device(&self.wanted.volume);
        let Ok(node) = fs::canonicalize(&name) else { return Ok(None) };
        let index = node.file_name().and_then(|name| name.to_str()?.strip_prefix("nbd")?.parse::<u32>().ok());
        let Some(index) = index else { return Ok(None) };
        let seen = Sysfs::default().see(index)?.filter(|seen| seen.pid.is_some());
        let own = |text: &String| text.parse::<Backend>().is_ok_and(|is| is.volume() == &self.wanted.volume);
        // udev may be a moment behind the kernel.
        let Some(seen) = seen.filter(|seen| seen.backend.as_ref().is_some_and(own)) else { return Ok(None) };
        Ok(Some(Device {
            index,
            size: seen.size,
            content: match before.filter(|before| (before.index, before.size) == (index, seen.size)) {
                Some(before) => before.content,
                None => content(&name, seen.size).await?,
            },
            users: users::of_device(index, &facts.path, facts.service.pid, mounts),
        }))
    }

    async fn proxmox(&self) -> Result<Option<Proxmox>, Failure> {
        let odd = |why: serde_json::Error| {
            let message = format!("pvesh has answered something else than a list: {why}");
            Failure::refused(Refusal::ProgramFailed, message, "see pvesh get /storage --output-format json")
        };
        let ask = async |path: &'static str| {
            let words = ["get", path, "--output-format", "json"];
            match command::found("pvesh", &words, Some(LOOK_LIMIT)).await? {
                Some(ran) if ran.code == 0 => Ok(Some(ran.printed)),
                Some(ran) => Err(command::failed("pvesh", &words, &ran)),
                None => Ok(None),
            }
        };
        let Some(text) = ask("/storage").await? else { return Ok(None) };
        let storages = storage::storages(&text).map_err(odd)?;
        let nodes =
            ask("/nodes").await?.map(|text| storage::nodes(&text)).transpose().map_err(odd)?.unwrap_or_default();
        let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let node = host.trim().split('.').next().unwrap_or_default().to_owned();
        Ok(Some(Proxmox { node, nodes, storages }))
    }
}

/// Read a file's text; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(io::Error::new(why.kind(), format!("{}: {why}", path.display()))),
    }
}

async fn kernel() -> Result<Kernel, Failure> {
    let loaded = Path::new("/sys/module/nbd").exists();
    let loadable = loaded || {
        let ran = command::run("modprobe", "kmod", &["--dry-run", "--quiet", "nbd"], Some(LOOK_LIMIT)).await?;
        ran.code == 0
    };
    let named = |file: PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line.trim() == "nbd")
    };
    let files = MODULES.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let mut files = files.map(|entry| entry.path()).chain([PathBuf::from("/etc/modules")]);
    Ok(Kernel { loaded, loadable, at_boot: files.any(named) })
}

/// Find the kind of a file that is or is to be the server: it is asked, and has to know what it is going to be told.
async fn program(path: &Path, limit: Duration) -> Result<Program, Failure> {
    if !path.exists() {
        return Ok(Program::Missing);
    }
    if let Err(why) = runnable(path) {
        return Ok(Program::Unfit(why));
    }
    let Some(name) = path.to_str() else { return Ok(Program::Unfit("its name is no text".into())) };
    let ran = match command::found(name, &["--help"], Some(limit)).await {
        Ok(Some(ran)) => ran,
        Ok(None) => return Ok(Program::Unfit("what runs it is not there".into())),
        Err(why) => return Ok(Program::Unfit(why.to_string())),
    };
    let knows = ["--target", "--gen"].iter().all(|word| ran.printed.contains(word) || ran.said.contains(word));
    if !knows {
        let said = ran.last_words();
        return Ok(Program::Unfit(format!(
            "its --help knows neither --target nor --gen, as crucible-nbd-server's does: {said}"
        )));
    }
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(Program::Fit(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Find what is at a path.
fn place(path: &Path, device: Option<&Device>, mounts: &[MountInfo]) -> io::Result<Place> {
    if let Some(mount) = users::mounted_at(mounts, path) {
        let own = device.and_then(|device| users::majmin(Path::new(&format!("/sys/block/nbd{}", device.index))));
        return Ok(if own.as_ref() == Some(&mount.majmin) {
            Place::Volume
        } else {
            Place::Else(mount.mount_source.clone().unwrap_or_else(|| mount.fs_type.clone()))
        });
    }
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(Place::Nothing),
        Err(why) => Err(io::Error::new(why.kind(), format!("{}: {why}", path.display()))),
        Ok(found) if !found.is_dir() => Ok(Place::NoDirectory),
        Ok(_) if fs::read_dir(path)?.next().is_some() => Ok(Place::Full),
        Ok(_) => Ok(Place::Empty(flag::of(path).unwrap_or(Flag::Unknown))),
    }
}

/// Find the content of a device: as blkid finds by looking at it, and nowhere else. Where it finds nothing there has
/// to be nothing: it knows neither everything, nor whether it could read.
async fn content(device: &Path, size: u64) -> Result<Content, Failure> {
    let name = device.display().to_string();
    let words = ["--probe", "--output", "export", &name];
    let ran = command::run("blkid", "util-linux", &words, Some(BLKID_LIMIT)).await?;
    match ran.code {
        0 => Ok(found(&ran.printed)),
        2 => nothing(device, size),
        // Several things at once.
        8 => Ok(Content::Else(format!("several signatures at once ({})", ran.last_words()))),
        _ => Err(command::failed("blkid", &words, &ran)),
    }
}

/// The content that blkid has found.
fn found(printed: &str) -> Content {
    let values = texts::values(printed);
    match (values.get("TYPE"), values.get("PTTYPE")) {
        (Some(kind), None) if kind == "ext4" => Content::Ext4,
        (Some(kind), _) => Content::Else(kind.clone()),
        (None, Some(table)) => Content::Else(format!("a partition table ({table})")),
        (None, None) => Content::Else(printed.lines().collect::<Vec<_>>().join(", ")),
    }
}

/// Find both ends of a device to be zeroes.
fn nothing(device: &Path, size: u64) -> Result<Content, Failure> {
    let unread = |why: io::Error| {
        let message = format!("{} cannot be read: {why}", device.display());
        Failure::refused(Refusal::Unreadable, message, "see journalctl -k, and crucible-attach status of the volume")
    };
    let mut file = File::open(device).map_err(unread)?;
    for start in [0, size.saturating_sub(END_BYTES as u64)] {
        file.seek(SeekFrom::Start(start)).map_err(unread)?;
        let mut bytes = Vec::new();
        file.by_ref().take(END_BYTES as u64).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.is_empty() {
            return Err(unread(ErrorKind::UnexpectedEof.into()));
        }
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Content::Else(format!("something that blkid does not know (at byte {})", start + at as u64)));
        }
    }
    Ok(Content::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_server_says_itself_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let fit = write("fit", "#!/bin/sh\necho '  -t, --target <TARGET>'; echo '  -g, --gen <G>'\n");
        let Program::Fit(digest) = program(&fit, HELP_LIMIT).await.unwrap() else { panic!() };
        assert_eq!(digest.len(), 64);
        assert_eq!(program(&dir.path().join("none"), HELP_LIMIT).await.unwrap(), Program::Missing);
        for (text, said, limit) in [
            ("#!/bin/sh\necho nbdkit\n", "neither --target nor --gen", HELP_LIMIT),
            ("plain text", "neither ELF nor #!", HELP_LIMIT),
            ("#!/bin/sh\nexec sleep 1000\n", "has not ended", Duration::from_millis(50)),
        ] {
            let Program::Unfit(why) = program(&write("unfit", text), limit).await.unwrap() else { panic!("{text}") };
            assert!(why.contains(said), "{said}: {why}");
        }
    }

    #[test]
    fn what_blkid_finds_is_an_ext4_or_something_else() {
        let ext4 = "DEVNAME=/dev/nbd0\nUUID=1\nVERSION=1.0\nTYPE=ext4\nUSAGE=filesystem\n";
        assert_eq!(found(ext4), Content::Ext4);
        assert_eq!(found("DEVNAME=/dev/nbd0\nTYPE=LVM2_member\nUSAGE=raid\n"), Content::Else("LVM2_member".into()));
        assert_eq!(found("DEVNAME=/dev/nbd0\nPTTYPE=gpt\n"), Content::Else("a partition table (gpt)".into()));
        assert!(matches!(found("TYPE=ext4\nPTTYPE=dos\n"), Content::Else(_)));
        assert!(matches!(found(""), Content::Else(_)));
    }

    #[tokio::test]
    async fn nothing_is_where_everything_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device");
        let size = 4 * END_BYTES as u64;
        let write = |at: u64, text: &[u8]| {
            use std::os::unix::fs::FileExt;
            let file = File::options().create(true).truncate(true).write(true).open(&path).unwrap();
            file.set_len(size).unwrap();
            file.write_all_at(text, at).unwrap();
        };
        write(0, b"");
        assert_eq!(content(&path, size).await.unwrap(), Content::Nothing);
        for at in [4096, size - 4096] {
            write(at, b"mine");
            let what = content(&path, size).await.unwrap();
            assert_eq!(what, Content::Else(format!("something that blkid does not know (at byte {at})")));
        }
        write(0x438, &[0x53, 0xef]);
        assert!(matches!(content(&path, size).await.unwrap(), Content::Else(_)));
        let gone = nothing(&dir.path().join("none"), size).unwrap_err().error();
        assert_eq!(gone.code, Refusal::Unreadable);
        fs::write(&path, "").unwrap();
        assert_eq!(nothing(&path, size).unwrap_err().error().code, Refusal::Unreadable);
    }

    #[test]
    fn what_is_at_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = disk::all_mounts().unwrap();
        let at = |path: &Path| place(path, None, &mounts).unwrap();
        assert_eq!(at(&dir.path().join("none")), Place::Nothing);
        assert!(matches!(at(dir.path()), Place::Empty(_)));
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(at(dir.path()), Place::Full);
        assert_eq!(at(&dir.path().join("file")), Place::NoDirectory);
        assert!(matches!(at(Path::new("/proc")), Place::Else(_)));
    }
}
