//! The ports of the port map are kept free for the regions.

use support::layer::{Layer, SMALL};
use support::machine::Machine;

/// More than a short first read of the kernel's list holds.
const OTHERS: &str = "22,901,903,905,907,909,911,913,915,917";
const KERNEL: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

fn reserved(machine: &Machine) -> String {
    machine.sh(&format!("cat {KERNEL}")).trim().to_owned()
}

#[test]
fn the_maps_ports_are_reserved_beside_those_of_others() {
    let foreign = format!("net.ipv4.ip_local_reserved_ports = {OTHERS},3831\n");
    let machine = Layer::small().with("etc/sysctl.d/30-foreign.conf", &foreign).boot();
    assert_eq!(reserved(&machine), format!("{OTHERS},3830-3832,7830-7832"));
    assert_eq!(machine.count("sledd.service", "not kept free"), 0);

    // The map changes. What others reserved stays, also where it was the map's as well.
    let map = SMALL.replace("raptor:383", "raptor:384");
    machine.sh(&format!("cat >/etc/sled/port-map.toml <<'MAP'\n{map}\nMAP\nsystemctl restart sledd"));
    machine.until(&format!("grep -q 3840 {KERNEL}"));
    assert_eq!(reserved(&machine), format!("{OTHERS},3831,3840-3842,7840-7842"));

    // Somebody applies sysctl.d anew.
    machine.sh("echo net.ipv4.ip_local_reserved_ports = 23 >/etc/sysctl.d/30-foreign.conf");
    machine.sh(&format!("systemctl restart systemd-sysctl; until grep -q 3840 {KERNEL}; do sleep 0.1; done"));
    assert_eq!(reserved(&machine), "23,3840-3842,7840-7842");

    // Somebody sets them by hand; the next start of the supervisor mends it.
    machine.sh(&format!("echo 24 >{KERNEL}; systemctl restart sledd"));
    machine.until(&format!("grep -q 3840 {KERNEL}"));
    assert_eq!(reserved(&machine), "24,3840-3842,7840-7842");
}
