//! Power cuts of an update, one after each of the steps that are seen of it: whatever it was at, the disk has a version that
//! starts, the regions serve, nothing else is said of the new version than that it is not there, and the update can be
//! taken again.

use crate::apply::{ROLLBACK, until_cut_short, until_version};
use crate::guest::{BOOT, Disk, FIRMWARE, Guest, image};
use serde_json::Value;
use std::fs;
use std::process::{Child, Stdio};

/// Prints on the console what of the disk an update has changed, each time that there is something new: what the partitions
/// are called, what is beside the boot loader, whether it is on record, and how many times 96 MiB were written.
const STEPS: &str = r#"n=0; last=
while :; do
    now="$(lsblk -nro PARTLABEL /dev/vda) $(ls -A /boot/EFI/Linux) $(ls -s /var/lib/sled-update/attempt.json 2>/dev/null)"
    now="$now $(awk '{ print int($7 / 196608) }' /sys/block/vda/stat)"
    if [ "$now" != "$last" ]; then echo "step $n of it:" $now >/dev/console; n=$((n + 1)); last=$now; fi
    sleep 0.1
done"#;
/// The fewest steps that are seen of one: it is put on record, written, and then given its names.
const STEPS_LEAST: u32 = 4;
const UPDATE: &str = "/var/good.update";

/// Asks which version runs. Whoever answers polls does so before somebody may log in.
fn version(guest: &mut Guest<'_>) -> String {
    let read = |said: &str| {
        let status: Value = serde_json::from_str(said).ok()?;
        Some(status["running"]["version"].as_str()?.to_owned())
    };
    let said = guest.until_says("sledctl --json update status", BOOT, |said| read(said).is_some());
    read(&said).unwrap()
}

/// Begins an update, and has its steps on the console.
fn begin(guest: &Guest<'_>, disk: &Disk) -> Child {
    guest.forget_console();
    let file = disk.file("steps");
    fs::write(&file, STEPS).unwrap();
    guest.copy(&file, "/run/steps");
    guest.says("systemctl start boot.mount && systemd-run --quiet --unit=steps bash /run/steps");
    let mut apply = guest.ssh();
    apply.arg(format!("sledctl update apply {UPDATE}")).stdout(Stdio::null()).stderr(Stdio::null());
    apply.spawn().unwrap()
}

/// Tells whether the new version runs after a power cut. As long as it does not, nothing of it is there that could start.
fn is_taken(guest: &mut Guest<'_>) -> bool {
    guest.until_ready("still-fawn");
    match version(guest).as_str() {
        "1.0" => {
            until_cut_short(guest, BOOT);
            false
        }
        "1.1" => true,
        other => panic!("{other} runs"),
    }
}

#[test]
fn an_update_that_is_cut_after_any_of_its_steps_leaves_a_sled_that_serves() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    guest.copy(&image("good.update"), UPDATE);
    guest.says("sync");
    let mut step = 1;
    let mut guest = loop {
        let mut apply = begin(&guest, &disk);
        let word = format!("step {step} of it:");
        let ended = guest.until(&word, ROLLBACK, |guest| {
            let ended = apply.try_wait().unwrap();
            (ended.is_some() || guest.console_shows(&word)).then_some(ended)
        });
        println!("{}", guest.console().lines().rfind(|line| line.contains(" of it:")).unwrap_or_default());
        if let Some(status) = ended {
            assert!(status.success(), "it was not taken: {}", guest.console());
            guest.forget_console();
            _ = guest.root("systemctl reboot");
            guest.until("another boot", BOOT, |guest| guest.console_shows(FIRMWARE).then_some(()));
            break guest;
        }
        guest.cut();
        _ = apply.kill();
        _ = apply.wait();
        guest = disk.boot();
        if is_taken(&mut guest) {
            break guest;
        }
        step += 1;
    };
    assert!(step >= STEPS_LEAST, "{step} steps were seen");
    until_version(&mut guest, "1.1", "good", BOOT);
    guest.until_ready("still-fawn");
}
