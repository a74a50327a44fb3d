//! Actions of the plan, and what keeps one from being done.

use super::*;
use crate::decide::facts::{Fencing, Obstacle, Outdated, Start, Stranger};
use crate::decide::plan::{Action, plan};
use crate::decide::verdict::judge;
use crate::region::Grant;
use crate::region::{Adoption, Tombstone};
use crate::wire::State;

/// What keeps a stopped region from being started.
const OBSTACLES: &[Situation] = &[
    ("systemd cannot be reached", |f| f.bus = Some(Bus::Unreachable(String::new()))),
    ("the sled's address is not there", |f| f.network.as_mut().unwrap().bridge.as_mut().unwrap().addresses.clear()),
    ("the network has not been seen", |f| f.network = None),
    ("the disk has not been seen", |f| f.disk = None),
    ("the disk is not mounted", |f| f.disk.as_mut().unwrap().mounted = false),
    ("the disk is read-only", |f| f.disk.as_mut().unwrap().read_only = true),
    ("the ledger cannot be read", |f| f.disk.as_mut().unwrap().ledger = Err(String::new())),
    ("the region's directory is gone", |f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent)),
    ("the region is not on record", |f| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first())),
    ("the region's directory is to be looked at", |f| region(f).needs_look = 8),
    ("the region is being adopted", |f| _ = f.busy.insert(first(), Busy::Adopting)),
    ("what was cut short is being settled", |f| f.settled = Settled::Running),
    ("what was cut short is not settled", |f| f.settled = Settled::Failed(String::new())),
    ("the disk has no mark", |f| f.disk.as_mut().unwrap().mark = Ok(None)),
    ("a file of the region is gone", |f| {
        let survey = Survey { allocated: 0, fault: Some("00/000/001: it is gone".into()), dirty: 0 };
        f.disk.as_mut().unwrap().surveys.insert(first(), survey);
    }),
    ("systemd is starting it", |f| region(f).start = Start::Asked),
    ("the grants have not been read", |f| f.grants = None),
    ("systemd is to read its units again", |f| f.stale_units = true),
    ("its unit could not be renewed", |f| {
        f.outdated = Some(Outdated { by: Obstacle::Systemd(String::new()), regions: [first()].into() })
    }),
    ("the volume's grants cannot be read", |f| _ = f.unread_grants.insert(volume(), String::new())),
    ("it is being fenced", |f| {
        region(f).unit.as_mut().unwrap().fence = None;
        region(f).fencing = Fencing::Asked;
    }),
    ("systemd has refused to start it", |f| region(f).start = Start::Refused(String::new())),
    ("its ports have not been seen", |f| region(f).sockets = None),
    ("its unit has not been seen", |f| region(f).unit = None),
    ("its unit is being started already", |f| region(f).unit.as_mut().unwrap().active = Active::Activating),
    ("another process has its repair port", |f| {
        region(f).sockets.as_mut().unwrap().repair =
            Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None })
    }),
];

#[test]
fn a_stopped_region_is_started_once_everything_is_right() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    assert_eq!(plan(&config, &facts), [Action::Start(first())]);
    for (situation, obstacle) in OBSTACLES {
        let mut facts = facts.clone();
        obstacle(&mut facts);
        assert_eq!(plan(&config, &facts), [], "{situation}");
    }
}

#[test]
fn a_unit_that_lets_others_in_is_fenced_before_anything_else() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    region(&mut facts).unit.as_mut().unwrap().fence = None;
    let wanted = fence().unwrap();
    assert_eq!(plan(&config, &facts), [Action::Fence(first(), wanted.clone())]);
    // Somebody is at it, or systemd has just refused.
    facts.granting.insert(volume());
    assert_eq!(plan(&config, &facts), []);
    facts.granting.clear();
    region(&mut facts).fencing = Fencing::Refused(String::new());
    assert_eq!(plan(&config, &facts), []);
    // A ticket changes the fence of what runs, whatever the disk.
    let mut facts = well(&config);
    facts.disk = None;
    let host = "192.168.4.99".parse().unwrap();
    let grant = Grant::default().with("192.168.4.17".parse().unwrap(), false);
    facts.grants.as_mut().unwrap().insert(volume(), grant);
    let planned = plan(&config, &facts);
    assert_eq!(planned.len(), 3);
    for action in planned {
        let Action::Fence(_, fence) = action else { panic!("{action:?}") };
        assert!(!fence.admits(host) && !fence.admits("192.168.4.17".parse().unwrap()));
        assert!(fence.admits(config.address) && fence.admits("127.0.0.1".parse().unwrap()));
    }
}

/// Volume after volume: the first one serves before the last one is begun.
#[test]
fn no_more_regions_are_started_at_once_than_a_volume_has() {
    let second = "[volumes.pve]\nregions = [\"proper-raptor:3840\", \"proper-raptor:3841\", \"proper-raptor:3842\"]\n";
    let config = config_of(&format!("{MAP}{second}"));
    let mut facts = well(&config);
    for region in facts.regions.values_mut() {
        let unit = region.unit.as_mut().unwrap();
        (unit.active, unit.pid) = (Active::Inactive, None);
        let sockets = region.sockets.as_mut().unwrap();
        (sockets.pid, sockets.data, sockets.repair) = (None, Holder::Nobody, Holder::Nobody);
        region.pulse = None;
    }
    let started = |facts: &Facts| -> Vec<String> {
        let actions = plan(&config, facts).into_iter();
        actions
            .map(|action| if let Action::Start(name) = action { name.to_string() } else { panic!("{action:?}") })
            .collect()
    };
    assert_eq!(started(&facts), ["pve-0", "pve-1", "pve-2"]);
    let mut ask = |name: &str, start: Start| facts.regions.get_mut(&name.parse().unwrap()).unwrap().start = start;
    for name in ["pve-0", "pve-1", "pve-2"] {
        ask(name, Start::Asked);
    }
    ask("pve-1", Start::Granted);
    assert_eq!(started(&facts), ["still-fawn-0"]);
    // The others are next, and nothing is wrong with them, unless they are not going to be.
    facts.regions.get_mut(&first()).unwrap().start = Start::Asked;
    let states = judge(&config, &facts).states;
    assert!(states.values().all(|state| *state == State::Starting), "{states:?}");
    for never in [|f: &mut Facts| f.leaving = true, |f: &mut Facts| f.bus = Some(Bus::Unreachable(String::new()))] {
        let mut facts = facts.clone();
        never(&mut facts);
        let states = judge(&config, &facts).states;
        assert_eq!(states.values().filter(|state| **state == State::Stopped).count(), 2, "{states:?}");
    }
}

#[test]
fn restarts_are_forgiven_after_a_minute_of_health_and_not_before() {
    let config = config();
    let mut facts = well(&config);
    region(&mut facts).unit.as_mut().unwrap().restarts = 2;
    assert_eq!(plan(&config, &facts), []);
    region(&mut facts).steady = true;
    assert_eq!(plan(&config, &facts), [Action::Forgive(first())]);
}

#[test]
fn what_was_left_undone_is_settled_before_anything_else() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    type Change = fn(&mut Facts);
    let due: Vec<Change> = vec![|f| f.settled = Settled::No, |f| f.settled = Settled::Done(Uuid::nil()), |f| {
        f.disk.as_mut().unwrap().damage = Some("torn".into())
    }];
    for change in &due {
        let mut facts = facts.clone();
        change(&mut facts);
        assert_eq!(plan(&config, &facts), [Action::Settle]);
        // Never on a disk that is another's, without systemd, or while a job is at work.
        let obstacles: Vec<Change> = vec![
            |f| f.disk.as_mut().unwrap().mark = Ok(None),
            |f| f.disk.as_mut().unwrap().read_only = true,
            |f| f.bus = None,
            |f| _ = f.busy.insert(first(), Busy::Adopting),
        ];
        for obstacle in obstacles {
            let mut facts = facts.clone();
            obstacle(&mut facts);
            assert!(!plan(&config, &facts).contains(&Action::Settle));
        }
    }
}

#[test]
fn what_was_kept_long_enough_is_removed_one_by_one() {
    let config = config();
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions[&first()].clone();
    let stone = |second| Tombstone {
        region: "old-0".parse().unwrap(),
        record: record.clone(),
        deleted: Timestamp::from_second(second).unwrap(),
        buried: None,
        moved: true,
        removing: false,
    };
    ledger.tombstones = vec![stone(1), stone(2), stone(3)];
    assert_eq!(plan(&config, &facts), []);
    facts.kept_for = [(stone(1).dir(), 0), (stone(2).dir(), 0), (stone(3).dir(), 1)].into();
    assert_eq!(plan(&config, &facts), [Action::Remove(stone(1))]);
    facts.removing = true;
    assert_eq!(plan(&config, &facts), []);
    // A region that cannot be removed holds up no other.
    facts.removing = false;
    facts.stuck_removals.insert(stone(1).dir());
    assert_eq!(plan(&config, &facts), [Action::Remove(stone(2))]);
    // A removal that was cut short is taken up again, whatever its time.
    facts.removing = false;
    facts.kept_for.clear();
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().tombstones[2].removing = true;
    assert_eq!(plan(&config, &facts), [Action::Remove(Tombstone { removing: true, ..stone(3) })]);
}

#[test]
fn an_adoption_that_was_cut_short_is_undone_and_holds_no_other_region() {
    let config = config();
    let mut facts = well(&config);
    let adoption = Adoption { uuid: Uuid::nil(), from: "/a".into(), unit: None, owner: (0, 0), mode: 0o750 };
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().adoptions.insert(first(), adoption);
    assert_eq!(plan(&config, &facts), [Action::Undo(vec![first()])]);
    let mut busy = facts.clone();
    busy.busy.insert(first(), Busy::Adopting);
    assert_eq!(plan(&config, &busy), []);
    facts.stuck_adoptions.insert(first(), "it is gone".into());
    let other: RegionName = "still-fawn-1".parse().unwrap();
    let stopped = unit(Active::Inactive);
    let region = facts.regions.get_mut(&other).unwrap();
    region.unit = Some(stopped);
    let nobody = Sockets {
        pid: None,
        data: Holder::Nobody,
        repair: Holder::Nobody,
        elsewhere: vec![],
        connected: vec![],
        dropped: 0,
    };
    region.sockets = Some(nobody);
    assert_eq!(plan(&config, &facts), [Action::Start(other)]);
}

/// Which is the one thing that is done to the machine's network unasked.
#[test]
fn an_adapter_that_is_back_is_put_into_its_bridge_once_and_one_that_serves_is_left_alone() {
    let config = config();
    let back = |change: fn(&mut Facts)| {
        let mut facts = well(&config);
        let nic = facts.network.as_mut().unwrap().nic.as_mut().unwrap();
        (nic.index, nic.master, nic.port, nic.came_back) = (9, None, None, true);
        change(&mut facts);
        plan(&config, &facts).contains(&Action::Rejoin(9))
    };
    fn nic(facts: &mut Facts) -> &mut Nic {
        facts.network.as_mut().unwrap().nic.as_mut().unwrap()
    }
    assert!(back(|_| ()) && back(|facts| facts.rejoin.tried = Some(8)));
    // What is done to the network needs no data disk.
    assert!(back(|facts| facts.disk = None));
    let left_alone: [fn(&mut Facts); 7] = [
        |facts| facts.rejoin.tried = Some(9),
        |facts| nic(facts).came_back = false,
        |facts| nic(facts).master = Some("br7".into()),
        |facts| facts.network.as_mut().unwrap().bridge = None,
        |facts| facts.network.as_mut().unwrap().bridge.as_mut().unwrap().up = false,
        |facts| facts.leaving = true,
        |facts| facts.bus = Some(Bus::Unreachable("gone".into())),
    ];
    assert!(left_alone.into_iter().all(|change| !back(change)));
    let mut facts = well(&config);
    (nic(&mut facts).index, nic(&mut facts).master, nic(&mut facts).came_back) = (9, None, true);
    let mut never = config.clone();
    never.sled.network.rejoin = false;
    assert!(plan(&config, &facts).contains(&Action::Rejoin(9)) && !plan(&never, &facts).contains(&Action::Rejoin(9)));
}
