//! Account of the signs in the kernel's log: of the last day, by device. Bounded, whatever the kernel says. Pure: the
//! time is given.

use super::record::Record;
use super::signs::{sign, subject, words};
use crate::clean;
use crate::decide::facts::{Incident, KernelLog, Sign};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The time for which an incident is told.
const DAY: Duration = Duration::from_secs(86_400);
/// The longest pause within an incident: a device that fails says several things within seconds.
const PAUSE: Duration = Duration::from_secs(10);
/// The most incidents of a device that are kept; of more the oldest are forgotten.
const MOST_INCIDENTS: usize = 100;
/// The most devices that are known; the signs of more are not heard.
const MOST_DEVICES: usize = 64;
/// The most characters of the kernel's words.
const MOST_WORDS: usize = 160;

/// Two clocks at one moment: the log's, and the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The time since the machine was started, without what it slept.
    pub since_boot: Duration,
    /// The time of day.
    pub time: Timestamp,
}

/// The account.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<String, VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    began: Duration,
    last: Duration,
    incident: Incident,
}

impl Tally {
    /// Take note of a record, if that is a sign. Tells whether it is.
    pub fn note(&mut self, record: &Record<'_>, now: Now) -> bool {
        let Some((sign, device)) = sign(record.text).and_then(|sign| Some((sign, device(sign, record)?))) else {
            return false;
        };
        let known = self.0.contains_key(&device);
        if now.since_boot.saturating_sub(record.at) > DAY || !known && self.0.len() >= MOST_DEVICES {
            return false;
        }
        let words = clean::line(&words(record.text).chars().take(MOST_WORDS).collect::<String>()).into_owned();
        let entries = self.0.entry(device).or_default();
        match entries.back_mut().filter(|entry| record.at.saturating_sub(entry.last) <= PAUSE) {
            Some(entry) => {
                entry.last = record.at.max(entry.last);
                entry.incident.signs.insert(sign);
                entry.incident.words = words;
            }
            None => {
                let ago = now.since_boot.saturating_sub(record.at);
                let began = now.time.checked_sub(Duration::from_secs(ago.as_secs())).unwrap_or(now.time);
                let incident = Incident { began, signs: [sign].into(), words };
                entries.push_back(Entry { began: record.at, last: record.at, incident });
            }
        }
        if entries.len() > MOST_INCIDENTS {
            entries.pop_front();
        }
        true
    }

    /// Forget what was more than a day ago. Tells whether there was any.
    pub fn forget(&mut self, now: Now) -> bool {
        let old = |entry: &Entry| now.since_boot.saturating_sub(entry.began) > DAY;
        let mut forgotten = false;
        for entries in self.0.values_mut() {
            while entries.front().is_some_and(old) {
                entries.pop_front();
                forgotten = true;
            }
        }
        self.0.retain(|_, entries| !entries.is_empty());
        forgotten
    }

    /// Show the account.
    pub fn shown(&self) -> KernelLog {
        let shown = |entries: &VecDeque<Entry>| entries.iter().map(|entry| entry.incident.clone()).collect();
        KernelLog(self.0.iter().map(|(device, entries)| (device.clone(), shown(entries))).collect())
    }
}

/// Name what a sign is about.
fn device(sign: Sign, record: &Record<'_>) -> Option<String> {
    match sign {
        Sign::IoError | Sign::DiskTimeout | Sign::DiskReset | Sign::DiskMute | Sign::OutOfMemory => {
            subject(record.text).map(|name| clean::line(name).into_owned())
        }
        _ => record.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "c189:130";

    fn now(seconds: u64) -> Now {
        let time = Timestamp::from_second(1_700_000_000 + i64::try_from(seconds).unwrap()).unwrap();
        Now { since_boot: Duration::from_secs(seconds), time }
    }

    fn say(tally: &mut Tally, at: u64, text: &str, heard: u64) -> bool {
        tally.note(&Record { at: Duration::from_secs(at), text, device: Some(DEVICE) }, now(heard))
    }

    #[test]
    fn signs_within_seconds_are_one_incident_and_a_day_later_none() {
        let mut tally = Tally::default();
        assert!(!say(&mut tally, 1, "usb 2-1: Product: USB 10/100/1G/2.5G LAN", 1));
        assert!(say(&mut tally, 2, "usb 2-1: new SuperSpeed USB device number 2 using xhci_hcd", 100));
        assert!(say(&mut tally, 3, "usb 2-1: reset SuperSpeed USB device number 2 using xhci_hcd", 100));
        assert!(say(&mut tally, 3600, "usb 2-1: reset SuperSpeed USB device number 2 using xhci_hcd", 3601));
        assert!(say(&mut tally, 3609, "r8152 2-1:1.0 enx0: Tx timeout\u{1b}", 3610));
        let shown = tally.shown();
        let all = shown.of(["2-1", "enx0"]);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[0].signs, [Sign::UsbFound, Sign::UsbReset].into());
        assert_eq!(all[1].signs, [Sign::UsbReset, Sign::TransmitTimeout].into());
        assert_eq!(all[1].words, "r8152 2-1:1.0 enx0: Tx timeout\\u{1b}");
        assert_eq!(shown.of(["2-1:1.0"]).len(), 0);
        assert_eq!(all[1].began.as_second(), 1_700_003_600);
        assert!(
            !tally.forget(now(2 + 86_400)) && tally.forget(now(3 + 86_400)) && tally.shown().of(["2-1"]).len() == 1
        );
        assert!(tally.forget(now(3 * 86_400)) && tally.shown() == KernelLog::default());
        assert!(!say(&mut tally, 3, "usb 2-1: USB disconnect, device number 2", 3 * 86_400), "older than a day");
    }

    #[test]
    fn a_kernel_that_says_much_fills_nothing() {
        let mut tally = Tally::default();
        for at in 0..1000 {
            say(&mut tally, at * 60, "usb 2-1: reset SuperSpeed USB device number 2 using xhci_hcd", at * 60);
            let text = format!("usb 3-{at}: USB disconnect, device number 2");
            say(&mut tally, at * 60, &text, at * 60);
        }
        let shown = tally.shown();
        assert_eq!((shown.0.len(), shown.of(["2-1"]).len()), (MOST_DEVICES, MOST_INCIDENTS));
    }
}
