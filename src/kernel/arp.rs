//! Address resolution of IPv4 (ARP, RFC 826) on one link: asked who has an address, without a claim to it (a probe, RFC
//! 5227), and who answers or claims it is heard. Hears of nothing else, and claims nothing.

use nix::libc::{AF_PACKET, bind, sa_family_t, sendto, sockaddr_ll, socklen_t};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The kind of packet on a link (linux/if_ether.h, `ETH_P_ARP`).
const ARP: u16 = 0x0806;
/// The beginning of every packet for Ethernet and IPv4: the kinds of both addresses, and their lengths in bytes.
const HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The operation of a packet that asks.
const REQUEST: [u8; 2] = [0, 1];
/// The length of a packet in bytes; links with a least length fill it up.
const PACKET_BYTES: usize = 28;
/// The most that is read of one.
const ROOM_BYTES: usize = 64;
/// The questions, and the time that whoever answers has after each (RFC 5227, `PROBE_NUM`, `PROBE_MIN`).
const PROBES: usize = 3;
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Find another machine that says it has this address, on the link with this number. `own` are the hardware addresses of
/// this machine, that of the link first.
///
/// # Errors
/// The link is not there, does not carry packets, or nobody may ask on it.
pub fn other_owner(link: u32, own: &[Mac], address: Ipv4Addr) -> io::Result<Option<Mac>> {
    let sender = own.first().ok_or_else(|| io::Error::other("the link has no hardware address"))?;
    let link = Link::open(link)?;
    for _ in 0..PROBES {
        link.ask(&probe(*sender, address))?;
        let until = Instant::now() + PROBE_PAUSE;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let Some(packet) = link.hear(left)? else { continue };
            if let Some(mac) = claimant(&packet, address).filter(|mac| !own.contains(mac)) {
                return Ok(Some(mac));
            }
        }
    }
    Ok(None)
}

/// Write the question who has an address, by whom does not say that he has it.
fn probe(own: Mac, address: Ipv4Addr) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let parts = [&HEAD[..], &REQUEST, &own.0, &[0; 4], &[0; 6], &address.octets()].concat();
    packet.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    packet
}

/// Find who says with a packet, be it a question or an answer, that the address is its own.
fn claimant(packet: &[u8], address: Ipv4Addr) -> Option<Mac> {
    let (head, rest) = packet.split_first_chunk::<6>()?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let ip = rest.first_chunk::<4>()?;
    (*head == HEAD && Ipv4Addr::from(*ip) == address).then_some(Mac(*mac))
}

/// The packets of this kind on one link.
struct Link {
    socket: OwnedFd,
    everybody: sockaddr_ll,
}

impl Link {
    #[expect(unsafe_code, reason = "no library binds a socket to a link")]
    fn open(index: u32) -> io::Result<Self> {
        let kind = NonZero::new(u32::from(ARP.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, kind)?;
        // SAFETY: a structure of numbers, for which zeroes are a value.
        let mut everybody: sockaddr_ll = unsafe { std::mem::zeroed() };
        everybody.sll_family = sa_family_t::try_from(AF_PACKET).map_err(io::Error::other)?;
        everybody.sll_protocol = ARP.to_be();
        everybody.sll_ifindex = index.try_into().map_err(io::Error::other)?;
        everybody.sll_halen = 6;
        everybody.sll_addr = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
        // SAFETY: the descriptor is open, and the address is one of its kind and lives as long as the call.
        let bound = unsafe { bind(socket.as_raw_fd(), (&raw const everybody).cast(), LENGTH) };
        if bound == 0 { Ok(Self { socket, everybody }) } else { Err(io::Error::last_os_error()) }
    }

    /// Ask everybody on the link.
    #[expect(unsafe_code, reason = "no library sends to everybody on a link")]
    fn ask(&self, packet: &[u8]) -> io::Result<()> {
        let (fd, to) = (self.socket.as_raw_fd(), (&raw const self.everybody).cast());
        // SAFETY: the descriptor is open, and the packet and the address live as long as the call.
        match unsafe { sendto(fd, packet.as_ptr().cast(), packet.len(), 0, to, LENGTH) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Hear the next packet, within this time.
    fn hear(&self, within: Duration) -> io::Result<Option<Vec<u8>>> {
        // No time at all would be for ever.
        set_socket_timeout(&self.socket, Timeout::Recv, Some(within.max(Duration::from_millis(1))))?;
        let mut room = [0; ROOM_BYTES];
        match recv(&self.socket, &mut room, RecvFlags::empty()) {
            Ok((length, _)) => Ok(room.get(..length).map(<[u8]>::to_vec)),
            Err(why) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&why.kind()) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }
}

/// The length of the address of a link, in bytes.
const LENGTH: socklen_t = 20;
const _: () = assert!(size_of::<sockaddr_ll>() == 20);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([0, 0xe0, 0x4c, 0xa8, 0x11, 0x10]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 189);

    fn said(by: Mac, of: Ipv4Addr, operation: u8) -> Vec<u8> {
        [&HEAD[..], &[0, operation], &by.0, &of.octets(), &OWN.0, &[0; 4], &[0; 18]].concat()
    }

    #[test]
    fn only_who_says_that_the_address_is_its_own_claims_it() {
        for operation in [1, 2] {
            assert_eq!(claimant(&said(OTHER, ADDRESS, operation), ADDRESS), Some(OTHER), "{operation}");
        }
        assert_eq!(claimant(&said(OTHER, Ipv4Addr::new(192, 168, 4, 17), 2), ADDRESS), None);
        assert_eq!(claimant(&probe(OTHER, ADDRESS), ADDRESS), None, "who asks claims nothing");
        assert_eq!(probe(OWN, ADDRESS)[24..], ADDRESS.octets());
        assert_eq!(OTHER.to_string(), "00:e0:4c:a8:11:10");
    }

    proptest! {
        #[test]
        fn anything_may_arrive(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(mac) = claimant(&packet, ADDRESS) {
                prop_assert_eq!(&packet[8..14], &mac.0);
            }
        }
    }
}
