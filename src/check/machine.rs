//! Conditions of the data disk and of the machine below it: rows of the sled's table, after those of `check/sled.rs`.

/// Make the table of the rows that are given, and of these.
macro_rules! with_machine {
    ($($before:tt)*) => {
        $crate::check::codes! {
            $($before)*
            /// The kernel has made the data disk's file system read-only, as it does after an error on it. A write to
            /// it fails, and a downstairs tries such a write again without end.
            DiskReadOnly = "DISK_READ_ONLY", Blocking, Sled:
                "the kernel has made the file system at ROOT read-only after an error on it, or it cannot be read any more: WHAT"
                => "look at the disk (dmesg, smartctl -x DISK); check the file system unmounted: systemctl stop sledd.socket sledd 'crucible-downstairs@*' && umount ROOT && e2fsck -f DEVICE, then mount it and start sledd.socket; if it happens again: replace the disk";
            /// The file system on the data disk has errors on record (ext4 keeps them until e2fsck has mended it), a disk
            /// below it fails requests, or the kernel's log of the last day has it that a disk failed requests, did not
            /// answer in time, or did not come back from a reset (SATA and NVMe). Resets are told from the second on.
            DiskErrors = "DISK_ERRORS", Warning, Sled:
                "ext4 has N error(s) of DEVICE on record, the last at TIME in FUNCTION, at block N; or DISK has failed N requests within an hour; or the kernel's log has errors of DISK N time(s) within a day: HOW"
                => "look at the disk and its cable (dmesg, smartctl -x DISK), and have what lies there elsewhere before anything else; a file system with errors is checked unmounted, which clears the record: e2fsck -f DEVICE";
            /// Few of the data disk's inodes are left: soon no file can be made on it, however many bytes are free.
            /// Without any it is DISK_FULL.
            DiskInodesLow = "DISK_INODES_LOW", Warning, Sled:
                "N of N inodes are free at ROOT: soon no file can be made on it"
                => "remove small files that are no region's: du --inodes -xS ROOT | sort -n | tail shows where they lie; their size does not matter";
            /// A disk below the data says itself that it is failing, or an attribute that foretells a failure is at its
            /// threshold (SMART). It is asked with `smartctl`, where that is installed, once an hour.
            DiskFailing = "DISK_FAILING", Warning, Sled:
                "DISK (MODEL) is failing: WHAT IT SAYS"
                => "replace it soon: have what lies there elsewhere first; sledctl hardware shows its serial number, smartctl -x /dev/DISK all that it says";
            /// A disk below the data has used nine tenths and more of the life that it was made for.
            DiskWear = "DISK_WEAR", Warning, Sled:
                "DISK (MODEL) has used N % of the life that it was made for"
                => "have another one ready: it may work on for long, or end without a word; smartctl -x /dev/DISK shows all that it says";
            /// A disk below the data does not tell of its health (SMART), or cannot be asked for it: that it fails will be
            /// seen when it fails requests, and not before. A virtual disk is not expected to.
            DiskHealthUnknown = "DISK_HEALTH_UNKNOWN", Information, Operator:
                "nobody knows whether DISK is well: WHY"
                => "see what it says: smartctl -x /dev/DISK (of the package smartmontools); a disk behind a USB bridge that passes no such question on: at a port of the machine itself, or with its data elsewhere too";
            /// A disk below the data is at the limit of its temperature, by the kernel's sensor or by its own word.
            DiskHot = "DISK_HOT", Warning, Sled:
                "DISK has N °C, and N °C is its limit"
                => "give it air, or a heat sink; it slows down by itself, and wears faster";
            /// A flash disk below the data is not told what is freed: it cannot be (many USB bridges pass no TRIM on), or
            /// the file system is mounted without `discard` and `fstrim.timer` is not enabled. It gets slower to write to,
            /// and wears faster.
            DiskNotTrimmed = "DISK_NOT_TRIMMED", Information, Operator:
                "DISK is not told what is freed (TRIM), so it gets slower to write to and wears faster: WHY"
                => "systemctl enable --now fstrim.timer; a disk that cannot be told: at a port or behind a bridge that passes TRIM on";
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
            /// A region's downstairs waited for the disk for most of the last minute, and did not get on.
            RegionIoStalled = "REGION_IO_STALLED", Warning, Region:
                "in N % of the last minute its downstairs did not get on, as it waited for the disk"
                => "see what keeps the disk busy (sledctl top), and whether it is well (sledctl hardware, dmesg)";
            /// All that runs on the machine has waited for memory for a tenth and more of the last minute.
            MemoryPressure = "MEMORY_PRESSURE", Warning, Sled:
                "in N % of the last minute nobody got on, as all waited for memory"
                => "see what takes it: systemd-cgtop -m, ps aux --sort=-rss; a downstairs takes 20 to 62 MB";
            /// All that runs on the machine has waited for a disk for four fifths and more of the last minute, and nobody
            /// got on.
            IoPressure = "IO_PRESSURE", Warning, Sled:
                "in N % of the last minute nobody got on, as all waited for a disk"
                => "see who keeps it busy (sledctl top, iostat -x 5), and whether the disk is well (sledctl hardware, dmesg)";
            /// The kernel has killed processes within the last day, as there was no memory left; or since it was
            /// started, in a region's unit.
            OomKilled = "OOM_KILLED", Warning, Sled:
                "the kernel has killed N process(es), as there was no memory left; among what was killed: N of REGION"
                => "see which, and who took the memory: journalctl -k -g 'oom-kill|Out of memory'; give the machine more, or run less on it";
            /// The machine was booted without having been shut down: its power was cut, its kernel panicked, or its
            /// watchdog reset it. On ext4 and xfs that can leave an extent of a region marked clean whose blocks do not fit
            /// their checksums; the file system's own check does not find these. The extents that were being written are
            /// verified before their regions serve (`storage.verify_after_crash`), a scrub reads all. The cause says what
            /// is known. It is over with the next orderly shutdown.
            SledUnclean = "SLED_UNCLEAN", Warning, Sled:
                "the machine ended without a shutdown: HOW; on ext4 an extent may be marked clean then and have blocks that do not fit their checksums; what is known since"
                => "find out why (journalctl -b -1 -e); have every block of the regions held to its checksum, while hosts go on: sledctl region scrub --all (sledctl region show REGION tells of the last one); the next orderly reboot ends this";
            /// The record of which regions are to be verified after an end of the machine without a shutdown could not be
            /// read. It may have said that some are, and how far that was: so all extents of every region that did not
            /// serve already are verified before it serves. It is over with the next boot after that, unless a region that is
            /// to be verified lies in the trash still.
            VerificationLost = "VERIFICATION_LOST", Warning, Sled:
                "the record of what was to be verified could not be read (WHY), so that all extents of the regions that did not serve are"
                => "wait for it (sledctl jobs); regions that served already are not verified: have them scrubbed, while hosts go on: sledctl region scrub --all; and see why the record was lost (sledctl hardware, dmesg)";
            /// The kernel has crashed, in this or in an earlier boot, and has left a record of it, as pstore keeps one over a
            /// reset and systemd-pstore puts it on the disk. It is over when the record is gone, by hand or after two weeks.
            KernelCrashed = "KERNEL_CRASHED", Warning, Operator:
                "the kernel has crashed N time(s), the last time with the words: WORDS; its record is RECORD"
                => "read it: grep -r . RECORD | less; if it happens again: test the memory, look at heat and power supply, or run another version of the kernel; it is over when the record is put away: mv RECORD /var/tmp";
            /// A sensor of the processor is at its limit.
            SledHot = "SLED_HOT", Warning, Sled:
                "SENSOR shows N °C, and N °C is its limit"
                => "see that the fan turns and that it gets air; remove dust";
            /// A processor is slowed down, or was within the last hour, as it is too hot.
            CpuThrottled = "CPU_THROTTLED", Warning, Sled:
                "a processor is slowed down, as it is too hot (N time(s) within an hour)"
                => "see that the fan turns and that it gets air; remove dust";
            /// The kernel goes on after an error of its own or of the hardware's, and may not work as it should.
            KernelTainted = "KERNEL_TAINTED", Warning, Sled:
                "the kernel is not what it was since it was booted: WHY"
                => "read what it says (journalctl -k -p warning), and reboot the machine when its hosts can do without it: sledctl maintenance on";
            /// The machine has a hardware watchdog, and nobody feeds it.
            WatchdogUnarmed = "WATCHDOG_UNARMED", Information, Operator:
                "nobody feeds the watchdog WATCHDOG: a machine that hangs stays so until somebody comes"
                => "RuntimeWatchdogSec=30s in a file of /etc/systemd/system.conf.d below [Manager], then: systemctl daemon-reexec";
            /// The clock that runs by a battery was lost: the machine begins each boot with a wrong time, until somebody
            /// sets it.
            ClockRtcLost = "CLOCK_RTC_LOST", Warning, Operator:
                "the battery's clock showed TIME at the start: its battery is flat or gone"
                => "replace the battery (CR2032, as a rule); until then see that the network sets the clock: timedatectl";
            /// Nobody keeps the clock in step with others: it drifts by seconds a day.
            ClockUnsynchronised = "CLOCK_UNSYNCHRONISED", Warning, Operator:
                "the clock is not kept in step with others: it drifts, and what is logged on two machines cannot be compared"
                => "see why: timedatectl timesync-status, or chronyc tracking; without any: apt install systemd-timesyncd && timedatectl set-ntp true";
            /// The clock shows a time before one that is on record of this sled's regions: it was wrong then, or it is now.
            ClockBehind = "CLOCK_BEHIND", Warning, Operator:
                "the clock shows a time before TIME, at which WHAT: it is behind"
                => "set it right: timedatectl; if it is right, it was ahead then, and this ends when that time has come";
            /// Somebody has set the clock by more than a second within the last hour.
            ClockStepped = "CLOCK_STEPPED", Information, Operator:
                "the clock was set from TIME to TIME within the last hour"
                => "nothing, if it was meant: what is kept for a while does not go by it; what was logged before has other times";
        }
    };
}
pub(crate) use with_machine;
