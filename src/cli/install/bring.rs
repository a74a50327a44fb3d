//! Preparation of the stick, before it is copied: the configuration in force on it goes onto its CONFIG partition, from
//! where the disk's sled takes it over at its first boot; and its boot loader's partition is let go. Its fragments go along
//! as they are; the stick itself has those again afterwards that lay there.

use super::look::{Found, Mounted, part};
use crate::appliance::CONFIG as OWN_CONFIG;
use crate::appliance::brought::in_force;
use crate::appliance::fragments::{self, Folder};
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

/// The fragments that lay on the stick before others lent their place.
pub(super) struct Before(Folder);

/// Put the configuration in force onto the stick's CONFIG partition. Tell what the stick is to have again afterwards, if
/// other fragments lay there: those of a stick are its own, and may be others when it installs the next disk.
///
/// # Errors
/// That cannot be written.
pub(super) fn bring(found: &Found, own: &Path) -> io::Result<Option<Before>> {
    let files = in_force(own);
    if !files.iter().any(|(file, _)| *file == SLED) {
        return Ok(None);
    }
    // Before anything is written.
    let wanted = fragments::in_force(&own.join(OWN_CONFIG)).map_err(io::Error::other)?;
    let (config, wanted) = (Config::of(found)?, fragments::composed(&wanted));
    let before = fragments::folder(&config.mounted.0)?;
    fragments::lay(&config.mounted.0, &wanted)?;
    for (file, text) in files {
        config.write(file, &text)?;
    }
    config.done(found)?;
    Ok((before != wanted).then_some(Before(before)))
}

/// Let the stick have its own fragments again.
///
/// # Errors
/// That cannot be written.
pub(super) fn put_back(found: &Found, before: &Before) -> io::Result<()> {
    let config = Config::of(found)?;
    fragments::lay(&config.mounted.0, &before.0)?;
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
