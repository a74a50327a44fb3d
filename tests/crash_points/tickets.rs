//! Tickets that are cut short: what was answered is on record, whom the units let in is what is on
//! record, and the next one is higher than any that was answered.

use crate::ANSWER_LIMIT;
use crate::operations::Operation;
use crucible_sled::region::{Grant, Ledger};
use crucible_sled::store::grants::load;
use crucible_sled::store::ledger;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::layer::SMALL;
use support::machine::Machine;

const HOLDER: &str = "192.168.4.17";
const RIVAL: &str = "192.168.4.175";
const ATTACH: &str = "/v1/volumes/still-fawn/attach";
const WISH: &str = "{\"takeover\": true}";

/// The variable that names, to the host, the file for what it was answered.
pub const ANSWERS: &str = "ANSWERS";
/// The rival takes the volume over, and notes the generation that it was granted. In one process:
/// none that is left behind would ask for more.
const ASK: &[&str] = &[
    "bash",
    "-c",
    r#"exec 3<>/dev/tcp/192.168.4.189/3800
    printf 'POST /v1/volumes/still-fawn/attach HTTP/1.1\r\nHost: sled\r\nConnection: close\r\nContent-Length: 18\r\n\r\n{"takeover": true}' >&3
    IFS= read -r -t 20 -d '' answer <&3
    [[ $answer == 'HTTP/1.1 200 '* && $answer =~ \"generation\":\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}" >>"$ANSWERS""#,
];

/// The volume's first ticket, by which the record begins.
pub const FIRST: Operation =
    Operation { name: "first ticket", config: "", prepare: unrecorded, act: ASK, host: Some(RIVAL), check: is_kept };
/// One host takes the volume over from another.
pub const TAKEOVER: Operation =
    Operation { name: "takeover", config: "", prepare: held, act: ASK, host: Some(RIVAL), check: is_kept };

/// A port map in which both hosts may attach the volume.
pub fn map() -> String {
    SMALL.replace(&format!("[\"{HOLDER}\"]"), &format!("[\"{HOLDER}\", \"{RIVAL}\"]"))
}

/// The file of the hosts' answers, in the machine as it is seen from here.
pub fn answers(machine: &Machine) -> PathBuf {
    inside(machine).join("run/answers")
}

fn inside(machine: &Machine) -> PathBuf {
    Path::new("/proc").join(machine.leader().to_string()).join("root")
}

/// The highest generation that was answered.
fn answered(machine: &Machine) -> u64 {
    let noted = fs::read_to_string(answers(machine)).unwrap_or_default();
    noted.lines().map(|line| line.parse().unwrap()).max().unwrap_or(0)
}

fn recorded(machine: &Machine) -> Option<Grant> {
    load(&inside(machine).join("crucible")).unwrap().remove(&"still-fawn".parse().unwrap()).map(Result::unwrap)
}

/// All regions serve, and none of the two hosts was ever granted anything.
fn unrecorded(machine: &Machine) {
    served(machine);
    machine.sh("systemctl stop sledd.socket sledd; rm -rf /crucible/.sled/tickets /run/answers");
    // A record that is known to have been there would be one that was lost.
    let forget = |ledger: &mut Ledger| {
        ledger.tickets.clear();
        Ok(())
    };
    ledger::change(&inside(machine).join("crucible"), forget).unwrap();
    machine.sh("systemctl start sledd.socket");
    machine.wait_for("still-fawn", |volume| volume.ready && volume.generation == 0);
}

/// The holder has the volume, with a generation far ahead of the clock: that is no help then.
fn held(machine: &Machine) {
    served(machine);
    if answered(machine) == 0 {
        let far = Timestamp::now().as_second() + 1_000_000_000;
        ask(machine, &format!("{{\"takeover\": true, \"at_least\": {far}}}")).unwrap();
    }
}

fn served(machine: &Machine) {
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// A ticket for the holder, the generation of which is noted.
fn ask(machine: &Machine, body: &str) -> Result<u64, String> {
    let (status, answer) = machine.host(HOLDER).ask("POST", ATTACH, body);
    let generation = answer["generation"].as_u64().filter(|_| status == 200).ok_or(format!("{answer:#}"))?;
    let noted = fs::read_to_string(answers(machine)).unwrap_or_default();
    fs::write(answers(machine), format!("{noted}{generation}\n")).unwrap();
    Ok(generation)
}

fn is_kept(machine: &Machine) -> Result<(), String> {
    machine.wait_for("still-fawn", |volume| volume.ready);
    let (before, record) = (answered(machine), recorded(machine));
    let known = record.as_ref().map_or(0, |grant| grant.generation);
    if known < before {
        return Err(format!("{before} was answered, and {known} is on record"));
    }
    is_fenced(machine, record.as_ref())?;
    let next = ask(machine, WISH)?;
    if next <= before.max(known) {
        return Err(format!("{next} was granted after {before}, and {known} was on record"));
    }
    is_fenced(machine, recorded(machine).as_ref())
}

/// Of the two hosts each unit lets in those that the record does, soon.
fn is_fenced(machine: &Machine, record: Option<&Grant>) -> Result<(), String> {
    let hosts: BTreeSet<IpAddr> = [HOLDER, RIVAL].map(|host| host.parse().unwrap()).into();
    let wanted = record.map_or(hosts.clone(), |grant| grant.admits(&hosts));
    let began = Instant::now();
    loop {
        let units = [0, 1, 2].map(|index| machine.property(&format!("still-fawn-{index}"), "IPAddressAllow"));
        let lets_in = |unit: &String| {
            let named = hosts.iter().filter(|host| {
                unit.split_whitespace().any(|one| one == host.to_string() || one == format!("{host}/32"))
            });
            named.copied().collect::<BTreeSet<_>>()
        };
        if units.iter().all(|unit| lets_in(unit) == wanted) {
            return Ok(());
        }
        if began.elapsed() > ANSWER_LIMIT {
            return Err(format!("{units:?} let in, and the record {wanted:?}"));
        }
    }
}
