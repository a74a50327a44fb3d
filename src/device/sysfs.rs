//! Network block devices as sysfs shows them.

use super::backend::Backend;
use crate::names::VolumeName;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The bytes of a sector, in which the kernel counts a device's size.
const SECTOR_BYTES: u64 = 512;

/// The sysfs that shows the devices.
#[derive(Debug, Clone)]
pub struct Sysfs(PathBuf);

/// A device as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The process that connected it, which may have ended; `None` if it is not connected.
    pub pid: Option<u32>,
    /// The backend that it is connected to, if the kernel was told.
    pub backend: Option<String>,
    /// The size in bytes.
    pub size: u64,
    /// The largest request that it makes, in KiB (`queue/max_sectors_kb`).
    pub max_sectors_kb: u32,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::at(Path::new("/sys"))
    }
}

impl Sysfs {
    /// Take the sysfs that is mounted there.
    pub fn at(sysfs: &Path) -> Self {
        Self(sysfs.join("block"))
    }

    fn device(&self, index: u32) -> PathBuf {
        self.0.join(format!("nbd{index}"))
    }

    /// Read what is shown of a device; `None` if there is none of this number.
    ///
    /// # Errors
    /// The part that is there and cannot be read.
    pub fn see(&self, index: u32) -> io::Result<Option<Seen>> {
        let device = self.device(index);
        let Some(size) = read(&device.join("size"))? else { return Ok(None) };
        Ok(Some(Seen {
            pid: read(&device.join("pid"))?.map(|pid| number(&pid)).transpose()?,
            backend: read(&device.join("backend"))?.filter(|backend| !backend.is_empty()),
            size: number::<u64>(&size)? * SECTOR_BYTES,
            max_sectors_kb: read(&device.join("queue/max_sectors_kb"))?.map_or(Ok(0), |most| number(&most))?,
        }))
    }

    /// Find the device that is connected to this backend, if one is.
    ///
    /// # Errors
    /// If the list of devices cannot be read.
    pub fn find(&self, backend: &Backend) -> io::Result<Option<u32>> {
        let wanted = backend.to_string();
        Ok(self.first(|seen| seen.backend.as_ref() == Some(&wanted))?.map(|(index, _)| index))
    }

    /// Find the device that is connected to a volume of this name, whichever it is, if one is.
    ///
    /// # Errors
    /// As of [`find`](Self::find).
    pub fn of(&self, volume: &VolumeName) -> io::Result<Option<(u32, Seen)>> {
        self.first(|seen| {
            let backend = seen.backend.as_ref().and_then(|backend| backend.parse::<Backend>().ok());
            backend.is_some_and(|backend| backend.volume() == volume)
        })
    }

    /// The numbers that a device and its partitions go by, `MAJOR:MINOR`.
    pub fn numbers(&self, index: u32) -> BTreeSet<String> {
        let device = self.device(index);
        let part = format!("nbd{index}p");
        let parts = fs::read_dir(&device).into_iter().flatten().flatten();
        let parts = parts.filter(|entry| entry.file_name().to_string_lossy().starts_with(&part));
        let all = parts.map(|entry| entry.path()).chain([device.clone()]);
        all.filter_map(|device| read(&device.join("dev")).ok()?).collect()
    }

    /// Find the first device that is connected, and of which something is so.
    fn first(&self, so: impl Fn(&Seen) -> bool) -> io::Result<Option<(u32, Seen)>> {
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let Some(index) = name.to_str().and_then(|name| name.strip_prefix("nbd")?.parse().ok()) else { continue };
            // A device that goes meanwhile is none.
            if let Some(seen) = self.see(index).ok().flatten().filter(|seen| seen.pid.is_some() && so(seen)) {
                return Ok(Some((index, seen)));
            }
        }
        Ok(None)
    }

    /// Limit the requests of a device to so many KiB.
    ///
    /// # Errors
    /// If there is no such device, or the limit is less than a page or more than it can.
    pub fn limit(&self, index: u32, max_sectors_kb: u32) -> io::Result<()> {
        fs::write(self.device(index).join("queue/max_sectors_kb"), max_sectors_kb.to_string())
    }
}

fn number<N: FromStr>(text: &str) -> io::Result<N> {
    text.parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "sysfs shows no number where it should"))
}

/// Read the line of a file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end_matches('\n').to_owned())),
        // The kernel says the second of a device that goes while its file is read.
        Err(why) if why.kind() == ErrorKind::NotFound || why.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(sysfs: &Path, index: u32, files: &[(&str, &str)]) {
        let dir = sysfs.join(format!("block/nbd{index}"));
        fs::create_dir_all(dir.join("queue")).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_device_is_seen_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let sysfs = Sysfs::at(dir.path());
        let backend: Backend = "crucible/still-fawn@1".parse().unwrap();
        device(dir.path(), 0, &[("size", "0\n"), ("queue/max_sectors_kb", "128\n")]);
        device(
            dir.path(),
            1,
            &[
                ("size", "2048\n"),
                ("pid", "77\n"),
                ("backend", "crucible/still-fawn@1\n"),
                ("queue/max_sectors_kb", "64\n"),
            ],
        );
        // Something that another program has connected, and something else altogether.
        device(dir.path(), 2, &[("size", "8\n"), ("pid", "5\n"), ("backend", "\n")]);
        fs::create_dir_all(dir.path().join("block/sda")).unwrap();
        fs::create_dir_all(dir.path().join("block/nbd0p1")).unwrap();
        assert_eq!(sysfs.see(0).unwrap(), Some(Seen { pid: None, backend: None, size: 0, max_sectors_kb: 128 }));
        let whole = Seen { pid: Some(77), backend: Some(backend.to_string()), size: 1 << 20, max_sectors_kb: 64 };
        assert_eq!(sysfs.see(1).unwrap(), Some(whole));
        assert_eq!(sysfs.see(2).unwrap().unwrap().backend, None);
        assert_eq!(sysfs.see(3).unwrap(), None);
        assert_eq!(sysfs.find(&backend).unwrap(), Some(1));
        let volume = backend.volume();
        assert_eq!(sysfs.of(volume).unwrap().map(|(index, seen)| (index, seen.size)), Some((1, 1 << 20)));
        assert_eq!(sysfs.of(&"still".parse().unwrap()).unwrap(), None);
        fs::write(dir.path().join("block/nbd1/dev"), "43:32\n").unwrap();
        fs::create_dir_all(dir.path().join("block/nbd1/nbd1p1")).unwrap();
        fs::write(dir.path().join("block/nbd1/nbd1p1/dev"), "43:33\n").unwrap();
        assert_eq!(sysfs.numbers(1), ["43:32".to_owned(), "43:33".to_owned()].into());
        assert_eq!(sysfs.find(&"crucible/still-fawn@2".parse().unwrap()).unwrap(), None);
        sysfs.limit(1, 32).unwrap();
        assert_eq!(sysfs.see(1).unwrap().unwrap().max_sectors_kb, 32);
        // A device that was connected to it and is not any more.
        fs::remove_file(dir.path().join("block/nbd1/pid")).unwrap();
        assert_eq!(sysfs.find(&backend).unwrap(), None);
    }
}
