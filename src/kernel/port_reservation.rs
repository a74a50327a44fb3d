//! Reservation of the port map's ports for the regions: the kernel gives no port in
//! `net.ipv4.ip_local_reserved_ports` to whoever asks for any. Ports that others have reserved stay, and only what
//! was added here is ever taken back.
//!
//! sledd.service may not change the kernel's settings. It looks, and asks systemd to start
//! sled-ports.service, in which [`reserve`] runs; at boot that has run already. No file in
//! sysctl.d: of several there only the last counts, and it would not know of the others.

use crate::config::Configuration;
use crate::files::replace;
use crate::kernel::broker::{self, Wanted};
use crate::systemd::job;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use zbus::Connection;

/// The unit that reserves them.
const UNIT: &str = "sled-ports.service";
/// The file in which the kernel keeps them.
const KERNEL: &str = broker::RESERVED_PORTS;
/// The unit's own directory, gone with the next boot as the kernel's list is; and in it what was
/// added, and not reserved before.
const DIR: &str = "/run/sled-ports";
const ADDED: &str = "added";

/// Ports, written as the kernel writes them: `22,3830-3832`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ports(BTreeSet<u16>);

impl FromStr for Ports {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is no list of ports", text.trim()));
        let mut ports = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let ends = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
            ports.extend(ends.map(|(first, last)| first..=last).ok_or_else(odd)?);
        }
        Ok(Self(ports))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*port) => *last = *port,
                _ => ranges.push((*port, *port)),
            }
        }
        let words = ranges
            .into_iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

/// Both ports of every region that the map puts on this sled.
fn wanted(config: &Configuration) -> Ports {
    Ports(config.local_regions().iter().flat_map(|local| [local.port, local.repair_port()]).collect())
}

/// Have the map's ports reserved, if they are not, or others still are.
///
/// # Errors
/// Why they are not.
pub async fn refresh(bus: &Connection, config: &Configuration) -> Result<(), String> {
    let wanted = wanted(config);
    let is_right = || is_right(&wanted, &reserved()?, Path::new(DIR));
    if is_right().map_err(|why| why.to_string())? {
        return Ok(());
    }
    job::restart(bus, UNIT).await.map_err(|why| format!("{why}; see journalctl -u {UNIT}"))?;
    match is_right() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{UNIT} has run, and {KERNEL} is not as it should be; see journalctl -u {UNIT}")),
        Err(why) => Err(why.to_string()),
    }
}

/// The ports that the kernel keeps now.
fn reserved() -> io::Result<Ports> {
    broker::read(Wanted::ReservedPorts).map_err(|why| named(Path::new(KERNEL), &why))?.parse()
}

fn is_right(wanted: &Ports, kernel: &Ports, dir: &Path) -> io::Result<bool> {
    Ok(wanted.0.is_subset(&kernel.0) && read(&dir.join(ADDED))?.0.is_subset(&wanted.0))
}

/// Reserve the map's ports, beside what others have reserved; and those no more that were added here and are not in
/// the map any more.
///
/// # Errors
/// The ports cannot be read or written.
pub fn reserve(config: &Configuration) -> io::Result<()> {
    reserve_in(&wanted(config), Path::new(KERNEL), Path::new(DIR))
}

fn reserve_in(wanted: &Ports, kernel: &Path, dir: &Path) -> io::Result<()> {
    let before = read(&dir.join(ADDED))?;
    let record = |ports: &Ports| replace(dir, ADDED, format!("{ports}\n").as_bytes());
    let others = Ports(&read(kernel)?.0 - &before.0);
    let new = Ports(&wanted.0 - &others.0);
    // Cut short between the two, it still knows what it may take back.
    record(&Ports(&before.0 | &new.0))?;
    let all = Ports(&others.0 | &new.0);
    fs::write(kernel, format!("{all}\n")).map_err(|why| named(kernel, &why))?;
    record(&new)
}

fn read(file: &Path) -> io::Result<Ports> {
    match fs::File::open(file).and_then(broker::read_at_once) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Ports::default()),
        Err(why) => Err(named(file, &why)),
        Ok(text) => text.parse(),
    }
}

fn named(file: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written_as_the_kernel_does() {
        for (text, count) in [("", 0), ("22", 1), ("22,3830-3832,7830", 5), ("0-65535", 65536)] {
            let ports: Ports = format!("{text}\n").parse().unwrap();
            assert_eq!((ports.0.len(), ports.to_string().as_str()), (count, text));
        }
        assert_eq!("7,5-6,22".parse::<Ports>().unwrap().to_string(), "5-7,22");
        assert!("22,x".parse::<Ports>().is_err() && "70000".parse::<Ports>().is_err());
    }

    #[test]
    fn what_others_reserved_stays_and_only_the_own_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kernel");
        let ports = |text: &str| text.parse::<Ports>().unwrap();
        fs::write(&kernel, "22,3831\n").unwrap();
        let is_right = |wanted: &str| is_right(&ports(wanted), &read(&kernel).unwrap(), dir.path()).unwrap();
        let reserve = |wanted: &str| {
            assert!(!is_right(wanted));
            reserve_in(&ports(wanted), &kernel, dir.path()).unwrap();
            assert!(is_right(wanted));
            fs::read_to_string(&kernel).unwrap().trim().to_owned()
        };
        assert_eq!(reserve("3830-3832"), "22,3830-3832");
        assert_eq!(reserve("3840"), "22,3831,3840");
        assert_eq!(reserve("3830-3832,3840"), "22,3830-3832,3840");
        // Somebody sets the list anew, and does not know of ours.
        fs::write(&kernel, "23\n").unwrap();
        assert_eq!(reserve("3830-3832,3840"), "23,3830-3832,3840");
        reserve_in(&Ports::default(), &kernel, dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&kernel).unwrap(), "23\n");
    }
}
