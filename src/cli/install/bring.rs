//! Preparation of the stick, before it is copied: the configuration in force on it goes onto its CONFIG partition, from
//! where the disk's sled takes it over at its first boot; and its boot loader's partition is let go. Fragments are joined
//! into the `sled.toml` that is copied; the stick itself has its own again afterwards.

use super::look::{Found, Mounted, part};
use crate::appliance::CONFIG as OWN_CONFIG;
use crate::appliance::brought::in_force;
use crate::appliance::install::joined::joined;
use crate::appliance::install::table::{CONFIG, ESP};
use crate::appliance::install::write::run;
use crate::config_dir::SLED;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Let the partition of the stick's boot loader go. What is in use meanwhile is copied as it is: nothing writes to it
/// without being asked to.
pub(super) fn let_go(found: &Found) {
    let mounted = part(&found.block, ESP).into_iter().flat_map(|esp| esp.mountpoints.iter().flatten());
    for at in mounted {
        _ = run("umount", &[], Path::new(at));
    }
}

/// What stood on the stick in the place of a joined `sled.toml`; `None`: nothing.
pub(super) struct Before(Option<Vec<u8>>);

/// Put the configuration in force onto the stick's CONFIG partition. Tell what the stick is to have again afterwards, if it
/// lent its place to a joined text: its fragments are its own, and may be others when it installs the next disk.
///
/// # Errors
/// That cannot be written.
pub(super) fn bring(found: &Found, own: &Path) -> io::Result<Option<Before>> {
    let mut files = in_force(own);
    if !files.iter().any(|(file, _)| *file == SLED) {
        return Ok(None);
    }
    // Before anything is written.
    let whole = joined(&own.join(OWN_CONFIG)).map_err(io::Error::other)?;
    if let Some(whole) = &whole {
        let sled = files.iter_mut().find(|(file, _)| *file == SLED);
        sled.into_iter().for_each(|(_, text)| *text = whole.as_bytes().to_vec());
    }
    let config = Config::of(found)?;
    let before = match whole.map(|_| fs::read(config.mounted.0.join(SLED))) {
        None => None,
        Some(Err(why)) if why.kind() == io::ErrorKind::NotFound => Some(Before(None)),
        Some(read) => Some(Before(Some(read?))),
    };
    for (file, text) in files {
        config.write(file, &text)?;
    }
    config.done(found)?;
    Ok(before)
}

/// Let the stick have again what it lent its place.
///
/// # Errors
/// That cannot be written.
pub(super) fn put_back(found: &Found, before: Before) -> io::Result<()> {
    let config = Config::of(found)?;
    match before.0 {
        Some(text) => config.write(SLED, &text)?,
        None => fs::remove_file(config.mounted.0.join(SLED))?,
    }
    config.done(found)
}

/// The stick's CONFIG partition, mounted.
struct Config {
    mounted: Mounted,
}

impl Config {
    fn of(found: &Found) -> io::Result<Self> {
        let config = part(&found.block, CONFIG).ok_or_else(|| io::Error::other("the stick has no partition CONFIG"))?;
        Ok(Self { mounted: Mounted::at(&config.path, "config", "rw")? })
    }

    fn write(&self, file: &str, text: &[u8]) -> io::Result<()> {
        let path = self.mounted.0.join(file);
        if fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        fs::write(&path, text)?;
        File::open(&path)?.sync_all()
    }

    /// Written, and read from the disk by whoever is next.
    fn done(self, found: &Found) -> io::Result<()> {
        self.mounted.done()?;
        run("blockdev", &["--flushbufs"], &found.path).map(|_| ())
    }
}
