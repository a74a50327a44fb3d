//! Plan of an installation: what is to be done to a host, one step after the other, from what is wanted and what was
//! found. Pure: a step is judged by facts alone, and whoever carries one out looks again before the next.
//!
//! Nothing is changed where a step cannot be done: all of them are judged before the first.

use super::facts::{Content, Device, Extent, Facts, Flag, Place, Program, Wanted};
pub(super) use super::step::{Action, Step, Verdict};
use super::storage;
use super::trouble;
use crate::attach::texts::{self, OPTIONS, SLEDS};
use crate::size;
use crate::wire::Error;
use std::path::Path;

/// Judge what a step would do.
///
/// # Errors
/// Why the step cannot be done: a code, and what to do first.
pub(super) fn judge(step: Step, wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    match step {
        Step::Kernel => kernel(facts),
        Step::Server => server(wanted, facts),
        Step::Takeover => takeover(wanted, facts),
        Step::Configuration => configuration(wanted, facts),
        Step::Service => service(wanted, facts),
        Step::Device => device(wanted, facts),
        Step::FileSystem if wanted.extent == Extent::Device => Ok(skipped("--raw: the device is left as it is")),
        Step::FileSystem => file_system(wanted, facts),
        _ if wanted.extent != Extent::Mount => without_mount(step, wanted, facts),
        Step::Mountpoint => mountpoint(wanted, facts),
        Step::Unit => unit(wanted, facts),
        Step::Mount => mount(wanted, facts),
        Step::Storage => storage(wanted, facts),
    }
}

fn skipped(why: &str) -> Verdict {
    Verdict::Skipped(why.into())
}

fn kernel(facts: &Facts) -> Result<Verdict, Error> {
    let kernel = facts.kernel;
    if !kernel.loaded && !kernel.loadable {
        return Err(trouble::no_module());
    }
    if !facts.rule {
        return Err(trouble::not_installed("udev's rule 66-crucible.rules"));
    }
    Ok(match (kernel.loaded, kernel.at_boot) {
        (true, true) => Verdict::Already("the network block device (nbd) is loaded, and is at each boot".into()),
        (now, at_boot) => Verdict::Do(
            Action::Load { now: !now, at_boot: !at_boot },
            match (now, at_boot) {
                (true, _) => format!("{} loads nbd at each boot", super::places::MODULES),
                (_, true) => "nbd is loaded".into(),
                _ => format!("nbd is loaded, and {} does so at each boot", super::places::MODULES),
            },
        ),
    })
}

fn server(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let place = super::places::SERVER;
    let is_there = || Ok(Verdict::Already(format!("{place} is a crucible-nbd-server")));
    match (&facts.given, &wanted.server, &facts.server) {
        (Some(Program::Missing), Some(path), _) => Err(trouble::no_server(path, "there is no such file")),
        (Some(Program::Unfit(why)), Some(path), _) => Err(trouble::no_server(path, why)),
        (Some(given), Some(_), there) if given == there => is_there(),
        (Some(_), Some(path), there) => {
            let instead = if *there == Program::Missing { "" } else { ", instead of the one that was there" };
            let what = format!("{} is copied to {place}{instead}", path.display());
            Ok(Verdict::Do(Action::CopyServer(path.clone()), what))
        }
        (_, _, Program::Fit(_)) => is_there(),
        (_, _, Program::Unfit(why)) => Err(trouble::no_server(Path::new(place), why)),
        (_, _, Program::Missing) => Err(trouble::server_missing()),
    }
}

fn takeover(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let old = &facts.old;
    if old.units.is_empty() {
        return Ok(match &old.aside {
            Some(unit) => {
                Verdict::Already(format!("what was set up by hand is put aside, {} for example", unit.file.display()))
            }
            None => Verdict::Already("nothing was set up by hand".into()),
        });
    }
    if let Some(line) = &old.fstab {
        return Err(trouble::in_fstab(line));
    }
    if !old.targets.is_empty() && !facts.targets.is_empty() && old.targets != facts.targets {
        return Err(trouble::old_is_another(wanted, &old.targets, &facts.targets));
    }
    if !old.users.is_empty() {
        return Err(trouble::busy("what was mounted by hand", &old.users));
    }
    let mounted = facts.old_mount().and_then(|unit| unit.mounts.as_ref());
    let elsewhere = mounted.filter(|path| **path != facts.path && wanted.extent == Extent::Mount);
    let names: Vec<_> = old.units.iter().map(|unit| unit.name.as_str()).collect();
    let kept = match (mounted, elsewhere) {
        (_, Some(path)) => {
            format!("; what was mounted at {} is going to be at {}", path.display(), facts.path.display())
        }
        (Some(path), _) if wanted.extent == Extent::Mount => format!("; {} stays its mountpoint", path.display()),
        _ => String::new(),
    };
    Ok(Verdict::Do(
        Action::TakeOver,
        format!("{}: stopped, disabled, and put aside as *{}{kept}", names.join(", "), super::places::ASIDE),
    ))
}

fn configuration(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let path = super::places::conf(&wanted.volume);
    let text = texts::conf(facts.conf.as_deref(), wanted.sleds.as_deref(), wanted.tls.as_deref());
    let values = texts::values(&text);
    let of = |name| values.get(name).map(String::as_str).unwrap_or_default();
    if of(SLEDS).is_empty() {
        return Err(trouble::no_sleds(wanted));
    }
    let what = format!("{}: sleds {}, options {}", path.display(), of(SLEDS), of(OPTIONS));
    Ok(if facts.conf.as_deref() == Some(text.as_str()) {
        Verdict::Already(what)
    } else {
        Verdict::Do(Action::Configure(text), what)
    })
}

fn service(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let (name, service) = (texts::service(&wanted.volume), &facts.service);
    if !service.known {
        return Err(trouble::not_installed("the unit crucible-attach@.service"));
    }
    let text = texts::conf(facts.conf.as_deref(), wanted.sleds.as_deref(), wanted.tls.as_deref());
    let values = texts::values(&text);
    // Its environment is what the configuration says, or says going to be.
    let current = |environment: &std::collections::BTreeMap<String, String>| {
        [SLEDS, OPTIONS].iter().all(|key| environment.get(*key) == values.get(*key))
    };
    let restart = service.environment.as_ref().is_some_and(|environment| !current(environment));
    Ok(match (service.is_active() && !restart, service.enabled) {
        (true, true) => Verdict::Already(format!("{name} runs, and is started at each boot")),
        _ => {
            let how = if restart { "started anew, as its configuration is another" } else { "enabled and started" };
            Verdict::Do(Action::Serve { restart }, format!("{name}: {how}; its device answers"))
        }
    })
}

fn device(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let name = texts::device(&wanted.volume);
    match &facts.device {
        Some(device) => {
            sized(wanted, facts, device)?;
            let size = size::spoken(device.size);
            Ok(Verdict::Already(format!("{} is /dev/nbd{}, {size}", name.display(), device.index)))
        }
        // udev reads what is on a device before it gives it its name.
        None if facts.service.is_active() => {
            Ok(Verdict::Do(Action::Await, format!("{} is there, as its service runs", name.display())))
        }
        None => Ok(Verdict::Later(format!("{} is there when the service runs", name.display()))),
    }
}

/// Find a device to be as large as the volume.
fn sized(wanted: &Wanted, facts: &Facts, device: &Device) -> Result<(), Error> {
    match facts.size {
        Some(size) if size == device.size => Ok(()),
        size => Err(trouble::other_size(wanted, device.size, size)),
    }
}

fn file_system(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let name = texts::device(&wanted.volume);
    let Some(device) = &facts.device else {
        return Ok(Verdict::Later(
            "an ext4 is made if there is nothing at all on the device, and else left as it is".into(),
        ));
    };
    match &device.content {
        Content::Ext4 => Ok(Verdict::Already(format!("there is an ext4 on {}", name.display()))),
        Content::Else(what) => Err(trouble::content(wanted, what)),
        Content::Nothing => {
            if let Some(unit) = facts.old_mount() {
                return Err(trouble::nothing_there(wanted, unit));
            }
            if let Some(user) = device.users.first() {
                return Err(trouble::busy(&name.display().to_string(), std::slice::from_ref(user)));
            }
            sized(wanted, facts, device)?;
            let what =
                format!("an ext4 of {} is made on {}, which was empty", size::spoken(device.size), name.display());
            Ok(Verdict::Do(Action::MakeFileSystem { size: device.size }, what))
        }
    }
}

/// The verdict on a step that would have a mount, in an installation that has none.
fn without_mount(step: Step, wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    if let Some(mount) = facts.mounts.first() {
        return Err(trouble::has_mount(wanted, &mount.path));
    }
    let option = if wanted.extent == Extent::Device { "--raw" } else { "--no-mount" };
    Ok(Verdict::Skipped(match step {
        Step::Storage => format!("{option}: no storage of Proxmox is made"),
        _ => format!("{option}: it is not mounted"),
    }))
}

fn mountpoint(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    if let Some(mount) = facts.mounts.iter().find(|mount| mount.path != facts.path) {
        return Err(trouble::mounted_elsewhere(wanted, &mount.path));
    }
    let path = facts.path.display();
    // Mounts made by hand are gone when its turn comes.
    let by_hand = facts.old.units.iter().any(|unit| unit.active && unit.mounts.as_ref() == Some(&facts.path));
    match &facts.place {
        Place::Volume => Ok(Verdict::Already(format!("{path} has the volume mounted"))),
        Place::Else(_) if by_hand => {
            Ok(Verdict::Later(format!("{path} is looked at when what was mounted by hand is unmounted")))
        }
        Place::Else(what) => Err(trouble::place_taken(&facts.path, what)),
        Place::NoDirectory => Err(trouble::no_directory(&facts.path)),
        Place::Full => Err(trouble::place_full(&facts.path)),
        Place::Empty(Flag::Set) => {
            Ok(Verdict::Already(format!("{path} is empty, and immutable beneath what is mounted there")))
        }
        Place::Empty(Flag::Unknown) => {
            Ok(Verdict::Already(format!("{path} is empty; its file system knows no immutable directories")))
        }
        Place::Empty(Flag::Unset) => Ok(Verdict::Do(
            Action::Shield,
            format!("{path} is made immutable: nothing is ever written beneath what is mounted there"),
        )),
        Place::Nothing => {
            Ok(Verdict::Do(Action::Shield, format!("{path} is made, and made immutable, where that is known")))
        }
    }
}

fn unit(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let name = texts::mount_name(&facts.path);
    // A unit that is being taken over is put aside first.
    if facts.stranger && !facts.old.units.iter().any(|unit| unit.name == name) {
        return Err(trouble::unit_taken(&name));
    }
    let text = texts::mount(&wanted.volume, &facts.path);
    let what = format!("{name} mounts it at {} whenever its service has started", facts.path.display());
    Ok(match facts.mount() {
        Some(mount) if mount.enabled && mount.text == text => Verdict::Already(what),
        _ => Verdict::Do(Action::WriteUnit(text), what),
    })
}

fn mount(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    let what = format!("{} is mounted at {}", texts::device(&wanted.volume).display(), facts.path.display());
    Ok(match facts.place {
        Place::Volume => Verdict::Already(what),
        _ => Verdict::Do(Action::Mount, what),
    })
}

fn storage(wanted: &Wanted, facts: &Facts) -> Result<Verdict, Error> {
    match &facts.proxmox {
        Some(proxmox) => storage::wanted(wanted, proxmox, &facts.path),
        None if wanted.storage.is_some() => Err(trouble::no_proxmox()),
        None => Ok(skipped("this is no host of Proxmox: it has no pvesh")),
    }
}

#[cfg(test)]
pub(super) mod tests;
