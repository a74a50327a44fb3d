//! Everything that can happen around one sled's tickets of one volume, in every order: hosts that ask,
//! hang up, attach and go; a systemd that is slow or refuses, and sets one unit and not the next; a
//! record that cannot be written, or goes bad; an operator; the end of the supervisor and of the machine;
//! and time. The sled goes by the product's own code: the order of the steps (`granting`), who is in
//! the way (`decide::attach`), what is on record (`Grant`) and whom the units let in for it
//! (`Fence`). The search visits every state within its bounds and looks at what must hold in each; rules that
//! are broken on purpose show that it finds what each of them prevents. Only for tests.
//!
//! Invariants: at no moment do two hosts reach the volume's ports unless an operator allowed it, and nobody without a
//! grant ever does. And nobody loses what he was granted to one that asked for no takeover, unless he let go of it,
//! was cut off, or stayed away for longer than he may.

mod cases;

use super::{Kind, Next, Step};
use crate::decide::attach::{InTheWay, in_the_way};
use crate::decide::tests::config_of;
use crate::names::{RegionName, VolumeName};
use crate::port_map::{Fence, PortMap};
use crate::region::Grant;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

const HOSTS: usize = 2;
/// More states than this are too many for a test.
const LIMIT: usize = 400_000;
const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[defaults]
extent_count = 4
[volumes.v]
hosts = ["192.168.4.1", "192.168.4.2"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
"#;

/// The events that may happen so many times each, and the rules that the sled goes by.
#[derive(Clone)]
struct Rules {
    /// Tickets are asked for; with or without takeover.
    asks: u8,
    takeovers: bool,
    /// Steps fail; only those that are named.
    failures: u8,
    failing: &'static [Step],
    /// The supervisor ends, or the machine does.
    ends: u8,
    /// Time passes, by less than a host may be away.
    ticks: u8,
    /// The record is damaged.
    damages: u8,
    /// An operator allows or cuts off a host.
    words: u8,
    /// The order of the steps.
    after: fn(Kind, Step, bool) -> Next,
    /// Whether the fence is made narrow, or at once what is to be on record.
    narrow: bool,
    /// Whether who holds the last ticket is in the way though it is not connected.
    regards_holder: bool,
    /// Whether only what is on record is believed.
    believes_record: bool,
    /// Whether an operator may cut somebody off while it is not known who holds it.
    denies_unread: bool,
}

const REAL: Rules = Rules {
    asks: 2,
    takeovers: true,
    failures: 1,
    failing: &[Step::Asker, Step::Prepare, Step::Narrow, Step::Cut, Step::StillThere, Step::Record, Step::Open],
    ends: 1,
    ticks: 0,
    damages: 0,
    words: 0,
    after: Kind::after,
    narrow: true,
    regards_holder: true,
    believes_record: true,
    denies_unread: false,
};

/// The wish of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wish {
    Ticket { takeover: bool },
    Permit(bool),
    LetGo,
}

/// The attempt that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    host: usize,
    wish: Wish,
    step: Step,
    /// The grant that it knew when it began.
    grant: Grant,
    unread: bool,
    away: Option<Duration>,
    cut: BTreeSet<usize>,
    next: Grant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The hosts that each of the units lets in, a bit for each host: the first, and the others together.
    units: [u8; 2],
    /// The hosts that are connected.
    connected: u8,
    /// The record on the disk; `None` if it cannot be read.
    disk: Option<Grant>,
    /// The grant that is believed; `None` if it is not known.
    believed: Option<Grant>,
    attempt: Option<Attempt>,
    /// The host that was granted it last in truth, until it is taken from him rightly; and those that an operator
    /// allows.
    truth: Option<usize>,
    allowed: u8,
    /// The ticks that the holder has been away in truth; and as the supervisor has counted.
    away: u8,
    counted: u8,
    left: [u8; 6],
}

/// The ticks that are longer than a host may be away.
const AWAY: u8 = 3;

fn ip(host: usize) -> IpAddr {
    IpAddr::from([192, 168, 4, host as u8 + 1])
}

struct World {
    map: PortMap,
    volume: VolumeName,
    rules: Rules,
}

impl World {
    fn of(rules: Rules) -> Self {
        Self { map: config_of(MAP).map, volume: "v".parse().unwrap(), rules }
    }

    /// The hosts that a fence lets in, as bits.
    fn bits(&self, fence: &Fence) -> u8 {
        (0..HOSTS).filter(|host| fence.admits(ip(*host))).map(|host| 1 << host).sum()
    }

    fn around(&self, grant: &Grant) -> Fence {
        Fence::around(&self.map, &self.volume, Some(grant))
    }

    /// The first host holds the volume, and is attached.
    fn first(&self) -> State {
        let grant = Grant::default().to(ip(0), 1, Timestamp::UNIX_EPOCH, &BTreeSet::new());
        let rules = &self.rules;
        State {
            units: [0b01; 2],
            connected: 0b01,
            disk: Some(grant.clone()),
            believed: Some(grant),
            attempt: None,
            truth: Some(0),
            allowed: 0,
            away: 0,
            counted: 0,
            left: [rules.asks, rules.failures, rules.ends, rules.ticks, rules.damages, rules.words],
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<State>) -> Result<(), String> {
        for host in 0..HOSTS {
            self.comes_and_goes(state, host, next);
            self.asks(state, host, next);
        }
        match &state.attempt {
            Some(attempt) => self.goes_on(state, attempt, next)?,
            None => self.is_put_right(state, next),
        }
        self.ends(state, next);
        self.passes(state, next);
        Ok(())
    }

    /// A host attaches if it is let in; one that is attached goes.
    fn comes_and_goes(&self, state: &State, host: usize, next: &mut Vec<State>) {
        let bit = 1 << host;
        let change = |connected| State { connected, ..state.clone() };
        if state.connected & bit != 0 {
            next.push(change(state.connected & !bit));
        } else if state.units.iter().all(|unit| unit & bit != 0) {
            // A host that comes back while it is being decided, and is gone again before the fence stands, is not
            // seen by anybody; one that stays is.
            let back = state.truth == Some(host) && state.attempt.is_none();
            next.push(State {
                away: if back { 0 } else { state.away },
                counted: if back { 0 } else { state.counted },
                ..change(state.connected | bit)
            });
        }
    }

    fn asks(&self, state: &State, host: usize, next: &mut Vec<State>) {
        if state.attempt.is_some() {
            return;
        }
        let mut begin = |wish, which: usize| {
            let mut state = state.clone();
            let Some(left) = state.left[which].checked_sub(1) else { return };
            state.left[which] = left;
            let grant = state.believed.clone().unwrap_or_default();
            let away = (state.counted > 0).then(|| Duration::from_secs(20) * u32::from(state.counted));
            let (unread, next_one) = (state.believed.is_none(), grant.clone());
            let step = Kind::Change.first();
            state.attempt =
                Some(Attempt { host, wish, step, grant, unread, away, cut: BTreeSet::new(), next: next_one });
            next.push(state);
        };
        begin(Wish::Ticket { takeover: false }, 0);
        if self.rules.takeovers {
            begin(Wish::Ticket { takeover: true }, 0);
        }
        begin(Wish::LetGo, 0);
        begin(Wish::Permit(true), 5);
        begin(Wish::Permit(false), 5);
    }

    /// Have the attempt do its next step, which goes well or not.
    fn goes_on(&self, state: &State, attempt: &Attempt, next: &mut Vec<State>) -> Result<(), String> {
        let mut well = state.clone();
        let went = self.does(&mut well, attempt)?;
        next.push(self.after(well, went));
        if went && state.left[1] > 0 && self.rules.failing.contains(&attempt.step) {
            let mut failed = state.clone();
            failed.left[1] -= 1;
            if attempt.step == Step::Narrow || attempt.step == Step::Open {
                // The first unit has it, the next has not.
                let mut part = failed.clone();
                self.does(&mut part, attempt)?;
                failed = State { units: [part.units[0], failed.units[1]], ..failed };
            }
            next.push(self.after(failed, false));
        }
        Ok(())
    }

    /// Do a step, and tell whether it went well by itself.
    fn does(&self, state: &mut State, attempt: &Attempt) -> Result<bool, String> {
        let Some(own) = &mut state.attempt else { return Ok(false) };
        match attempt.step {
            Step::Asker | Step::Prepare | Step::StillThere => Ok(true),
            Step::Judge => Ok(self.judges(state.connected, own)),
            Step::Narrow => {
                state.units = [self.narrow(attempt); 2];
                Ok(true)
            }
            Step::Cut => {
                let fence = self.narrow(attempt);
                let gone = own.cut.iter().map(|host| 1_u8 << host).sum::<u8>() | !fence;
                let others = state.connected & !(1 << attempt.host) & !gone;
                state.connected &= !gone;
                Ok(others == 0 || !matches!(attempt.wish, Wish::Ticket { .. }))
            }
            Step::Record => {
                let next = own.next.clone();
                (state.disk, own.grant, own.unread) = (Some(next.clone()), next, false);
                state.is_granted(attempt)?;
                Ok(true)
            }
            Step::Open => {
                state.units = [self.bits(&self.around(&attempt.grant)); 2];
                Ok(true)
            }
            Step::PutBack => {
                if !attempt.unread {
                    state.units = [self.bits(&self.around(&attempt.grant)); 2];
                }
                Ok(true)
            }
        }
    }

    fn narrow(&self, attempt: &Attempt) -> u8 {
        let (wanted, now) = (self.around(&attempt.next), self.around(&attempt.grant));
        match (self.rules.narrow, attempt.unread) {
            (false, _) => self.bits(&wanted),
            (true, true) => self.bits(&Fence::shut(&self.map).narrow(&wanted)),
            (true, false) => self.bits(&now.narrow(&wanted)),
        }
    }

    fn judges(&self, connected: u8, attempt: &mut Attempt) -> bool {
        let host = attempt.host;
        let region: RegionName = "v-0".parse().unwrap();
        let others: BTreeMap<_, _> = (0..HOSTS)
            .filter(|other| *other != host && connected & 1 << other != 0)
            .map(|other| (ip(other), BTreeSet::from([region.clone()])))
            .collect();
        match attempt.wish {
            Wish::Ticket { .. } if attempt.unread => false,
            Wish::Ticket { takeover } => {
                attempt.cut = (0..HOSTS).filter(|other| others.contains_key(&ip(*other))).collect();
                let cut = attempt.cut.iter().map(|other| ip(*other)).collect();
                let way = in_the_way(&self.map, &self.volume, &attempt.grant, ip(host), others, attempt.away);
                let free = match way {
                    InTheWay::Nobody => true,
                    InTheWay::Holder(..) => takeover || !self.rules.regards_holder,
                    InTheWay::Connected(_) => takeover,
                };
                attempt.next = attempt.grant.to(ip(host), attempt.grant.generation + 1, Timestamp::UNIX_EPOCH, &cut);
                free
            }
            Wish::LetGo => {
                (attempt.cut, attempt.next) = ([host].into(), attempt.grant.let_go());
                attempt.grant.holder.is_some_and(|(holder, _)| holder == ip(host)) && connected & 1 << host == 0
            }
            Wish::Permit(allow) => {
                if !allow {
                    attempt.cut = [host].into();
                }
                attempt.next = match (attempt.unread, allow) {
                    (true, true) => {
                        attempt.grant.to(ip(host), attempt.grant.generation, Timestamp::UNIX_EPOCH, &BTreeSet::new())
                    }
                    (_, allow) => attempt.grant.with(ip(host), allow),
                };
                allow || !attempt.unread || self.rules.denies_unread
            }
        }
    }

    /// The state after a step.
    fn after(&self, mut state: State, went: bool) -> State {
        let Some(attempt) = &mut state.attempt else { return state };
        match (self.rules.after)(Kind::Change, attempt.step, went) {
            Next::Do(step) => attempt.step = step,
            Next::Over(end) => {
                let grant = attempt.grant.clone();
                if end.recorded || !self.rules.believes_record {
                    state.believed = Some(grant);
                }
                (state.attempt, state.counted) = (None, if end.recorded { 0 } else { state.counted });
                if state.truth.is_some_and(|truth| state.connected & 1 << truth != 0) {
                    (state.away, state.counted) = (0, 0);
                }
            }
        }
        state
    }

    /// Put things right while there is no attempt: the units become what is believed, and who is not let in is cut
    /// off.
    fn is_put_right(&self, state: &State, next: &mut Vec<State>) {
        let Some(believed) = &state.believed else { return };
        let units = [self.bits(&self.around(believed)); 2];
        if state.units != units {
            next.push(State { units, connected: state.connected & units[0], ..state.clone() });
        }
    }

    /// End the supervisor, in the midst of whatever it does, and have it back; or the machine.
    fn ends(&self, state: &State, next: &mut Vec<State>) {
        let Some(left) = state.left[2].checked_sub(1) else { return };
        let mut again = State { believed: state.disk.clone(), attempt: None, counted: 0, ..state.clone() };
        again.left[2] = left;
        // Regions start behind a fence alone: as long as it is not known which, none does.
        let units = state.disk.as_ref().map_or(0, |grant| self.bits(&self.around(grant)));
        next.push(State { units: [units; 2], connected: 0, away: 0, ..again.clone() });
        next.push(again);
    }

    /// Let time pass; a record goes bad.
    fn passes(&self, state: &State, next: &mut Vec<State>) {
        if let (Some(left), Some(truth)) = (state.left[3].checked_sub(1), state.truth)
            && state.connected & 1 << truth == 0
        {
            let mut later = State { away: state.away + 1, counted: state.counted + 1, ..state.clone() };
            later.left[3] = left;
            next.push(later);
        }
        if let (Some(left), None) = (state.left[4].checked_sub(1), &state.attempt) {
            // The record that is read is then not known; a supervisor that knows it writes it anew.
            let mut bad = State { disk: None, believed: None, counted: 0, ..state.clone() };
            bad.left[4] = left;
            next.push(bad);
        }
    }
}

impl State {
    /// Take what is on record now for the truth, if it was rightly put there.
    fn is_granted(&mut self, attempt: &Attempt) -> Result<(), String> {
        match attempt.wish {
            Wish::Ticket { takeover } => {
                let robbed = self.truth.filter(|truth| *truth != attempt.host && self.away < AWAY && !takeover);
                if robbed.is_some() {
                    return Err(format!("robbed: {self:?}"));
                }
                (self.truth, self.allowed, self.away) = (Some(attempt.host), 0, 0);
            }
            Wish::LetGo => self.truth = self.truth.filter(|truth| *truth != attempt.host),
            Wish::Permit(true) if attempt.unread => (self.truth, self.allowed, self.away) = (Some(attempt.host), 0, 0),
            Wish::Permit(true) => self.allowed |= 1 << attempt.host,
            Wish::Permit(false) => {
                self.allowed &= !(1 << attempt.host);
                self.truth = self.truth.filter(|truth| *truth != attempt.host);
            }
        }
        Ok(())
    }

    fn holds(&self) -> Result<(), String> {
        let reach = self.units[0] | self.units[1];
        let granted = self.truth.map_or(0, |truth| 1 << truth) | self.allowed;
        if (reach & !self.allowed).count_ones() > 1 {
            return Err(format!("two: {self:?}"));
        }
        if reach & !granted != 0 {
            return Err(format!("without a grant: {self:?}"));
        }
        Ok(())
    }
}

/// Search everything that can happen: how many states there are, or the first fault.
fn search(rules: &Rules) -> Result<usize, String> {
    let world = World::of(rules.clone());
    let first = world.first();
    let (mut seen, mut open, mut next) = (HashSet::from([first.clone()]), vec![first], Vec::new());
    while let Some(state) = open.pop() {
        world.steps(&state, &mut next)?;
        for state in next.drain(..) {
            state.holds()?;
            if seen.insert(state.clone()) {
                assert!(seen.len() < LIMIT, "more than {LIMIT} states");
                open.push(state);
            }
        }
    }
    Ok(seen.len())
}
