//! Block devices below the data disk, and what is wrong with them; and a downstairs that such a disk keeps trying.

use super::facts::{Block, Doing, Drive, Facts, FsErrors, Incident, Region, Sign, Slow};
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::port_map::LocalRegion;
use crate::times::in_seconds;
use std::collections::BTreeSet;

/// The failed requests within an hour from which they are told: a disk behind a USB bridge fails some that it does not
/// know whenever it is asked for its health.
const FAILED_LEAST: u64 = 16;
/// The percentage of a processor above which a process that answers nobody is at work, and does not wait, whoever else is
/// at work on the machine.
const BUSY_PERCENT: u32 = 50;
/// The percentage of a minute in which a region did not get on, as it waited for the disk, from which that is told.
const STALLED_PERCENT: u8 = 80;

/// The findings of the block devices.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let own = facts.block.iter().flat_map(of);
    let told = facts.block.iter().flat_map(|block| &block.disks).filter_map(|disk| logged(disk, facts));
    own.chain(told).collect()
}

/// What the kernel's log has of a disk within a day: of itself, of the file system's own device, and of where it hangs.
fn incidents<'a>(disk: &'a Drive, facts: &'a Facts) -> Vec<&'a Incident> {
    let own = facts.block.as_ref().and_then(|block| block.device.as_deref());
    let names = [Some(disk.name.as_str()), own.filter(|own| *own != disk.name && own.starts_with(&disk.name))];
    let mut all = facts.kernel_log.of(names.into_iter().flatten().chain(disk.hangs_on.iter().map(String::as_str)));
    all.retain(|incident| incident.signs.iter().any(|sign| sign.of_disk().is_some()));
    all
}

/// Whether the kernel's log has it that a disk fails requests.
fn has_failed(disk: &Drive, facts: &Facts) -> bool {
    incidents(disk, facts).iter().any(|incident| incident.signs.contains(&Sign::IoError))
}

/// The finding that the kernel's log has errors of a disk.
fn logged(disk: &Drive, facts: &Facts) -> Option<Finding> {
    let all = incidents(disk, facts);
    let ways: BTreeSet<_> = all.iter().flat_map(|incident| &incident.signs).collect();
    // A single reset is what a disk has that somebody plugs in.
    let grave = all.len() > 1 || ways.iter().any(|sign| **sign != Sign::DiskReset);
    let last = all.last().filter(|_| grave)?;
    let ways: Vec<_> = ways.into_iter().filter_map(|sign| sign.of_disk()).collect();
    let (name, count, at) = (&disk.name, all.len(), in_seconds(last.began));
    let cause = format!(
        "the kernel's log has errors of {name} {count} time(s) within a day, the last at {at}: {} (the kernel: {:?})",
        ways.join(", "),
        last.words
    );
    let remedy = format!(
        "look at the disk, its cable and its port (dmesg, smartctl -x /dev/{name}), and have what lies there elsewhere \
         before anything else"
    );
    Some(Finding::new(Code::DiskErrors, format!("disk {name}"), cause, remedy))
}

fn of(block: &Block) -> Vec<Finding> {
    let errors = block.errors.as_ref().filter(|errors| errors.count > 0);
    let own = errors.zip(block.device.as_ref()).map(|(errors, device)| recorded(block, errors, device));
    let failing = block.disks.iter().filter(|disk| fails(disk)).map(failed);
    let slow = block.disks.iter().filter_map(|disk| disk.slow.map(|slow| slowed(disk, slow)));
    let full = block.disks.iter().filter_map(|disk| untrimmed(block, disk));
    own.into_iter().chain(failing).chain(slow).chain(full).collect()
}

/// The finding that a flash disk is not told what is freed. What turns has no use for it.
fn untrimmed(block: &Block, disk: &Drive) -> Option<Finding> {
    let name = &disk.name;
    let (why, remedy) = if disk.rotational || disk.discards && (block.discard || block.trimmed) {
        return None;
    } else if disk.discards {
        ("nobody does so, as fstrim.timer is not enabled", "systemctl enable --now fstrim.timer".to_owned())
    } else {
        let why = "it cannot be, or what it hangs on does not pass that on";
        (
            why,
            format!(
                "put {name} at a port or behind a bridge that passes TRIM on (lsblk --discard shows it), or do without"
            ),
        )
    };
    let cause =
        format!("{name} is not told what is freed (TRIM), so it gets slower to write to and wears faster: {why}");
    Some(Finding::new(Code::DiskNotTrimmed, format!("disk {name}"), cause, remedy))
}

fn fails(disk: &Drive) -> bool {
    disk.failed.is_some_and(|failed| failed >= FAILED_LEAST)
}

/// How the disk is looked at, as part of a remedy.
fn looked_at(block: &Block) -> String {
    let disks: Vec<_> = block.disks.iter().map(|disk| format!("smartctl -x /dev/{}", disk.name)).collect();
    [vec!["dmesg".to_owned()], disks].concat().join(", ")
}

/// The finding that the file system has errors on record.
fn recorded(block: &Block, errors: &FsErrors, device: &str) -> Finding {
    let at = errors.last.map(|at| format!(", the last at {}", in_seconds(at))).unwrap_or_default();
    let function = errors.function.as_ref().map(|function| format!(" in {function}")).unwrap_or_default();
    let of = errors.block.map(|block| format!(", at block {block}")).unwrap_or_default();
    let cause = format!("{} has {} error(s) of {device} on record{at}{function}{of}", block.kind, errors.count);
    let remedy = format!(
        "look at the disk and its cable ({}), and have what lies there elsewhere before anything else; then check the \
         file system unmounted, which clears the record: e2fsck -f /dev/{device}",
        looked_at(block)
    );
    Finding::new(Code::DiskErrors, format!("disk {device}"), cause, remedy)
}

fn failed(disk: &Drive) -> Finding {
    let (name, count) = (&disk.name, disk.failed.unwrap_or_default());
    let cause = format!("{name} has failed {count} requests within an hour");
    let remedy = format!(
        "look at the disk, its cable and its port (dmesg, smartctl -x /dev/{name}), and have what lies there elsewhere \
         before anything else"
    );
    Finding::new(Code::DiskErrors, format!("disk {name}"), cause, remedy)
}

fn slowed(disk: &Drive, Slow { now_ms, usual_ms }: Slow) -> Finding {
    let name = &disk.name;
    let usual = usual_ms.map(|usual| format!(", and mostly took {}", ms(usual))).unwrap_or_default();
    let cause = format!("a request to {name} takes {now_ms} ms{usual}");
    let remedy = format!(
        "see what keeps it busy (sledctl top, iostat -x 5 {name}), and whether it is failing or hot (smartctl -x \
         /dev/{name}); every region on it waits as long"
    );
    Finding::new(Code::DiskSlow, format!("disk {name}"), cause, remedy)
}

fn ms(ms: u64) -> String {
    if ms == 0 { "less than 1 ms".into() } else { format!("{ms} ms") }
}

/// The finding that the kernel has made the data disk read-only, or lets nobody read it any more.
pub(super) fn frozen(config: &Configuration, facts: &Facts) -> Finding {
    let root = config.sled.storage.root.display();
    let known = Block::default();
    let block = facts.block.as_ref().unwrap_or(&known);
    let device = block.device.as_ref().map_or_else(|| "DEVICE".to_owned(), |device| format!("/dev/{device}"));
    let last = block.errors.as_ref().and_then(|errors| {
        let at = errors.last.map(|at| format!(" at {}", in_seconds(at))).unwrap_or_default();
        errors.function.as_ref().map(|function| format!(", in {function}{at}"))
    });
    let last = last.unwrap_or_default();
    let cause = match facts.disk.as_ref().and_then(|disk| disk.mark.as_ref().err()) {
        None => format!(
            "the kernel has made the file system at {root} read-only after an error on it{last}: what is written is refused"
        ),
        Some(why) => format!(
            "the file system at {root} cannot be read any more: the disk fails, or the kernel has given it up after an \
             error on it{last}: {why}"
        ),
    };
    let check = if block.kind == "xfs" { "xfs_repair" } else { "e2fsck -f" };
    let remedy = format!(
        "look at the disk ({}); check the file system unmounted: systemctl stop sledd.socket sledd \
         'crucible-downstairs@*' && umount {root} && {check} {device}, then mount it and start sledd.socket; if it \
         happens again: replace the disk",
        looked_at(block)
    );
    Finding::new(Code::DiskReadOnly, format!("disk {root}"), cause, remedy)
}

/// The finding that a region's downstairs, which answers nobody, tries a write that is refused for ever. Crucible's
/// downstairs does so with every write that fails, and does nothing else meanwhile. A disk may take long to refuse one.
pub(super) fn retrying(local: &LocalRegion, facts: &Facts, region: &Region) -> Option<Finding> {
    let doing = region.doing.as_ref().filter(|doing| Some(doing.pid) == region.alive())?;
    let waits = doing.state == 'D' && fails_now(facts);
    let why = refused(facts).filter(|_| waits || at_work(doing))?;
    let does =
        if waits { "waits for it".to_owned() } else { format!("takes {} % of a processor for it", doing.cpu_percent) };
    let cause = format!(
        "its downstairs tries a write again without end that is refused: {why}; process {} {does}, and answers nobody",
        doing.pid
    );
    let remedy = format!("mend the disk first; then: sledctl region restart {}; no restart helps before", local.name);
    Some(Finding::about_region(local, Code::RegionRetrying, cause, remedy))
}

/// The finding that a region waits for its disk, and hardly gets on.
pub(super) fn stalled(local: &LocalRegion, region: &Region) -> Option<Finding> {
    let percent = region.io_stalled.filter(|percent| *percent >= STALLED_PERCENT && region.alive().is_some())?;
    let cause = format!("in {percent} % of the last minute its downstairs did not get on, as it waited for the disk");
    let remedy = Code::RegionIoStalled.remedy().to_owned();
    Some(Finding::about_region(local, Code::RegionIoStalled, cause, remedy))
}

fn at_work(doing: &Doing) -> bool {
    matches!(doing.state, 'R' | 'S') && doing.wanted_percent >= BUSY_PERCENT && !doing.journal_stopped
}

/// Tell whether a disk has failed requests of late, and not at some time that is on record.
fn fails_now(facts: &Facts) -> bool {
    facts.block.as_ref().is_some_and(|block| block.disks.iter().any(fails))
}

/// The reason why writes are refused, if the disk is known to refuse some.
fn refused(facts: &Facts) -> Option<String> {
    if facts.disk.as_ref().is_some_and(|disk| disk.read_only) {
        return Some("the file system is read-only".into());
    }
    let block = facts.block.as_ref()?;
    let failing = block.disks.iter().find(|disk| fails(disk) || has_failed(disk, facts));
    let failing = failing.map(|disk| format!("{} fails requests", disk.name));
    let errors = block.errors.as_ref().filter(|errors| errors.count > 0);
    failing.or_else(|| errors.map(|errors| format!("{} has {} error(s) on record", block.kind, errors.count)))
}
