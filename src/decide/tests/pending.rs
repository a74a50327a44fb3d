//! The configuration's files beside what is in force.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{Files, InForce};
use crate::decide::verdict::judge;
use crate::source::Fault;
use std::sync::Arc;

#[test]
fn files_that_are_not_in_force_are_told_and_block_nothing() {
    let config = config();
    let mut facts = well(&config);
    let (ours, theirs) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let at = Some(Timestamp::from_second(7).unwrap());
    facts.in_force = Some(InForce { digest: ours, number: Some(3), since: at, not_kept: None });
    let files = |read| Some(Files { dir: "/etc/sled".into(), digest: theirs.clone(), changed: at, read });
    let told = |facts: &Facts| {
        let verdict = judge(&config, facts);
        assert!(verdict.ready(&volume()));
        let found: Vec<_> = verdict.findings.into_iter().filter(|f| f.subject == "configuration").collect();
        assert!(found.iter().all(|f| f.code.severity() != Severity::Blocking && !f.concerns(&volume())));
        found
    };
    assert_eq!(told(&facts), []);
    // Other words that mean the same are no other configuration.
    facts.files = files(Ok(Arc::new(config.clone())));
    assert_eq!(told(&facts), []);
    facts.files = files(Ok(Arc::new(config_of(&MAP.replace("3831", "3841")))));
    let pending = told(&facts);
    assert_eq!(
        (pending.len(), pending[0].code, pending[0].code.severity()),
        (1, Code::ConfigPending, Severity::Information)
    );
    for word in ["sha256:aaaaaaaaaaaa)", "sha256:bbbbbbbbbbbb)", "1970-01-01T00:00:07Z", "next start"] {
        assert!(pending[0].cause.contains(word), "{word} is not in {pending:#?}");
    }
    let fault = Fault {
        file: "/etc/sled/port-map.toml".into(),
        line: Some(12),
        key: "volumes".into(),
        problem: "is wrong".into(),
        remedy: "write it right".into(),
    };
    facts.files = files(Err(vec![fault]));
    let faulty = told(&facts);
    assert_eq!((faulty.len(), faulty[0].code), (1, Code::ConfigInvalid));
    assert!(faulty[0].cause.contains("/etc/sled/port-map.toml:12: is wrong"), "{faulty:#?}");
    assert!(faulty[0].remedy.contains("sledctl config restore 3"), "{faulty:#?}");
    facts.in_force = Some(InForce { not_kept: Some("no space".into()), ..facts.in_force.take().unwrap() });
    assert_eq!(told(&facts).iter().map(|f| f.code).collect::<Vec<_>>(), [Code::ConfigInvalid, Code::ConfigNotKept]);
}
