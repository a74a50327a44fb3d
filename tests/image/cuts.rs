//! Power cuts: QEMU is killed while regions are created and while what hosts are granted is written,
//! ten times on one disk. What was answered before a cut is so after it.

use crate::guest::{BOOT, Disk, Guest};
use crucible_sled::wire::State;

const CUTS: u32 = 10;
/// The volume that is written to: of two the one whose regions are started first.
const VOLUME: &str = "pve";

#[test]
fn ten_power_cuts_during_creation_and_writes_lose_nothing() {
    let disk = Disk::new().with(&[VOLUME, "still-fawn"]).configured(true);
    let (mut granted, mut written) = (0, 0);
    // The first boots are cut as soon as anything is seen of the regions that they create.
    for cut in 0..CUTS {
        let mut guest = disk.boot();
        if cut < CUTS / 2 {
            during_creation(&mut guest, cut);
        } else {
            guest.until_ready(VOLUME);
            holds_what_was_promised(&guest, granted, written);
            let (last, lines) = during_writes(&guest, &disk, cut);
            (granted, written) = (last, lines.max(written));
        }
        guest.cut();
        println!("cut {cut}: generation {granted}, {written} lines");
    }
    let mut guest = disk.boot();
    for volume in [VOLUME, "still-fawn"] {
        guest.until_ready(volume);
    }
    holds_what_was_promised(&guest, granted, written);
    assert_eq!(
        guest.says("sledctl --json checks | grep -c LEDGER || true").trim(),
        "0",
        "{}",
        guest.says("sledctl checks")
    );
}

/// Cuts while regions are being created: each time a little later.
fn during_creation(guest: &mut Guest<'_>, cut: u32) {
    guest.until("a region", BOOT, |guest| {
        let regions = guest.sled()?.volumes.into_iter().flat_map(|volume| volume.regions);
        let begun = regions.filter(|region| !matches!(region.state, None | Some(State::Missing))).count();
        (begun >= cut as usize).then_some(())
    });
}

/// Asks for tickets and appends lines, each synced, until the cut; returns what was answered last.
fn during_writes(guest: &Guest<'_>, disk: &Disk, cut: u32) -> (u64, u64) {
    let lines = disk.file("lines");
    let command = "touch /crucible/lines; n=$(wc -l </crucible/lines); while :; do n=$((n + 1)); \
                   echo $n | dd of=/crucible/lines oflag=append,dsync conv=notrunc status=none && echo $n; done";
    let mut writer = guest.ssh().arg(command).stdout(std::fs::File::create(&lines).unwrap()).spawn().unwrap();
    let mut granted = 0;
    for _ in 0..3 + cut {
        let answered = guest.ask("POST", &format!("/v1/volumes/{VOLUME}/attach"), "{\"takeover\": true}");
        if let Some((200, body)) = answered {
            let ticket: serde_json::Value = serde_json::from_str(&body).unwrap();
            granted = ticket["generation"].as_u64().unwrap();
        }
    }
    assert!(granted > 0, "no ticket was granted");
    _ = writer.kill();
    _ = writer.wait();
    let written = std::fs::read_to_string(&lines).unwrap();
    (granted, written.lines().last().map_or(0, |line| line.parse().unwrap()))
}

fn holds_what_was_promised(guest: &Guest<'_>, granted: u64, written: u64) {
    let sled = guest.sled().unwrap();
    let volume = sled.volumes.iter().find(|volume| volume.volume.as_str() == VOLUME).unwrap();
    assert!(volume.generation >= granted, "generation {} after {granted} was granted", volume.generation);
    let lines: u64 = guest.says("cat /crucible/lines 2>/dev/null | wc -l").trim().parse().unwrap();
    assert!(lines >= written, "{lines} lines after {written} were synced");
}
