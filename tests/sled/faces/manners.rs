//! Manners of a sled's API before tools of others: what has not changed is not told twice, people and programs get the
//! same JSON, times have one form, and Prometheus finds every sled.

use super::Face;
use crucible_sled::api::{Door, Media, TABLE};
use crucible_sled::times::Rfc3339;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use support::hosts::SLED;
use support::places::repository;

const VOLUME: &str = "/v1/volumes/still-fawn";

/// An answer.
struct Told {
    status: u16,
    tag: Option<String>,
    body: String,
}

/// Asks a sled by curl, with these headers.
fn ask(face: &Face, admin: bool, path: &str, headers: &[&str]) -> Told {
    let words = face.curl(admin, path);
    let headers = headers.iter().flat_map(|header| ["-H", header]);
    let told = face.look(&words.iter().map(String::as_str).chain(["-i"]).chain(headers).collect::<Vec<_>>());
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).map(str::to_owned);
    Told { status, tag, body: body.to_owned() }
}

#[test]
fn an_api_has_manners() {
    let face = Face::boot();
    for admin in [false, true] {
        people_and_programs_get_the_same(&face, admin);
        times_have_one_form(&face, admin);
        what_is_known_is_not_told_twice(&face, admin);
    }
    prometheus_finds_every_sled(&face);
}

fn people_and_programs_get_the_same(face: &Face, admin: bool) {
    let [plain, pretty] = ["", "?pretty"].map(|query| ask(face, admin, &format!("{VOLUME}{query}"), &[]).body);
    assert!(plain.trim_end().lines().count() == 1 && pretty.lines().count() > 50, "{plain}\n{pretty}");
    let [plain, pretty] = [plain, pretty].map(|body| {
        let mut body: Value = serde_json::from_str(&body).unwrap();
        body["as_of"].take();
        body
    });
    assert_eq!(plain, pretty);
    assert_eq!(ask(face, admin, "/v1/nothing?pretty", &[]).body.lines().nth(1), Some("  \"error\": {"));
}

/// Looks at every string of everything that can be read.
fn times_have_one_form(face: &Face, admin: bool) {
    let mut times = 0;
    let here = |door| door == Door::Anyone || door == Door::Admin && admin;
    let rows = TABLE.iter().filter(|row| row.method == Method::GET && row.media == Media::Json && here(row.door));
    for row in rows.filter(|row| !row.path.contains('{')) {
        let Told { status, body, .. } = ask(face, admin, row.path, &[]);
        assert_eq!(status, 200, "{}", row.path);
        times += see_times(&serde_json::from_str(&body).unwrap(), row.path);
    }
    assert!(times > 20, "{times} times only");
}

fn see_times(value: &Value, path: &str) -> usize {
    match value {
        Value::String(text) => {
            let Ok(time) = text.parse::<Timestamp>() else { return 0 };
            assert_eq!(*text, Rfc3339::text(time), "{path}");
            1
        }
        Value::Array(values) => values.iter().map(|value| see_times(value, path)).sum(),
        Value::Object(values) => values.values().map(|value| see_times(value, path)).sum(),
        _ => 0,
    }
}

fn what_is_known_is_not_told_twice(face: &Face, admin: bool) {
    for path in [VOLUME, "/v1/volumes", "/v1/regions/still-fawn-1", "/v1/targets"] {
        let first = ask(face, admin, path, &[]);
        let tag = first.tag.unwrap();
        let again = ask(face, admin, path, &[&format!("If-None-Match: {tag}")]);
        assert_eq!((first.status, again.status, again.body.as_str()), (200, 304, ""), "{path}");
        assert_eq!(again.tag.as_ref(), Some(&tag), "{path}");
        let other = ask(face, admin, path, &["If-None-Match: \"another\""]);
        assert_eq!((other.status, other.tag.as_ref()), (200, Some(&tag)), "{path}");
    }
    let tag = ask(face, admin, VOLUME, &[]).tag.unwrap();
    let known = format!("If-None-Match: {tag}");
    face.machine.ok(&["sledctl", "region", "hold", "still-fawn-1", "--reason", "a test"]);
    let held = ask(face, admin, VOLUME, &[&known]);
    assert_eq!((held.status, held.body.is_empty()), (503, false), "what cannot be attached is said in full");
    face.machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    let after = ask(face, admin, &format!("{VOLUME}?wait=60"), &[&known]);
    assert!(after.status == 200 && after.tag.is_some_and(|new| new != tag));
}

fn prometheus_finds_every_sled(face: &Face) {
    let config = repository("etc/prometheus/prometheus.yml");
    let found = face.look(&["promtool", "check", "service-discovery", config.to_str().unwrap(), "sled"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let label = |at: &Value, label: &str| at["labels"][label].as_str().unwrap().to_owned();
    let mut sleds: Vec<_> =
        found.as_array().unwrap().iter().map(|at| (label(at, "sled"), label(at, "instance"))).collect();
    sleds.sort();
    let expected = [("other", "192.168.4.190:3800".to_owned()), ("proper-raptor", format!("{SLED}:3800"))];
    assert_eq!(sleds, expected.map(|(sled, at)| (sled.to_owned(), at)), "{found}");
}
