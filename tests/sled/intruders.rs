//! A process of somebody else on a region's files: it is told and left alone, and nothing is started
//! beside it.

use crate::machine::{Layer, Machine, has, unit};
use crucible_sled::wire::State;

const REGION: &str = "still-fawn-1";

/// A second downstairs, started by hand on the region's directory.
fn intrude(machine: &Machine) -> String {
    machine.sh(&format!(
        "systemd-run --unit=intruder --uid=crucible /usr/lib/crucible/crucible-downstairs run -d /crucible/{REGION} \
         -p 9500 -a 192.168.4.189; until ss -tln | grep -q :13500; do :; done"
    ));
    machine.sh("systemctl show --value --property=MainPID intruder").trim().to_owned()
}

fn expel(machine: &Machine) {
    machine.ok(&["systemctl", "stop", "intruder"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// Waits until it would be started, if nothing kept it from that.
fn is_not_started(machine: &Machine) {
    machine.wait_until_stopped(REGION);
    assert_eq!(machine.hear(3, &unit(REGION), "Start|listening"), "");
    assert!(machine.is_stopped(REGION));
    assert!(has(&machine.volume("still-fawn"), "REGION_FOREIGN_PROCESS"));
}

#[test]
fn a_second_downstairs_is_named_and_hosts_are_kept_away() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let pid = intrude(&machine);
    let check = machine.wait_for_check("still-fawn", "REGION_FOREIGN_PROCESS");
    for words in [format!("process {pid} "), "run -d /crucible/still-fawn-1".into(), "intruder.service".into()] {
        assert!(check.cause.contains(&words), "{words:?} is not in {check:#?}");
    }
    assert!(check.remedy.contains("systemctl stop intruder.service"), "{check:#?}");
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 503);
    assert_eq!(machine.region(REGION).state, Some(State::Failed));
    expel(&machine);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    assert_eq!(machine.pids(), before);

    // Another region's own unit, which a drop-in has write to this one.
    let other = unit("still-fawn-2");
    let dropin = format!("/etc/systemd/system/{other}.d/zz-by-hand.conf");
    machine.sh(&format!(
        "mkdir -p $(dirname {dropin}); printf '[Service]\\nReadWritePaths=/crucible\\nExecStart=\\nExecStart=%s\\n' \
         '/usr/lib/crucible/crucible-downstairs run -d /crucible/{REGION} -p 3832 -a 192.168.4.189' >{dropin}; \
         systemctl daemon-reload; systemctl restart {other}"
    ));
    let check = machine.wait_for_check("still-fawn", "REGION_FOREIGN_PROCESS");
    assert_eq!(check.subject, format!("region {REGION}"));
    assert!(check.cause.contains(&format!("of {other}")), "{check:#?}");
    assert!(check.remedy.contains(&format!("systemctl cat {other}")), "{check:#?}");
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 503);
    machine.sh(&format!("rm {dropin}; systemctl daemon-reload; systemctl restart {other}"));
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn a_released_region_is_not_started_beside_another() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["sledctl", "region", "hold", REGION]);
    intrude(&machine);
    machine.wait_for_check("still-fawn", "REGION_FOREIGN_PROCESS");
    machine.ok(&["sledctl", "region", "release", REGION]);
    is_not_started(&machine);
    expel(&machine);
}

#[test]
fn a_region_whose_downstairs_ended_is_not_started_beside_another() {
    let machine = Layer::small().boot_and_create();
    intrude(&machine);
    machine.wait_for_check("still-fawn", "REGION_FOREIGN_PROCESS");
    machine.kill("KILL", REGION);
    is_not_started(&machine);
    expel(&machine);
}
