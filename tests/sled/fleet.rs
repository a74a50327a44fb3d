//! Three sleds with one region of a volume each, and hosts that want a majority of them.

use crate::machine::hosts::CONNECT;
use crate::sleds::{ADDRESSES, NAMES, Sleds};
use std::time::Instant;

#[test]
fn sleds_on_one_switch_are_asked_one_by_one_and_die_one_by_one() {
    let mut sleds = Sleds::boot();
    let hosts = ["192.168.4.17", "192.168.4.175"].map(|address| sleds.host(address));
    for (address, name) in ADDRESSES.into_iter().zip(NAMES) {
        for host in &hosts {
            let (status, body) = host.ask_at(address, "GET", "/v1/volumes/still-fawn", "").unwrap();
            assert_eq!((status, &body["sled"]), (200, &name.into()), "{body:#}");
            host.connect_to(address, 3830).unwrap();
        }
    }
    sleds.kill(0);
    sleds.cut(1);
    let began = Instant::now();
    for address in &ADDRESSES[..2] {
        assert!(hosts[1].connect_to(address, 3830).is_err());
    }
    assert!(began.elapsed() < 3 * CONNECT);
    hosts[1].connect_to(ADDRESSES[2], 3830).unwrap();
    sleds.plug(1);
    sleds.sled(1).wait_for("still-fawn", |volume| volume.ready);
    hosts[1].connect_to(ADDRESSES[1], 3830).unwrap();
}
