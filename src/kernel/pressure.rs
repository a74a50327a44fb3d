//! Pressure (PSI): for how much of the time somebody, or everybody, waited for memory or a disk, as the kernel tells of
//! the machine (`/proc/pressure`) and of a control group; and its word when that goes over a threshold, for which nobody
//! has to ask.

use crate::kernel::attributes;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, fstatfs};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// The window in which a trigger counts. Whoever has not `CAP_SYS_RESOURCE` may ask for a multiple of two seconds alone
/// (Linux 6.5, kernel/sched/psi.c).
pub const WINDOW: Duration = Duration::from_secs(2);

/// The percentage of the time in which nobody got on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Of the last minute.
    pub last_minute: u8,
}

/// Read how much of the time nobody got on: the line `full`. `None` if the kernel does not say.
pub fn read(file: &Path) -> Option<Pressure> {
    parse(&attributes::raw(file)?)
}

fn parse(text: &str) -> Option<Pressure> {
    Some(Pressure { last_minute: value(text, "full ", "avg60")? })
}

/// Read for how much of the last minute somebody waited, in percent: the line `some`. `None` if the kernel does not say.
pub fn somebody(file: &Path) -> Option<u8> {
    value(&attributes::raw(file)?, "some ", "avg60")
}

/// A share of a line, in percent.
fn value(text: &str, line: &str, name: &str) -> Option<u8> {
    let line = text.lines().find_map(|of| of.strip_prefix(line))?;
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    let percent: f64 = word.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent.round() as u8)
}

/// Read for how much of the last ten seconds somebody waited, in percent: the line `some`. `None` if the kernel does not
/// say.
pub fn lately(file: &Path) -> Option<u8> {
    value(&attributes::raw(file)?, "some ", "avg10")
}

/// Have the kernel tell when nobody got on for so long within [`WINDOW`]: on the file that is returned, as `POLLPRI`, and
/// at most once in each.
///
/// # Errors
/// The kernel has no such file, or does not tell this process; or it is none of the kernel's, and is left as it is.
pub fn trigger(file: &Path, stall: Duration) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).open(file)?;
    let kind = fstatfs(&file)?.filesystem_type();
    if kind != PROC_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
        return Err(io::Error::other("it is none of the kernel's"));
    }
    file.write_all(format!("full {} {}\0", stall.as_micros(), WINDOW.as_micros()).as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_in_percent() {
        let text = "some avg10=8.40 avg60=4.39 avg300=1.38 total=5812570\n\
                    full avg10=99.51 avg60=12.49 avg300=1.24 total=5138726\n";
        assert_eq!(parse(text), Some(Pressure { last_minute: 12 }));
        assert_eq!(value(text, "some ", "avg10"), Some(8));
        for none in ["", "some avg10=1.00 avg60=1.00\n", "full avg10=1.00 avg60=x\n", "full avg10=-3 avg60=400\n"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_share_is_none_or_one(text in "(full |some )?(avg60=|avg10=)?[0-9.einf+-]{0,9}.{0,9}") {
            let told = [parse(&text).map(|pressure| pressure.last_minute), value(&text, "some ", "avg10")];
            proptest::prop_assert!(told.into_iter().flatten().all(|percent| percent <= 100));
        }
    }
}
