//! Table of the words in the kernel's log that are signs of trouble. Pure: it knows no device and no time.

use crate::decide::facts::Sign;

/// An entry of the table: all of these occur in the text, in this order.
type Words = &'static [&'static str];

/// The words, and what they are a sign of. The first entry that fits counts.
///
/// Of the driver r8152, of the USB's core and of its controllers, as they are reported from adapters that fail; of the
/// block layer (Linux, block/blk-mq.c and fs/buffer.c), of SATA (drivers/ata/libata-eh.c, libata-core.c), of NVMe
/// (drivers/nvme/host/pci.c) and of the killer of processes (mm/oom_kill.c).
const TABLE: &[(Words, Sign)] = &[
    (&["NETDEV WATCHDOG", "transmit queue", "timed out"], Sign::TransmitTimeout),
    (&["Tx timeout"], Sign::TransmitTimeout),
    (&["Tx status -"], Sign::TransmitFailed),
    (&["Stop submitting intr, status"], Sign::LinkUntold),
    (&["device descriptor read/", "error -"], Sign::UsbMute),
    (&["device not accepting address"], Sign::UsbMute),
    (&["unable to enumerate USB device"], Sign::UsbMute),
    (&["Cannot enable", "cable is bad"], Sign::UsbMute),
    (&["Failed to reset"], Sign::UsbResetFailed),
    (&["Failed finding new dequeue state"], Sign::UsbControllerLost),
    (&["HC died"], Sign::UsbControllerLost),
    (&["host controller not responding, assume dead"], Sign::UsbControllerLost),
    (&["new ", "USB device number "], Sign::UsbFound),
    (&["reset ", "USB device number "], Sign::UsbReset),
    (&["USB disconnect, device number "], Sign::UsbLost),
    (&["I/O error, dev "], Sign::IoError),
    (&["critical ", " error, dev "], Sign::IoError),
    (&["Buffer I/O error on dev "], Sign::IoError),
    (&[ATA, " Emask 0x4 (timeout)"], Sign::DiskTimeout),
    (&[ATA, ": qc timeout "], Sign::DiskTimeout),
    (&[ATA, " resetting link"], Sign::DiskReset),
    (&[ATA, ": COMRESET failed"], Sign::DiskMute),
    (&[NVME, " QID ", " timeout, "], Sign::DiskTimeout),
    (&[NVME, "controller is down; will reset"], Sign::DiskReset),
    (&[NVME, "Device not ready; aborting "], Sign::DiskMute),
    (&[NVME, "Removing after probe failure"], Sign::DiskMute),
    (&[NVME, "Disabling device after reset failure"], Sign::DiskMute),
    (&[OOM_KILL, OOM_GROUP, ",task="], Sign::OutOfMemory),
];

/// The beginning of the word that a process was killed, and where its control group stands in it.
const OOM_KILL: &str = "oom-kill:";
const OOM_GROUP: &str = "task_memcg=";
/// The beginning of what SATA says of a port (`ata1: `) or of a disk on it (`ata1.00: `), and NVMe of a controller.
const ATA: &str = "ata";
const NVME: &str = "nvme nvme";
/// The word before the name of a block device.
const DEVICE: &str = " dev ";

/// Find the name of what a text is about that names no device in the usual place: the block device, the port or the
/// controller that it is at, or the control group in which a process was killed.
pub fn subject(text: &str) -> Option<&str> {
    if let Some(name) = port(text).or_else(|| controller(text)) {
        return Some(name);
    }
    let word = if text.starts_with(OOM_KILL) { OOM_GROUP } else { DEVICE };
    let behind = text.split_once(word)?.1;
    behind.split([',', ' ']).next().filter(|name| !name.is_empty())
}

/// Name the port of a text that SATA begins with it: `ata1` of `ata1: …` and of `ata1.00: …`.
fn port(text: &str) -> Option<&str> {
    let name = text.split_once(": ")?.0.split('.').next()?;
    is_numbered(name, ATA).then_some(name)
}

/// Name the controller of a text that NVMe begins with it: `nvme0` of `nvme nvme0: …`.
fn controller(text: &str) -> Option<&str> {
    let name = text.strip_prefix("nvme ")?.split_once(": ")?.0;
    is_numbered(name, "nvme").then_some(name)
}

/// Tell whether a name is a word and a number.
fn is_numbered(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The part of a text that is worth showing.
pub fn words(text: &str) -> &str {
    text.find(OOM_GROUP).filter(|_| text.starts_with(OOM_KILL)).map_or(text, |at| &text[at..])
}

/// Find what a text is a sign of.
pub fn sign(text: &str) -> Option<Sign> {
    let fits = |words: Words| {
        words.iter().try_fold(text, |rest, word| rest.split_once(word).map(|(_, behind)| behind)).is_some()
    };
    TABLE.iter().find(|(words, _)| fits(words)).map(|(_, sign)| *sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: &str = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                          oom_memcg=/system.slice/a.service,task_memcg=/system.slice/a.service,task=python3,pid=77,uid=0";

    #[test]
    fn what_a_disk_and_a_killed_process_are_called_stands_in_the_text() {
        for (text, name) in [
            ("I/O error, dev sdb, sector 2048 op 0x1:(WRITE)", Some("sdb")),
            ("Buffer I/O error on dev dm-0, logical block 77", Some("dm-0")),
            (KILLED, Some("/system.slice/a.service")),
            ("oom-kill:task=x", None),
            ("ata1.00: qc timeout after 5000 msecs (cmd 0xec)", Some("ata1")),
            ("ata12: hard resetting link", Some("ata12")),
            ("nvme nvme0: I/O tag 12 (100c) QID 4 timeout, aborting req_op:READ(0) size:4096", Some("nvme0")),
            ("data1: hard resetting link", None),
            ("ata: x", None),
            ("nothing", None),
        ] {
            assert_eq!(subject(text), name, "{text}");
        }
        assert_eq!(words(KILLED), "task_memcg=/system.slice/a.service,task=python3,pid=77,uid=0");
        assert_eq!(words("usb 2-1: reset"), "usb 2-1: reset");
    }

    #[test]
    fn what_a_disk_says_that_does_not_answer_is_known() {
        for (text, wanted) in [
            (
                "ata1.00: cmd 61/08:00:00:08:00/00:00:00:00:00/40 tag 0 ncq dma 4096 out\\x0a         res \
                 40/00:00:00:00:00/00:00:00:00:00/00 Emask 0x4 (timeout)",
                Sign::DiskTimeout,
            ),
            ("ata3.15: qc timeout (cmd 0xe4)", Sign::DiskTimeout),
            ("ata1.00: qc timeout after 5000 msecs (cmd 0xec)", Sign::DiskTimeout),
            ("ata2: hard resetting link", Sign::DiskReset),
            ("ata2: soft resetting link", Sign::DiskReset),
            ("ata2: COMRESET failed (errno=-16)", Sign::DiskMute),
            ("nvme nvme0: I/O 978 QID 3 timeout, completion polled", Sign::DiskTimeout),
            ("nvme nvme0: I/O tag 12 (100c) opcode 0x2 (I/O Cmd) QID 4 timeout, reset controller", Sign::DiskTimeout),
            ("nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10", Sign::DiskReset),
            ("nvme nvme0: Device not ready; aborting reset, CSTS=0x1", Sign::DiskMute),
            ("nvme nvme0: Removing after probe failure status: -19", Sign::DiskMute),
            ("nvme nvme0: Disabling device after reset failure: -19", Sign::DiskMute),
        ] {
            assert_eq!(sign(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_a_failing_adapter_says_is_known() {
        for (text, wanted) in [
            (
                "r8152 2-1:1.0 enx00e04ca81110: NETDEV WATCHDOG: CPU: 3: transmit queue 0 timed out 5376 ms",
                Sign::TransmitTimeout,
            ),
            ("NETDEV WATCHDOG: enx00e04ca81110 (r8152): transmit queue 0 timed out", Sign::TransmitTimeout),
            ("r8152 2-1:1.0 enx00e04ca81110: Tx timeout", Sign::TransmitTimeout),
            ("r8152 2-1:1.0 enx00e04ca81110: Tx status -2", Sign::TransmitFailed),
            ("r8152 2-1:1.0 enx00e04ca81110: Tx status -71", Sign::TransmitFailed),
            ("r8152 2-1:1.0 enx00e04ca81110: Tx status -108", Sign::TransmitFailed),
            ("r8152 2-1:1.0 enx00e04ca81110: Stop submitting intr, status -108", Sign::LinkUntold),
            ("usb 2-1: reset SuperSpeed USB device number 3 using xhci_hcd", Sign::UsbReset),
            ("usb 2-1: reset SuperSpeed Gen 1 USB device number 3 using xhci_hcd", Sign::UsbReset),
            ("usb 2-1: device descriptor read/8, error -110", Sign::UsbMute),
            ("r8152-cfgselector 2-1: Failed to reset", Sign::UsbResetFailed),
            ("xhci_hcd 0000:00:14.0: WARN Failed finding new dequeue state", Sign::UsbControllerLost),
            ("usb 2-1: new SuperSpeed USB device number 4 using xhci_hcd", Sign::UsbFound),
            ("usb 2-1: USB disconnect, device number 3", Sign::UsbLost),
            ("I/O error, dev sdb, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2", Sign::IoError),
            ("critical medium error, dev sda, sector 12345 op 0x0:(READ) flags 0x0 phys_seg 1", Sign::IoError),
            ("Buffer I/O error on dev dm-0, logical block 77, lost async page write", Sign::IoError),
            (KILLED, Sign::OutOfMemory),
        ] {
            assert_eq!(sign(text), Some(wanted), "{text}");
        }
        for well in [
            "",
            "r8152 2-1:1.0 enx00e04ca81110: carrier on",
            "r8152 2-1:1.0 enx00e04ca81110: v1.12.13",
            "usb 2-1: New USB device found, idVendor=0bda, idProduct=8156, bcdDevice=31.00",
            "br0: port 1(enx00e04ca81110) entered forwarding state",
            "ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)",
            "ata1.00: configured for UDMA/133",
            "nvme nvme0: Shutdown timeout set to 10 seconds",
            "nvme nvme0: 12/0/0 default/read/poll queues",
        ] {
            assert_eq!(sign(well), None, "{well}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_kernel_says_what_is_told_of_it_stands_there(text in ".{0,20}(oom-kill:|ata1|nvme nvme0|task_memcg=| dev |: |, )?.{0,20}") {
            _ = sign(&text);
            proptest::prop_assert!(text.contains(words(&text)) && subject(&text).is_none_or(|name| text.contains(name)));
        }
    }
}
