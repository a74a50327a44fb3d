//! A host that lacks a region of a volume that it uses.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::finding::Finding;
use crate::decide::verdict::judge;
use crate::wire::Peer;
use std::net::IpAddr;

const HOST: &str = "192.168.4.17";

/// The host is connected to two of three, and has been away from the first for so long.
fn found(seconds: u64, host: &str) -> (bool, Vec<Finding>) {
    let (config, host) = (config(), host.parse::<IpAddr>().unwrap());
    let mut facts = well(&config);
    for (name, region) in &mut facts.regions {
        if *name != first() {
            region.sockets.as_mut().unwrap().connected = vec![Peer { address: host, port: 40000, host: None }];
        }
    }
    facts.lacks = [((first(), host), seconds)].into();
    let verdict = judge(&config, &facts);
    (verdict.ready(&volume()), verdict.findings)
}

#[test]
fn a_host_that_lacks_a_region_for_long_is_told_with_the_region_and_the_time() {
    assert_eq!(found(59, HOST), (true, vec![]));
    for (seconds, time) in [(60, "a minute"), (299, "a minute"), (300, "5 minutes"), (90_000, "a day")] {
        let (ready, found) = found(seconds, HOST);
        assert!(ready && found.len() == 1, "{found:#?}");
        let one = &found[0];
        assert!(one.code == Code::VolumeDegraded && one.code.severity() == Severity::Warning, "{one:?}");
        for words in ["connected to still-fawn-1 and still-fawn-2", "not been to still-fawn-0", time, "2 of 3 regions"]
        {
            assert!(one.cause.contains(words), "{words:?} is not in {one:?}");
        }
        assert!(one.remedy.contains("ss -tn dst 192.168.4.189:3830"), "{one:?}");
    }
    // A host that is not let in is told as that.
    let (_, found) = found(600, "192.168.4.77");
    assert!(found.iter().all(|found| found.code == Code::ClientForeign), "{found:#?}");
}
