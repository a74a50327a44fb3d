//! A volume that is mounted and under load: its sled reboots, its relay is killed and restarted; and its host reboots.

use crate::machine::Machine;
use crate::mounted::{AT, IsHost};
use crate::network::{IsSled, VOLUME};
use crate::pair::Pair;

#[test]
fn a_mounted_volume_outlives_its_sled_its_relays_and_its_host() {
    let pair = Pair::new(|host| host);
    let (sled, host, mut steps) = pair.boot();
    host.loads();
    steps.took("the load");
    let sled = sled_reboots(sled, &host);
    steps.took("the sled's reboot");
    relay_is_killed(&host);
    steps.took("the relay's death");
    relay_is_restarted(&host);
    host.ends_load();
    steps.took("the relay's restart");
    host.verifies();
    host_reboots(host);
    steps.took("the host's reboot");
    drop(sled);
}

/// Writes wait, and nothing else is seen of it.
fn sled_reboots<'a>(sled: Machine<'a>, host: &Machine<'_>) -> Machine<'a> {
    let sled = sled.reboot();
    sled.until_ready();
    host.goes_on();
    host.is_mounted();
    sled
}

/// The next relay takes the device over, mounted as it is, and what the one before had kept.
fn relay_is_killed(host: &Machine<'_>) {
    let before = host.relay("MainPID");
    assert_ne!(host.relay("NFileDescriptorStore"), "0");
    host.says(&format!("systemctl kill --signal=KILL --kill-whom=main crucible-attach@{VOLUME}"));
    host.until("another relay", || (![&before, "0"].contains(&host.relay("MainPID").as_str())).then_some(()));
    host.goes_on();
    host.is_mounted();
}

/// As an upgrade does: what the second relay has taken over, the third one does. The second ends its server itself, when
/// everything is flushed, and needs no other for that.
fn relay_is_restarted(host: &Machine<'_>) {
    let device = host.says(&format!("findmnt -no MAJ:MIN {AT}"));
    let second = host.relay("InvocationID");
    host.says(&format!("systemctl restart crucible-attach@{VOLUME}"));
    host.goes_on();
    let said = host.says(&format!("journalctl -q -o cat _SYSTEMD_INVOCATION_ID={second}"));
    assert!(said.contains("stopped; ") && !said.contains("the server is lost"), "{said}");
    assert_eq!(host.says(&format!("findmnt -no MAJ:MIN {AT}")), device);
    host.is_mounted();
}

/// Nobody has to do anything for it.
fn host_reboots(host: Machine<'_>) {
    let host = host.reboot();
    host.until_mounted();
    host.verifies();
    host.has_no_errors();
}
