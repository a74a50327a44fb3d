//! Every kind of failure of a downstairs, on real files and real ports: what passes is tried
//! again, what has to be waited for is waited for, and what a restart does not cure is held.

use crucible_sled::wire::{self, State};
use support::layer::Layer;
use support::machine::{Machine, cause, has, unit};

const REGION: &str = "still-fawn-1";

/// A program that takes the region's data port as soon as it is free, and keeps it.
const STRANGER: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); \
     1 until bind($s, sockaddr_in(3831, inet_aton('192.168.4.189'))); listen($s, 8); sleep";

/// The same without listening: nobody sees who has the port, and nobody else can bind to it.
const SILENT_STRANGER: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); \
     bind($s, sockaddr_in(3831, inet_aton('192.168.4.189'))) or die; \
     system('systemd-notify --ready'); sleep";

/// Kills what serves, and waits until the volume shows this condition with these words.
fn kill_and_wait_for(machine: &Machine, code: &str, words: &str) {
    machine.kill("KILL", REGION);
    machine.wait_for("still-fawn", |volume| cause(volume, code).is_some_and(|cause| cause.contains(words)));
}

fn ready(machine: &Machine) {
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.get("/v1/volumes/still-fawn").0, 200);
}

#[test]
fn a_killed_or_aborted_downstairs_comes_back_and_is_not_held() {
    let machine = Layer::small().boot_and_create();
    for (signal, words) in [("KILL", "was killed by signal 9"), ("ABRT", "panicked or was aborted (signal 6)")] {
        let before = machine.region(REGION).pid;
        machine.kill(signal, REGION);
        let down = |volume: &_| cause(volume, "REGION_DOWN").is_some_and(|cause| cause.contains(words));
        machine.wait_for("still-fawn", down);
        ready(&machine);
        assert_ne!(machine.region(REGION).pid, before);
    }
}

#[test]
fn a_port_that_a_stranger_took_meanwhile_is_waited_for() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["systemd-run", "--unit=stranger", "perl", "-e", STRANGER]);
    machine.kill("KILL", REGION);
    let pid = machine.sh("systemctl show --value --property=MainPID stranger").trim().to_owned();
    let words = [format!("process {pid} "), "perl".into(), "stranger.service".into(), "port 3831".into()];
    let named = |cause: &str| words.iter().all(|word| cause.contains(word));
    machine.wait_for("still-fawn", |volume| cause(volume, "PORT_TAKEN").is_some_and(named));
    let volume = machine.wait_for("still-fawn", |volume| volume.regions[1].state == Some(State::Stopped));
    assert!(has(&volume, "REGION_DOWN") && !volume.ready, "{volume:#?}");
    // The region is not tried again as long as the port is taken.
    assert_eq!(machine.hear(3, &unit(REGION), "Address already in use|Started|Scheduled restart"), "");
    let tries = machine.count(&unit(REGION), "Address already in use");
    assert!((1..=5).contains(&tries), "it was tried {tries} times");
    assert!(machine.is_stopped(REGION));
    machine.ok(&["systemctl", "stop", "stranger"]);
    ready(&machine);
}

/// Nobody sees such a socket; the region is tried ever more slowly, and not held.
#[test]
fn a_port_that_is_bound_and_not_listened_at_is_found_out_before_anything_is_begun() {
    let machine = Layer::small().boot();
    let stranger = || {
        machine.sh("until ip address show br0 | grep -q 192.168.4.189; do sleep 0.1; done");
        // Connections that the last downstairs has left would keep it from binding.
        machine.sh("until ! ss -Htan 'sport = :3831' | grep -q .; do ss -K -Htan 'sport = :3831' >/dev/null; done");
        let notify = ["--property=Type=notify", "--property=NotifyAccess=all"];
        let run = ["systemd-run", "--collect", "--unit=stranger"];
        machine.ok(&[&run[..], &notify, &["perl", "-e", SILENT_STRANGER]].concat());
    };
    stranger();
    let refused = machine.run(&["sledctl", "region", "create", REGION]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && why.contains("port 3831 is taken") && why.contains("stranger.service"),
        "{why}"
    );
    machine.ok(&["systemctl", "stop", "stranger"]);
    machine.ok(&["sledctl", "region", "create", "--all"]);
    ready(&machine);

    machine.ok(&["sledctl", "region", "hold", REGION]);
    stranger();
    machine.ok(&["sledctl", "region", "release", REGION]);
    let taken = machine.wait_for_check("still-fawn", "PORT_TAKEN");
    assert!(taken.cause.contains("perl") && taken.cause.contains("of stranger.service"), "{taken:?}");
    assert_eq!(machine.count(&unit(REGION), "Address already in use"), 0, "it was started all the same");
    machine.ok(&["systemctl", "stop", "stranger"]);
    ready(&machine);
    assert_eq!(machine.property(REGION, "NRestarts"), "0", "systemd tried it as well");
}

/// Seen from inside, as nobody outside reaches a machine without its address.
#[test]
fn an_address_that_is_gone_is_waited_for() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"]);
    machine.ok(&["ip", "address", "flush", "dev", "br0"]);
    machine.kill("KILL", REGION);
    machine.sh(
        "until sledctl --json volume show still-fawn | grep -q 'waits until this machine has the address'; do sleep 0.1; done",
    );
    assert_eq!(machine.hear(3, &unit(REGION), "assign requested address|Started|Scheduled restart"), "");
    let tries = machine.count(&unit(REGION), "Cannot assign requested address");
    assert!((1..=5).contains(&tries), "it was tried {tries} times");
    assert!(machine.is_stopped(REGION));
    machine.ok(&["ip", "address", "add", "192.168.4.189/24", "dev", "br0"]);
    ready(&machine);
}

/// Spoils a region while it runs, and kills its downstairs: it must be told why, must not be
/// started again and again, and must serve when it was mended and released.
fn spoiled(machine: &Machine, spoil: &str, words: &[&str], mend: &str) {
    machine.sh(&format!("cd /crucible/{REGION}; {spoil}"));
    machine.kill("KILL", REGION);
    let wanted = |volume: &crucible_sled::wire::Volume| {
        let why = ["REGION_BROKEN", "REGION_DAMAGED", "REGION_IDENTITY"].map(|code| cause(volume, code)).into_iter();
        let told = why.flatten().any(|cause| words.iter().any(|word| cause.contains(word)));
        told && matches!(volume.regions[1].state, Some(State::Held | State::Failed))
    };
    machine.wait_for("still-fawn", wanted);
    machine.wait_until_stopped(REGION);
    assert_eq!(machine.hear(2, &unit(REGION), "Started|Scheduled restart"), "", "{spoil}");
    assert!(machine.is_stopped(REGION) && !machine.volume("still-fawn").ready, "{spoil}");
    machine.sh(&format!("cd /crucible/{REGION}; {mend}"));
    // Obstacles that the supervisor sees for itself before a start need no release.
    let released = machine.run(&["sledctl", "--json", "region", "release", REGION]);
    let said = String::from_utf8_lossy(&released.stdout).into_owned();
    assert!(released.status.success() || said.contains("NOT_HELD"), "{spoil}: {said}");
    ready(machine);
}

#[test]
fn a_region_with_a_broken_definition_is_held_until_it_is_mended() {
    let machine = Layer::small().boot_and_create();
    machine.sh(&format!("cp -a /crucible/{REGION}/region.json /root/"));
    let back = "cp -a /root/region.json .";
    let format = ["its region has another format", "format 2, and only 1"];
    spoiled(
        &machine,
        "sed -i 's/\"database_read_version\": *1/\"database_read_version\": 2/' region.json",
        &format,
        back,
    );
    let cut = ["its region.json cannot be read", "cannot be read"];
    spoiled(&machine, "truncate -s 40 region.json", &cut, back);
    let gone = ["its region.json is missing", "it has no region.json"];
    spoiled(&machine, "rm region.json", &gone, back);
}

#[test]
fn a_region_with_a_broken_extent_is_held_until_it_is_mended() {
    let machine = Layer::small().boot_and_create();
    machine.sh(&format!("cp -a /crucible/{REGION}/00/000/002 /root/"));
    let back = "cp -a /root/002 00/000/002";
    let missing = ["an extent of it is missing", "00/000/002: No such file"];
    spoiled(&machine, "rm 00/000/002", &missing, back);
    let cut = ["an extent of it", "are right"];
    spoiled(&machine, "truncate -s -100 00/000/002", &cut, back);
    // Of the right length, and no trailer in it: only the downstairs itself sees that.
    let blank = "size=$(stat -c %s 00/000/002); dd if=/dev/zero of=00/000/002 bs=1 count=32 seek=$((size - 32)) \
                 conv=notrunc 2>/dev/null";
    spoiled(&machine, blank, &["an extent of it is cut off or holds garbage"], back);
    assert!(machine.count("sledd", "unknown tag 0") > 0);
}

#[test]
fn a_region_that_may_not_be_opened_is_held_until_it_may() {
    let machine = Layer::small().boot_and_create();
    let owner = ["may not be opened by the service user", "it belongs to the user with id 0"];
    spoiled(&machine, "chown root 00/000/002; chmod 600 00/000/002", &owner, "chown crucible 00/000/002");
    let mode = ["may not be opened by the service user"];
    spoiled(&machine, "chmod 000 00/000/002", &mode, "chmod 600 00/000/002");
    let dropin = format!("/run/systemd/system/{}.d", unit(REGION));
    let lower = format!(
        "mkdir -p {dropin}; printf '[Service]\\nLimitNOFILE=20\\n' >{dropin}/60-low.conf; systemctl daemon-reload"
    );
    let raise = format!("rm {dropin}/60-low.conf; systemctl daemon-reload");
    spoiled(&machine, &lower, &["it may not open as many files as it has extents"], &raise);
}

/// A hold stays over a reboot, with its reason.
#[test]
fn a_broken_region_is_still_held_after_a_reboot() {
    let mut machine = Layer::small().boot_and_create();
    machine.sh(&format!("chmod 000 /crucible/{REGION}/00/000/002"));
    let words = "may not be opened by the service user";
    kill_and_wait_for(&machine, "REGION_BROKEN", words);
    machine.sh("until grep -q 'may not be opened' /crucible/.sled/ledger.json; do sleep 0.1; done");
    machine.reboot();
    let check = machine.wait_for_check("still-fawn", "REGION_BROKEN");
    assert!(check.cause.contains(words) && check.remedy.contains("sledctl region release still-fawn-1"), "{check:#?}");
    assert_eq!(machine.region(REGION).state, Some(State::Held));
    assert!(machine.is_stopped(REGION));
    assert_eq!(machine.count(&unit(REGION), "Permission denied"), 0, "it was started all the same");
    machine.sh(&format!("chmod 600 /crucible/{REGION}/00/000/002"));
    machine.ok(&["sledctl", "region", "release", REGION]);
    ready(&machine);
}

/// A condition that is told with these words of what to do.
fn told(machine: &Machine, code: &str, words: &str) -> wire::Check {
    let has = |volume: &wire::Volume| {
        volume.checks.iter().find(|check| check.code.as_str() == code && check.remedy.contains(words)).cloned()
    };
    has(&machine.wait_for("still-fawn", |volume| has(volume).is_some())).unwrap()
}

/// What is only stopped, masked, misplaced or removed is not lost: what is said about it, done to the
/// letter, puts it right.
#[test]
fn what_an_operator_is_told_puts_it_right() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    let pid = machine.region(REGION).pid.unwrap();
    machine.ok(&["kill", "-STOP", &pid.to_string()]);
    let stopped = told(&machine, "REGION_HUNG", "kill -CONT");
    machine.sh(stopped.remedy.split(':').next().unwrap());
    ready(&machine);
    assert_eq!(machine.pids(), before);

    machine.ok(&["systemctl", "mask", &unit(REGION)]);
    machine.kill("KILL", REGION);
    let masked = told(&machine, "REGION_DOWN", "systemctl unmask");
    machine.sh(masked.remedy.split(';').next().unwrap());
    ready(&machine);

    what_was_swapped_is_put_back(&machine);
    what_was_removed_is_rescued(&machine);
}

/// Each says where the other lies.
fn what_was_swapped_is_put_back(machine: &Machine) {
    let swap = "cd /crucible; sledctl region hold still-fawn-0; sledctl region hold still-fawn-1 --force; \
                mv still-fawn-0 x; mv still-fawn-1 still-fawn-0; mv x still-fawn-1; sledctl region release --all";
    machine.sh(swap);
    let swapped = told(machine, "REGION_IDENTITY", "the directories were swapped");
    assert!(swapped.cause.contains("it is the region of still-fawn-"), "{swapped:#?}");
    assert!(swapped.cause.contains("lies in /crucible/still-fawn-"), "{swapped:#?}");
    assert!(machine.is_stopped("still-fawn-0") && machine.is_stopped(REGION));
    machine.sh("cd /crucible; mv still-fawn-0 x; mv still-fawn-1 still-fawn-0; mv x still-fawn-1");
    ready(machine);
}

/// Its downstairs has it still.
fn what_was_removed_is_rescued(machine: &Machine) {
    let pid = machine.region(REGION).pid.unwrap();
    machine.sh(&format!("cp -a /crucible/{REGION}/region.json /root/; rm -r /crucible/{REGION}"));
    let gone = told(machine, "REGION_MISSING", "do not stop or restart process");
    assert!(gone.cause.contains(&format!("its process {pid} serves it still")), "{gone:#?}");
    for verb in ["restart", "hold"] {
        let refused = machine.run(&["sledctl", "region", verb, REGION]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(&format!("process {pid}")), "{refused:?}");
    }
    machine.sh(&format!(
        "cd /proc/{pid}/fd; for fd in *; do file=$(readlink $fd) || continue; case $file in /[0-9A-F]*' (deleted)') \
         file=/crucible/rescued${{file% (deleted)}}; mkdir -p ${{file%/*}}; cp $fd $file;; esac; done; \
         cp /root/region.json /crucible/rescued/; \
         chown -R crucible: /crucible/rescued; mv /crucible/rescued /crucible/{REGION}"
    ));
    ready(machine);
    machine.ok(&["sledctl", "region", "restart", REGION]);
    ready(machine);
}
