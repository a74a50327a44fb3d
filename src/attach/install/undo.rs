//! Undoing of an installation, in the reverse order. The volume's data stays, and so does what other volumes need:
//! the server, and the kernel's module. Pure.

use super::facts::{Facts, Flag, Place, usual};
use super::places;
use super::storage::{self, Change};
use super::trouble;
use crate::attach::texts;
use crate::names::VolumeName;
use crate::wire::Error;

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Storage,
    Mount,
    Unit,
    Mountpoint,
    Service,
    Configuration,
}

impl Step {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Storage, Self::Mount, Self::Unit, Self::Mountpoint, Self::Service, Self::Configuration];

    /// The step's name, as an installation has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Mount => "mount",
            Self::Unit => "mount-unit",
            Self::Mountpoint => "mountpoint",
            Self::Service => "service",
            Self::Configuration => "configuration",
        }
    }
}

/// An action that changes the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Changes Proxmox' storages.
    Store(Change),
    /// Unmounts.
    Unmount,
    /// Removes the mount's unit.
    RemoveUnit,
    /// Makes the mountpoint an ordinary directory, or removes it.
    Unshield { remove: bool },
    /// Stops the service, and has it start no more.
    Stop,
    /// Removes the configuration.
    RemoveConfiguration,
}

/// The verdict on a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The host is so.
    Already(String),
    /// The host is going to be so by this.
    Do(Action, String),
}

/// Judge what a step would do.
///
/// # Errors
/// Why the step cannot be done: who uses the volume, above all.
pub(super) fn judge(step: Step, volume: &VolumeName, facts: &Facts) -> Result<Verdict, Error> {
    match step {
        Step::Storage => Ok(storage(facts)),
        Step::Mount => mount(facts),
        Step::Unit => Ok(unit(facts)),
        Step::Mountpoint => Ok(mountpoint(volume, facts)),
        Step::Service => service(volume, facts),
        Step::Configuration => configuration(volume, facts),
    }
}

fn already(what: impl Into<String>) -> Verdict {
    Verdict::Already(what.into())
}

fn storage(facts: &Facts) -> Verdict {
    let Some(proxmox) = &facts.proxmox else { return already("this is no host of Proxmox: it has no pvesh") };
    if facts.mount().is_none() && facts.place != Place::Volume {
        return already(format!("no volume is mounted at {}, so that no storage is there by it", facts.path.display()));
    }
    match storage::unwanted(proxmox, &facts.path) {
        Some((change, what)) => Verdict::Do(Action::Store(change), what),
        None => already(format!("no storage of this node is at {}", facts.path.display())),
    }
}

fn mount(facts: &Facts) -> Result<Verdict, Error> {
    let path = facts.path.display();
    if facts.place != Place::Volume {
        return Ok(already(format!("{path} has no volume mounted")));
    }
    if !facts.users.is_empty() {
        return Err(trouble::busy(&path.to_string(), &facts.users));
    }
    Ok(Verdict::Do(Action::Unmount, format!("{path} is unmounted")))
}

fn unit(facts: &Facts) -> Verdict {
    match facts.mount() {
        Some(mount) => Verdict::Do(Action::RemoveUnit, format!("{} is removed", mount.name)),
        None => already(format!("nothing mounts it at {}", facts.path.display())),
    }
}

fn mountpoint(volume: &VolumeName, facts: &Facts) -> Verdict {
    let path = facts.path.display();
    match &facts.place {
        // The mountpoint not before it is unmounted; and only what an installation has made, as far as anybody can
        // tell.
        Place::Volume | Place::Empty(Flag::Set) => {
            let remove = facts.path == usual(volume);
            let what = if remove { "is removed" } else { "is an ordinary directory again" };
            Verdict::Do(Action::Unshield { remove }, format!("{path} {what}"))
        }
        Place::Nothing => already(format!("{path} is not there")),
        _ => already(format!("{path} is an ordinary directory")),
    }
}

fn service(volume: &VolumeName, facts: &Facts) -> Result<Verdict, Error> {
    let (name, service) = (texts::service(volume), &facts.service);
    if let Some(device) = facts.device.as_ref().filter(|device| !device.users.is_empty()) {
        return Err(trouble::busy(&format!("/dev/nbd{}", device.index), &device.users));
    }
    if service.is_stopped() && service.unflushed {
        return Err(trouble::kept(volume.as_str()));
    }
    if service.is_stopped() && !service.enabled {
        return match &facts.device {
            Some(device) => Err(trouble::still_there(volume.as_str(), device.index)),
            None => Ok(already(format!("{name} does not run, and is not started at boot"))),
        };
    }
    Ok(Verdict::Do(Action::Stop, format!("{name}: stopped, so that its sleds let in others, and disabled")))
}

fn configuration(volume: &VolumeName, facts: &Facts) -> Result<Verdict, Error> {
    let path = places::conf(volume);
    Ok(match facts.conf {
        Some(_) => Verdict::Do(Action::RemoveConfiguration, format!("{} is removed", path.display())),
        None => already(format!("there is no {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Content, Device};
    use super::super::plan::tests::installed;
    use super::*;
    use crate::wire::{ErrorCode, Refusal};

    fn all(facts: &Facts) -> Result<Vec<Verdict>, ErrorCode> {
        let volume = "v".parse().unwrap();
        Step::ALL.iter().map(|step| judge(*step, &volume, facts).map_err(|error| error.code)).collect()
    }

    fn actions(facts: &Facts) -> Vec<Action> {
        let action = |verdict| match verdict {
            Verdict::Do(action, _) => Some(action),
            Verdict::Already(_) => None,
        };
        all(facts).unwrap().into_iter().filter_map(action).collect()
    }

    #[test]
    fn everything_is_undone_and_the_data_stays() {
        let facts = installed();
        let done = actions(&facts);
        assert_eq!(
            done,
            [
                Action::Unmount,
                Action::RemoveUnit,
                Action::Unshield { remove: true },
                Action::Stop,
                Action::RemoveConfiguration
            ]
        );
        let nothing = Facts {
            mounts: Vec::new(),
            place: Place::Nothing,
            service: crate::attach::units::Service { known: true, ..Default::default() },
            device: None,
            conf: None,
            ..facts.clone()
        };
        assert_eq!(actions(&nothing), []);
        // A directory that was there before stays.
        let other = Facts { path: "/srv/data".into(), ..facts };
        assert!(actions(&other).contains(&Action::Unshield { remove: false }));
    }

    #[test]
    fn a_storage_of_what_was_never_installed_is_left_alone() {
        let storage = super::super::facts::Storage {
            name: "crucible-v".into(),
            kind: "dir".into(),
            path: Some("/mnt/crucible-v".into()),
            content: Default::default(),
            nodes: Some(["pve".to_owned()].into()),
            is_mountpoint: true,
        };
        let proxmox = super::super::facts::Proxmox {
            node: "pve".into(),
            nodes: ["pve".to_owned()].into(),
            storages: vec![storage],
        };
        let facts = Facts { proxmox: Some(proxmox), ..installed() };
        assert!(matches!(&actions(&facts)[0], Action::Store(_)));
        let never = Facts { mounts: Vec::new(), place: Place::Else("/dev/nbd0".into()), ..facts };
        assert!(!actions(&never).iter().any(|action| matches!(action, Action::Store(_))));
    }

    #[test]
    fn what_is_in_use_is_left_alone() {
        let facts = installed();
        let busy = Facts { users: vec!["process 7 (qemu)".into()], ..facts.clone() };
        assert_eq!(all(&busy), Err(Refusal::InUse.into()));
        let device = Device { users: vec!["the volume group vg".into()], ..facts.device.clone().unwrap() };
        let busy = Facts { device: Some(device), place: Place::Nothing, ..facts.clone() };
        assert_eq!(all(&busy), Err(Refusal::InUse.into()));
        // The service has ended, and what it could not flush is kept by systemd.
        let mut kept = facts.clone();
        kept.service.state = "inactive".into();
        kept.service.unflushed = true;
        assert_eq!(all(&kept), Err(Refusal::NotFlushed.into()));
        kept.service.unflushed = false;
        kept.service.enabled = false;
        kept.device = Some(Device { index: 3, size: 1, content: Content::Ext4, users: Vec::new() });
        assert_eq!(all(&kept), Err(Refusal::InUse.into()));
    }
}
