//! Records of the kernel's log, as `/dev/kmsg` gives them: `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`, and below it
//! lines ` KEY=VALUE`. Pure. Texts come from devices that fail, and from whoever is root: anything may stand there.

use std::time::Duration;

/// Part of a priority that tells who speaks; 0 is the kernel.
const FACILITY_SHIFT: u32 = 3;

/// A record that the kernel itself has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The time since the machine was started, without what it slept.
    pub at: Duration,
    /// The text.
    pub text: &'a str,
    /// `DEVICE=`, as it stands there.
    pub device: Option<&'a str>,
}

/// Read what one read of the log has given: one record, or several of a log that is none of the kernel's.
pub fn records(read: &str) -> Vec<Record<'_>> {
    let mut all: Vec<Record<'_>> = Vec::new();
    // Whether lines below belong to the last of these.
    let mut taken = false;
    for line in read.lines() {
        match line.strip_prefix(' ') {
            Some(pair) if taken => {
                if let (Some(last), Some(device)) = (all.last_mut(), pair.strip_prefix("DEVICE=")) {
                    last.device = Some(device);
                }
            }
            Some(_) => {}
            None => {
                let record = head(line);
                taken = record.is_some();
                all.extend(record);
            }
        }
    }
    all
}

/// Read the first line of a record; `None` of what others than the kernel have written.
fn head(line: &str) -> Option<Record<'_>> {
    let (prefix, text) = line.split_once(';')?;
    let mut parts = prefix.split(',');
    let priority: u64 = parts.next()?.parse().ok()?;
    let at = Duration::from_micros(parts.nth(1)?.parse().ok()?);
    (priority >> FACILITY_SHIFT == 0).then_some(Record { at, text, device: None })
}

impl Record<'_> {
    /// Name the device that it is about, as sysfs names it: a USB device without the interface, a block device by its
    /// numbers. `None`: it is about none.
    pub fn name(&self) -> Option<String> {
        if let Some((subsystem, name)) = self.device.and_then(|device| device.strip_prefix('+')?.split_once(':')) {
            let whole = if subsystem == "usb" { name.split(':').next()? } else { name };
            return Some(whole.to_owned());
        }
        if let Some(numbers) = self.device.and_then(|device| device.strip_prefix('b')) {
            return Some(numbers.to_owned());
        }
        self.named_in_text()
    }

    /// Find the device's name in a text: `usb 2-1: …`, `xhci_hcd 0000:00:14.0: …`, `NETDEV WATCHDOG: eth0 (driver): …`.
    fn named_in_text(&self) -> Option<String> {
        if let Some(behind) = self.text.strip_prefix("NETDEV WATCHDOG: ") {
            return behind.split_whitespace().next().map(|name| name.trim_end_matches(':').to_owned());
        }
        let mut words = self.text.split(' ');
        let (driver, second) = (words.next()?, words.next()?);
        // A network driver tells the interface behind the device.
        let name = second.strip_suffix(':').or_else(|| words.next()?.ends_with(':').then_some(second))?;
        let of_usb = driver == "usb" || name.split(':').next().is_some_and(is_usb);
        Some(if of_usb { usb_port(name.split(':').next()?) } else { name.to_owned() })
    }
}

/// Whether a name is that of a device on the USB: `2-1.3`.
fn is_usb(name: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(bus, ports)| number(bus) && ports.split('.').all(number))
}

/// Name what hangs on a port by the port's own name: `usb2-port1` is where `2-1` is, `2-1-port3` where `2-1.3` is.
fn usb_port(name: &str) -> String {
    match name.split_once("-port") {
        Some((hub, port)) => match hub.strip_prefix("usb") {
            Some(bus) => format!("{bus}-{port}"),
            None => format!("{hub}.{port}"),
        },
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(read: &str) -> Record<'_> {
        let all = records(read);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn a_record_has_its_time_its_text_and_its_device() {
        let read = "4,1234,5678901,-;r8152 2-1:1.0 enx00e04ca81110: Tx timeout\n SUBSYSTEM=usb\n DEVICE=+usb:2-1:1.0\n";
        let record = only(read);
        assert_eq!((record.at, record.name().as_deref()), (Duration::from_micros(5_678_901), Some("2-1")));
        assert_eq!(record.text, "r8152 2-1:1.0 enx00e04ca81110: Tx timeout");
    }

    #[test]
    fn a_device_is_named_as_sysfs_names_it() {
        for (text, device, wanted) in [
            ("usb 2-1: reset SuperSpeed USB device number 3 using xhci_hcd", "c189:130", Some("2-1")),
            ("usb usb2-port1: Cannot enable. Maybe the USB cable is bad?", "", Some("2-1")),
            ("usb 2-1-port3: unable to enumerate USB device", "", Some("2-1.3")),
            ("r8152 2-1.3:1.0 enx00e04ca81110: Tx timeout", "", Some("2-1.3")),
            ("xhci_hcd 0000:00:14.0: HC died; cleaning up", "+pci:0000:00:14.0", Some("0000:00:14.0")),
            ("xhci_hcd 0000:00:14.0: HC died; cleaning up", "", Some("0000:00:14.0")),
            ("NETDEV WATCHDOG: eth0 (r8152): transmit queue 0 timed out", "", Some("eth0")),
            ("sd 0:0:0:0: [sda] Synchronizing SCSI cache", "+scsi:0:0:0:0", Some("0:0:0:0")),
            ("I/O error, dev sda, sector 2048", "b8:0", Some("8:0")),
            ("random: crng init done", "", None),
            ("", "", None),
        ] {
            let device = (!device.is_empty()).then_some(device);
            let record = Record { at: Duration::ZERO, text, device };
            assert_eq!(record.name().as_deref(), wanted, "{text} {device:?}");
        }
    }

    #[test]
    fn others_than_the_kernel_are_not_heard() {
        // A user's daemon, and a text that only looks as if it went on below.
        assert_eq!(records("12,5,6,-;usb 2-1: reset SuperSpeed USB device number 3\n DEVICE=c1:2\n"), []);
        assert_eq!(records(" DEVICE=c1:2\nnonsense\n4,1;x\n4,a,b,-;x"), []);
        let two = records("6,1,2,-,caller=T1;usb 1-1: one\n DEVICE=c189:1\n30,2,3,-;two\n DEVICE=b8:0\n6,3,4,c;three");
        assert_eq!(
            two.iter().map(|record| (record.text, record.device)).collect::<Vec<_>>(),
            [("usb 1-1: one", Some("c189:1")), ("three", None)]
        );
    }

    proptest! {
        #[test]
        fn anything_can_be_read(read in "\\PC*", device in "[+cbn]?[a-z0-9:.-]{0,12}", text in "(usb |NETDEV WATCHDOG: )?\\PC{0,40}") {
            for record in records(&read) {
                record.name();
            }
            Record { at: Duration::ZERO, text: &text, device: Some(&device) }.name();
            records(&format!("6,1,2,-;{text}\n DEVICE={device}\n"));
        }
    }
}
