//! A volume that is written to on a host that has hardly any memory left: what is dirty can only be written by way of
//! programs of the same host, which need memory themselves.

use crate::machine::Machine;
use crate::mounted::{AT, IsHost};
use crate::pair::Pair;

/// The host's memory, in MiB, and what is left of it for everybody.
const MEMORY: u32 = 384;
const LEFT: u32 = 24;
/// The file that is written again and again, and how much is written to it: several times what is left. In MiB.
const FILE: u32 = 120;
const WRITTEN: u32 = 150;

#[test]
fn a_volume_is_written_to_when_memory_is_short() {
    let pair = Pair::new(|host| host.of_memory(MEMORY));
    let (sled, host, mut steps) = pair.boot();
    let relay = host.relay("MainPID");
    takes_memory(&host);
    steps.took("the memory");
    host.loads();
    steps.took("the load");
    is_written(&host);
    steps.took("what is written");
    host.ends_load();
    host.verifies();
    // Whoever else has to be killed for it.
    assert_eq!(host.relay("MainPID"), relay);
    drop(sled);
}

/// Leaves little of the host's memory, and that for good: there is no swap.
fn takes_memory(host: &Machine<'_>) {
    host.says(&format!("systemd-run --quiet --collect --unit=eat /shared/host-load eat {LEFT}"));
    host.until_says("cat /run/eaten", |eaten| !eaten.is_empty());
}

/// Writes much more than there is memory, and flushes it.
fn is_written(host: &Machine<'_>) {
    host.says(&format!(
        "systemd-run --quiet --unit=dirty --property=RemainAfterExit=yes \
         /shared/host-load dirty {AT}/dirty {FILE} {WRITTEN}"
    ));
    while host.says("systemctl show -P SubState dirty") == "running" {
        // However long it takes: the load beside it goes on.
        host.goes_on();
    }
    let said = host.says("journalctl -o cat -u dirty; journalctl -k -n 20");
    assert_eq!(host.says("systemctl show -P SubState dirty"), "exited", "{said}");
}
