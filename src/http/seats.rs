//! Seats: the places for those who connect over TCP. Hosts and sleds of the port map have places that no
//! stranger can take; strangers have few each; and when places run short, whoever is being answered
//! stays, and whoever has been silent for longest has to go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Greatest number of connections at once, as it is shipped. A fleet has a few hosts, each with a poll or two.
const CONNECTION_LIMIT: usize = 512;
/// Greatest number of connections that strangers may have; the others are kept for clients that are known.
const STRANGERS_LIMIT: usize = 256;
/// Greatest number of connections of one address that is known.
const KNOWN_ADDRESS_LIMIT: usize = 64;
/// Greatest number of connections of one address that nobody knows.
const STRANGE_ADDRESS_LIMIT: usize = 16;
/// Greatest number of those who follow the events, who take no place of those who ask; of these as many may be
/// strangers, or of one address, as of the others.
const FOLLOWERS_LIMIT: usize = 512;

/// Limits of the places.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Greatest number of connections at once, whoever they are of.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: CONNECTION_LIMIT }
    }
}

/// All places together.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    limits: Limits,
    /// Number of the guest that came last: the lowest has come first.
    next: u64,
    guests: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    address: IpAddr,
    known: bool,
    answered: Arc<AtomicBool>,
    /// The guest follows the events, and is none of those who ask.
    follows: bool,
    /// Dropped to ask the guest to leave.
    _stay: oneshot::Sender<()>,
}

/// Place of one client, for as long as this exists.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    answered: Arc<AtomicBool>,
    leave: oneshot::Receiver<()>,
    seats: Seats,
}

/// Guest that follows the events, for as long as this exists.
#[derive(Debug)]
pub(super) struct Follower {
    number: u64,
    seats: Seats,
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(guest) = self.seats.taken().guests.get_mut(&self.number) {
            guest.follows = false;
        }
    }
}

/// Mark of a guest that is being answered, for as long as this exists.
#[derive(Debug)]
pub(super) struct Answering(Arc<AtomicBool>);

impl Seats {
    /// Have so many places.
    pub(super) fn within(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Taken { limits, ..Taken::default() })))
    }

    /// Find a place for a client at this address; `None` if there is none, and all who have one are being
    /// answered. Known are the hosts and sleds of the port map, and this machine itself.
    pub(super) fn seat(&self, address: IpAddr, known: bool) -> Option<Seat> {
        let mut taken = self.taken();
        let (own, all) = if known {
            (KNOWN_ADDRESS_LIMIT, taken.limits.connections)
        } else {
            (STRANGE_ADDRESS_LIMIT, STRANGERS_LIMIT)
        };
        taken.make_room(own, |guest| !guest.follows && guest.address == address)?;
        // No known client has to go for a stranger; a stranger has to go for a known one.
        taken.make_room(all, |guest| !guest.follows && (known || !guest.known))?;
        taken.next += 1;
        let (number, answered) = (taken.next, Arc::new(AtomicBool::new(false)));
        let (stay, leave) = oneshot::channel();
        taken.guests.insert(number, Guest { address, known, answered: answered.clone(), follows: false, _stay: stay });
        Some(Seat { number, answered, leave, seats: self.clone() })
    }

    /// Count the guests that are being answered.
    #[cfg(test)]
    pub(super) fn answered(&self) -> usize {
        self.taken().guests.values().filter(|guest| guest.answered.load(Ordering::Relaxed)).count()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Make room for one more of these guests, of which there may be so many: the one that has been silent
    /// for longest goes, strangers first. `None` if nobody is silent.
    fn make_room(&mut self, limit: usize, these: impl Fn(&Guest) -> bool) -> Option<()> {
        if self.guests.values().filter(|guest| these(guest)).count() < limit {
            return Some(());
        }
        let silent = self.guests.iter().filter(|(_, guest)| these(guest) && !guest.answered.load(Ordering::Relaxed));
        let number = silent.min_by_key(|(number, guest)| (guest.known, **number)).map(|(number, _)| *number)?;
        self.guests.remove(&number);
        Some(())
    }
}

impl Taken {
    /// Have a guest follow; `None` if too many do, or there is no such guest any more.
    fn follow(&mut self, number: u64) -> Option<()> {
        let guest = self.guests.get(&number)?;
        let (address, known) = (guest.address, guest.known);
        let (own, all) =
            if known { (KNOWN_ADDRESS_LIMIT, FOLLOWERS_LIMIT) } else { (STRANGE_ADDRESS_LIMIT, STRANGERS_LIMIT) };
        let follow =
            |these: &dyn Fn(&Guest) -> bool| self.guests.values().filter(|guest| guest.follows && these(guest)).count();
        let room = follow(&|guest| guest.address == address) < own
            && follow(&|guest| known || !guest.known) < all
            && follow(&|_| true) < FOLLOWERS_LIMIT;
        let guest = self.guests.get_mut(&number).filter(|_| room)?;
        guest.follows = true;
        Some(())
    }
}

impl Seat {
    /// Mark its guest as one that is being answered, whenever that is called.
    pub(super) fn answering(&self) -> impl Fn() -> Answering + use<> {
        let answered = self.answered.clone();
        move || {
            answered.store(true, Ordering::Relaxed);
            Answering(answered.clone())
        }
    }

    /// Have its guest follow the events from now on, whenever that is called; `None` if too many do.
    pub(super) fn follower(&self) -> impl Fn() -> Option<Follower> + Send + Sync + use<> {
        let (number, seats) = (self.number, self.seats.clone());
        move || {
            seats.taken().follow(number)?;
            Some(Follower { number, seats: seats.clone() })
        }
    }

    /// Wait until the place is wanted for somebody else. Cancel-safe: nothing is ever sent.
    pub(super) async fn given_up(&mut self) {
        _ = (&mut self.leave).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().guests.remove(&self.number);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 4, last])
    }

    fn is_left(seat: &mut Seat) -> bool {
        seat.leave.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    /// The flood that was seen: 31 addresses with 1,500 silent connections.
    #[test]
    fn silent_strangers_do_not_take_the_places_of_hosts() {
        let seats = Seats::default();
        let mut strangers: Vec<_> = (0..1500).map(|n| seats.seat(ip(100 + (n % 31) as u8), false).unwrap()).collect();
        let stay = |strangers: &mut Vec<Seat>| strangers.iter_mut().map(is_left).filter(|left| !left).count();
        assert_eq!(stay(&mut strangers), STRANGERS_LIMIT);
        let hosts: Vec<_> = (0..4).flat_map(|host| std::iter::repeat_n(host, 64)).collect();
        let mut hosts: Vec<_> = hosts.into_iter().map(|host| seats.seat(ip(host), true).unwrap()).collect();
        assert!(!hosts.iter_mut().any(is_left));
        // And one more host than there are places: a stranger goes.
        let one = seats.seat(ip(17), true).unwrap();
        assert_eq!(stay(&mut strangers), STRANGERS_LIMIT - 1);
        assert!(!hosts.iter_mut().any(is_left));
        drop((one, hosts, strangers));
        assert_eq!(seats.taken().guests.len(), 0);
    }

    #[test]
    fn who_follows_takes_no_place_of_those_who_ask_and_only_so_many_do() {
        let seats = Seats::default();
        let mut followers = Vec::new();
        for host in 0..9 {
            for _ in 0..KNOWN_ADDRESS_LIMIT {
                let seat = seats.seat(ip(host), true).unwrap();
                followers.extend(seat.follower()().map(|follower| (seat, follower)));
            }
        }
        assert_eq!(followers.len(), FOLLOWERS_LIMIT);
        let one = seats.seat(ip(1), true).unwrap();
        assert!(one.follower()().is_none(), "an address follows as often as it may");
        assert!(seats.seat(ip(200), false).is_some() && seats.seat(ip(1), true).is_some());
        assert!(!followers.iter_mut().any(|(seat, _)| is_left(seat)), "one had to go who is being told");
        followers.clear();
        assert!(one.follower()().is_some());
        let strangers: Vec<_> = (0..STRANGE_ADDRESS_LIMIT + 1)
            .filter_map(|_| seats.seat(ip(150), false))
            .filter_map(|seat| seat.follower()().map(|follower| (seat, follower)))
            .collect();
        assert_eq!(strangers.len(), STRANGE_ADDRESS_LIMIT);
    }

    #[test]
    fn who_is_being_answered_stays() {
        let seats = Seats::default();
        let mut all: Vec<_> = (0..STRANGE_ADDRESS_LIMIT).map(|_| seats.seat(ip(1), false).unwrap()).collect();
        let busy: Vec<_> = all.iter().map(|seat| seat.answering()()).collect();
        assert!(seats.seat(ip(1), false).is_none(), "it has too many already");
        assert!(seats.seat(ip(2), false).is_some(), "that is none of another's concern");
        let mut busy = busy.into_iter();
        drop(busy.by_ref().nth(3));
        let late = seats.seat(ip(1), false).unwrap();
        assert_eq!(all.iter_mut().map(is_left).filter(|left| *left).count(), 1, "the oldest of four");
        drop((late, busy));
    }
}
