//! Whatever is seen: what holds all the same.

use super::*;
use crate::check::Severity;
use crate::decide::facts::{Exit, Start, Stranger};
use crate::decide::plan::{Action, plan};
use crate::decide::verdict::judge;
use crate::wire::State;
use proptest::prelude::*;

fn any_holder() -> impl Strategy<Value = Holder> {
    let other = Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None });
    prop_oneof![Just(Holder::Nobody), Just(Holder::Own), Just(other)]
}

fn any_unit() -> impl Strategy<Value = Option<Unit>> {
    let active = prop_oneof![
        Just(Active::Inactive),
        Just(Active::Activating),
        Just(Active::Active),
        Just(Active::Deactivating),
        Just(Active::Failed)
    ];
    let exit = prop_oneof![Just(None), Just(Some(Exit::Status(1))), Just(Some(Exit::Signal(9)))];
    proptest::option::of((active, exit, proptest::option::of(100u32..103), 0u32..3).prop_map(
        |(active, exit, pid, restarts)| Unit {
            active,
            pid,
            exit,
            result: "x".into(),
            restarts,
            invocation: None,
            since: None,
            masked: false,
            fence: fence(),
        },
    ))
}

fn any_region() -> impl Strategy<Value = Region> {
    let sockets = (proptest::option::of(100u32..103), any_holder(), any_holder()).prop_map(|(pid, data, repair)| {
        Sockets { pid, data, repair, elsewhere: vec![], connected: vec![], dropped: 0 }
    });
    let beat = prop_oneof![
        Just(Beat::Refused),
        Just(Beat::Asked),
        Just(Beat::Answering),
        Just(Beat::Silent),
        Just(Beat::Lost("x".into())),
        Just(Beat::Unasked("x".into()))
    ];
    let identity = proptest::option::of(prop_oneof![
        (100u128..103).prop_map(|n| Ok(Uuid::from_u128(n))),
        Just(Err("x".to_owned()))
    ]);
    let pulse =
        (100u32..103, beat, identity).prop_map(|(pid, beat, identity)| Pulse { pid, beat, identity, presents: None });
    let start = prop_oneof![Just(Start::Idle), Just(Start::Asked), Just(Start::Granted)];
    let rest = (start, any::<bool>(), 0u64..9);
    (any_unit(), proptest::option::of(sockets), proptest::option::of(pulse), rest).prop_map(
        |(unit, sockets, pulse, (start, steady, needs_look))| Region {
            unit,
            sockets,
            pulse,
            start,
            steady,
            needs_look,
            ..Region::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is seen: nothing is started that runs, is not the region on record, or whose
    /// ports are not free; and nothing is started twice.
    #[test]
    fn what_is_started_may_be(regions in proptest::collection::vec(any_region(), 3), mounted in any::<bool>(), present in any::<[bool; 3]>(), busy in any::<[bool; 3]>()) {
        let config = config();
        let mut facts = well(&config);
        let names: Vec<_> = facts.regions.keys().cloned().collect();
        facts.regions = names.iter().cloned().zip(regions).collect();
        facts.busy = names.iter().cloned().zip(busy).filter(|(_, busy)| *busy).map(|(name, _)| (name, Busy::Deleting)).collect();
        let disk = facts.disk.as_mut().unwrap();
        disk.mounted = mounted;
        for (name, present) in names.iter().zip(present) {
            if !present { disk.regions.insert(name.clone(), OnDisk::Absent); }
        }
        let actions = plan(&config, &facts);
        for action in &actions {
            let Action::Start(name) = action else { continue };
            let region = &facts.regions[name];
            prop_assert!(mounted && present[usize::from(name.index())]);
            prop_assert!(matches!(region.unit.as_ref().unwrap().active, Active::Inactive | Active::Failed));
            prop_assert!(region.start == Start::Idle && region.needs_look <= 7 && !facts.busy.contains_key(name));
            let sockets = region.sockets.as_ref().unwrap();
            prop_assert!(sockets.data == Holder::Nobody && sockets.repair == Holder::Nobody);
        }
        for name in &names {
            let concerning = actions.iter().filter(|action| matches!(action, Action::Start(n) | Action::Forgive(n) if n == name));
            prop_assert!(concerning.count() <= 1);
        }
    }

    /// Whatever is seen: a volume is ready only if each of its regions is proven, by facts
    /// about one and the same process, to serve the region on record.
    #[test]
    fn ready_is_proven(regions in proptest::collection::vec(any_region(), 3), which in 0usize..4, busy in any::<[bool; 3]>()) {
        let config = config();
        let mut facts = well(&config);
        // Some of the regions are as they should be, so that ready is not out of reach.
        for (name, seen) in facts.regions.keys().cloned().collect::<Vec<_>>().into_iter().zip(regions).skip(which) {
            facts.regions.insert(name, seen);
        }
        if which < 3 {
            facts.busy = facts.regions.keys().cloned().zip(busy).filter(|(_, busy)| *busy).map(|(name, _)| (name, Busy::Creating)).collect();
        }
        let verdict = judge(&config, &facts);
        let proven = |(name, region): (&RegionName, &Region)| {
            let pid = region.unit.as_ref().filter(|unit| unit.active == Active::Active)?.pid?;
            let sockets = region.sockets.as_ref()?;
            let pulse = region.pulse.as_ref()?;
            let uuid = facts.disk.as_ref()?.ledger.as_ref().ok()?.regions.get(name)?.uuid;
            let own = sockets.pid == Some(pid) && sockets.data == Holder::Own && sockets.repair == Holder::Own;
            let alive = pulse.pid == pid && pulse.beat == Beat::Answering && pulse.identity == Some(Ok(uuid));
            (own && alive && !facts.busy.contains_key(name)).then_some(())
        };
        let all = facts.regions.iter().all(|region| proven(region).is_some());
        prop_assert_eq!(verdict.ready(&volume()), all);
        for (name, state) in &verdict.states {
            let told = verdict.findings.iter().any(|f| f.code.severity() == Severity::Blocking && f.concerns(name.volume()));
            prop_assert!(*state == State::Serving || told, "{} is {} and nothing says why", name, state);
        }
    }
}
