//! Findings are what is wrong, and nothing else.

use super::*;
use crate::attach::state::PauseState;

fn codes(here: &Here, word: Option<&Word>) -> Vec<&'static str> {
    of(here, word).iter().map(|finding| finding.code.as_str()).collect()
}

fn changed(change: impl FnOnce(&mut Here)) -> Here {
    let mut here = Here::example();
    change(&mut here);
    here
}

fn state(here: &mut Here) -> &mut State {
    match &mut here.relay {
        Some(Found::There(state)) => state,
        _ => panic!("it has a relay"),
    }
}

#[test]
fn where_all_is_well_nothing_is_found() {
    let word = Word { ready: true, reached: true, ..Word::default() };
    assert_eq!(codes(&Here::example(), Some(&word)), Vec::<&str>::new());
    // A volume that is none of this host's is none of its business.
    let other = changed(|here| {
        (here.configured, here.relay) = (false, Some(Found::None));
        (here.device, here.mount, here.storage) = (Some(Found::None), Some(Found::None), None);
    });
    assert_eq!(codes(&other, Some(&Word::default())), Vec::<&str>::new());
}

/// What is found of a host, if anything, and what is said of it.
type Case = (Here, Option<&'static str>, &'static str);

fn is_found<const N: usize>(cases: [Case; N]) {
    for (here, code, said) in cases {
        let found = of(&here, None);
        assert_eq!(
            found.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(),
            Vec::from_iter(code),
            "{said}"
        );
        assert!(found.iter().all(|finding| finding.cause.contains(said) && !finding.remedy.is_empty()), "{found:?}");
    }
}

/// A host without a relay: whether it has the device, and its service's state, whether that is enabled, its status.
fn no_relay(device: bool, service: &str, enabled: bool, exit: i32) -> Here {
    changed(|here| {
        here.relay = Some(Found::None);
        if !device {
            (here.device, here.mount, here.storage) = (Some(Found::None), Some(Found::None), None);
        }
        if let Some(Found::There(unit)) = &mut here.service {
            (unit.state, unit.enabled, unit.exit_status) = (service.into(), enabled, exit);
        }
    })
}

#[test]
fn a_relay_that_is_not_there_or_does_not_serve_is_found_with_the_cause() {
    let held = |seconds| {
        changed(|here| {
            let relay = state(here).relay.as_mut().unwrap();
            relay.held = Some(PauseState { seconds, why: "the server was lost: x".into(), ago_seconds: None });
            relay.serves = false;
        })
    };
    is_found([
        (held(7.0), Some("REQUESTS_HELD"), "requests are held for 7.0 s: the server was lost: x"),
        // A server that is replaced is no alarm.
        (held(0.3), None, ""),
        (no_relay(true, "failed", true, 1), Some("DEVICE_ALONE"), "/dev/nbd0 is connected and no relay serves it"),
        (no_relay(false, "failed", true, 1), Some("RELAY_DOWN"), "has failed (exit status 1)"),
        (no_relay(false, "failed", true, 5), Some("VOLUME_LOST"), "another host was granted the volume"),
        // A device that the kernel has as long as it is mounted waits for nobody.
        (no_relay(true, "failed", true, 5), Some("VOLUME_LOST"), "another host was granted the volume"),
        (no_relay(false, "inactive", true, 0), Some("RELAY_DOWN"), "its service is inactive"),
        (no_relay(false, "inactive", false, 0), Some("DETACHED"), "was stopped"),
        (
            changed(|here| {
                (here.relay, here.trouble) = (None, Some(Error::new("NOT_ROOT", "by root alone", "use sudo")))
            }),
            Some("RELAY_SILENT"),
            "by root alone",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_the_requests_and_the_server_is_found() {
    let activity = |activity: Activity| changed(|here| state(here).server.as_mut().unwrap().activity = Some(activity));
    is_found([
        (activity(Activity::Degraded { replicas: vec![2] }), Some("SERVER_DEGRADED"), "active without replica 2"),
        (activity(Activity::Repairing { replica: 1, extent: 7 }), Some("SERVER_REPAIRS"), "at extent 7"),
        (
            changed(|here| state(here).relay.as_mut().unwrap().oldest_request_seconds = Some(33.0)),
            Some("REQUESTS_SLOW"),
            "waits for 33.0 s",
        ),
        (
            changed(|here| (state(here).relay, state(here).ticket) = (None, None)),
            Some("NOT_WON"),
            "it waits for its sleds",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_the_device_and_on_it_is_found() {
    is_found([
        (
            changed(|here| (here.mount, here.storage) = (Some(Found::None), None)),
            Some("NOT_MOUNTED"),
            "/dev/nbd0 is there, and is to be mounted here",
        ),
        // A host that has it raw wants no mount.
        (
            changed(|here| (here.mount, here.mounts_at, here.storage) = (Some(Found::None), Some(Vec::new()), None)),
            None,
            "",
        ),
        (
            changed(|here| (here.device, here.mount, here.storage) = (Some(Found::None), Some(Found::None), None)),
            Some("DEVICE_MISSING"),
            "no device",
        ),
        (
            changed(|here| state(here).ticket.as_mut().unwrap().size_bytes *= 2),
            Some("DEVICE_SIZE"),
            "it has 13421772800 bytes",
        ),
        (
            changed(|here| {
                if let Some(Found::There(mount)) = &mut here.mount {
                    mount.read_only = true;
                }
            }),
            Some("MOUNT_READ_ONLY"),
            "it is read-only",
        ),
        (
            changed(|here| {
                if let Some(Found::There(storage)) = &mut here.storage {
                    storage.active = Some(false);
                }
            }),
            Some("STORAGE_INACTIVE"),
            "does not find it usable",
        ),
    ]);
}

/// The sleds say how the volume is; that they say nothing is worst where nothing serves it.
#[test]
fn what_the_sleds_say_counts_for_what_it_is() {
    let why = |code: &str| ("proper-raptor".to_owned(), Error::new(code, "cause", "remedy"));
    let none = Word { silent: vec![why("UNREACHABLE")], ..Word::default() };
    let some =
        Word { reached: true, ready: false, reasons: vec![why("REGION_DOWN"), why("DISK_FULL")], ..none.clone() };
    let here = Here::example();
    let found = of(&here, Some(&none));
    assert_eq!((found[0].code, found[0].severity), (Code::SledsSilent, Severity::Warning));
    let found = of(&here, Some(&some));
    assert_eq!(found[1].cause, "REGION_DOWN: cause (and 1 more)");
    assert_eq!(codes(&here, Some(&some)), ["SLED_SILENT", "VOLUME_NOT_READY"]);
    let waits = changed(|here| (state(here).relay, state(here).ticket) = (None, None));
    let found = of(&waits, Some(&none));
    assert_eq!((found[0].code, found[0].severity), (Code::SledsSilent, Severity::Blocking));
}

#[test]
fn a_length_of_time_is_said_as_people_say_it() {
    let cases = [
        (0.000_14, "0.14 ms"),
        (0.002, "2.0 ms"),
        (0.4, "400 ms"),
        (7.0, "7.0 s"),
        (301.0, "5 min 1 s"),
        (10_801.0, "3 h 0 min"),
        (90_000.0, "1 d 1 h"),
    ];
    for (seconds, said) in cases {
        assert_eq!(length(seconds), said);
    }
}
