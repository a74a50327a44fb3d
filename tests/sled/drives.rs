//! Disk below the data: errors that ext4 meets, a file system that the kernel makes read-only, a disk that fails
//! requests, a downstairs that tries a refused write for ever.

use std::fs;
use std::path::PathBuf;
use support::layer::Layer;
use support::machine::{Machine, cause, has};

/// A machine with the kernel's own sysfs, of which a container has only some: not what file systems tell.
fn boot() -> Machine {
    let layer = Layer::small().with(
        "etc/systemd/system/sledd.service.d/sysfs.conf",
        "[Unit]\nRequiresMountsFor=/kernel\n[Service]\nExecStart=\nExecStart=/usr/bin/sledd --sysfs /kernel\n",
    );
    let layer = layer.with("etc/systemd/system/kernel.mount", "[Mount]\nWhat=sysfs\nWhere=/kernel\nType=sysfs\n");
    layer.boot_and_create()
}

/// The kernel's record of errors on the machine's data disk, out here where sysfs can be written to.
fn record(machine: &Machine) -> PathBuf {
    let number = machine.sh("stat -c %Hd:%Ld /crucible");
    let device = fs::canonicalize(PathBuf::from("/sys/dev/block").join(number.trim())).unwrap();
    PathBuf::from("/sys/fs/ext4").join(device.file_name().unwrap())
}

/// Has the kernel meet an error on the data disk.
fn meet_an_error(machine: &Machine) {
    fs::write(record(machine).join("trigger_fs_error"), "a test").unwrap();
}

#[test]
fn an_error_that_ext4_meets_is_a_warning_with_function_and_time() {
    let machine = boot();
    assert!(machine.volume("still-fawn").checks.is_empty());
    meet_an_error(&machine);
    let check = machine.wait_for_check("still-fawn", "DISK_ERRORS");
    let device = record(&machine).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(check.subject, format!("disk {device}"));
    assert!(check.cause.contains("1 error(s)") && check.cause.contains("in trigger_test_error"), "{check:#?}");
    assert!(check.remedy.contains(&format!("e2fsck -f /dev/{device}")), "{check:#?}");
    assert!(machine.volume("still-fawn").ready, "a warning blocks nothing");
    assert!(machine.sled().well);
}

/// What the kernel does after an error where `errors=remount-ro` is set, as Debian sets it for its own disk. statvfs(3)
/// does not tell of it on every kernel.
#[test]
fn a_file_system_that_the_kernel_makes_read_only_blocks_its_volumes() {
    let machine = boot();
    machine.sh("mount -o remount,errors=remount-ro /crucible");
    meet_an_error(&machine);
    let why = "after an error on it, in trigger_test_error";
    let volume =
        machine.wait_for("still-fawn", |volume| cause(volume, "DISK_READ_ONLY").is_some_and(|it| it.contains(why)));
    assert!(!volume.ready && !has(&volume, "DATA_READ_ONLY"), "{volume:#?}");
    let refused = machine.run(&["sledctl", "region", "restart", "still-fawn-0", "--force"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

/// The stand-in computes and answers nobody, as Crucible's downstairs does while it tries a write that is refused.
#[test]
fn a_downstairs_that_tries_for_ever_is_named_as_that() {
    let machine = boot();
    meet_an_error(&machine);
    machine.wait_for_check("still-fawn", "DISK_ERRORS");
    machine.sh("echo livelock >/crucible/still-fawn-0/stand-in-fault");
    let check = machine.wait_for_check("still-fawn", "REGION_RETRYING");
    assert_eq!(check.subject, "region still-fawn-0");
    assert!(check.cause.contains("ext4 has 1 error(s) on record"), "{check:#?}");
    assert!(!machine.volume("still-fawn").ready);
}

/// A disk as sysfs shows one, that a container cannot have: it fails requests.
#[test]
fn a_disk_that_fails_requests_is_named() {
    let layer = Layer::small().with(
        "etc/systemd/system/sledd.service.d/sysfs.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/sledd --sysfs /fake/sys\n",
    );
    let machine = layer.with("fake/sys/devices/sdx/sdx1/partition", "1\n").boot_and_create();
    machine.sh("cd /fake/sys; mkdir -p dev/block devices/sdx/device; echo 0x3 >devices/sdx/device/ioerr_cnt; \
         ln -s /fake/sys/devices/sdx/sdx1 dev/block/$(stat -c %Hd:%Ld /crucible)");
    // Until the disk was looked at once with what it had failed before, which does not count.
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine.sh("n=3; until sledctl checks | grep -q DISK_ERRORS; do n=$((n + 16)); \
                printf '0x%x\\n' $n >/fake/sys/devices/sdx/device/ioerr_cnt; sleep 0.2; done");
    let check = machine.wait_for_check("still-fawn", "DISK_ERRORS");
    assert_eq!(check.subject, "disk sdx");
    assert!(check.cause.contains("requests within an hour"), "{check:#?}");
}
