//! Counters of a network adapter that only its driver has (`ethtool -S`): what the kernel's own do not tell. Reads
//! only.

use crate::kernel::broker::{self, Wanted};
use nix::libc::{IFNAMSIZ, c_char, c_ulong, ifreq, ioctl};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The request of ioctl(2) for everything of ethtool.
const SIOCETHTOOL: c_ulong = 0x8946;
/// Ask how many counters there are; their names; their values (linux/ethtool.h).
const GET_COUNT: u32 = 0x37;
const GET_NAMES: u32 = 0x1b;
const GET_VALUES: u32 = 0x1d;
/// The set of names that are those of counters.
const COUNTERS: u32 = 1;
/// The length of a name.
const NAME_BYTES: usize = 32;
/// The most counters that are read: an adapter with more has many queues, and is none of these.
const MOST: usize = 4096;

/// Asks drivers, by a socket of the machine's network.
#[derive(Debug)]
pub struct Drivers(OwnedFd);

impl Drivers {
    /// Begin.
    ///
    /// # Errors
    /// There is no socket to ask by.
    pub fn open() -> io::Result<Self> {
        Ok(Self(broker::open(Wanted::Tcp4)?))
    }

    /// Read a counter of an interface; `None` if its driver has none of this name.
    ///
    /// # Errors
    /// The driver has no counters, or there is no such interface.
    pub fn counter(&self, interface: &str, name: &str) -> io::Result<Option<u64>> {
        // struct ethtool_sset_info: what is asked for, reserved, a mask of sets, the count of each.
        let mut info = words(&[GET_COUNT, 0]);
        info.extend([1 << COUNTERS, 0]);
        self.ask(interface, &mut info)?;
        let count = half(&info, 4) as usize;
        if count == 0 || count > MOST {
            return Ok(None);
        }
        // The kernel writes as many as there are, whatever is said here: a driver that has just got more has room.
        let room = 2 * count + 64;
        // struct ethtool_gstrings: what is asked for, the set, the count, and the names.
        let mut names = words(&[GET_NAMES, COUNTERS, 0, 0]);
        names.resize(2 + room * NAME_BYTES / 8, 0);
        self.ask(interface, &mut names)?;
        let text: Vec<u8> = names.iter().flat_map(|word| word.to_ne_bytes()).skip(12).collect();
        let mut known = text.chunks_exact(NAME_BYTES).take(count);
        let is_it = |known: &[u8]| known.split(|byte| *byte == 0).next() == Some(name.as_bytes());
        let Some(at) = known.position(is_it) else { return Ok(None) };
        // struct ethtool_stats: what is asked for, the count, and the values.
        let mut values = words(&[GET_VALUES, 0]);
        values.resize(1 + room, 0);
        self.ask(interface, &mut values)?;
        Ok(values.get(1 + at).copied())
    }

    /// Have a driver answer into the place that asks.
    #[expect(unsafe_code, reason = "ethtool is asked by ioctl(2) alone for these")]
    fn ask(&self, interface: &str, place: &mut [u64]) -> io::Result<()> {
        if interface.len() >= IFNAMSIZ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a structure of numbers and pointers, for which zeroes are a value.
        let mut request: ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed() as c_char;
        }
        request.ifr_ifru.ifru_data = place.as_mut_ptr().cast();
        // SAFETY: the descriptor is open; the request names a place that lives as long as the call, and is larger than
        // what the kernel writes there (see `room`).
        match unsafe { ioctl(self.0.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// Write numbers of 32 bits one behind the other.
fn words(halves: &[u32]) -> Vec<u64> {
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
    let (whole, _) = bytes.as_chunks::<8>();
    whole.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

/// Read the number of 32 bits at this place among such.
fn half(words: &[u64], at: usize) -> u32 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (halves, _) = bytes.as_chunks::<4>();
    halves.get(at).map_or(0, |half| u32::from_ne_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lie_as_the_kernel_has_them() {
        let all = words(&[1, 2, 3, 4]);
        assert_eq!((all.len(), half(&all, 0), half(&all, 3), half(&all, 9)), (2, 1, 4, 0));
    }

    #[test]
    fn an_interface_without_counters_is_an_error_and_nothing_else() {
        let drivers = Drivers::open().unwrap();
        assert_eq!(drivers.counter("lo", "rx_missed").ok().flatten(), None);
        assert!(drivers.counter("an interface of a long name", "rx_missed").is_err());
    }
}
