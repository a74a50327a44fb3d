//! Serial line on which the screen of a sled is shown, as systemd's units have it. Pure.

use crate::config::Serial;

/// The unit of a screen on a serial line, in the image.
const UNIT: &str = "/usr/lib/systemd/system/serial-getty@.service";

/// Compose the link by which it is started, below the directory of units, and where that leads to.
pub fn wanted(serial: &Serial) -> (String, &'static str) {
    (format!("getty.target.wants/serial-getty@{}.service", serial.line), UNIT)
}

/// Compose the file, below the directory of units, by which the line has its speed before anything is written to it.
pub fn speed(serial: &Serial) -> (String, String) {
    let Serial { line, speed } = serial;
    let text = format!("[Service]\nExecStartPre=-/usr/bin/stty -F /dev/%I {speed}\n");
    (format!("serial-getty@{line}.service.d/20-speed.conf"), text)
}
