//! Updates of the image: what can be had is told, and applied in its window only while the other sleds of a volume are
//! well. The machines say of themselves that they run the image; nothing can be fetched here.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use support::hosts::Switch;
use support::layer::Layer;
use support::machine::Machine;

const SOURCE: &str = "http://127.0.0.1:1/sled";
/// A volume of two sleds.
const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[sleds.quick-otter]
address = "192.168.4.190"
[hosts.still-fawn]
address = "192.168.4.17"
[defaults]
block_size = 512
extent_size = 64
extent_count = 4
[volumes.still-fawn]
hosts = ["still-fawn"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "quick-otter:3830"]
"#;
const CONFIG: &str = r#"
[downstairs]
steady_after = "1s"
[appliance]
update = "http://127.0.0.1:1/sled"
[update]
window = "00:00-24:00"
delay = "0h"
apply = "window"
"#;
const IMAGE: &str = r#"{"version": "1", "commit": "c", "base": "b", "downstairs": "d", "demonstration": false}"#;
/// What fetches a version, as a slow source has it: it writes down from when to when it was at it, by the clock that all
/// machines here have in common, and has fetched nothing then.
const FETCH: &str = "#!/bin/sh\nread -r began _ </proc/uptime; sleep 2; read -r ended _ </proc/uptime; \
                     echo $began $ended >>/run/fetched; exit 1\n";
const BOOT: &str = "[Mount]\nWhat=/srv/boot\nWhere=/boot\nType=none\nOptions=bind\n";

fn boot(switch: &Arc<Switch>, name: &str, address: &str, port: &str) -> Machine {
    let found = json!({"result": "newer", "version": "2", "released": null, "changes": ["repairs are faster"]});
    let now = Timestamp::now();
    let first = json!({"version": "2", "at": now});
    let checked = json!({"source": SOURCE, "running": "1", "at": now, "found": found, "first": first});
    let layer = Layer::shipped()
        .named(name, address)
        .with("etc/sled/port-map.toml", MAP)
        .with("etc/sled/sled.toml.d/60-update.toml", CONFIG)
        .with("usr/lib/sled/image.json", IMAGE)
        .with("srv/boot/EFI/Linux/crucible-sled_1.efi", "")
        .with("boot/.here", "")
        .with("etc/systemd/system/boot.mount", BOOT)
        .with("var/lib/sled-update/check.json", &checked.to_string())
        .with_script("usr/lib/systemd/systemd-sysupdate", FETCH);
    let machine = layer.boot_on(switch, port);
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine
}

/// The reason for which nothing is applied, after it was decided anew.
fn waits(machine: &Machine) -> String {
    machine.run(&["sledctl", "update", "tend"]);
    reason(machine)
}

/// The reason for which nothing was applied when it was decided last.
fn reason(machine: &Machine) -> String {
    let told: Value = serde_json::from_slice(&machine.run(&["sledctl", "--json", "update", "status"]).stdout).unwrap();
    assert_eq!(told["available"]["version"], "2", "{told}");
    told["waits"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_update_is_told_and_waits_for_the_other_sled() {
    let switch = Arc::new(Switch::new());
    let other = boot(&switch, "quick-otter", "192.168.4.190", "cable-1");
    let own = boot(&switch, "proper-raptor", "192.168.4.189", "cable-0");
    for machine in [&other, &own] {
        machine.wait_for("still-fawn", |volume| volume.ready);
    }
    other.ok(&["sledctl", "maintenance", "on", "--reason", "a new fan"]);
    assert_eq!(waits(&own), "quick-otter is not well: it is in maintenance");
    // The supervisor tells of it, with what is waited for, when it looks next.
    own.ok(&["systemctl", "restart", "sledd.service"]);
    let cause =
        "version 2 can be had, and 1 is in use: repairs are faster; it is not applied yet: quick-otter is not well";
    own.until(&format!("sledctl --json checks | grep -q '{cause}'"));
    other.ok(&["sledctl", "maintenance", "on", "--reason", "the image is updated to 2"]);
    assert_eq!(waits(&own), "quick-otter is being updated");
    other.ok(&["sledctl", "maintenance", "off"]);
    own.ok(&["sledctl", "maintenance", "on"]);
    assert_eq!(waits(&own), "this sled is in maintenance");
    own.ok(&["sledctl", "maintenance", "off"]);
    other.wait_for("still-fawn", |volume| volume.ready);
    // Its turn has come; what cannot be fetched is a failure, and hosts are not asked to wait for it any longer.
    own.until("sledctl update tend; grep -q '\"failed\": \\[' /var/lib/sled-update/held.json");
    own.until("sledctl --json events | grep -q 'the image is updated to 2'");
    assert!(own.sled().maintenance.is_none(), "hosts are still asked to wait");
    let told = waits(&own);
    assert!(told.starts_with("2 has failed (") && told.ends_with("sledctl update apply"), "{told}");
    (0..4).for_each(|_| race(&[&own, &other]));
}

/// The windows of two sleds open together: they never are at it at once, and one of them is. Unless one could not be asked in
/// time, as the processors were too busy: that is no word of it, and they come together once more.
fn race(machines: &[&Machine]) {
    while !one_is_at_it(machines) {}
}

fn one_is_at_it(machines: &[&Machine]) -> bool {
    for machine in machines {
        machine.sh("rm -f /run/fetched /var/lib/sled-update/held.json /var/lib/sled-update/attempt.json");
        machine.wait_for("still-fawn", |volume| volume.ready);
    }
    let tend = |machine: &&Machine| {
        let mut tend = machine.enter(&["sledctl", "update", "tend"]);
        tend.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let tending: Vec<_> = machines.iter().map(tend).collect();
    let tended: Vec<_> = tending.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let at_it = |machine: &&Machine| machine.sh("cat /run/fetched 2>/dev/null || true");
    let fetched: Vec<_> = machines.iter().map(at_it).collect();
    for ((machine, lines), output) in machines.iter().zip(&fetched).zip(&tended) {
        // Nothing can be fetched; and whoever has waited has done what he was to do, and says for what.
        let code = i32::from(!lines.is_empty());
        assert_eq!(output.status.code(), Some(code), "{lines:?}: {output:?}; {}", reason(machine));
    }
    let mut times: Vec<(f64, f64)> = fetched
        .iter()
        .flat_map(|lines| lines.lines())
        .map(|line| {
            line.split_once(' ').map(|(began, ended)| (began.parse().unwrap(), ended.parse().unwrap())).unwrap()
        })
        .collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(times.windows(2).all(|two| two[0].1 <= two[1].0), "two were at it at once: {fetched:?}");
    let whys: Vec<_> = machines.iter().map(|machine| reason(machine)).collect();
    let unasked = whys.iter().any(|why| why.contains("it cannot be asked ("));
    assert!(!times.is_empty() || unasked, "nobody has come to his turn: {whys:?}");
    !times.is_empty()
}
