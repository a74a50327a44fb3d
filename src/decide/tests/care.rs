//! Care of a region that has ended or hangs, and of who may go away.

use super::*;
use crate::check::Code;
use crate::decide::facts::{Awaited, Doing, Exit, Obstacle, Outdated, Run, Stranger};
use crate::decide::failure::{Failure, classify};
use crate::decide::plan::{Action, plan};
use crate::decide::turns::{Asks, Denied, Manner, claim, may_hold, may_release, may_restart, may_upgrade};
use crate::decide::verdict::judge;
use crate::region::{HeldBy, Hold};
use crate::span::Span;
use crate::wire::{ErrorCode, Refusal, State};

fn said(text: &str) -> Failure {
    classify(Exit::Status(1), &[format!("Error: {text}")])
}

/// The first region has ended, and systemd waits to start it again.
fn ended(facts: &mut Facts, failure: Option<Failure>) {
    let region = region(facts);
    region.unit = Some(Unit { exit: Some(Exit::Status(1)), restarts: 1, ..unit(Active::Activating) });
    let nobody = (Holder::Nobody, Holder::Nobody);
    region.sockets =
        Some(Sockets { pid: None, data: nobody.0, repair: nobody.1, elsewhere: vec![], connected: vec![], dropped: 0 });
    (region.pulse, region.failure) = (None, failure);
}

fn held(by: HeldBy) -> Hold {
    Hold { by, why: "it was so".into(), remedy: None, since: Timestamp::UNIX_EPOCH }
}

fn manner(force: bool, rolling: bool) -> Manner {
    Manner { force, unrepaired: force, asks: Asks::Nobody, rolling, starts: true }
}

fn codes(config: &Configuration, facts: &Facts) -> Vec<Code> {
    judge(config, facts).findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn each_kind_of_failure_is_answered_in_its_way() {
    let config = config();
    let mut facts = well(&config);
    ended(&mut facts, None);
    assert_eq!(plan(&config, &facts), [], "systemd starts it again");
    for (text, wanted) in [
        ("the moon is full", None),
        ("Address already in use", Some(Action::Stop(first()))),
        ("Cannot assign requested address", Some(Action::Stop(first()))),
        ("No space left on device", Some(Action::Stop(first()))),
    ] {
        ended(&mut facts, Some(said(text)));
        assert_eq!(plan(&config, &facts), wanted.into_iter().collect::<Vec<_>>(), "{text}");
    }
    ended(&mut facts, Some(said("missing context slot for block 1 in extent 2 (002)")));
    let actions = plan(&config, &facts);
    let [Action::Hold(name, HeldBy::Failure, why, Some(remedy))] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(*name == first() && why.contains("missing context slot") && remedy.contains("restore"), "{why}; {remedy}");
}

/// A port that is free again, an address that came, room that was made: nobody need ask.
#[test]
fn what_was_waited_for_starts_when_it_is_there() {
    let config = config();
    let mut facts = well(&config);
    stopped(&mut facts);
    region(&mut facts).failure = Some(said("Address already in use"));
    region(&mut facts).pausing = true;
    assert_eq!(plan(&config, &facts), [], "a moment has to pass");
    region(&mut facts).pausing = false;
    assert_eq!(plan(&config, &facts), [Action::Start(first())]);
    region(&mut facts).failure = Some(said("No space left on device"));
    facts.disk.as_mut().unwrap().free = 0;
    assert_eq!(plan(&config, &facts), []);
    facts.disk.as_mut().unwrap().free = 1 << 39;
    assert_eq!(plan(&config, &facts), [Action::Start(first())]);
    let stranger = Stranger { pid: Some(9), command: "crucible-downstairs run".into(), unit: None };
    facts.intruders = Some([(first(), vec![stranger])].into());
    assert_eq!(plan(&config, &facts), [], "another process writes to it");
    assert!(codes(&config, &facts).contains(&Code::RegionForeignProcess));
}

#[test]
fn a_crash_loop_is_held_and_a_hold_stops_it() {
    let config = config();
    let mut facts = well(&config);
    ended(&mut facts, Some(classify(Exit::Signal(9), &[])));
    region(&mut facts).crashes = 4;
    assert_eq!(plan(&config, &facts), []);
    region(&mut facts).crashes = 5;
    let actions = plan(&config, &facts);
    let [Action::Hold(_, HeldBy::CrashLoop, why, None)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(why.contains("5 times within 2 min") && why.contains("signal 9"), "{why}");
    for recorded in [false, true] {
        let mut facts = facts.clone();
        if recorded {
            _ = facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().holds.insert(first(), held(HeldBy::CrashLoop))
        } else {
            _ = facts.holding.insert(first(), held(HeldBy::CrashLoop))
        }
        assert_eq!(plan(&config, &facts), [Action::Stop(first())]);
        region(&mut facts).unit = Some(unit(Active::Inactive));
        assert_eq!(plan(&config, &facts), []);
        assert_eq!(codes(&config, &facts), [Code::RegionCrashLoop]);
        assert_eq!(judge(&config, &facts).states[&first()], State::Held);
    }
}

/// The run of a region that is well, by its process.
fn run(pid: u32) -> Run {
    Run { pid, invocation: Some(pid.to_string()) }
}

#[test]
fn what_systemd_gave_up_before_the_region_was_made_is_not_its_failure() {
    let config = config();
    let mut facts = well(&config);
    let seen = region(&mut facts);
    let gone = seen.unit.as_mut().unwrap();
    (gone.active, gone.pid, gone.exit, gone.result) =
        (Active::Failed, None, Some(Exit::Status(1)), "start-limit-hit".into());
    let state = |facts: &Facts| judge(&config, facts).states[&first()];
    assert_eq!(state(&facts), State::Failed);
    region(&mut facts).former = Some("100".into());
    assert_ne!(state(&facts), State::Failed);
    // A later run is its own.
    region(&mut facts).unit.as_mut().unwrap().invocation = Some("101".into());
    assert_eq!(state(&facts), State::Failed);
}

#[test]
fn the_kernels_word_comes_before_systemds() {
    let config = config();
    let mut facts = well(&config);
    region(&mut facts).ended = Some(run(100));
    let verdict = judge(&config, &facts);
    assert!(!verdict.ready(&volume()) && verdict.findings[0].code == Code::RegionDown);
    region(&mut facts).ended = Some(run(99));
    assert!(judge(&config, &facts).ready(&volume()), "an older process");
    // A number that was given again: it is another run.
    region(&mut facts).ended = Some(Run { pid: 100, invocation: Some("before".into()) });
    assert!(judge(&config, &facts).ready(&volume()), "an older run");
}

#[test]
fn one_that_hangs_is_told_with_what_it_does_and_left_alone_unless_that_is_set() {
    let mut config = config();
    let mut facts = well(&config);
    let doing = Doing {
        pid: 100,
        state: 'R',
        cpu_percent: 93,
        wanted_percent: 93,
        backlog: 2,
        unread: 512,
        journal_stopped: false,
    };
    region(&mut facts).pulse.as_mut().unwrap().beat = Beat::Silent;
    (region(&mut facts).doing, region(&mut facts).hung_seconds) = (Some(doing), 1000);
    let found = judge(&config, &facts).findings.remove(0);
    assert_eq!(found.code, Code::RegionHung);
    for word in ["93 %", "it computes", "2 connection(s)", "512"] {
        assert!(found.cause.contains(word), "{word:?} is not in {:?}", found.cause);
    }
    assert_eq!(plan(&config, &facts), []);
    config.sled.downstairs.restart_hung_after = Some(Span::seconds(60));
    assert_eq!(plan(&config, &facts), [Action::Restart(first())]);
    region(&mut facts).hung_seconds = 59;
    assert_eq!(plan(&config, &facts), []);
    region(&mut facts).hung_seconds = 60;
    let second: RegionName = "still-fawn-1".parse().unwrap();
    let mut alone = facts.clone();
    alone.regions.get_mut(&second).unwrap().ended = Some(run(101));
    assert_eq!(plan(&config, &alone), [], "a sibling is down");
    // A full disk is not cured by a restart.
    facts.disk.as_mut().unwrap().free = 0;
    assert_eq!(plan(&config, &facts), []);
    let found = codes(&config, &facts);
    assert!(found.contains(&Code::DiskFull) && !found.contains(&Code::RegionHung), "{found:?}");
}

#[test]
fn what_is_dirty_tells_how_long_a_start_takes() {
    let config = config();
    let mut facts = well(&config);
    region(&mut facts).pulse.as_mut().unwrap().beat = Beat::Refused;
    facts.disk.as_mut().unwrap().surveys.insert(first(), Survey { allocated: 0, fault: None, dirty: 100 });
    let found = judge(&config, &facts).findings.remove(0);
    assert!(found.cause.contains("100 extent(s)") && found.remedy.contains("about 35 s"), "{found:?}");
}

#[test]
fn replicas_go_one_at_a_time() {
    let config = config();
    let (mut facts, second) = (well(&config), "still-fawn-1".parse::<RegionName>().unwrap());
    assert!(
        may_restart(&config, &facts, &first(), false).is_ok() && may_hold(&config, &facts, &first(), false).is_ok()
    );
    assert_eq!(may_release(&config, &facts, &first()).unwrap_err().code, Refusal::NotHeld);
    assert!(may_upgrade(&config, &facts, false).is_ok());
    let mut empty = facts.clone();
    empty.disk.as_mut().unwrap().ledger.as_mut().unwrap().regions.clear();
    // By this code an update knows that there is nothing to roll.
    assert_eq!(may_upgrade(&config, &empty, false).unwrap_err().code, Refusal::RegionUnknown);
    facts.regions.get_mut(&second).unwrap().ended = Some(run(101));
    assert_eq!(may_restart(&config, &facts, &first(), false).unwrap_err().code, Refusal::SiblingDown);
    assert_eq!(may_upgrade(&config, &facts, false).unwrap_err().code, Refusal::SiblingDown);
    assert!(may_restart(&config, &facts, &first(), true).is_ok());
    assert!(may_restart(&config, &facts, &second, false).is_ok(), "it is down already");
    assert!(matches!(claim(&config, &facts, &first(), manner(false, false)), Err(Denied::Later(_))));
    assert_eq!(claim(&config, &facts, &first(), manner(true, false)), Ok(()));
    // Not even by force while a sibling is at work, and nothing of the sled while rolling.
    for busy in [Busy::Watching, Busy::Restarting, Busy::Holding, Busy::Deleting] {
        let mut facts = well(&config);
        facts.busy.insert(second.clone(), busy);
        assert!(matches!(claim(&config, &facts, &first(), manner(true, false)), Err(Denied::Later(_))), "{busy:?}");
        assert!(may_restart(&config, &facts, &first(), false).is_ok(), "its turn is waited for");
    }
    let mut facts = well(&config);
    facts.busy.insert("other-0".parse().unwrap(), Busy::Restarting);
    assert_eq!(claim(&config, &facts, &first(), manner(false, false)), Ok(()));
    assert!(claim(&config, &facts, &first(), manner(false, true)).is_err());
}

/// Whoever asks for it, and by force or not: identity before life, and never a second process.
#[test]
fn what_must_not_be_started_is_not_restarted_either() {
    let config = config();
    let stranger = || Stranger { pid: Some(9), command: "x".into(), unit: None };
    type Change = fn(&mut Facts, Stranger);
    let obstacles: [(Change, Code); 6] = [
        (
            |f, _| f.outdated = Some(Outdated { by: Obstacle::Systemd("x".into()), regions: [first()].into() }),
            Code::UnitsOutdated,
        ),
        (|f, _| f.network.as_mut().unwrap().bridge.as_mut().unwrap().addresses.clear(), Code::BridgeAddress),
        (|f, s| f.intruders = Some([(first(), vec![s])].into()), Code::RegionForeignProcess),
        (|f, s| region(f).sockets.as_mut().unwrap().repair = Holder::Other(s), Code::PortTaken),
        (|f, _| _ = f.holding.insert(first(), held(HeldBy::Failure)), Code::RegionHeld),
        (
            |f, _| {
                let survey = Survey { allocated: 0, fault: Some("00/000/001: it is gone".into()), dirty: 0 };
                f.disk.as_mut().unwrap().surveys.insert(first(), survey);
            },
            Code::RegionDamaged,
        ),
    ];
    for (obstacle, code) in obstacles {
        let mut facts = well(&config);
        stopped(&mut facts);
        obstacle(&mut facts, stranger());
        assert_eq!(may_restart(&config, &facts, &first(), true).unwrap_err().code, code);
        let claimed = claim(&config, &facts, &first(), manner(true, true));
        assert!(matches!(claimed, Err(Denied::Refused(why)) if why.code == code));
        // Stopping needs none of this.
        let stop = Manner { starts: false, ..manner(true, false) };
        assert_eq!(claim(&config, &facts, &first(), stop), Ok(()));
    }
}

/// Facts that were not looked at yet, or are being asked for, are waited for.
#[test]
fn what_is_not_known_yet_is_asked_again() {
    let config = config();
    type Change = fn(&mut Facts);
    let unknown: [(Change, ErrorCode); 4] = [
        (|f| f.stale_units = true, Refusal::Starting.into()),
        (|f| f.intruders = None, Code::NotSeen.into()),
        (|f| f.network = None, Code::NotSeen.into()),
        (|f| _ = f.disk.as_mut().unwrap().regions.remove(&first()), Code::NotSeen.into()),
    ];
    for (change, code) in unknown {
        let mut facts = well(&config);
        change(&mut facts);
        let claimed = claim(&config, &facts, &first(), manner(false, false));
        assert!(matches!(&claimed, Err(Denied::Later(why)) if why.code == code), "{claimed:?}");
        assert!(may_restart(&config, &facts, &first(), false).is_ok(), "{code}: its turn is waited for");
    }
    // A unit of which systemd has told that it is another keeps nobody else from being started.
    let (mut facts, second) = (well(&config), "still-fawn-1".parse::<RegionName>().unwrap());
    facts.outdated = Some(Outdated { by: Obstacle::Programs("x".into()), regions: [second.clone()].into() });
    assert_eq!(claim(&config, &facts, &first(), manner(false, false)), Ok(()));
    let refused = may_restart(&config, &facts, &second, true).unwrap_err();
    assert!(refused.code == Code::ProgramsUnreadable && refused.message.contains("still-fawn-1"), "{refused:?}");
    // And says so where somebody looks for it.
    facts.outdated.as_mut().unwrap().regions = [first()].into();
    stopped(&mut facts);
    let verdict = judge(&config, &facts);
    let down = verdict.findings.iter().find(|finding| finding.code == Code::RegionDown).unwrap();
    assert!(down.cause.contains("as it is configured"), "{down:?}");
}

#[test]
fn a_region_that_other_sleds_keep_back_is_told_with_the_job_that_waits() {
    let config = config();
    let mut facts = well(&config);
    let why = "still-fawn-0 stays as it is: still-fawn-1 on other does not serve";
    let why = crate::wire::Error::new(Refusal::SiblingDown, why, "see other");
    facts.awaiting.insert(first(), Awaited { job: 7, why });
    let verdict = judge(&config, &facts);
    let [found] = verdict.findings.as_slice() else { panic!("{verdict:?}") };
    assert!(found.code == Code::TurnAwaited && verdict.ready(&volume()), "it goes on serving meanwhile");
    assert_eq!(found.cause, "job 7 is to restart it, and waits: still-fawn-1 on other does not serve");
    assert!(found.remedy.contains("see other") && found.remedy.contains("sledctl jobs cancel 7"), "{found:?}");
    // A job has no --force; what works depends on what it is.
    let remedy = |facts: &Facts, code: Refusal, message: &str, remedy: &str| {
        let mut facts = facts.clone();
        let remedy = format!("{remedy}; with --force it is done all the same");
        facts.awaiting.insert(first(), Awaited { job: 7, why: crate::wire::Error::new(code, message, remedy) });
        let found = judge(&config, &facts).findings;
        found.into_iter().find(|finding| finding.code == Code::TurnAwaited).unwrap().remedy
    };
    let unknown = "if it answers at another port: --sled ADDRESS:PORT";
    let said = remedy(&facts, Refusal::SiblingUnknown, "x", unknown);
    assert!(said.contains("sledctl jobs follow 7 --sled ADDRESS:PORT") && !said.contains("with --force"), "{said}");
    assert!(said.contains("sledctl region restart still-fawn-0 --force"), "{said}");
    // A host that does not find back is told by its name.
    let host = "192.168.4.17".parse().unwrap();
    let peer = crate::wire::Peer { address: host, port: 7, host: None };
    facts.regions.get_mut(&first()).unwrap().sockets.as_mut().unwrap().connected = vec![peer];
    let alone = "still-fawn-0 stays as it is: 192.168.4.17 is connected to it and not to still-fawn-1 on other";
    let said = remedy(&facts, Refusal::HostAlone, alone, "wait until its hosts have all three");
    assert!(said.contains("detach the volume on 192.168.4.17, and attach it again"), "{said}");
    let said = remedy(&facts, Refusal::HostAlone, "192.168.4.170 is connected", "wait");
    assert!(said.contains("detach the volume on that host"), "{said}");
    facts.upgrading = Some(7);
    let said = remedy(&facts, Refusal::SiblingDown, "x", "see other");
    assert!(said.contains("sledctl downstairs upgrade --force") && !said.contains("region restart"), "{said}");
}

#[test]
fn a_hold_is_released_and_keeps_from_a_restart() {
    let config = config();
    let mut facts = well(&config);
    facts.disk.as_mut().unwrap().ledger.as_mut().unwrap().holds.insert(first(), held(HeldBy::Operator));
    assert_eq!(may_restart(&config, &facts, &first(), true).unwrap_err().code, Code::RegionHeld);
    assert_eq!(may_hold(&config, &facts, &first(), true).unwrap_err().code, Code::RegionHeld);
    assert!(may_release(&config, &facts, &first()).is_ok());
    assert_eq!(plan(&config, &facts), [Action::Stop(first())]);
    assert_eq!(codes(&config, &facts), [Code::RegionHeld]);
}

#[test]
fn hosts_are_asked_to_wait() {
    let config = config();
    let mut facts = well(&config);
    let until = Timestamp::from_second(1_800_000_000).unwrap();
    let reason = Some("a new cable".to_owned());
    facts.maintenance = Some(crate::wire::Maintenance { reason, since: Timestamp::UNIX_EPOCH, until: Some(until) });
    let verdict = judge(&config, &facts);
    assert!(!verdict.ready(&volume()) && verdict.states.values().all(|state| *state == State::Serving));
    let found = &verdict.findings[0];
    assert!(found.cause.contains("a new cable") && found.cause.contains(&until.to_string()), "{found:?}");
    facts.maintenance = None;
    facts.leaving = true;
    assert_eq!(codes(&config, &facts), [Code::SledStopping]);
    stopped(&mut facts);
    assert_eq!(plan(&config, &facts), []);
}

/// A host that is connected to a region writes on while it is away: it goes only if what it misses can be
/// made up for, or by force.
#[test]
fn a_region_that_could_not_be_repaired_does_not_go_away_from_a_host() {
    let config = config();
    let mut facts = well(&config);
    let extent = config.local_regions()[0].geometry.extent_file_bytes();
    let peer = crate::wire::Peer { address: "192.168.4.17".parse().unwrap(), port: 7, host: None };
    for (free, inodes_free, connected, well) in
        [(extent, 9, true, true), (extent - 1, 9, false, true), (extent - 1, 9, true, false), (extent, 3, true, false)]
    {
        let disk = facts.disk.as_mut().unwrap();
        (disk.free, disk.inodes, disk.inodes_free) = (free, 1000, inodes_free);
        region(&mut facts).sockets.as_mut().unwrap().connected =
            Some(peer.clone()).into_iter().filter(|_| connected).collect();
        let all = |force| {
            let restart = may_restart(&config, &facts, &first(), force).map(|_| ());
            let hold = may_hold(&config, &facts, &first(), force).map(|_| ());
            [restart, hold, may_upgrade(&config, &facts, force).map(|_| ())]
        };
        for asked in all(false) {
            assert_eq!(asked.is_ok(), well, "{free} {inodes_free} {connected}: {asked:?}");
        }
        let said = all(false).map(|asked| asked.err().map(|why| (why.code, why.message.contains("192.168.4.17"))));
        assert!(well || said.iter().all(|said| *said == Some((Code::RepairImpossible.into(), true))), "{said:?}");
        assert!(all(true).iter().all(Result::is_ok));
        // Nor is it restarted unasked, however long it hangs.
        let mut hangs = config.clone();
        hangs.sled.downstairs.restart_hung_after = Some(Span::seconds(60));
        region(&mut facts).hung_seconds = 60;
        let restarted = plan(&hangs, &facts).contains(&Action::Restart(first()));
        assert_eq!(restarted, well, "{free} {inodes_free} {connected}");
        region(&mut facts).hung_seconds = 0;
    }
}
