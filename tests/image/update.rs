//! Updates: to a good image; to one whose supervisor exits, which goes back by itself; to one with a
//! pulled adapter, which stays; to one in which only the downstairs program is another, which needs no
//! reboot.

use crate::guest::{BOOT, Disk, Guest, image};
use serde_json::Value;
use std::time::Duration;

/// Three tries in vain, and the boot after them.
const ROLLBACK: Duration = Duration::from_secs(1200);

#[test]
fn a_good_version_stays_a_bad_one_goes_back_and_a_pulled_cable_is_no_reason() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    refuses_what_is_not_signed(&guest);

    apply(&guest, "good");
    guest.reboot();
    until_version(&mut guest, "1.1", "good", BOOT);
    guest.until_ready("still-fawn");

    apply(&guest, "broken");
    guest.reboot();
    until_version(&mut guest, "1.1", "rolled_back", ROLLBACK);
    let sled = guest.until_up();
    let told = sled.checks.iter().any(|check| check.code == crucible_sled::check::Code::UpdateGivenUp);
    assert!(told || guest.until_says("sledctl checks", BOOT, |said| said.contains("UPDATE_GIVEN_UP")).contains("1.2"));
    guest.until_ready("still-fawn");

    apply(&guest, "next");
    // What serves is remembered when the machine goes down, and by then the adapter is pulled.
    _ = guest.root("systemd-run --on-active=3 systemctl reboot");
    guest.unplug();
    // It comes up without, is found to be well enough, and then gets its adapter back.
    guest.until("a boot without adapter", ROLLBACK, |guest| guest.console_shows("image 1.3").then_some(()));
    guest.until("a verdict", ROLLBACK, |guest| guest.console_shows("this boot is a good one").then_some(()));
    guest.plug();
    until_version(&mut guest, "1.3", "good", BOOT);
    guest.until_ready("still-fawn");

    // Each region is watched for so long before the next one has its turn.
    guest.says(
        "mkdir -p /etc/sled/sled.toml.d && printf '[downstairs]\\nsteady_after = \"5s\"\\n' >/etc/sled/sled.toml.d/50-short.toml && \
         sledctl reload",
    );
    let pids = guest.says("pgrep -o sledd; uptime -s");
    let said = apply(&guest, "program");
    assert!(said.contains("differs in nothing that needs one"), "{said}");
    let sled = guest.until_up();
    let versions = sled.volumes.iter().flat_map(|volume| &volume.regions).map(|region| region.version.clone().unwrap());
    assert!(versions.clone().all(|version| version.contains("0.0.2")), "{:?}", versions.collect::<Vec<_>>());
    assert_eq!(guest.says("pgrep -o sledd; uptime -s"), pids, "nothing else was restarted");
}

/// Somebody else's signature, or none, is no update.
fn refuses_what_is_not_signed(guest: &Guest<'_>) {
    guest.copy(&image("good.update"), "/var/good.update");
    let script = "mkdir /var/forged && cd /var/forged && tar -xf /var/good.update && echo >>SHA256SUMS && \
                  sledctl update apply /var/forged";
    let output = guest.root(script);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stderr).contains("signed by the key"), "{output:?}");
    let status: Value = serde_json::from_str(&guest.says("rm -r /var/forged; sledctl --json update status")).unwrap();
    assert_eq!(status["installed"].as_array().unwrap().len(), 1, "{status}");
}

fn apply(guest: &Guest<'_>, name: &str) -> String {
    let file = format!("/var/{name}.update");
    guest.copy(&image(&format!("{name}.update")), &file);
    guest.says(&format!("sledctl update check {file} && sledctl update apply {file} && rm {file}"))
}

/// Waits until a version runs and the last update has come to this.
fn until_version(guest: &mut Guest<'_>, version: &str, result: &str, patience: Duration) {
    guest.until_says("sledctl --json update status", patience, |said| {
        let Ok(status) = serde_json::from_str::<Value>(said) else { return false };
        status["running"]["version"] == version && status["last"]["outcome"]["result"] == result
    });
}
