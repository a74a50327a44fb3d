//! Requests that may be asked for, and that are refused.

use super::*;
use crate::check::Code;
use crate::decide::facts::Stranger;
use crate::decide::permits::{Creation, Deletion, may_adopt, may_create, may_delete, may_purge, may_restore};
use crate::region::{Doubt, Rebuilt, Tombstone};
use crate::wire::{Peer, Refusal};

#[test]
fn a_region_is_created_only_where_nothing_is() {
    let config = config();
    let whole = well(&config);
    let uuid = Uuid::from_u128(100);
    assert_eq!(may_create(&config, &whole, &first(), None), Ok(Creation::AlreadyThere(uuid)));
    let refusal = |change: fn(&mut Facts), name: &str| {
        let mut facts = whole.clone();
        change(&mut facts);
        may_create(&config, &facts, &name.parse().unwrap(), None).unwrap_err().code
    };
    assert_eq!(refusal(|_| (), "pve-0"), Refusal::RegionUnknown);
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().mounted = false, FIRST), Code::DataNotMounted);
    assert_eq!(refusal(|f| f.disk = None, FIRST), Code::NotSeen);
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().mark = Ok(None), FIRST), Code::DataForeign);
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().ledger = Err(String::new()), FIRST), Code::LedgerUnreadable);
    assert_eq!(refusal(|f| _ = f.busy.insert(first(), Busy::Creating), FIRST), Code::RegionCreating);
    // Once on record, never again, whatever became of it.
    assert_eq!(
        refusal(|f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent), FIRST),
        Refusal::RegionExists
    );
    let forget = |f: &mut Facts| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first());
    assert_eq!(refusal(forget, FIRST), Code::RegionUnrecorded);

    let mut facts = whole.clone();
    stopped(&mut facts);
    forget(&mut facts);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(may_create(&config, &facts, &first(), None), Ok(Creation::Go(_))));
    facts.disk.as_mut().unwrap().unadopted.insert(first());
    assert_eq!(may_create(&config, &facts, &first(), None).unwrap_err().code, Code::RegionUnadopted);
    facts.disk.as_mut().unwrap().unadopted.clear();
    facts.settled = Settled::Running;
    assert_eq!(may_create(&config, &facts, &first(), None).unwrap_err().code, Refusal::Starting);
    facts.settled = well(&config).settled;
    facts.disk.as_mut().unwrap().read_only = true;
    assert_eq!(may_create(&config, &facts, &first(), None).unwrap_err().code, Code::DataReadOnly);
    facts.disk.as_mut().unwrap().read_only = false;
    let mark = facts.disk.as_ref().unwrap().mark.clone().unwrap().unwrap();
    facts.settled = Settled::Done(mark.disk);
    let stranger = Stranger { pid: Some(9), command: "nc".into(), unit: None };
    region(&mut facts).sockets.as_mut().unwrap().data = Holder::Other(stranger);
    assert_eq!(may_create(&config, &facts, &first(), None).unwrap_err().code, Code::PortTaken);
}

/// A region that a lost ledger may have known is not made anew but by its name.
#[test]
fn a_region_that_may_have_existed_is_created_only_by_its_name() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    let disk = facts.disk.as_mut().unwrap();
    disk.regions.insert(first(), OnDisk::Absent);
    let ledger = disk.ledger.as_mut().unwrap();
    ledger.regions.remove(&first());
    ledger.rebuilt = Some(Rebuilt { since: Timestamp::UNIX_EPOCH, doubt: Doubt::Of([first()].into()) });
    let why = may_create(&config, &facts, &first(), None).unwrap_err();
    assert!(why.code == Code::RegionMissing && why.remedy.contains("--never-existed still-fawn-0"), "{why:?}");
    let other = "still-fawn-1".parse().unwrap();
    assert!(may_create(&config, &facts, &first(), Some(&other)).is_err());
    assert!(matches!(may_create(&config, &facts, &first(), Some(&first())), Ok(Creation::Go(_))));
    // Known since, in the map only since, or never lost: as ever.
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    ledger.rebuilt.as_mut().unwrap().doubt = Doubt::Of(["later-0".parse().unwrap()].into());
    assert!(matches!(may_create(&config, &facts, &first(), None), Ok(Creation::Go(_))));
}

#[test]
fn a_region_is_deleted_only_when_nobody_uses_it_and_its_name_is_said_twice() {
    let config = config();
    let mut facts = well(&config);
    let refusal = |facts: &Facts, yes| may_delete(&config, facts, &first(), yes).unwrap_err();
    assert_eq!(refusal(&facts, None).code, Refusal::YesDestroy);
    assert_eq!(refusal(&facts, Some("still-fawn-1")).code, Refusal::YesDestroy);
    assert!(matches!(may_delete(&config, &facts, &first(), Some(FIRST)), Ok(Deletion::Bury(_))));
    // A host that uses the volume is named, whichever of its regions it is connected to.
    let other = facts.regions.get_mut(&"still-fawn-2".parse().unwrap()).unwrap();
    other.sockets.as_mut().unwrap().connected =
        vec![Peer { address: "192.168.4.17".parse().unwrap(), port: 4711, host: None }];
    let why = refusal(&facts, Some(FIRST));
    assert!(why.code == Refusal::InUse && why.message.contains("192.168.4.17"), "{why:?}");

    let mut facts = well(&config);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(may_delete(&config, &facts, &first(), Some(FIRST)), Ok(Deletion::Forget(_))));
    facts.busy.insert(first(), Busy::Adopting);
    assert_eq!(refusal(&facts, Some(FIRST)).code, Code::RegionAdopting);

    // A region that the map does not have any more needs no second word.
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions[&first()].clone();
    ledger.regions.insert("old-1".parse().unwrap(), record);
    assert!(may_delete(&config, &facts, &"old-1".parse().unwrap(), None).is_ok());
    assert_eq!(may_delete(&config, &facts, &"old-2".parse().unwrap(), None).unwrap_err().code, Refusal::RegionUnknown);
}

#[test]
fn a_deleted_region_is_restored_where_nothing_is_and_purged_when_said_twice() {
    let config = config();
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions[&first()].clone();
    let stone = Tombstone {
        region: first(),
        record,
        deleted: Timestamp::UNIX_EPOCH,
        buried: None,
        moved: true,
        removing: false,
    };
    ledger.tombstones.push(stone.clone());
    assert_eq!(may_restore(&config, &facts, &first(), None).unwrap_err().code, Refusal::RegionExists);
    assert_eq!(may_purge(&config, &facts, &first(), None, None).unwrap_err().code, Refusal::YesDestroy);
    assert_eq!(may_purge(&config, &facts, &first(), None, Some(FIRST)), Ok(stone.clone()));
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    ledger.regions.remove(&first());
    assert_eq!(may_restore(&config, &facts, &first(), None), Ok(stone));
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().tombstones[0].removing = true;
    assert_eq!(may_restore(&config, &facts, &first(), None).unwrap_err().code, Refusal::RegionUnknown);
    let other = "still-fawn-1".parse().unwrap();
    assert_eq!(
        may_purge(&config, &facts, &other, None, Some("still-fawn-1")).unwrap_err().code,
        Refusal::RegionUnknown
    );
}

#[test]
fn what_is_on_record_is_not_adopted_and_a_lost_ledger_is_no_obstacle() {
    let config = config();
    let mut facts = well(&config);
    assert_eq!(may_adopt(&config, &facts, &first()).unwrap_err().code, Refusal::RegionExists);
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first());
    assert!(may_adopt(&config, &facts, &first()).is_ok());
    facts.disk.as_mut().unwrap().ledger = Err("torn".into());
    assert!(may_adopt(&config, &facts, &first()).is_ok());
    facts.disk.as_mut().unwrap().mark = Ok(None);
    assert_eq!(may_adopt(&config, &facts, &first()).unwrap_err().code, Code::DataForeign);
    assert_eq!(may_adopt(&config, &facts, &"pve-0".parse().unwrap()).unwrap_err().code, Refusal::RegionUnknown);
}

/// Deleted twice: which one is meant is said, and never guessed.
#[test]
fn of_two_deleted_regions_the_one_that_is_named_is_meant() {
    let config = config();
    let mut facts = well(&config);
    let ledger = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap();
    let record = ledger.regions.remove(&first()).unwrap();
    let deleted = |second| Timestamp::from_second(second).unwrap();
    let stone = |second| Tombstone {
        region: first(),
        record: record.clone(),
        deleted: deleted(second),
        buried: None,
        moved: true,
        removing: false,
    };
    ledger.tombstones = vec![stone(1), stone(2)];
    let why = may_restore(&config, &facts, &first(), None).unwrap_err();
    assert!(why.code == Refusal::Ambiguous && why.message.contains("still-fawn-0.1"), "{why:?}");
    assert_eq!(may_purge(&config, &facts, &first(), None, Some(FIRST)).unwrap_err().code, Refusal::Ambiguous);
    assert_eq!(may_restore(&config, &facts, &first(), Some(1)), Ok(stone(1)));
    assert_eq!(may_purge(&config, &facts, &first(), Some(2), Some(FIRST)).unwrap_err().code, Refusal::YesDestroy);
    assert_eq!(may_purge(&config, &facts, &first(), Some(2), Some("still-fawn-0.2")), Ok(stone(2)));
}
