//! Table of the words in the kernel's log that are signs of trouble. Pure: it knows no device and no time.

use crate::decide::facts::Sign;

/// An entry of the table: all of these occur in the text, in this order.
type Words = &'static [&'static str];

/// The words, and what they are a sign of. The first entry that fits counts.
///
/// Of the driver r8152, of the USB's core and of its controllers, as they are reported from adapters that fail.
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
];

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
        ] {
            assert_eq!(sign(text), Some(wanted), "{text}");
        }
        for well in [
            "",
            "r8152 2-1:1.0 enx00e04ca81110: carrier on",
            "r8152 2-1:1.0 enx00e04ca81110: v1.12.13",
            "usb 2-1: New USB device found, idVendor=0bda, idProduct=8156, bcdDevice=31.00",
            "br0: port 1(enx00e04ca81110) entered forwarding state",
        ] {
            assert_eq!(sign(well), None, "{well}");
        }
    }
}
