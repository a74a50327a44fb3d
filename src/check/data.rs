//! Conditions of the data itself, as scrubs find it: rows of the sled's table, after those of `check/sled.rs`.

/// Make the table of the rows that are given, of these, and of those of the machine.
macro_rules! with_data {
    ($($before:tt)*) => { $crate::check::machine::with_machine! {
    $($before)*
    /// A scrub has found blocks of the region that are not what their checksums say: a host that reads one of them from
    /// this replica falls over, and its guest loses the disk. The volume's other regions may be right. It does not
    /// block: a host that is attached is in no less danger than one that attaches, most of a disk is never read again,
    /// and not to attach a volume is to lose all of it for certain. It is over when a scrub finds these blocks right.
    RegionBitrot = "REGION_BITROT", Warning, Region:
        "N block(s) are not what their checksums say, and a host that reads one falls over: extent N block N: WHY"
        => "see which, and what the volume's other regions on this sled have: sledctl region show REGION; if one is right there: sledctl region repair REGION; if none fits: sledctl region rebuild REGION; have the others scrubbed: sledctl region scrub --volume VOLUME; and look at the disk (sledctl hardware, smartctl -x DISK)";
    /// The last whole scrub of the region is older than `scrub.outdated_after`, or there was none in so long a time since
    /// the region is on record: what has rotted meanwhile is found by the guest that reads it.
    ScrubOverdue = "SCRUB_OVERDUE", Warning, Region:
        "it was last scrubbed at TIME, and is to be within N d"
        => "sledctl region scrub REGION; a schedule does it by itself (scrub.schedule of sled.toml)";
    /// The last scrub of the region could not read everything, or could not go on. What cannot be read is no rot: the
    /// disk does not say what lies there.
    ScrubUnfinished = "SCRUB_UNFINISHED", Warning, Region:
        "its scrub of TIME could not read N place(s): extent N block N: it cannot be read at offset N: WHY"
        => "look at the disk first (dmesg, sledctl hardware, smartctl -x DISK); then: sledctl region scrub REGION";
    } };
}
pub(super) use with_data;
