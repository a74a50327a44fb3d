//! A sled's machine and a host's: what the one serves and the other has.

use crate::mounted::IsHost;
use crate::network::{IsSled, Network, SIZE, VOLUME};

#[test]
fn a_host_has_what_a_sled_serves() {
    let network = Network::new();
    let (sled, host) = (network.sled(), network.host(1));
    let (sled, host) = (sled.boot(), host.boot());
    host.serves("");
    sled.create();
    host.until_served();
    let uri = format!("nbd+unix:///{VOLUME}?socket=/run/crucible-attach/{VOLUME}.sock");
    assert_eq!(host.says(&format!("nbdinfo --size '{uri}'")), SIZE.to_string());
    host.says("head -c 3M /dev/urandom >/root/source");
    host.says(&format!("nbdcopy --flush /root/source '{uri}' && nbdcopy '{uri}' - | head -c 3M | cmp - /root/source"));
    sled.until_booted();
    host.until_booted();
}
