//! A sled's machine and a host's: what the one serves and the other has.

use crate::machine::Machine;
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
    drained(&sled, &host);
    sled.until_booted();
    host.until_booted();
}

/// The sled's operator wants the volume free: the host detaches it when nothing uses it any more, and says what does until
/// then. What is on it is there when it is attached again.
fn drained(sled: &Machine<'_>, host: &Machine<'_>) {
    let (unit, place) = (format!("crucible-attach@{VOLUME}"), "/run/volume");
    host.serves("--device");
    host.says(&format!("systemctl restart {unit}"));
    host.until_served();
    // udev is a moment behind the kernel.
    let there =
        || host.until_says(&format!("test -b /dev/crucible/{VOLUME} && echo there"), |said| said.trim() == "there");
    there();
    let mounts = format!("mkdir -p {place} && mount /dev/crucible/{VOLUME} {place}");
    host.says(&format!("mkfs.ext4 -q -E nodiscard /dev/crucible/{VOLUME} && {mounts} && echo data >{place}/file"));
    host.says(&format!("systemd-run --quiet --unit=user --working-directory={place} sleep infinity"));
    let drain = format!("sledctl volume drain {VOLUME}");
    let refused = sled.run(&format!("{drain} --timeout 200s"));
    assert_eq!(refused.code, 3, "{}{}", refused.printed, refused.errors);
    assert!(refused.printed.contains("(sleep)") && refused.printed.contains(place), "{}", refused.printed);
    host.says(&format!("mountpoint -q {place} && systemctl is-active {unit}"));
    // On the host itself the same is said.
    let said = host.run(&format!("crucible-attach detach {VOLUME}"));
    assert!(said.code == 1 && said.printed.contains("(sleep)"), "{}{}", said.printed, said.errors);
    host.says("systemctl stop user");
    let done = sled.says(&format!("{drain} --timeout 200s"));
    assert!(done.contains("has detached"), "{done}");
    host.refuses(&format!("mountpoint -q {place}"));
    host.refuses(&format!("systemctl is-active {unit}"));
    assert!(host.says(&format!("crucible-attach detach {VOLUME}")).contains("is not attached here"));
    sled.says(&format!("{drain} --end"));
    host.says(&format!("systemctl start {unit}"));
    host.until_served();
    there();
    assert_eq!(host.says(&format!("{mounts} && cat {place}/file")), "data");
    host.says(&format!("crucible-attach detach {VOLUME}"));
    host.refuses(&format!("mountpoint -q {place}"));
}
