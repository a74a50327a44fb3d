//! A disk that fails: what it cannot read, what it cannot write, and a journal that it loses. Each is told by its name, and
//! only the last one stops the sled.

use crate::guest::{BOOT, Disk, Guest};
use crucible_sled::check::Code;
use crucible_sled::region::extent::{Array, Layout};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use twox_hash::XxHash64;

/// The layout of an extent of the test's map.
const LAYOUT: Layout = Layout { block_bytes: 4096, blocks: 256 };
/// The block of the region's first extent that has data, and that the disk loses.
const BLOCK: u64 = 16;
/// The file beside the regions that cannot be written any more.
const BESIDE: &str = "/crucible/beside";
/// The distance of the blocks of the journal that cannot be written: less than what a few transactions take.
const APART: usize = 16;

/// An error of the disk, as QEMU's blkdebug reads it, at a sector.
fn fault(kind: &str, sector: u64) -> String {
    format!("[inject-error]\nevent = \"none\"\niotype = \"{kind}\"\nerrno = \"5\"\nsector = \"{sector}\"\n\n")
}

fn first_extent(guest: &Guest<'_>) -> String {
    guest.says("find /crucible -path '*still-fawn-0/00/000/000'").trim().to_owned()
}

/// Writes a block, and what says of it what it is to be, as a downstairs leaves it.
fn write_a_block(guest: &Guest<'_>, disk: &Disk, extent: &str) {
    let (own, data) = (BLOCK..BLOCK + 1, [0x5a; 4096]);
    let hash = XxHash64::oneshot(0, &data).to_le_bytes();
    let mut slot = [0; 48];
    slot[0] = 1;
    slot[1..9].copy_from_slice(&hash);
    slot[10..18].copy_from_slice(&hash);
    for (bytes, at) in [(&data[..], LAYOUT.data(&own).start), (&slot, LAYOUT.slots(Array::First, &own).start)] {
        let file = disk.file("bytes");
        fs::write(&file, bytes).unwrap();
        guest.copy(&file, "/run/bytes");
        guest
            .says(&format!("dd if=/run/bytes of='{extent}' oflag=seek_bytes seek={at} conv=notrunc,fsync status=none"));
    }
}

/// The sector of the whole disk at which a byte of a file lies.
fn sector(guest: &Guest<'_>, file: &str, at: u64) -> u64 {
    // "   0:        0..       0:      33280..     33280:      1: …", in blocks of 4096 bytes
    let told = guest.says(&format!("filefrag -b4096 -e '{file}'"));
    let numbers = |line: &str| -> Vec<u64> {
        line.split(['.', ':', ' ']).filter(|word| !word.is_empty()).map_while(|word| word.parse().ok()).collect()
    };
    let block = told.lines().map(numbers).find_map(|all| match all[..] {
        [_, first, last, physical, ..] if (first..=last).contains(&(at / 4096)) => Some(physical + at / 4096 - first),
        _ => None,
    });
    partition(guest) + block.unwrap_or_else(|| panic!("{told}")) * 8
}

/// The sector at which the regions' partition begins.
fn partition(guest: &Guest<'_>) -> u64 {
    let start = "cat /sys/class/block/$(basename $(readlink -f $(findmnt -no SOURCE /crucible)))/start";
    guest.says(start).trim().parse().unwrap()
}

/// Some of the sectors of the journal, all over it.
fn journal(guest: &Guest<'_>) -> Vec<u64> {
    let start = partition(guest);
    let blocks = guest.says("debugfs -R 'blocks <8>' $(findmnt -no SOURCE /crucible) 2>/dev/null");
    // The first is its head, without which nothing is mounted.
    let blocks = blocks.split_whitespace().skip(1).step_by(APART);
    blocks.map(|block| start + block.parse::<u64>().unwrap() * 8).collect()
}

fn faults(disk: &Disk, text: String) -> PathBuf {
    let file = disk.file("faults");
    fs::write(&file, text).unwrap();
    file
}

fn told(guest: &mut Guest<'_>, code: Code, word: &str) {
    guest.until(&format!("{code}: {word}"), BOOT, |guest| {
        guest.sled()?.checks.iter().any(|check| check.code == code && check.cause.contains(word)).then_some(())
    });
}

#[test]
fn a_disk_that_fails_is_told_by_what_it_fails_at() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    let extent = first_extent(&guest);
    write_a_block(&guest, &disk, &extent);
    guest.says(&format!("dd if=/dev/zero of={BESIDE} bs=4096 count=1 conv=fsync status=none"));
    guest.says("sledctl region scrub still-fawn-0");
    let read = sector(&guest, &extent, LAYOUT.data(&(BLOCK..BLOCK + 1)).start);
    let written = sector(&guest, BESIDE, 0);
    let journal = journal(&guest);
    guest.switch_off();

    let lost = faults(&disk, fault("read", read) + &fault("write", written));
    let mut guest = disk.boot_with(&["--faults", lost.to_str().unwrap()]);
    guest.until_ready("still-fawn");
    cannot_read(&mut guest);
    cannot_write(&mut guest);
    // Nothing of it is a reason to refuse a host.
    guest.until_ready("still-fawn");
    guest.switch_off();

    let text = journal.iter().fold(String::new(), |mut text, sector| {
        write!(text, "{}", fault("write", *sector)).unwrap();
        text
    });
    let lost = faults(&disk, text);
    let mut guest = disk.boot_with(&["--faults", lost.to_str().unwrap()]);
    guest.until_up();
    _ = guest.root("for n in $(seq 100); do touch /crucible/more$n; sync -f /crucible || break; done");
    told(&mut guest, Code::DiskReadOnly, "/crucible");
    guest.until_answer("still-fawn", 503);
}

/// A block is named by where it lies, and is no rot.
fn cannot_read(guest: &mut Guest<'_>) {
    let scrubbed = guest.root("sledctl region scrub still-fawn-0 2>&1");
    let scrubbed = String::from_utf8_lossy(&scrubbed.stdout).into_owned();
    let shown = guest.root("sledctl region show still-fawn-0 --extents");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("extent 0: 1 place(s) could not be read"), "{shown}; the scrub: {scrubbed}");
    told(guest, Code::DiskErrors, "requests failed");
    told(guest, Code::ScrubUnfinished, "could not read 1 place(s)");
    let rots = guest.sled().unwrap().checks.iter().any(|check| check.code == Code::RegionBitrot);
    assert!(!rots, "an error of the disk is taken for rot: {shown}");
}

fn cannot_write(guest: &mut Guest<'_>) {
    let refused = guest.root(&format!("dd if=/dev/zero of={BESIDE} bs=4096 count=1 conv=notrunc,fsync"));
    assert!(!refused.status.success(), "it was written");
    guest.says("dmesg | grep 'op 0x1:(WRITE)'");
}
