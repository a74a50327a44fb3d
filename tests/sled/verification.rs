//! Regions after an end of the machine without a shutdown: what was being written is verified before they serve.

use crucible_sled::region::verification::Verification;
use crucible_sled::wire::{Event, EventKind, Events, ExtentState, Extents, Job, JobKind, Refusal, Volume};
use std::fs::File;
use std::time::{Duration, SystemTime};
use support::extents::{nth, rot_nth, write_nth};
use support::layer::{Layer, SMALL};
use support::machine::{Machine, cause, has};

/// Extents of a region: each that is rotten takes two looks of 20 ms more, and how far it is goes on record each second.
const EXTENTS: u32 = 100;
/// The record of what is to be verified.
const RECORD: &str = "/var/lib/sled/verification.json";
/// Stops the supervisor, once it is told to, as soon as it is on record that some of the first region was verified; keeps
/// what is on record then, mends what that says was verified, as nobody is to look at it again, and kills the supervisor.
/// Where the processors were too busy for that, and all was verified already, it is left to go on, and nothing is mended.
const KILLER: &str = r#"#!/bin/sh
rm /arm
until grep -Eq '"still-fawn-0":\{"uuid":"[^"]*","next":[1-9]' /var/lib/sled/verification.json 2>/dev/null; do sleep 0.01; done
systemctl kill --signal=STOP sledd.service
cp /var/lib/sled/verification.json /killed
next=$(sed 's/.*"still-fawn-0":{"uuid":"[^"]*","next":\([0-9]*\).*/\1/' /killed)
test "$next" -lt EXTENTS || exec systemctl kill --signal=CONT sledd.service
while [ "$next" -gt 0 ]; do
    next=$((next - 1))
    printf '\007' | dd of=/crucible/still-fawn-0/00/000/$(printf %03X "$next") bs=1 seek=612 conv=notrunc status=none
done
systemctl kill --signal=KILL sledd.service
"#;
const KILLED: &str = "[Unit]\nConditionPathExists=/arm\n[Service]\nType=exec\nExecStart=/usr/lib/crucible/killer\n";
/// However long it is stopped, nobody else kills it.
const UNWATCHED: &str = "[Unit]\nWants=killer.service\n[Service]\nWatchdogSec=0\n";

/// Whether a region that serves was being verified since it served last.
fn was_verifying(machine: &Machine, region: &str) -> bool {
    let output = machine.run(&["sledctl", "--json", "events", "--since", "1d"]);
    let events = serde_json::from_slice::<Events>(&output.stdout).unwrap().events;
    let own = |event: &Event| event.kind == EventKind::RegionState && event.subject == format!("region {region}");
    let states: Vec<_> = events.into_iter().filter(own).filter_map(|event| event.after).collect();
    let (last, before) = states.split_last().unwrap();
    assert_eq!(last, "serving");
    before.iter().rev().take_while(|state| *state != "serving").any(|state| state == "verifying")
}

/// The verifications, which nobody asks for.
fn verifications(machine: &Machine) -> Vec<Job> {
    let jobs: Vec<Job> = serde_json::from_slice(&machine.run(&["sledctl", "--json", "jobs"]).stdout).unwrap();
    jobs.into_iter().filter(|job| job.kind == JobKind::Scrub && job.unasked).collect()
}

/// The state of each extent of a region.
fn extents(machine: &Machine, region: &str) -> Vec<ExtentState> {
    let told = machine.run(&["sledctl", "--json", "region", "show", region, "--extents"]).stdout;
    let told: Extents = serde_json::from_slice(&told).unwrap();
    assert!(told.allocated_bytes > 0 && told.extents.iter().all(|one| one.modified.is_some()), "{told:?}");
    told.extents.into_iter().map(|one| one.state).collect()
}

/// The maps of the first two regions show what was found, and what was not.
fn maps_show_it(machine: &Machine) {
    assert!(extents(machine, "still-fawn-0").iter().all(|state| *state == ExtentState::Rotten));
    let others = extents(machine, "still-fawn-1");
    assert_eq!((others[3], others[4]), (ExtentState::Clean, ExtentState::Untouched), "it has not been seen yet");
    let map = machine.ok(&["sledctl", "region", "show", "still-fawn-1", "--extents"]);
    assert!(map.contains("generation 7, flush 3\n") && map.contains("     0  ...c........"), "{map}");
    assert_eq!(machine.get("/v1/regions/still-fawn-1/extents").0, 404, "that is the operator's to see");
}

fn wanted(machine: &Machine, which: &str) {
    machine
        .sh(&format!("printf '[storage]\\nverify_after_crash = \"{which}\"\\n' >/etc/sled/sled.toml.d/60-verify.toml"));
}

fn cause_of(volume: &Volume, code: &str) -> String {
    cause(volume, code).unwrap_or_default().to_owned()
}

fn served(machine: &Machine, told: &str) -> String {
    let told_of = |volume: &_| cause(volume, "SLED_UNCLEAN").is_some_and(|cause| cause.contains(told));
    let volume = machine.wait_for("still-fawn", |volume| volume.ready && told_of(volume));
    cause(&volume, "SLED_UNCLEAN").unwrap().to_owned()
}

/// A machine on which the supervisor was killed in the midst of verifying its first region, and the next one goes on: no
/// extent counts twice, and what was looked at is not looked at again, as it would be found right then.
fn killed_in_the_midst() -> Machine {
    loop {
        let mut machine = rotting();
        machine.sh("touch /arm");
        machine.cut();
        machine.until("test -e /killed && ! systemctl -q is-active killer");
        let next = killed_at(&machine);
        assert!(next > 0);
        if next < EXTENTS {
            return machine;
        }
        println!("all was verified before the supervisor was stopped: once more");
    }
}

/// How far it was, by what was on record when the supervisor was stopped.
fn killed_at(machine: &Machine) -> u32 {
    let killed: Verification = serde_json::from_str(&machine.sh("cat /killed")).unwrap();
    killed.regions.unwrap().remove(&"still-fawn-0".parse().unwrap()).unwrap().next
}

/// What was verified before is right by now, and was counted as rotten then.
fn what_was_verified_is_right(machine: &Machine) {
    let right = machine.sh("for i in /crucible/still-fawn-0/00/000/*; do od -An -tu1 -j612 -N1 $i; done | grep -c 7");
    assert_eq!(right.trim(), killed_at(machine).to_string());
}

/// What lay in the trash is verified when it comes back, and a record that cannot be read says of nothing that it is not due.
fn what_comes_back_is_verified(machine: &mut Machine) {
    wanted(machine, "all");
    machine.ok(&["sledctl", "region", "delete", "still-fawn-2", "--yes-destroy", "still-fawn-2"]);
    machine.cut();
    let waits = "not verified unless restored from the trash: still-fawn-2";
    machine.wait_for("still-fawn", |volume| cause_of(volume, "SLED_UNCLEAN").contains(waits));
    machine.ok(&["sledctl", "region", "restore", "still-fawn-2"]);
    assert!(!served(machine, "of 3 region(s) that may be so were held").contains(waits));
    assert!(was_verifying(machine, "still-fawn-2"));
    machine
        .sh(&format!("systemctl stop sledd.socket sledd.service; echo '{{' >{RECORD}; systemctl start sledd.socket"));
    let lost = machine.wait_for("still-fawn", |volume| volume.ready && has(volume, "VERIFICATION_LOST"));
    let lost = cause_of(&lost, "VERIFICATION_LOST");
    assert!(lost.contains("as it served already: still-fawn-0, still-fawn-1, still-fawn-2"), "{lost}");
}

/// A machine on which one region rots in all that was just written, and another in what was written long ago.
fn rotting() -> Machine {
    let map = SMALL.replace("extent_count = 4", &format!("extent_count = {EXTENTS}"));
    let never = "[scrub]\nschedule = \"off\"\n";
    let layer = Layer::small().with("etc/sled/port-map.toml", &map).with("etc/sled/sled.toml.d/55-scrub.toml", never);
    let killer = KILLER.replace("EXTENTS", &EXTENTS.to_string());
    let layer = layer.with_script("usr/lib/crucible/killer", &killer).with("etc/systemd/system/killer.service", KILLED);
    let machine = layer.with("etc/systemd/system/sledd.service.d/killer.conf", UNWATCHED).boot_and_create();
    for number in 0..EXTENTS {
        write_nth(&machine, "still-fawn-0", number);
        rot_nth(&machine, "still-fawn-0", number);
    }
    write_nth(&machine, "still-fawn-1", 3);
    rot_nth(&machine, "still-fawn-1", 3);
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    File::options().write(true).open(nth(&machine, "still-fawn-1", 3)).unwrap().set_modified(long_ago).unwrap();
    machine
}

#[test]
fn what_was_being_written_when_the_machine_ended_is_verified_before_its_region_serves() {
    let mut machine = killed_in_the_midst();
    let told = format!("since: {EXTENTS} block(s) are not what their checksums say in still-fawn-0");
    let cause = served(&machine, &format!("held to their checksums {told}"));
    assert!(!cause.contains("still-fawn-1"), "{cause}");
    what_was_verified_is_right(&machine);
    let volume = machine.wait_for("still-fawn", |volume| volume.ready && has(volume, "REGION_BITROT"));
    let found: Vec<_> = volume.regions.iter().map(|region| region.scrub.as_ref().map(|scrub| scrub.rotten)).collect();
    assert_eq!(found, [Some(u64::from(EXTENTS)), None, None], "one has it, and no other was scrubbed");
    let scrub = volume.regions[0].scrub.clone().unwrap();
    assert!(scrub.completed.is_none() && scrub.verified.is_some(), "that was no scrub: {scrub:?}");
    let shown = machine.run(&["sledctl", "region", "show", "still-fawn-0"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("scrubbed   never whole; verified at"), "{shown}");
    assert!(was_verifying(&machine, "still-fawn-0"));
    maps_show_it(&machine);

    // Another supervisor of this boot verifies nothing anew.
    let (before, jobs) = (machine.pids(), verifications(&machine));
    let found = |job: &&Job| job.error.as_ref().is_some_and(|why| why.code != Refusal::CutShort);
    assert_eq!(jobs.iter().filter(found).count(), 1, "{jobs:?}");
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    assert_eq!(served(&machine, &told), cause);
    assert_eq!((machine.pids(), verifications(&machine).len()), (before, jobs.len()));
    machine.ok(&["sledctl", "region", "restart", "still-fawn-1", "--force"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(verifications(&machine).len(), jobs.len(), "it was verified in this boot");

    wanted(&machine, "all");
    machine.cut();
    served(&machine, "say in still-fawn-0, 1 block(s) are not what their checksums say in still-fawn-1");
    wanted(&machine, "off");
    machine.cut();
    served(&machine, "not verified, by storage.verify_after_crash: still-fawn-0, still-fawn-1, still-fawn-2");
    assert!(!was_verifying(&machine, "still-fawn-0"));

    what_comes_back_is_verified(&mut machine);
    // After a shutdown there is nothing to verify.
    let jobs = verifications(&machine).len();
    wanted(&machine, "recent");
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "SLED_UNCLEAN"));
    assert_eq!(verifications(&machine).len(), jobs);
}
