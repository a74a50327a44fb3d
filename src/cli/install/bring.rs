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

/// Put the configuration in force onto the stick's CONFIG partition.
///
/// # Errors
/// That cannot be written.
pub(super) fn bring(found: &Found, own: &Path) -> io::Result<()> {
    let mut files = in_force(own);
    if !files.iter().any(|(file, _)| *file == SLED) {
        return Ok(());
    }
    // Before anything is written.
    if let Some(whole) = joined(&own.join(OWN_CONFIG)).map_err(io::Error::other)? {
        let sled = files.iter_mut().find(|(file, _)| *file == SLED);
        sled.into_iter().for_each(|(_, text)| *text = whole.as_bytes().to_vec());
    }
    let config = part(&found.block, CONFIG).ok_or_else(|| io::Error::other("the stick has no partition CONFIG"))?;
    let at = Mounted::at(&config.path, "config", "rw")?;
    for (file, text) in files {
        let path = at.0.join(file);
        if fs::read(&path).is_ok_and(|there| there == text) {
            continue;
        }
        fs::write(&path, &text)?;
        File::open(&path)?.sync_all()?;
    }
    at.done()?;
    run("blockdev", &["--flushbufs"], &found.path).map(|_| ())
}
