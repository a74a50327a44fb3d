//! What is done, and what keeps it from being done.

use super::*;
use crate::decide::facts::{Start, Stranger};
use crate::decide::plan::{Action, Creation, may_create, plan};

#[test]
fn a_stopped_region_is_started_once_everything_is_right() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    assert_eq!(plan(&config, &facts), [Action::Start(first())]);
    type Change = fn(&mut Facts);
    let obstacles: Vec<Change> = vec![
        |f| f.bus = Some(Bus::Unreachable(String::new())),
        |f| f.network.as_mut().unwrap().bridge.as_mut().unwrap().addresses.clear(),
        |f| f.network = None,
        |f| f.disk = None,
        |f| f.disk.as_mut().unwrap().mounted = false,
        |f| f.disk.as_mut().unwrap().read_only = true,
        |f| f.disk.as_mut().unwrap().ledger = Err(String::new()),
        |f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent),
        |f| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first()),
        |f| region(f).needs_look = 8,
        |f| region(f).creating = true,
        |f| region(f).start = Start::Asked,
        |f| region(f).start = Start::Refused(String::new()),
        |f| region(f).sockets = None,
        |f| region(f).unit = None,
        |f| region(f).unit.as_mut().unwrap().active = Active::Failed,
        |f| region(f).unit.as_mut().unwrap().active = Active::Activating,
        |f| {
            region(f).sockets.as_mut().unwrap().repair =
                Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None })
        },
    ];
    for (number, obstacle) in obstacles.into_iter().enumerate() {
        let mut facts = facts.clone();
        obstacle(&mut facts);
        assert_eq!(plan(&config, &facts), [], "obstacle {number}");
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
fn a_region_is_created_only_where_nothing_is() {
    let config = config();
    let whole = well(&config);
    let uuid = Uuid::from_u128(100);
    assert_eq!(may_create(&config, &whole, &first()), Ok(Creation::AlreadyThere(uuid)));
    let refusal = |change: fn(&mut Facts), name: &str| {
        let mut facts = whole.clone();
        change(&mut facts);
        may_create(&config, &facts, &name.parse().unwrap()).unwrap_err().code
    };
    assert_eq!(refusal(|_| (), "pve-0"), "REGION_UNKNOWN");
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().mounted = false, FIRST), "DATA_NOT_MOUNTED");
    assert_eq!(refusal(|f| f.disk = None, FIRST), "DATA_NOT_MOUNTED");
    assert_eq!(refusal(|f| f.disk.as_mut().unwrap().ledger = Err(String::new()), FIRST), "LEDGER_UNREADABLE");
    assert_eq!(refusal(|f| region(f).creating = true, FIRST), "REGION_CREATING");
    // Once on record, never again, whatever became of it.
    assert_eq!(
        refusal(|f| _ = f.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent), FIRST),
        "REGION_EXISTS"
    );
    let forget = |f: &mut Facts| _ = f.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.remove(&first());
    assert_eq!(refusal(forget, FIRST), "REGION_UNRECORDED");

    let mut facts = whole.clone();
    stopped(&mut facts);
    forget(&mut facts);
    facts.disk.as_mut().unwrap().regions.insert(first(), OnDisk::Absent);
    assert!(matches!(may_create(&config, &facts, &first()), Ok(Creation::Go(_))));
    let stranger = Stranger { pid: Some(9), command: "nc".into(), unit: None };
    region(&mut facts).sockets.as_mut().unwrap().data = Holder::Other(stranger);
    assert_eq!(may_create(&config, &facts, &first()).unwrap_err().code, "PORT_TAKEN");
}
