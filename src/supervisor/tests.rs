//! Tests of what the loop believes, and what it does not: results of a world that has changed meanwhile.

use crate::act::units::NotRefreshed;
use crate::config::{self, Sources};
use crate::decide::facts::{Active, Bus, Disk, Fencing, Flaw, Fresh, Network, Pulse, Start, Tls, Unit};
use crate::decide::facts::{Beat, Exit, Region};
use crate::decide::verdict::judge;
use crate::desk::answer::Answer;
use crate::port_map::Fence;
use crate::source::Source;
use crate::supervisor::facts::exits::LastWords;
use crate::supervisor::systemd::Said;
use crate::supervisor::*;
use crate::wire::Refusal;
use tokio::sync::oneshot;

fn config(more: &str) -> Configuration {
    config::shipped(more)
}

/// Make a supervisor whose observers have not begun: as long as nobody waits for anything.
fn supervisor() -> (Supervisor, Inbox) {
    supervisor_of(config(""))
}

/// Make the same of a configuration.
pub(in crate::supervisor) fn supervisor_of(config: Configuration) -> (Supervisor, Inbox) {
    Supervisor::new(
        crate::supervisor::Start::of(config),
        "/nowhere".into(),
        Kernel { sysfs: "/nowhere".into(), proc: "/nowhere".into(), log: None },
        line(Default::default()).1,
    )
}

/// Make a configuration with a volume that is on other sleds as well, and one that is not.
pub(in crate::supervisor) fn spread() -> Configuration {
    let map = "[sleds.proper-raptor]\naddress = \"192.168.4.189\"\n[sleds.quick-otter]\naddress = \"192.168.4.190\"\n\
               [defaults]\nextent_count = 4\n[volumes.local]\n\
               regions = [\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]\n[volumes.spread]\n\
               regions = [\"proper-raptor:3840\", \"proper-raptor:3841\", \"quick-otter:3840\"]\n";
    let source = |text: &str| Source { file: "f".into(), text: Ok(text.into()) };
    let sled = vec![source(include_str!("../../etc/sled.toml"))];
    config::read(&Sources { sled, port_map: source(map), ephemeral: 32768..=60999 }).unwrap()
}

/// Have the supervisor go on with another configuration.
fn take_over(supervisor: &mut Supervisor, new: Configuration) {
    supervisor.take_over(Arc::new(new), &Fresh::default());
}

impl Supervisor {
    /// Make systemd unreachable from now on, for this reason.
    fn see_line(&mut self, why: &str) {
        self.systemd.see_line(Err(why.into()), &self.config, &mut self.facts);
    }

    fn see_unit(&mut self, name: &RegionName, unit: Unit) {
        self.lookout.see_unit(name, unit, &self.config, &mut self.facts);
    }

    fn released(&mut self, name: &RegionName) {
        self.lookout.released(name, &self.config, &mut self.facts);
    }
}

fn unit(pid: u32, invocation: &str) -> Unit {
    Unit {
        active: Active::Active,
        pid: Some(pid),
        exit: None,
        result: "success".into(),
        restarts: 0,
        invocation: Some(invocation.into()),
        since: None,
        masked: false,
        fence: Some(Fence::default()),
    }
}

#[tokio::test]
async fn who_asks_who_is_connected_while_that_is_looked_at_shares_the_next_look() {
    let (mut supervisor, mut inbox) = supervisor();
    let volume = supervisor.config.local_regions()[0].name.volume().clone();
    let ask = |supervisor: &mut Supervisor| {
        let (answer, answered) = oneshot::channel();
        supervisor.jobs.tell_hosts(volume.clone(), answer, &supervisor.facts);
        answered
    };
    let (first, mut second) = (ask(&mut supervisor), ask(&mut supervisor));
    let (third, gone) = (ask(&mut supervisor), ask(&mut supervisor));
    drop(gone);
    assert!(matches!(first.await, Ok(Ok(Answer::Hosts(_)))));
    assert!(second.try_recv().is_err(), "that look began before it was asked");
    let mut over = async || loop {
        if let Some(report @ Report::Jobs(jobs::Report::HostsTold(_))) = inbox.reports.recv().await {
            return report;
        }
    };
    supervisor.hear(over().await);
    assert!(
        supervisor.jobs.looks().values().all(Vec::is_empty) && supervisor.jobs.looks().len() == 1,
        "there is one for both"
    );
    assert!(matches!((second.await, third.await), (Ok(Ok(Answer::Hosts(_))), Ok(Ok(Answer::Hosts(_))))));
    supervisor.hear(over().await);
    assert!(supervisor.jobs.looks().is_empty());
    let (answer, answered) = oneshot::channel();
    supervisor.jobs.tell_hosts("nobodys".parse().unwrap(), answer, &supervisor.facts);
    assert_eq!(answered.await.unwrap().unwrap_err().code, Refusal::VolumeUnknown);
    assert!(supervisor.jobs.looks().is_empty());
}

#[tokio::test]
async fn what_systemd_did_for_another_configuration_or_connection_is_not_believed() {
    type Change = fn(&mut Supervisor);
    let reload: Change = |supervisor| take_over(supervisor, config("[downstairs]\nhung_after = \"9s\"\n"));
    let lost: Change = |supervisor| supervisor.see_line("it went away");
    for (what, change) in [("another configuration", reload), ("another connection", lost)] {
        let (mut supervisor, _inbox) = supervisor();
        let name = supervisor.config.local_regions()[0].name.clone();
        let region = |supervisor: &Supervisor| supervisor.facts.regions[&name].clone();
        supervisor.region(&name, |region| {
            (region.start, region.changing, region.fencing) = (Start::Asked, true, Fencing::Asked);
            region.unit = Some(unit(7, "a"));
        });
        supervisor.facts.stale_units = true;
        let asked = supervisor.systemd.world();
        change(&mut supervisor);
        assert_ne!(supervisor.systemd.world(), asked, "{what}");
        let bus = supervisor.facts.bus.clone();
        supervisor.hear(systemd::Report(asked, Said::Refreshed(Ok(()))).into());
        assert!(supervisor.facts.stale_units && supervisor.systemd.bus().is_none(), "{what}");
        assert_eq!(supervisor.facts.bus, bus, "{what}: it counts as connected");
        // Nobody waits for these any more: the plan asks again.
        supervisor.hear(systemd::Report(asked, Said::Started(name.clone(), Start::Refused("old".into()))).into());
        supervisor.hear(systemd::Report(asked, Said::Changed(name.clone(), Err("old".into()))).into());
        supervisor.hear(systemd::Report(asked, Said::Fenced(name.clone(), Fence::default(), Ok(()))).into());
        let Region { start, changing, fencing, unit, .. } = region(&supervisor);
        assert_eq!((start, changing, fencing), (Start::Idle, false, Fencing::Idle), "{what}");
        assert_eq!(unit.unwrap().fence, None, "{what}: it is not known whom it lets in");
        // Of this world it is.
        let now = supervisor.systemd.world();
        supervisor.hear(systemd::Report(now, Said::Started(name.clone(), Start::Refused("new".into()))).into());
        assert_eq!(region(&supervisor).start, Start::Refused("new".into()), "{what}");
    }
}

#[tokio::test]
async fn what_cannot_be_refreshed_on_this_connection_is_asked_again() {
    let (mut supervisor, _inbox) = supervisor();
    let now = supervisor.systemd.world();
    supervisor.hear(systemd::Report(now, Said::Refreshed(Err(NotRefreshed::Systemd("busy".into())))).into());
    assert!(supervisor.systemd.is_unrefreshed());
    supervisor.see_line("gone");
    assert!(!supervisor.systemd.is_unrefreshed(), "on the next one it is asked in any case");
    assert!(matches!(&supervisor.facts.bus, Some(Bus::Unreachable(why)) if why == "gone"));
}

#[tokio::test]
async fn with_units_that_cannot_be_written_the_last_good_ones_go_on() {
    use crate::check::Code;
    for (why, code) in [
        (|regions| NotRefreshed::Programs { why: "damaged".into(), regions }, Code::ProgramsUnreadable),
        (|regions| NotRefreshed::Stale { why: "No space left on device".into(), regions }, Code::UnitsOutdated),
    ] as [(fn(BTreeSet<RegionName>) -> NotRefreshed, Code); 2]
    {
        let (mut supervisor, _inbox) = supervisor();
        let codes = |supervisor: &Supervisor| {
            let verdict = judge(&supervisor.config, &supervisor.facts);
            verdict.findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        let now = supervisor.systemd.world();
        supervisor.hear(systemd::Report(now, Said::Refreshed(Err(why(BTreeSet::new())))).into());
        assert_eq!(supervisor.facts.bus, Some(Bus::Connected), "systemd answers");
        assert!(
            supervisor.systemd.is_unrefreshed() && !supervisor.facts.stale_units,
            "it is tried again, and regions start"
        );
        assert!(codes(&supervisor).contains(&code) && !codes(&supervisor).contains(&Code::SystemdUnreachable));
        supervisor.hear(systemd::Report(now, Said::Refreshed(Ok(()))).into());
        assert!(!codes(&supervisor).contains(&code));
        // After another configuration was taken over all but those start that it has changed.
        take_over(&mut supervisor, config("[downstairs]\nhung_after = \"9s\"\n"));
        assert!(supervisor.facts.stale_units);
        let name = supervisor.config.local_regions()[0].name.clone();
        let now = supervisor.systemd.world();
        supervisor.hear(systemd::Report(now, Said::Refreshed(Err(why([name.clone()].into())))).into());
        assert!(!supervisor.facts.stale_units && supervisor.systemd.is_unrefreshed());
        let kept: Vec<_> =
            supervisor.facts.regions.keys().filter(|name| supervisor.facts.outdated(name).is_some()).collect();
        assert_eq!(kept, [&name]);
        let verdict = judge(&supervisor.config, &supervisor.facts);
        let told = verdict.findings.into_iter().find(|finding| finding.code == code).unwrap();
        assert!(told.cause.contains(&name.to_string()), "{}", told.cause);
    }
}

#[tokio::test]
async fn another_configuration_makes_old_what_was_looked_for_by_the_one_before() {
    let (mut supervisor, _inbox) = supervisor();
    supervisor.facts.network = Some(Network::default());
    let (at, cert, key, root_cert) = (jiff::Timestamp::UNIX_EPOCH, Ok(Vec::new()), Ok(()), Ok(Vec::new()));
    supervisor.facts.tls = Some(Tls { at, cert, key, root_cert, refused: None });
    supervisor.facts.kept_for.insert("x".into(), 0);
    take_over(&mut supervisor, config("[downstairs]\nhung_after = \"9s\"\n"));
    let facts = &supervisor.facts;
    assert!(facts.network.is_some() && facts.tls.is_some() && !facts.kept_for.is_empty());
    let tls = "[tls]\ncert = \"/c\"\nkey = \"/k\"\nroot_cert = \"/r\"\n";
    take_over(&mut supervisor, config(&format!("[network]\nnic = \"eth7\"\n[storage]\nkeep_deleted = \"30d\"\n{tls}")));
    let facts = &supervisor.facts;
    assert!(facts.network.is_none() && facts.tls.is_none() && facts.kept_for.is_empty());
    // What was seen when it was looked for the new one is known: nobody waits for the observers to see it again.
    let network = Network { default_v4: true, ..Network::default() };
    let (cert, key, root_cert) = (Err(Flaw::Missing), Ok(()), Ok(Vec::new()));
    let tls = Tls { at, cert, key, root_cert, refused: None };
    let fresh = Fresh { network: Some(network.clone()), tls: Some(tls.clone()), ..Fresh::default() };
    let more = "[network]\nnic = \"eth8\"\n[tls]\ncert = \"/d\"\nkey = \"/k\"\nroot_cert = \"/r\"\n";
    supervisor.take_over(Arc::new(config(more)), &fresh);
    assert_eq!((&supervisor.facts.network, &supervisor.facts.tls), (&Some(network), &Some(tls)));
}

#[tokio::test]
async fn a_look_for_the_regions_of_another_configuration_is_not_believed() {
    let (mut supervisor, _inbox) = supervisor();
    take_over(&mut supervisor, config("[downstairs]\nhung_after = \"9s\"\n"));
    supervisor.hear(jobs::Report::Seen(Disk { serial: 1, ..Disk::default() }).into());
    assert!(supervisor.facts.disk.is_none());
    supervisor.hear(
        jobs::Report::Seen(Disk { serial: 2, config: supervisor.systemd.configuration(), ..Disk::default() }).into(),
    );
    assert!(supervisor.facts.disk.is_some());
}

#[tokio::test]
async fn how_a_unit_ended_says_nothing_of_a_region_that_was_made_since() {
    use crate::decide::failure::classify;
    let (mut supervisor, _inbox) = supervisor();
    let name = supervisor.config.local_regions()[0].name.clone();
    let exit = Some(Exit::Status(1));
    let gave_up = Unit { active: Active::Failed, pid: None, exit, result: "exit-code".into(), ..unit(7, "a") };
    supervisor.see_unit(&name, gave_up.clone());
    supervisor.released(&name);
    assert!(supervisor.facts.regions[&name].is_former(Some(&"a".into())));
    // Its last words are read at last, and systemd says of it once more what it said before.
    let (failure, lines) = (classify(Exit::Status(1), &[]), Vec::new());
    let explained = |run: &str| {
        let (region, run, failure, lines) = (name.clone(), run.into(), failure.clone(), lines.clone());
        facts::Report::Explained(LastWords { region, run, failure, lines }).into()
    };
    supervisor.hear(explained("a"));
    supervisor.see_unit(&name, Unit { restarts: 1, ..gave_up.clone() });
    assert_eq!(supervisor.facts.regions[&name].failure, None);
    // Of the next run it is believed.
    supervisor.see_unit(&name, Unit { invocation: Some("b".into()), ..gave_up });
    supervisor.hear(explained("b"));
    assert_eq!(supervisor.facts.regions[&name].failure, Some(failure.clone()));
}

#[tokio::test]
async fn what_was_known_of_a_run_is_not_known_of_the_next() {
    let (mut supervisor, _inbox) = supervisor();
    let name = supervisor.config.local_regions()[0].name.clone();
    supervisor.see_unit(&name, unit(7, "a"));
    let run = supervisor.facts.regions[&name].run().unwrap();
    supervisor.region(&name, |region| {
        region.pulse = Some(Pulse { pid: 7, beat: Beat::Answering, identity: None, presents: None });
    });
    crate::supervisor::facts::exits::see(&name, run, &mut supervisor.facts);
    assert_eq!(supervisor.facts.regions[&name].alive(), None);
    // The next run's process has the same number.
    supervisor.see_unit(&name, unit(7, "b"));
    let region = &supervisor.facts.regions[&name];
    assert_eq!((region.alive(), &region.pulse), (Some(7), &None));
}

/// A host that has let go of a volume, and was seen to be gone for that, is no stranger at its ports.
#[tokio::test]
async fn who_was_connected_before_the_fence_changed_is_not_believed_to_be() {
    use crate::decide::facts::{Enforcement, Holder, Sockets};
    use crate::supervisor::fencing::grant::{Outcome, Recorded, Served};
    use crate::wire::Peer;
    let (mut supervisor, _inbox) = supervisor();
    let volume = supervisor.config.local_regions()[0].name.volume().clone();
    let name = supervisor.config.local_regions()[0].name.clone();
    let [stays, goes] = ["192.168.4.18", "192.168.4.17"].map(|address| address.parse().unwrap());
    let (config, connected) =
        (supervisor.config.clone(), [stays, goes].map(|address| Peer { address, port: 40_000, host: None }));
    let shut = Fence::shut(&config.map);
    let fence = Fence { allow: [crate::port_map::Prefix::only(stays)].into(), ..shut };
    let served = |fence: &Fence| Served {
        volume: volume.clone(),
        disk: uuid::Uuid::nil(),
        recorded: Recorded::Nothing,
        listed: false,
        fence: Outcome::Now(fence.clone()),
        lingering: std::collections::HashSet::new(),
        refused: None,
        takeover: false,
    };
    supervisor.see_unit(&name, unit(7, "a"));
    supervisor.region(&name, |region| {
        region.sockets = Some(Sockets {
            pid: Some(7),
            data: Holder::Own,
            repair: Holder::Own,
            elsewhere: vec![],
            connected: connected.to_vec(),
            dropped: 0,
        });
    });
    let hosts = |supervisor: &Supervisor| supervisor.facts.visitors(&config, &volume).into_keys().collect::<Vec<_>>();
    // What is not enforced cuts nobody off.
    supervisor.hear_served(fencing::Report(served(&fence), Vec::new()));
    assert_eq!(hosts(&supervisor), [goes, stays]);
    supervisor.facts.enforcement = Some(Enforcement { bind: Ok(()), address: Ok(()) });
    supervisor.fencing.tell_enforced(&supervisor.facts);
    supervisor.hear_served(fencing::Report(served(&fence), Vec::new()));
    assert_eq!(hosts(&supervisor), [stays]);
}
