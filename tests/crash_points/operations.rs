//! The operations that are cut short: how each is prepared, and what must be true afterwards,
//! whether it was carried out, taken back, or never began.

use crucible_sled::wire::State;
use support::machine::Machine;

/// An operation.
pub struct Operation {
    /// Its name in the report.
    pub name: &'static str,
    /// The text that is added to the machine's configuration.
    pub config: &'static str,
    /// Brings the machine to where it begins, from wherever the last one ended.
    pub prepare: fn(&Machine),
    /// The commands that are run.
    pub act: &'static [&'static str],
    /// The host that runs it, by its address; otherwise the machine itself does.
    pub host: Option<&'static str>,
    /// The check of what must be true.
    pub check: fn(&Machine) -> Result<(), String>,
}

const REGION: &str = "still-fawn-0";
const DELETE: &[&str] = &["sledctl", "region", "delete", REGION, "--yes-destroy", REGION];
const CREATE: &[&str] = &["sledctl", "region", "create", REGION];
const UUID: &str = "5a11fa40-0000-4000-8000-000000000001";
const THICK: &str = "[storage]\nprovisioning = \"thick\"\n";

/// All of them, the longest first.
pub const ALL: &[Operation] = &[
    Operation {
        name: "adopt",
        config: "",
        prepare: runbook,
        act: &["sledctl", "region", "adopt", REGION],
        host: None,
        check: adopted_or_as_before,
    },
    Operation { name: "create", config: "", prepare: nothing, act: CREATE, host: None, check: created_or_not },
    Operation { name: "create thick", config: THICK, prepare: nothing, act: CREATE, host: None, check: created_or_not },
    Operation { name: "delete", config: "", prepare: existing, act: DELETE, host: None, check: somewhere },
    Operation {
        name: "restore",
        config: "",
        prepare: deleted,
        act: &["sledctl", "region", "restore", REGION],
        host: None,
        check: somewhere,
    },
    Operation {
        name: "purge",
        config: "",
        prepare: deleted,
        act: &["sledctl", "region", "purge", REGION, "--yes-destroy", REGION],
        host: None,
        check: purged_or_not,
    },
    Operation {
        name: "take off the record",
        config: "",
        prepare: lost,
        act: DELETE,
        host: None,
        check: on_record_or_not,
    },
    Operation {
        name: "rebuild the ledger",
        config: "",
        prepare: without_ledger,
        act: &["sledctl", "region", "adopt", REGION],
        host: None,
        check: rebuilt,
    },
    crate::repairs::REPAIR,
    crate::repairs::REBUILD,
    crate::tickets::FIRST,
    crate::tickets::TAKEOVER,
];

/// The content of each place: the region's own directory, the runbook's, the trash, attempts.
struct Found {
    place: bool,
    legacy: bool,
    trash: usize,
    incoming: usize,
    recorded: bool,
    noted: bool,
}

fn found(machine: &Machine) -> Found {
    let is = |path: &str| machine.run(&["test", "-e", path]).status.success();
    let count = |dir: &str| machine.sh(&format!("ls -A {dir} 2>/dev/null | wc -l")).trim().parse().unwrap();
    let ledger = machine.sh("cat /crucible/.sled/ledger.json");
    let ledger: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    Found {
        place: is("/crucible/still-fawn-0"),
        legacy: is("/crucible/vm-still-fawn-0"),
        trash: count("/crucible/.trash"),
        incoming: count("/crucible/.incoming"),
        recorded: !ledger["ledger"]["regions"][REGION].is_null(),
        noted: !ledger["ledger"]["adoptions"][REGION].is_null(),
    }
}

/// Waits until the region serves, and finds it to be the one with this identity, if one is given.
fn serves(machine: &Machine) -> Result<(), String> {
    let settled = machine.wait_for("still-fawn", |volume| {
        !matches!(volume.regions[0].state, Some(State::Starting | State::Stopped | State::Held | State::Creating))
    });
    match settled.regions[0].state {
        Some(State::Serving) => Ok(()),
        other => Err(format!("it is {other:?}: {:?}", settled.checks)),
    }
}

fn want(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_owned()) }
}

/// Nothing of the region is left, from wherever the last operation ended.
fn nothing(machine: &Machine) {
    let now = found(machine);
    if now.recorded {
        machine.ok(DELETE);
    }
    if now.recorded || now.trash > 0 {
        purge(machine);
    }
}

fn purge(machine: &Machine) {
    machine.run(&["sledctl", "region", "purge", REGION, "--yes-destroy", REGION]);
    machine.until("! ls -A /crucible/.trash 2>/dev/null | grep -q .");
}

fn existing(machine: &Machine) {
    let now = found(machine);
    match (now.recorded, now.trash) {
        (true, _) => {}
        (false, 0) => _ = machine.ok(CREATE),
        (false, _) => _ = machine.ok(&["sledctl", "region", "restore", REGION]),
    }
    serves(machine).unwrap();
}

fn deleted(machine: &Machine) {
    let now = found(machine);
    if now.trash > 0 && !now.recorded {
        return;
    }
    existing(machine);
    machine.ok(DELETE);
}

/// The region was there, and its directory is gone.
fn lost(machine: &Machine) {
    if !found(machine).recorded {
        machine.ok(CREATE);
        serves(machine).unwrap();
        machine.sh("systemctl stop crucible-downstairs@still-fawn-0; rm -rf /crucible/still-fawn-0");
    }
}

/// A region that serves, and no ledger.
fn without_ledger(machine: &Machine) {
    existing(machine);
    machine.sh("cd /crucible/.sled; rm -f *.unreadable.*; echo '{' >ledger.json; echo >ledger.json.copy");
}

/// A region as the runbook makes it, served by its own unit.
fn runbook(machine: &Machine) {
    let now = found(machine);
    if now.legacy && machine.run(&["systemctl", "is-active", "-q", "crucible-vm-still-fawn-0"]).status.success() {
        return;
    }
    nothing(machine);
    machine.sh(&format!(
        "cd /crucible; rm -rf vm-still-fawn-0
         /usr/lib/crucible/crucible-downstairs create -d /crucible/vm-still-fawn-0 -u {UUID} \
            --block-size 512 --extent-size 64 --extent-count 4 >/dev/null
         chown -R nobody:nogroup vm-still-fawn-0
         printf '[Service]\\nUser=nobody\\nRestart=always\\nRestartSec=5\\nExecStart=/usr/lib/crucible/crucible-downstairs \
run -p 3830 -d /crucible/vm-still-fawn-0\\n[Install]\\nWantedBy=multi-user.target\\n' \
            >/etc/systemd/system/crucible-vm-still-fawn-0.service
         systemctl daemon-reload; systemctl enable --quiet --now crucible-vm-still-fawn-0
         until ss -Htln 'sport = :3830' | grep -q .; do sleep 0.02; done"
    ));
}

fn created_or_not(machine: &Machine) -> Result<(), String> {
    let now = found(machine);
    want(now.place == now.recorded, "it is in place or on record, and not both")?;
    want(now.incoming == 0, "an attempt was left")?;
    want(now.trash == 0, "something lies in the trash")?;
    if now.recorded { serves(machine) } else { Ok(()) }
}

fn somewhere(machine: &Machine) -> Result<(), String> {
    let now = found(machine);
    want(now.place == now.recorded, "it is in place or on record, and not both")?;
    want(usize::from(now.place) + now.trash == 1, "it is not in exactly one place")?;
    want(machine.sh("find /crucible -name region.json | wc -l") == "1\n", "there is not exactly one region")?;
    if now.recorded { serves(machine) } else { Ok(()) }
}

fn purged_or_not(machine: &Machine) -> Result<(), String> {
    want(!found(machine).place, "it came back")?;
    let gone = "until [ \"$(ls -A /crucible/.trash)\" = \"$(find /crucible/.trash -name region.json -printf '%P' | cut -d/ -f1)\" ]; do sleep 0.02; done";
    // A removal that has begun is ended without a word.
    machine.sh(gone);
    Ok(())
}

fn on_record_or_not(machine: &Machine) -> Result<(), String> {
    want(!found(machine).place, "it came back")
}

fn adopted_or_as_before(machine: &Machine) -> Result<(), String> {
    let now = found(machine);
    want(now.legacy != now.place, "its directory is not in exactly one place")?;
    want(now.place == now.recorded, "it is in place or on record, and not both")?;
    want(!now.noted, "its adoption is noted still")?;
    let json = machine.sh("cat /crucible/*still-fawn-0/region.json");
    want(json.contains(UUID), "it is another region")?;
    let old = machine.run(&["systemctl", "is-enabled", "crucible-vm-still-fawn-0"]).status.success();
    want(old == now.legacy, "its old unit is enabled and should not be, or the other way round")?;
    if now.place {
        want(machine.sh("stat -c %U /crucible/still-fawn-0/region.json") == "crucible\n", "it has the wrong owner")?;
        return serves(machine);
    }
    want(machine.sh("find /crucible/vm-still-fawn-0 ! -user nobody | wc -l") == "0\n", "it has the wrong owner")?;
    let active = machine.run(&["systemctl", "is-active", "-q", "crucible-vm-still-fawn-0"]).status.success();
    want(active, "its old unit does not run")
}

fn rebuilt(machine: &Machine) -> Result<(), String> {
    // Until it is asked for again, a ledger that cannot be read stays as it is.
    machine.run(&["sledctl", "region", "adopt", REGION]);
    let now = found(machine);
    want(now.place && now.recorded && !now.noted, "it is not on record again")?;
    let checks = machine.run(&["sledctl", "checks"]);
    want(!String::from_utf8_lossy(&checks.stdout).contains("LEDGER_"), "the ledger is not well")?;
    serves(machine)
}
