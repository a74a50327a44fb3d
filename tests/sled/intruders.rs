//! A process of somebody else on a region's files: it is told and left alone, and nothing is started
//! beside it.

use crucible_sled::wire::{Check, State, Volume};
use support::layer::Layer;
use support::machine::{Machine, has, unit};

const REGION: &str = "still-fawn-1";
const ANOTHER: &str = "still-fawn-2";

/// A second downstairs, started by hand on the region's directory.
fn intrude(machine: &Machine) -> String {
    machine.sh(&format!(
        "systemd-run --unit=intruder --uid=crucible /usr/lib/crucible/crucible-downstairs run -d /crucible/{REGION} \
         -p 9500 -a 192.168.4.189; until ss -tln | grep -q :13500; do sleep 0.1; done"
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
    machine.sh(&odd(ANOTHER));
    let pid = intrude(&machine);
    let about = |volume: &Volume, region: &str| {
        let mut all = volume.checks.clone().into_iter().filter(|check| check.code.as_str() == "REGION_FOREIGN_PROCESS");
        all.find(|check| check.subject.ends_with(region))
    };
    let volume =
        machine.wait_for("still-fawn", |volume| [REGION, ANOTHER].iter().all(|name| about(volume, name).is_some()));
    let [check, odd] = [REGION, ANOTHER].map(|name| about(&volume, name).unwrap());
    for words in [format!("process {pid} "), "run -d /crucible/still-fawn-1".into(), "intruder.service".into()] {
        assert!(check.cause.contains(&words), "{words:?} is not in {check:#?}");
    }
    assert!(check.remedy.contains("systemctl stop intruder.service"), "{check:#?}");
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 503);
    assert_eq!(machine.region(REGION).state, Some(State::Failed));
    its_words_move_nobodys_cursor(&machine, &odd);
    machine.ok(&["systemctl", "stop", "odd"]);
    expel(&machine);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
    assert_eq!(machine.pids(), before);

    // Another region's own unit, which a drop-in has write to this one.
    let other = unit("still-fawn-2");
    let dropin = format!("/etc/systemd/system/{other}.d/zz-by-hand.conf");
    machine.sh(&format!(
        "mkdir -p $(dirname {dropin}); printf '[Service]\\nReadWritePaths=/crucible/{REGION}\\nExecStart=\\nExecStart=%s\\n' \
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

/// Has a process run whose name would do things to a terminal, with a region's file open.
fn odd(region: &str) -> String {
    let name = "printf 'x\\033]0;mine\\007\\033[2J\\302\\233\\342\\200\\256'";
    format!(
        "cat >/run/odd <<'END'\nexec -a \"$({name})\" sleep infinity 3>>/crucible/{region}/region.json\nEND\n\
         systemd-run --unit=odd bash /run/odd"
    )
}

/// A process' name for itself reaches whoever reads of it as what it is, and does nothing to his terminal.
fn its_words_move_nobodys_cursor(machine: &Machine, check: &Check) {
    let shown = "x\\u{1b}]0;mine\\u{7}\\u{1b}[2J\\u{9b}\\u{202e}";
    assert!(check.cause.contains(shown), "{check:#?}");
    for words in [
        &["sledctl", "checks"][..],
        &["sledctl", "status"],
        &["sledctl", "--json", "checks"],
        &["sledctl", "console", "--once"],
        &["sledctl", "region", "show", ANOTHER],
        &["journalctl", "-b", "-o", "cat", "-a", "-u", "sledd.service"],
    ] {
        let told = machine.run(words);
        let told = String::from_utf8([told.stdout, told.stderr].concat()).unwrap();
        assert!(told.contains("mine"), "{words:?} does not tell: {told}");
        for hidden in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'] {
            assert!(!told.contains(hidden), "{words:?}: {hidden:?} in {told:?}");
        }
    }
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
