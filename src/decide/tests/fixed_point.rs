//! Whatever is seen, and whatever comes of what is done about it: a small model of systemd takes
//! every action of the plan, and what must never happen never does, until nothing is left to do.

use super::*;
use crate::decide::facts::{Exit, Stranger};
use crate::decide::failure::classify;
use crate::decide::plan::{Action, plan};
use crate::region::verification::{Outcome, Verification, Verified};
use crate::region::{HeldBy, Hold};
use crate::span::Span;
use proptest::prelude::*;

/// More steps than any sled needs to come to rest.
const STEPS: usize = 20;

fn any_failure() -> impl Strategy<Value = Option<crate::decide::failure::Failure>> {
    let words = prop_oneof![
        Just("Address already in use"),
        Just("Cannot assign requested address"),
        Just("No space left on device"),
        Just("missing context slot"),
        Just("who knows"),
    ];
    proptest::option::of(words.prop_map(|words| classify(Exit::Status(1), &[words.to_owned()])))
}

fn any_region() -> impl Strategy<Value = Region> {
    let active =
        prop_oneof![Just(Active::Inactive), Just(Active::Activating), Just(Active::Active), Just(Active::Failed)];
    let beat = prop_oneof![Just(Beat::Answering), Just(Beat::Silent), Just(Beat::Refused)];
    let holder = prop_oneof![
        4 => Just(Holder::Nobody),
        1 => Just(Holder::Other(Stranger { pid: Some(9), command: "nc".into(), unit: None }))
    ];
    let process = (active, any::<bool>(), beat, holder, 0u32..3, any::<bool>());
    (process, any_failure(), 0u32..8, any::<bool>(), 0u64..120).prop_map(
        |((active, dead, beat, holder, restarts, fenced), failure, crashes, steady, hung_seconds)| {
            let runs = active == Active::Active;
            let pid = runs.then_some(100);
            let exit = (!runs).then_some(Exit::Status(1));
            let own = if runs { Holder::Own } else { holder };
            let identity = Some(Ok(Uuid::from_u128(100)));
            let unit = Unit { pid, restarts, exit, fence: fence().filter(|_| fenced), ..unit(active) };
            Region {
                ended: unit.run().filter(|_| dead),
                unit: Some(unit),
                sockets: Some(Sockets {
                    pid,
                    data: own.clone(),
                    repair: own,
                    elsewhere: vec![],
                    connected: vec![],
                    dropped: 0,
                }),
                pulse: pid.map(|pid| Pulse { pid, beat, identity, presents: None }),
                failure,
                crashes,
                steady,
                hung_seconds,
                ..Region::default()
            }
        },
    )
}

fn any_facts() -> impl Strategy<Value = (Configuration, Facts)> {
    let disk = (any::<bool>(), prop_oneof![Just(0u64), Just(1u64 << 39)], 0u8..4);
    let busy = proptest::array::uniform3(prop_oneof![
        3 => Just(None),
        1 => Just(Some(Busy::Waiting)),
        1 => Just(Some(Busy::Restarting)),
        1 => Just(Some(Busy::Watching))
    ]);
    let after = proptest::option::of(1u64..60);
    (proptest::collection::vec(any_region(), 3), disk, busy, after, any::<[[bool; 3]; 2]>()).prop_map(
        |(regions, (foreign, free, odd), busy, after, [intruded, unverified])| {
            let mut config = config();
            config.sled.downstairs.restart_hung_after = after.map(Span::seconds);
            let mut facts = well(&config);
            let names: Vec<_> = facts.regions.keys().cloned().collect();
            facts.regions = names.iter().cloned().zip(regions).collect();
            facts.busy = names.iter().cloned().zip(busy).filter_map(|(name, busy)| Some((name, busy?))).collect();
            let stranger = Stranger { pid: Some(7), command: "x".into(), unit: None };
            let intruded = names.iter().cloned().zip(intruded).filter(|(_, is)| *is && odd == 1);
            facts.intruders = Some(intruded.map(|(name, _)| (name, vec![stranger.clone()])).collect());
            let ledger = facts.disk.as_ref().unwrap().ledger.as_ref().unwrap();
            let due = names.iter().zip(unverified).filter(|(_, due)| *due);
            let due = due.map(|(name, _)| (name.clone(), Verified::due(ledger.regions[name].uuid))).collect();
            facts.verification = Some(Verification {
                boot: String::new(),
                since: None,
                regions: Some(due),
                listed: None,
                lost: None,
                unverified: Default::default(),
            });
            let disk = facts.disk.as_mut().unwrap();
            disk.free = free;
            if foreign && odd == 0 {
                disk.mark = Ok(Some(Mark::new("another".parse().unwrap())));
            }
            if odd == 2 {
                disk.regions.insert(first(), OnDisk::Absent);
            }
            (config, facts)
        },
    )
}

/// Carry out an action as systemd and the disk would, at once and without a hitch.
fn carry_out(facts: &mut Facts, action: &Action) {
    let mut on = |name: &RegionName, change: &dyn Fn(&mut Region)| change(facts.regions.get_mut(name).unwrap());
    let up = |region: &mut Region| {
        let pid = 200;
        region.unit = Some(Unit { pid: Some(pid), ..unit(Active::Active) });
        let own = (Holder::Own, Holder::Own);
        region.sockets = Some(Sockets {
            pid: Some(pid),
            data: own.0,
            repair: own.1,
            elsewhere: vec![],
            connected: vec![],
            dropped: 0,
        });
        region.pulse =
            Some(Pulse { pid, beat: Beat::Answering, identity: Some(Ok(Uuid::from_u128(100))), presents: None });
        (region.ended, region.hung_seconds, region.failure) = (None, 0, None);
    };
    match action {
        Action::Start(name) | Action::Restart(name) => on(name, &up),
        Action::Stop(name) => on(name, &|region| {
            region.unit = Some(unit(Active::Inactive));
            let nobody = (Holder::Nobody, Holder::Nobody);
            region.sockets = Some(Sockets {
                pid: None,
                data: nobody.0,
                repair: nobody.1,
                elsewhere: vec![],
                connected: vec![],
                dropped: 0,
            });
            region.pulse = None;
        }),
        Action::Forgive(name) => on(name, &|region| region.unit.as_mut().unwrap().restarts = 0),
        Action::Hold(name, by, why, remedy) => {
            let hold = Hold { by: *by, why: why.clone(), remedy: remedy.clone(), since: Timestamp::UNIX_EPOCH };
            facts.holding.insert(name.clone(), hold);
        }
        Action::Fence(name, fence) => on(name, &|region| region.unit.as_mut().unwrap().fence = Some(fence.clone())),
        Action::Rejoin(_) => facts.network.as_mut().unwrap().nic.as_mut().unwrap().came_back = false,
        Action::Verify(name) => {
            let verification = facts.verification.as_mut().unwrap();
            verification.regions.as_mut().unwrap().get_mut(name).unwrap().outcome = Some(Outcome::Through);
        }
        Action::Settle | Action::Undo(_) | Action::Remove(_) => {}
    }
}

/// Find that an action is none that must never be, by what is seen when it is taken.
fn is_right(config: &Configuration, facts: &Facts, action: &Action) -> Result<(), TestCaseError> {
    match action {
        Action::Start(name) => {
            let region = &facts.regions[name];
            let active = region.unit.as_ref().unwrap().active;
            prop_assert!(matches!(active, Active::Inactive | Active::Failed), "a second process");
            let known = facts.verification.as_ref().unwrap().regions.as_ref().unwrap().get(name);
            prop_assert!(known.is_none_or(|known| known.outcome.is_some()), "it was not verified");
            prop_assert!(facts.held(name).is_none() && !facts.intruders.as_ref().unwrap().contains_key(name));
            prop_assert_eq!(&region.sockets.as_ref().unwrap().data, &Holder::Nobody);
            prop_assert_eq!(&region.unit.as_ref().unwrap().fence, &fence(), "it lets others in than it is to");
        }
        Action::Restart(name) => {
            let siblings = facts.regions.iter().filter(|(other, _)| *other != name);
            for (other, region) in siblings {
                let serves = region.alive().is_some() && region.pulse.as_ref().unwrap().beat == Beat::Answering;
                prop_assert!(serves && !matches!(facts.busy.get(other), Some(Busy::Restarting | Busy::Watching)));
            }
            prop_assert!(facts.disk.as_ref().unwrap().free > 0 && config.sled.downstairs.restart_hung_after.is_some());
        }
        Action::Stop(name) => {
            let region = &facts.regions[name];
            prop_assert!(region.alive().is_none() || facts.held(name).is_some(), "one that runs, and is not held");
        }
        Action::Hold(name, by, ..) => {
            prop_assert!(facts.regions[name].alive().is_none() && *by != HeldBy::Operator);
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn it_comes_to_rest_and_does_no_harm_on_the_way((config, mut facts) in any_facts()) {
        let foreign = facts.disk.as_ref().unwrap().mark.as_ref().unwrap().as_ref().unwrap().sled != config.sled.name;
        for _ in 0..STEPS {
            let actions = plan(&config, &facts);
            if actions.is_empty() {
                return Ok(());
            }
            let harmless = actions.iter().all(|action| matches!(action, Action::Fence(..)));
            prop_assert!(!foreign || harmless, "{actions:?} on another sled's disk");
            let restarts = actions.iter().filter(|action| matches!(action, Action::Restart(_))).count();
            prop_assert!(restarts <= 1, "two replicas of one volume: {actions:?}");
            for action in &actions {
                is_right(&config, &facts, action)?;
            }
            actions.iter().for_each(|action| carry_out(&mut facts, action));
        }
        prop_assert!(false, "it does not come to rest: {:?}", plan(&config, &facts));
    }
}
