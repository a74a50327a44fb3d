use super::super::facts::{Device, Kernel, Old, OldUnit};
use super::*;
use crate::attach::mounts::Mount;
use crate::attach::units::Service;
use crate::wire::{ErrorCode, Refusal};
use std::collections::BTreeSet;

const SIZE: u64 = 12_884_901_888;

pub(in super::super) fn wanted() -> Wanted {
    Wanted {
        volume: "v".parse().unwrap(),
        sleds: Some(vec!["10.0.0.1:3800".into()]),
        tls: None,
        server: None,
        extent: Extent::Mount,
        mount: None,
        storage: None,
        content: None,
    }
}

/// A host on which everything is done.
pub(in super::super) fn installed() -> Facts {
    let wanted = wanted();
    let conf = texts::conf(None, wanted.sleds.as_deref(), None);
    let path = super::super::facts::usual(&wanted.volume);
    let mount = Mount {
        name: texts::mount_name(&path),
        path: path.clone(),
        text: texts::mount(&wanted.volume, &path),
        enabled: true,
    };
    Facts {
        kernel: Kernel { loaded: true, loadable: true, at_boot: true },
        rule: true,
        server: Program::Fit("1".into()),
        given: None,
        old: Old::default(),
        targets: ["10.0.0.1:3830".parse().unwrap()].into(),
        service: Service {
            known: true,
            enabled: true,
            state: "active".into(),
            says: "serves".into(),
            environment: Some(texts::values(&conf)),
            unflushed: false,
            pid: Some(7),
        },
        conf: Some(conf),
        device: Some(Device { index: 0, size: SIZE, content: Content::Ext4, users: Vec::new() }),
        size: Some(SIZE),
        mounts: vec![mount],
        path,
        place: Place::Volume,
        stranger: false,
        users: Vec::new(),
        proxmox: None,
    }
}

/// A host that has the product's files, and nothing else.
fn fresh() -> Facts {
    Facts {
        kernel: Kernel { loaded: false, loadable: true, at_boot: false },
        service: Service { known: true, ..Service::default() },
        server: Program::Missing,
        conf: None,
        device: None,
        size: None,
        mounts: Vec::new(),
        place: Place::Nothing,
        ..installed()
    }
}

fn by_hand() -> Facts {
    let unit = |name: &str, mounts: Option<&str>| OldUnit {
        name: name.into(),
        file: Path::new("/etc/systemd/system").join(name),
        mounts: mounts.map(Into::into),
        active: true,
    };
    let old = Old {
        units: vec![
            unit("mnt-crucible\\x2dstorage.mount", Some("/mnt/crucible-storage")),
            unit("crucible-nbd-connect.service", None),
            unit("crucible-nbd.service", None),
        ],
        targets: ["10.0.0.1:3830".parse().unwrap()].into(),
        ..Old::default()
    };
    Facts {
        path: super::super::facts::mountpoint(&wanted(), &[], &old),
        old,
        server: Program::Fit("1".into()),
        place: Place::Else("/dev/nbd0".into()),
        stranger: true,
        ..fresh()
    }
}

fn said(wanted: &Wanted, facts: &Facts) -> Result<Vec<Verdict>, ErrorCode> {
    Step::ALL.iter().map(|step| judge(*step, wanted, facts).map_err(|error| error.code)).collect()
}

fn refused(wanted: &Wanted, facts: &Facts) -> ErrorCode {
    said(wanted, facts).unwrap_err()
}

fn actions(wanted: &Wanted, facts: &Facts) -> Vec<Action> {
    let action = |verdict| match verdict {
        Verdict::Do(action, _) => Some(action),
        _ => None,
    };
    said(wanted, facts).unwrap().into_iter().filter_map(action).collect()
}

fn one(step: Step, wanted: &Wanted, facts: &Facts) -> Verdict {
    judge(step, wanted, facts).unwrap()
}

#[test]
fn where_everything_is_done_nothing_is() {
    assert_eq!(actions(&wanted(), &installed()), []);
    // No sleds named means those on record.
    assert_eq!(actions(&Wanted { sleds: None, ..wanted() }, &installed()), []);
}

#[test]
fn from_nothing_to_a_mount() {
    let server = Wanted { server: Some("/root/server".into()), ..wanted() };
    let facts = Facts { given: Some(Program::Fit("1".into())), ..fresh() };
    let done = actions(&server, &facts);
    assert_eq!(done[0], Action::Load { now: true, at_boot: true });
    assert_eq!(done[1], Action::CopyServer("/root/server".into()));
    assert!(matches!(&done[2], Action::Configure(text) if text.contains("CRUCIBLE_SLEDS=10.0.0.1:3800\n")));
    assert_eq!(done[3], Action::Serve { restart: false });
    assert_eq!(done[4], Action::Shield);
    assert!(matches!(done[5], Action::WriteUnit(_)));
    assert_eq!(done[6..], [Action::Mount]);
    // The device is not there yet.
    assert!(matches!(one(Step::FileSystem, &server, &facts), Verdict::Later(_)));
    assert!(matches!(one(Step::Storage, &server, &facts), Verdict::Skipped(_)));
}

#[test]
fn what_the_host_lacks_is_said_before_anything_is_done() {
    let kernel = Kernel::default();
    assert_eq!(refused(&wanted(), &Facts { kernel, ..fresh() }), Refusal::NbdNoModule);
    assert_eq!(refused(&wanted(), &Facts { rule: false, ..fresh() }), Refusal::NotInstalled);
    assert_eq!(refused(&wanted(), &fresh()), Refusal::ServerMissing);
    let unfit = Program::Unfit("it is empty".into());
    assert_eq!(refused(&wanted(), &Facts { server: unfit.clone(), ..fresh() }), Refusal::NoServer);
    let given = Wanted { server: Some("/root/server".into()), ..wanted() };
    assert_eq!(refused(&given, &Facts { given: Some(unfit), ..installed() }), Refusal::NoServer);
    assert_eq!(refused(&given, &Facts { given: Some(Program::Missing), ..installed() }), Refusal::NoServer);
    let no_template = Facts { service: Service::default(), ..installed() };
    assert_eq!(refused(&wanted(), &no_template), Refusal::NotInstalled);
    let nowhere = Facts { conf: None, ..installed() };
    assert_eq!(refused(&Wanted { sleds: None, ..wanted() }, &nowhere), Refusal::Usage);
    assert_eq!(refused(&Wanted { storage: Some("x".into()), ..wanted() }, &installed()), Refusal::NoProxmox);
}

#[test]
fn a_server_is_copied_if_it_is_another() {
    let given = Wanted { server: Some("/root/server".into()), ..wanted() };
    for (program, copied) in [("1", false), ("2", true)] {
        let facts = Facts { given: Some(Program::Fit(program.into())), ..installed() };
        assert_eq!(!actions(&given, &facts).is_empty(), copied, "{program}");
    }
}

#[test]
fn a_service_whose_configuration_is_another_is_started_anew() {
    let other = Wanted { sleds: Some(vec!["10.0.0.2:3800".into()]), ..wanted() };
    let done = actions(&other, &installed());
    assert!(matches!(&done[..], [Action::Configure(_), Action::Serve { restart: true }]), "{done:?}");
    // The configuration was written, and whoever did so was killed before the service was told.
    let facts = Facts { conf: Some(texts::conf(None, other.sleds.as_deref(), None)), ..installed() };
    assert_eq!(actions(&other, &facts), [Action::Serve { restart: true }]);
    let mut facts = installed();
    facts.service.enabled = false;
    assert_eq!(actions(&wanted(), &facts), [Action::Serve { restart: false }]);
    facts.service.state = "activating".into();
    facts.device = None;
    assert!(matches!(one(Step::Device, &wanted(), &facts), Verdict::Later(_)));
    // The service runs, and udev reads what is on its device.
    facts.service.state = "active".into();
    assert!(matches!(one(Step::Device, &wanted(), &facts), Verdict::Do(Action::Await, _)));
}

#[test]
fn a_file_system_is_made_where_nothing_is_and_the_size_is_right() {
    let with = |content: Content, size: Option<u64>| {
        let device = Device { content, ..installed().device.unwrap() };
        Facts { device: Some(device), size, place: Place::Empty(Flag::Set), ..installed() }
    };
    let empty = with(Content::Nothing, Some(SIZE));
    assert_eq!(actions(&wanted(), &empty), [Action::MakeFileSystem { size: SIZE }, Action::Mount]);
    assert_eq!(actions(&wanted(), &with(Content::Ext4, Some(SIZE))), [Action::Mount]);
    for (content, size, code) in [
        (Content::Nothing, Some(SIZE / 2), Refusal::OtherSize),
        (Content::Nothing, None, Refusal::OtherSize),
        (Content::Ext4, Some(SIZE / 2), Refusal::OtherSize),
        (Content::Else("LVM2_member".into()), Some(SIZE), Refusal::ContentForeign),
    ] {
        assert_eq!(refused(&wanted(), &with(content, size)), code);
    }
    let mut used = empty.clone();
    used.device.as_mut().unwrap().users.push("process 7 (dd)".into());
    assert_eq!(refused(&wanted(), &used), Refusal::InUse);
    // A mount made by hand is of the volume, or it is not the volume.
    for aside in [true, false] {
        let (mut old, mut facts) = (by_hand().old, empty.clone());
        if aside {
            facts.old.aside = Some(old.units.remove(0))
        } else {
            facts.old = old
        }
        facts.service.state = "active".into();
        assert_eq!(refused(&wanted(), &facts), Refusal::NothingThere);
    }
    // Nothing of this is done to a raw device.
    let raw = Wanted { extent: Extent::Device, ..wanted() };
    let facts = Facts { mounts: Vec::new(), ..with(Content::Else("LVM2_member".into()), Some(SIZE)) };
    assert_eq!(actions(&raw, &facts), []);
    let no_mount = Wanted { extent: Extent::FileSystem, ..wanted() };
    assert_eq!(actions(&no_mount, &Facts { mounts: Vec::new(), ..empty }), [Action::MakeFileSystem { size: SIZE }]);
    assert_eq!(refused(&raw, &installed()), Refusal::HasMount);
    assert_eq!(refused(&no_mount, &installed()), Refusal::HasMount);
}

#[test]
fn a_mountpoint_is_empty_and_nobody_elses() {
    let with = |place: Place| Facts { place, mounts: Vec::new(), ..installed() };
    for (place, code) in [
        (Place::Full, Refusal::MountpointNotEmpty),
        (Place::NoDirectory, Refusal::MountpointTaken),
        (Place::Else("/dev/sda1".into()), Refusal::MountpointTaken),
    ] {
        assert_eq!(refused(&wanted(), &with(place)), code);
    }
    assert_eq!(refused(&wanted(), &Facts { stranger: true, ..with(Place::Nothing) }), Refusal::UnitTaken);
    let elsewhere = Wanted { mount: Some("/srv".into()), ..wanted() };
    let facts = Facts { path: "/srv".into(), ..installed() };
    assert_eq!(refused(&elsewhere, &facts), Refusal::HasMount);
    for (place, shielded) in [
        (Place::Nothing, true),
        (Place::Empty(Flag::Unset), true),
        (Place::Empty(Flag::Set), false),
        (Place::Empty(Flag::Unknown), false),
    ] {
        assert_eq!(actions(&wanted(), &with(place.clone())).contains(&Action::Shield), shielded, "{place:?}");
    }
}

#[test]
fn what_was_set_up_by_hand_is_taken_over_in_place() {
    let facts = by_hand();
    assert_eq!(facts.path, Path::new("/mnt/crucible-storage"));
    let done = actions(&wanted(), &facts);
    assert!(done.contains(&Action::TakeOver) && done.contains(&Action::Mount), "{done:?}");
    let taken = |change: &dyn Fn(&mut Facts)| {
        let mut facts = by_hand();
        change(&mut facts);
        refused(&wanted(), &facts)
    };
    assert_eq!(taken(&|facts| facts.old.users.push("process 7 (kvm)".into())), Refusal::InUse);
    assert_eq!(taken(&|facts| facts.old.fstab = Some("/dev/nbd0 /mnt ext4".into())), Refusal::OldInFstab);
    assert_eq!(taken(&|facts| facts.old.targets = ["10.0.0.1:3840".parse().unwrap()].into()), Refusal::OldIsAnother);
    // Targets that cannot be read say nothing.
    let mut unread = by_hand();
    unread.old.targets = BTreeSet::new();
    assert!(actions(&wanted(), &unread).contains(&Action::TakeOver));
    // A place of its own is another place.
    let elsewhere = Wanted { mount: Some("/srv".into()), ..wanted() };
    let facts = Facts { path: "/srv".into(), place: Place::Nothing, stranger: false, ..by_hand() };
    let Verdict::Do(_, what) = one(Step::Takeover, &elsewhere, &facts) else { panic!() };
    assert!(what.contains("what was mounted at /mnt/crucible-storage is going to be at /srv"), "{what}");
}
