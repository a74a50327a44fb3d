//! Reboot, and what it keeps: the regions, the journal, a door for those who have a key alone, and a watchdog that
//! starts a machine again which hangs. Others do the booting.

use crate::guest::{BOOT, FIRMWARE, Guest};
use crucible_sled::wire::{Sled, State};

/// Every region by its name, with its identity. All of them serve.
pub fn identities(sled: &Sled) -> Vec<(String, String)> {
    let regions = sled.volumes.iter().flat_map(|volume| &volume.regions);
    regions
        .map(|region| {
            assert_eq!(region.state, Some(State::Serving), "{}", region.name);
            (region.name.to_string(), region.uuid.unwrap().to_string())
        })
        .collect()
}

/// Of the boot before as well.
pub fn keeps_its_journal(guest: &Guest<'_>) {
    let boots = guest.says("journalctl --list-boots --no-pager | awk '$1 ~ /^-?[0-9]+$/' | wc -l");
    assert!(boots.trim().parse::<u32>().unwrap() >= 2, "{boots}");
}

/// A machine that hangs is started again by its watchdog, from the initrd on.
pub fn is_watched_over(guest: &mut Guest<'_>) {
    let watchdog = guest.says("systemctl show -P RuntimeWatchdogUSec; cat /sys/class/watchdog/watchdog0/state");
    assert_eq!(watchdog, "1min\nactive\n");
    let told = guest.says("journalctl -b -o short-monotonic --no-pager _PID=1 | grep -i 'using hardware watchdog'");
    let root = guest.says("journalctl -b -o short-monotonic --no-pager _PID=1 | grep -i 'switching root'");
    let at = |line: &str| -> f64 { line.trim_start_matches(['[', ' ']).split(']').next().unwrap().parse().unwrap() };
    assert!(at(&told) < at(&root), "no watchdog before there is a root: {told}{root}");
    // systemd does nothing any more. Some watchdogs, QEMU's among them, are patient twice.
    guest.forget_console();
    guest.says("echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze");
    guest.until("another boot", BOOT, |guest| guest.console_shows(FIRMWARE).then_some(()));
}

/// Nobody has a key: then there is no ssh.
pub fn lets_in_nobody_without_keys(guest: &Guest<'_>) {
    let script = "cd /var/etc/ssh; mv authorized_keys aside; systemctl restart ssh; \
                  systemctl is-active ssh; ss -Htln 'sport = :22' | wc -l; \
                  mv aside authorized_keys; systemctl restart ssh";
    assert_eq!(guest.says(script), "inactive\n0\n");
}
