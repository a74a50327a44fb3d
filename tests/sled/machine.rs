//! Machine below the sled, as a test lays it out, and its end without a shutdown.

use crucible_sled::wire::{DiskDetail, Hardware};
use std::time::Instant;
use support::hosts::EVENT_LIMIT;
use support::layer::Layer;
use support::machine::{Machine, has};

/// A layer whose supervisor reads a machine that lies below `/fake`.
fn laid_out(files: &[(&str, &str)]) -> Layer {
    let layer = Layer::small().with(
        "etc/systemd/system/sledd.service.d/fake.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/sledd --sysfs /fake/sys --proc /fake/proc\n",
    );
    let layer = layer.with("fake/proc/uptime", "1 1\n").with("fake/sys/class/none", "\n");
    files.iter().fold(layer, |layer, (file, text)| layer.with(&format!("fake/{file}"), &format!("{text}\n")))
}

fn hardware(machine: &Machine) -> Hardware {
    let output = machine.run(&["sledctl", "--json", "hardware"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {output:?}"))
}

/// Everything that can be wrong with the machine itself: each is told, and nothing of it keeps a host out.
#[test]
fn a_machine_that_is_not_well_is_told_and_blocks_nothing() {
    let machine = laid_out(&[
        ("proc/pressure/memory", "full avg10=30.00 avg60=40.00 avg300=1.00 total=1"),
        ("proc/pressure/io", "full avg10=99.00 avg60=95.00 avg300=1.00 total=1"),
        ("proc/sys/kernel/tainted", "128"),
        ("proc/sys/kernel/osrelease", "6.12.48+deb13-amd64"),
        ("sys/class/hwmon/hwmon0/name", "k10temp"),
        ("sys/class/hwmon/hwmon0/temp1_input", "99000"),
        ("sys/class/thermal/cooling_device0/type", "Processor"),
        ("sys/class/thermal/cooling_device0/cur_state", "3"),
        ("sys/class/watchdog/watchdog0/state", "inactive"),
        ("sys/class/watchdog/watchdog0/identity", "SP5100 TCO timer"),
        ("sys/class/watchdog/watchdog0/timeout", "60"),
        ("sys/class/rtc/rtc0/since_epoch", "946684800"),
        ("sys/class/dmi/id/sys_vendor", "Dell Inc."),
    ])
    .boot_and_create();
    for code in ["MEMORY_PRESSURE", "IO_PRESSURE", "KERNEL_TAINTED", "SLED_HOT", "CPU_THROTTLED"] {
        machine.wait_for_check("still-fawn", code);
    }
    let volume = machine.volume("still-fawn");
    // What is the operator's alone is no matter of a volume's.
    assert!(volume.ready && !has(&volume, "CLOCK_RTC_LOST"), "{volume:#?}");
    let shown = hardware(&machine);
    let codes: Vec<_> = shown.checks.iter().map(|check| check.code.as_str()).collect();
    for code in ["CLOCK_RTC_LOST", "WATCHDOG_UNARMED", "SLED_HOT"] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
    let inventory = shown.inventory.unwrap();
    assert_eq!(
        (inventory.vendor.as_deref(), inventory.kernel.as_deref()),
        (Some("Dell Inc."), Some("6.12.48+deb13-amd64"))
    );
    let page = machine.ok(&["sledctl", "hardware"]);
    for part in ["Dell Inc.", "SP5100 TCO timer, not fed, resets after 60 s", "k10temp: 99 °C (limit 95 °C)", "ext4"]
    {
        assert!(page.contains(part), "{part:?} is not in\n{page}");
    }
    assert!(machine.sled().well, "warnings leave a sled well");
    // It cools down.
    machine.sh("echo 50000 >/fake/sys/class/hwmon/hwmon0/temp1_input; systemctl restart sledd.service");
    machine.wait_for("still-fawn", |volume| volume.ready && has(volume, "KERNEL_TAINTED") && !has(volume, "SLED_HOT"));
}

/// In a container all that is the host's, and nothing is said of it; the inventory says what it is.
#[test]
fn a_container_says_nothing_of_its_host() {
    let machine = Layer::small().boot_and_create();
    assert!(machine.volume("still-fawn").checks.is_empty());
    let shown = hardware(&machine);
    assert_eq!((shown.checks.len(), shown.sensors.len(), shown.watchdogs.len()), (0, 0, 0));
    assert!(shown.inventory.unwrap().container.is_some());
    assert!(machine.ok(&["sledctl", "hardware"]).contains("a container (systemd-nspawn): the hardware is its host's"));
    let report = machine.ok(&[
        "sh",
        "-c",
        "cd /root && sledctl report a.tar.gz --yes >&2 && tar -xzOf a.tar.gz --wildcards '*hardware.json'",
    ]);
    assert!(report.contains("\"inventory\""), "{report}");
}

/// The machine is reset at once, as by a power cut: the next boot says so until there was an orderly shutdown.
#[test]
fn an_end_without_a_shutdown_is_told_until_there_was_one() {
    let mut machine = Layer::small().boot_and_create();
    assert!(!has(&machine.volume("still-fawn"), "SLED_UNCLEAN"));
    machine.cut();
    let check = machine.wait_for_check("still-fawn", "SLED_UNCLEAN");
    assert!(
        check.cause.contains("it was reset, or it went off before its disk had all; on ext4 an extent may be"),
        "{check:#?}"
    );
    machine.wait_for("still-fawn", |volume| volume.ready);
    // Another supervisor of the same boot says the same, and since when.
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    assert_eq!(machine.wait_for_check("still-fawn", "SLED_UNCLEAN").since, check.since);
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "SLED_UNCLEAN"));
}

/// A region that does not end while the machine is switched off writes, for all that anybody knows, until its power goes:
/// the supervisor is not there any more to see that.
#[test]
fn a_shutdown_that_left_a_region_running_is_no_orderly_one() {
    let mut machine = Layer::small().boot_and_create();
    let stopped = "systemctl kill --signal=STOP crucible-downstairs@still-fawn-0.service";
    machine.sh(stopped);
    machine.reboot();
    let check = machine.wait_for_check("still-fawn", "SLED_UNCLEAN");
    assert!(check.cause.contains("it went off before its disk had all"), "{check:#?}");
    machine.reboot();
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "SLED_UNCLEAN"));
}

/// smartctl as a test plays it, for a disk that a container cannot have: its exit status is a mask, and what was not
/// read is not well.
#[test]
fn a_disk_tells_of_its_health_and_nothing_is_made_of_silence() {
    let smartctl = "#!/bin/sh\n[ \"$*\" = '--json --nocheck=standby --all /dev/sdx' ] || exit 1\n\
                    cat /fake/smart.json\nexit $(cat /fake/status)\n";
    let well = r#"{"smartctl":{"exit_status":0},"model_name":"870 EVO","serial_number":"S6P","rotation_rate":0,
        "smart_status":{"passed":true},"temperature":{"current":33}}"#;
    let machine = laid_out(&[
        ("sys/devices/sdx/sdx1/partition", "1"),
        ("sys/devices/sdx/device/model", "Samsung SSD"),
        ("sys/devices/sdx/queue/rotational", "0"),
        ("smart.json", well),
        ("status", "0"),
    ])
    .with_script("usr/sbin/smartctl", smartctl)
    .boot_and_create();
    machine.sh("mkdir -p /fake/sys/dev/block; echo 7 >/fake/sys/devices/sdx/diskseq; \
                ln -s /fake/sys/devices/sdx/sdx1 /fake/sys/dev/block/$(stat -c %Hd:%Ld /crucible)");
    let health = |wanted: &str| {
        machine.ok(&["systemctl", "restart", "sledd.service"]);
        let began = Instant::now();
        // Nobody tells of it: it is asked often.
        loop {
            let shown = hardware(&machine);
            // Before it was asked it says not even why it is not known.
            let told = |disk: &&DiskDetail| disk.health == wanted && (wanted == "well" || disk.health_words.is_some());
            if let Some(disk) = shown.disks.iter().find(told) {
                break disk.clone();
            }
            assert!(began.elapsed() < EVENT_LIMIT, "waited in vain; the last was {shown:#?}");
        }
    };
    let disk = health("well");
    assert_eq!((disk.model.as_deref(), disk.degrees), (Some("870 EVO"), Some(33)));
    machine.wait_for("still-fawn", |volume| volume.ready && volume.checks.is_empty());

    machine.sh("sed -i 's/\"exit_status\":0/\"exit_status\":8/; s/true/false/' /fake/smart.json; echo 8 >/fake/status");
    assert_eq!(health("failing").health_words.as_deref(), Some("it says itself that it is failing"));
    let check = machine.wait_for_check("still-fawn", "DISK_FAILING");
    assert!(check.cause.contains("sdx (870 EVO) is failing"), "{check:#?}");
    assert!(machine.volume("still-fawn").ready, "its replicas are to be had until it dies");
    // Which disk that is, is the operator's alone to see.
    assert!(machine.ok(&["sledctl", "hardware"]).contains("S6P"));
    assert_eq!(machine.get("/v1/hardware").0, 404);
    let told = machine.get("/v1/volumes/still-fawn").1.to_string();
    assert!(told.contains("870 EVO") && !told.contains("S6P"), "{told}");

    // Another disk takes the name and sleeps: it is asked without anybody's doing, and what the other said is not its.
    machine.sh("sed -i 's/\"exit_status\":8/\"exit_status\":2/' /fake/smart.json; echo 2 >/fake/status; \
                echo 8 >/fake/sys/devices/sdx/diskseq");
    machine.wait_for("still-fawn", |volume| volume.ready && volume.checks.is_empty());
    assert!(health("not known").health_words.unwrap().contains("exit status 2"));
    machine.until("sledctl hardware | grep -q DISK_HEALTH_UNKNOWN");
    assert!(!has(&machine.volume("still-fawn"), "DISK_HEALTH_UNKNOWN"));
}
