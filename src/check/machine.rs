//! Conditions of the data disk and of the machine below it: rows of the sled's table, after those of `check/sled.rs`.

/// Make the table of the rows that are given, and of these.
macro_rules! with_machine {
    ($($before:tt)*) => {
        $crate::check::codes! {
            $($before)*
            /// The kernel has made the data disk's file system read-only, as it does after an error on it. A write to
            /// it fails, and a downstairs tries such a write again without end.
            DiskReadOnly = "DISK_READ_ONLY", Blocking, Sled:
                "the kernel has made the file system at ROOT read-only after an error on it: WHAT"
                => "look at the disk (dmesg, smartctl -x DISK); check the file system unmounted: systemctl stop sledd.socket sledd 'crucible-downstairs@*' && umount ROOT && e2fsck -f DEVICE, then mount it and start sledd.socket; if it happens again: replace the disk";
            /// The file system on the data disk has errors on record (ext4 keeps them until e2fsck has mended it), or a
            /// disk below it fails requests.
            DiskErrors = "DISK_ERRORS", Warning, Sled:
                "ext4 has N error(s) of DEVICE on record, the last at TIME in FUNCTION, at block N; or DISK has failed N requests within an hour"
                => "look at the disk and its cable (dmesg, smartctl -x DISK), and have what lies there elsewhere before anything else; a file system with errors is checked unmounted, which clears the record: e2fsck -f DEVICE";
            /// Few of the data disk's inodes are left: soon no file can be made on it, however many bytes are free.
            /// Without any it is DISK_FULL.
            DiskInodesLow = "DISK_INODES_LOW", Warning, Sled:
                "N of N inodes are free at ROOT: soon no file can be made on it"
                => "remove small files that are no region's: du --inodes -xS ROOT | sort -n | tail shows where they lie; their size does not matter";
            /// The latency of a disk below the data disk is far above what it mostly was, for two minutes and longer,
            /// or above a second.
            DiskSlow = "DISK_SLOW", Warning, Sled:
                "a request to DISK takes N ms, and mostly took N ms"
                => "see what keeps it busy (sledctl top, iostat -x 5), and whether it is failing or hot (smartctl -x DISK); every region on it waits as long";
            /// The region's downstairs tries a write again and again that the disk refuses: it computes, answers
            /// nobody, and does not end by itself. To its host it looks like a replica that is slow.
            RegionRetrying = "REGION_RETRYING", Blocking, Region:
                "its downstairs tries a write again without end that is refused: WHY"
                => "mend the disk first; then: sledctl region restart REGION; no restart helps before";
        }
    };
}
pub(crate) use with_machine;
