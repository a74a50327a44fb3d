//! Tickets: who may have one, and who is in the way of it.

use super::*;
use crate::check::Code;
use crate::decide::attach::{
    InTheWay, RETURN_LIMIT, attached, elsewhere, in_the_way, keeper, may_attach, may_permit, others,
};
use crate::region::Grant;
use crate::wire::Refusal;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_host_of_the_map_has_a_ticket_when_the_volume_is_ready() {
    let config = config();
    let host = ip("192.168.4.17");
    assert_eq!(may_attach(&config, Ok(()), &volume(), host).unwrap().len(), 3);
    let check = |code: Code| crate::wire::Check {
        code,
        severity: code.severity(),
        subject: "disk".into(),
        cause: format!("{code} is so"),
        remedy: "mend it".into(),
        since: Timestamp::UNIX_EPOCH,
    };
    let asked = |ready: bool, name: &str, host| {
        let checks = [check(Code::DiskLow), check(Code::DiskFull), check(Code::RegionHung)];
        let ready = if ready { Ok(()) } else { Err(&checks[..]) };
        may_attach(&config, ready, &name.parse().unwrap(), host).unwrap_err()
    };
    let code = |ready, name: &str, host| asked(ready, name, host).code;
    // The host that asks is told why, and what to do.
    let said = asked(false, "still-fawn", host);
    assert!(said.message.contains("DISK_FULL: disk: DISK_FULL is so (and 1 more"), "{}", said.message);
    assert_eq!(said.remedy, "mend it");
    assert_eq!(code(false, "still-fawn", host), Refusal::NotReady);
    assert_eq!(code(true, "still-faun", host), Refusal::VolumeUnknown);
    // A host that is not allowed learns nothing of whether it is ready.
    assert_eq!(code(false, "still-fawn", ip("192.168.4.18")), Refusal::HostNotAllowed);
    assert_eq!(code(true, "still-fawn", ip("127.0.0.1")), Refusal::HostNotAllowed);
}

#[test]
fn the_map_has_the_last_word_on_whom_an_operator_allows() {
    let config = config();
    assert!(may_permit(&config, &volume(), ip("192.168.4.17"), true).is_ok());
    assert!(may_permit(&config, &volume(), ip("192.168.4.18"), false).is_ok());
    for host in ["192.168.4.18", "192.168.4.189"] {
        assert_eq!(may_permit(&config, &volume(), ip(host), true).unwrap_err().code, Refusal::HostNotAllowed);
    }
    assert_eq!(may_permit(&config, &volume(), config.address, false).unwrap_err().code, Refusal::HostNotAllowed);
}

#[test]
fn those_in_the_way_are_hosts_and_not_the_one_that_asks() {
    let config = config();
    let at = |address: &str| (ip(address), first());
    let connected = [at("192.168.4.17"), at("192.168.4.189"), at("127.0.0.1"), at("192.168.4.18"), at("192.168.4.18")];
    let found = others(&config, &connected, Some(ip("192.168.4.17")));
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [ip("192.168.4.18")]);
    let shown = attached(&config, &found, |_| Timestamp::UNIX_EPOCH);
    let why = elsewhere(&volume(), &shown);
    assert!(why.message.contains("192.168.4.18, since 1970-01-01T00:00:00Z"), "{why:?}");
    assert!(why.remedy.contains("takeover"), "{why:?}");
}

/// The holder as it is shown is what a host that asks is answered.
#[test]
fn who_keeps_a_ticket_is_in_the_way_of_every_other_host_and_nobody_else_is() {
    let config = config();
    let (holder, other) = (ip("192.168.4.17"), ip("192.168.4.18"));
    let held = Grant::default().to(holder, 7, Timestamp::UNIX_EPOCH, &BTreeSet::new());
    let long = Some(RETURN_LIMIT + Duration::from_millis(1));
    let foreign = Grant::default().to(other, 7, Timestamp::UNIX_EPOCH, &BTreeSet::new());
    for (grant, away, keeps) in [
        (&Grant::default(), None, false),
        (&held, None, true),
        (&held, Some(RETURN_LIMIT), true),
        (&held, long, false),
        (&held.let_go(), None, false),
        (&held.with(holder, false), None, false),
        // The map does not name it any more.
        (&foreign, None, false),
    ] {
        let found = keeper(&config.map, &volume(), grant, away);
        assert_eq!(found.is_some(), keeps, "{grant:?} {away:?}");
        let asked = in_the_way(&config.map, &volume(), grant, ip("192.168.4.19"), Default::default(), away);
        assert_eq!(asked, found.map_or(InTheWay::Nobody, |(holder, since)| InTheWay::Holder(holder, since)));
        let itself = in_the_way(&config.map, &volume(), grant, holder, Default::default(), away);
        assert_eq!(itself, InTheWay::Nobody);
    }
}
