//! Whole pages, from what is published.

use super::*;
use crate::check::Code;
use crate::wire::{Check, State};
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: &str = "2026-11-30T06:18:05Z";

fn region(index: u8, sled: &str, state: Option<State>) -> Value {
    let since = state.map(|_| "2026-11-30T04:12:00Z");
    json!({
        "name": format!("still-fawn-{index}"), "index": index, "sled": sled, "address": "192.168.4.189",
        "port": 3830 + u16::from(index), "repair_port": 7830 + u16::from(index), "state": state, "since": since,
        "connected": [{ "address": "192.168.4.17", "port": 50000, "host": "still-fawn" }],
    })
}

fn view() -> View {
    let serving = Some(State::Serving);
    let regions =
        [region(0, "proper-raptor", serving), region(1, "proper-raptor", serving), region(2, "quick-otter", None)];
    let volume = json!({
        "volume": "still-fawn", "ready": true, "revision": 1, "as_of": NOW, "sled": "proper-raptor", "port_map": "",
        "fault_tolerance": 0, "size_bytes": 1_u64 << 30, "hosts": ["192.168.4.17", "192.168.4.18"], "checks": [],
        "generation": 7, "regions": regions,
    });
    let storage = json!({
        "root": "/crucible", "mounted": true, "capacity_bytes": 1000, "free_bytes": 600, "promised_bytes": 300,
        "used_bytes": 300, "reserve_bytes": 50, "provisioning": "thick", "unreserved_bytes": 0, "regions": [],
        "trash": [], "disk": null, "belongs_to": null,
    });
    let sled = json!({
        "sled": "proper-raptor", "version": "0.1.0", "as_of": NOW, "started": "2026-11-30T04:11:50Z",
        "address": "192.168.4.189", "port_map": "sha256:1234", "well": true, "volumes": [volume], "checks": [],
        "network": { "nic": "eth0", "carrier": true, "link_mbps": 2500, "usb_mbps": 5000, "bridge": "br0",
            "addresses": ["192.168.4.189"] },
        "storage": storage,
    });
    View {
        sled: Arc::new(serde_json::from_value(sled).unwrap()),
        storage: Arc::new(serde_json::from_value(storage).unwrap()),
        jobs: Arc::default(),
        elsewhere: [("far".parse().unwrap(), vec!["quick-otter".parse().unwrap()])].into(),
        sleds: [("quick-otter".parse().unwrap(), "192.168.4.190".parse().unwrap())].into(),
        names: [("192.168.4.17".parse().unwrap(), "still-fawn".to_owned())].into(),
        configuration: Some(12),
        days: Arc::default(),
        events: Arc::default(),
    }
}

fn check(code: Code, subject: &str, cause: &str) -> Check {
    let (severity, subject, cause) = (code.severity(), subject.to_owned(), cause.to_owned());
    let since: Timestamp = "2026-11-30T06:12:00Z".parse().unwrap();
    Check { code, severity, subject, cause, remedy: code.remedy().to_owned(), since }
}

/// The page with these conditions; blocking ones make the volume not ready.
fn with(checks: Vec<Check>) -> String {
    let mut view = view();
    let sled = Arc::make_mut(&mut view.sled);
    let blocking = checks.iter().any(|check| check.severity == crate::check::Severity::Blocking);
    sled.volumes[0].ready = !blocking;
    sled.volumes[0].checks.clone_from(&checks);
    sled.checks = checks;
    super::sled(&view)
}

/// The text of the page's first heading.
fn headline(page: &str) -> String {
    let inner = page.split_once("<h1").unwrap().1.split_once("</h1>").unwrap().0.split_once('>').unwrap().1;
    let mut text = String::new();
    let mut depth = 0;
    for c in inner.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

#[test]
fn a_headline_says_what_is_wrong_where_and_since_when() {
    let down = || check(Code::RegionDown, "region still-fawn-0", "its downstairs does not run: it was stopped");
    let usb = || check(Code::NicUsb2, "nic eth0", "eth0 hangs on a USB port at 480 Mbit/s, and 5000 are expected");
    let disk = check(Code::DataNotMounted, "storage /crucible", "no file system is mounted at /crucible.");
    let starting = check(Code::RegionStarting, "region still-fawn-0", "its downstairs runs and does not listen yet");
    for (checks, expected) in [
        (vec![], "well: All is well on proper-raptor since 30 Nov 04:12."),
        (
            vec![down(), usb()],
            "not well: still-fawn cannot be attached on proper-raptor since 30 Nov 06:12, because of region \
             still-fawn-0: its downstairs does not run: it was stopped.",
        ),
        (
            vec![usb()],
            "warning: proper-raptor works, and nic eth0 wants a look since 30 Nov 06:12: eth0 hangs on a USB port \
             at 480 Mbit/s, and 5000 are expected.",
        ),
        (
            vec![disk, down()],
            "not well: No volume can be attached on proper-raptor since 30 Nov 06:12: no file system is mounted at \
             /crucible.",
        ),
        (
            vec![starting, usb()],
            "in progress: still-fawn cannot be attached on proper-raptor since 30 Nov 06:12, because of region \
             still-fawn-0: its downstairs runs and does not listen yet.",
        ),
    ] {
        assert_eq!(headline(&with(checks)), expected);
    }
}

#[test]
fn the_same_bulletin_has_the_same_page() {
    assert_eq!(super::sled(&view()), super::sled(&view()));
}

/// A process may have any name, and a cause tells it.
#[test]
fn nothing_of_others_is_more_than_text() {
    let evil = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\" onclick=\"x\x1b[2J\u{202e}\u{200b}&lt;";
    let mut view = view();
    let sled = Arc::make_mut(&mut view.sled);
    let check = check(Code::RegionForeignProcess, evil, evil);
    sled.checks = vec![Check { remedy: evil.into(), ..check }];
    (sled.network.nic, sled.network.bridge, sled.storage.root) = (evil.into(), evil.into(), evil.into());
    (sled.port_map, sled.version) = (evil.into(), evil.into());
    let storage = Arc::make_mut(&mut view.storage);
    (storage.storage.root, storage.provisioning) = (evil.into(), evil.into());
    view.names = [("192.168.4.17".parse().unwrap(), evil.to_owned())].into();
    let job = json!({
        "id": 1, "kind": "create", "region": "still-fawn-0", "state": "failed", "step": evil, "progress": null,
        "cancellable": false, "error": { "code": evil, "message": evil, "remedy": evil }, "asked": NOW, "took_ms": 5,
    });
    view.jobs = Arc::new([(1, serde_json::from_value(job).unwrap())].into());
    let event = json!({
        "id": 1, "time": NOW, "kind": evil, "subject": evil, "before": evil, "after": evil, "cause": evil, "by": evil,
        "code": evil,
    });
    view.events = Arc::new([serde_json::from_value(event).unwrap()]);
    for page in [super::sled(&view), refused(&wire::Error::new(evil, evil, evil))] {
        assert!(page.contains("alert(1)"), "it is not told at all");
        assert_eq!(page.matches("<script").count(), 1, "the page's own, and no other");
        assert!(!page.contains("<img") && !page.contains("\" onclick"), "{page}");
        let odd = page.chars().find(|c| c.is_control() && *c != '\n' || matches!(c, '\u{202e}' | '\u{200b}'));
        assert_eq!(odd, None);
        assert!(page.contains("\\u{1b}[2J\\u{202e}"), "it is not written out");
    }
}

/// Headings are in order, and there is one of the first.
#[test]
fn headings_are_in_order() {
    let down = check(Code::RegionDown, "region still-fawn-0", "its downstairs does not run");
    let pages = [with(vec![]), with(vec![down]), starting(), refused(&wire::Error::new("X", "y", "z")), explanations()];
    for page in pages {
        let levels: Vec<u32> =
            page.match_indices("<h").filter_map(|(at, _)| page[at + 2..].chars().next()?.to_digit(10)).collect();
        assert_eq!(levels[0], 1);
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
        for part in ["<html lang=\"en\">", "<main>", "<header>", "<footer>", "<title>"] {
            assert!(page.contains(part), "{part} is missing");
        }
    }
}

#[test]
fn every_code_leads_to_its_explanation() {
    let all = explanations();
    let missing = Code::ALL.iter().find(|code| !all.contains(&format!("id=\"{code}\"")));
    assert_eq!(missing, None);
    let page = with(vec![check(Code::NicUsb2, "nic eth0", "slow")]);
    assert!(page.contains("href=\"/checks#NIC_USB2\""));
}

#[test]
fn other_sleds_are_linked_and_what_is_not_known_is_said() {
    let page = super::sled(&view());
    assert!(page.contains("href=\"http://192.168.4.190:3800/\">quick-otter</a>"), "{page}");
    assert!(page.contains("not known") && page.contains("configuration 12") && page.contains("sha256:1234"));
}

#[test]
fn the_last_twenty_events_are_shown_the_newest_first() {
    let event = |id: u64| {
        let event = json!({
            "id": id, "time": NOW, "kind": "region_state", "subject": format!("region still-fawn-{id}"),
            "before": "starting", "after": "serving", "by": "user:root", "code": "REGION_DOWN",
        });
        serde_json::from_value(event).unwrap()
    };
    let view = View { events: (0..30).map(event).collect(), ..view() };
    let page = super::sled(&view);
    let place = |id: u64| page.find(&format!("<b>region still-fawn-{id}</b>: starting → serving"));
    assert!(place(29).is_some() && place(29) < place(10), "{page}");
    assert_eq!(place(9), None);
    assert!(page.contains(", by root") && page.contains("href=\"/checks#REGION_DOWN\""));
}
