//! Every order of events of a small fleet: sleds that grant by the real rule, hosts that decide
//! by the real ballot, and a network, crashes and clocks that do what they like. The search
//! visits every state that can be reached within its bounds and looks at what must hold in each;
//! fleets that are broken on purpose show that it finds faults. Only for tests.
//!
//! A host sends a round's requests at once. Each is carried out at any later moment or never. A
//! host decides at any moment, with any part of what was answered: what it does not regard was
//! lost on the way or is late. A crash of a sled takes the requests that wait at it and leaves
//! what is on record; one that stays away is one whose requests are never carried out. Clocks
//! tick, leap and step back.
//!
//! Sleds are interchangeable, so they are kept sorted; so are hosts, which begin in order. A state
//! is copied and hashed some hundred thousand times, so its numbers are small.

use super::{Answer, Decision, ROUNDS, Round, majority};
use crate::decide::generation;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

const HOSTS: usize = 3;
const NOBODY: u8 = u8::MAX;
/// More states than this are too many for a test.
const LIMIT: usize = 500_000;
/// In a slot: nothing is asked; asked. Anything else is the generation that was granted.
const IDLE: u16 = 0;
const ASKED: u16 = u16::MAX;

/// A sled, and what each host has with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sled {
    clock: u16,
    /// The generation that it goes by, and what would be left of that after a crash.
    granted: u16,
    recorded: u16,
    /// The host that its regions let in.
    lets_in: u8,
    /// The wins in whose majority it was, a bit for each.
    majorities: u8,
    slots: [u16; HOSTS],
    /// The requests that each host waits for no more, if such requests survive.
    ghosts: [Option<u16>; HOSTS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Host {
    ballots_left: u8,
    begun: bool,
    /// The round that it is in, and how many wins were complete when that began.
    asking: Option<(Round, usize)>,
    /// The win that it holds: it runs with it until it begins again.
    holds: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Win {
    host: usize,
    generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    sleds: [Option<Sled>; 3],
    hosts: [Host; HOSTS],
    /// The wins in the order in which they were complete.
    wins: Vec<Win>,
    ticks_left: u8,
    crashes_left: u8,
}

/// A fleet, its bounds, and the rules that it goes by.
struct Fleet {
    /// The sleds' clocks at first; one for each sled.
    clocks: &'static [u16],
    /// The ballots that each host begins, and how many rounds each of them has.
    ballots: [u8; HOSTS],
    rounds: [u32; HOSTS],
    ticks: u8,
    crashes: u8,
    /// A sled that does not grant may say so, and what it granted last.
    refusals: bool,
    /// A request may be carried out although its asker waits for it no more.
    ghosts: bool,
    /// The rule by which a sled grants: what is asked, what it granted, its clock.
    grant: fn(u64, u64, u64) -> Option<u64>,
    /// A grant is on record before it is answered.
    recorded: bool,
    /// From a grant on, the sled's regions let in its host and no other.
    fences: bool,
    /// The fences are checked: whom the regions let in.
    look_at_fences: bool,
    decide: fn(&Round, &[Answer]) -> Decision,
}

const TWO_HOSTS: Fleet = Fleet {
    clocks: &[5, 5, 6],
    ballots: [1, 1, 0],
    rounds: [2, 2, 0],
    ticks: 0,
    crashes: 0,
    refusals: false,
    ghosts: false,
    grant: |asked, granted, clock| generation::next(asked, granted, 0, clock).ok(),
    recorded: true,
    fences: true,
    look_at_fences: true,
    decide: Round::decide,
};

/// A quick hash for small keys that nobody chose.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

/// Search everything that can happen: how many states there are, or the first fault.
fn search(fleet: &Fleet) -> Result<usize, String> {
    let first = fleet.first();
    let mut seen: HashSet<State, BuildHasherDefault<Quick>> = HashSet::default();
    let (mut open, mut next) = (vec![first], Vec::new());
    while let Some(state) = open.pop() {
        fleet.steps(&state, &mut next)?;
        for mut state in next.drain(..) {
            state.sleds.sort_unstable();
            if !seen.contains(&state) {
                state.locked_out(fleet.look_at_fences).map_err(|why| format!("{why}: {state:?}"))?;
                seen.insert(state.clone());
                assert!(seen.len() < LIMIT, "more than {LIMIT} states");
                open.push(state);
            }
        }
    }
    Ok(seen.len())
}

impl Fleet {
    fn first(&self) -> State {
        let sled = |clock: &u16| Sled {
            clock: *clock,
            granted: 0,
            recorded: 0,
            lets_in: NOBODY,
            majorities: 0,
            slots: [IDLE; HOSTS],
            ghosts: [None; HOSTS],
        };
        State {
            sleds: [0, 1, 2].map(|index| self.clocks.get(index).map(sled)),
            hosts: self.ballots.map(|ballots_left| Host { ballots_left, begun: false, asking: None, holds: None }),
            wins: Vec::new(),
            ticks_left: self.ticks,
            crashes_left: self.crashes,
        }
    }

    /// The states that can come next.
    fn steps(&self, state: &State, next: &mut Vec<State>) -> Result<(), String> {
        for host in 0..HOSTS {
            match state.hosts[host].asking {
                None => self.begins(state, host, next),
                Some((round, wins_before)) => self.decides(state, host, round, wins_before, next)?,
            }
        }
        for (index, sled) in state.sleds.iter().enumerate() {
            let Some(sled) = sled else { continue };
            let mut becomes = |state: &State, sled: Sled| {
                let mut state = state.clone();
                state.sleds[index] = Some(sled);
                next.push(state);
            };
            (0..HOSTS).for_each(|host| self.carries_out(state, sled, host, &mut becomes));
            happens(state, sled, &mut becomes);
        }
        Ok(())
    }

    /// Have a host that asks for nothing begin a ballot: with nothing known, or with what the sleds say now. The
    /// server that it ran before is over.
    fn begins(&self, state: &State, host: usize, next: &mut Vec<State>) {
        let in_turn = host == 0 || state.hosts[host - 1].begun;
        if state.hosts[host].ballots_left == 0 || !in_turn {
            return;
        }
        let highest = state.sleds.iter().flatten().map(|sled| sled.granted).max().unwrap_or_default();
        let mut begin = |seen: u16| {
            let mut state = state.clone();
            let ballots_left = state.hosts[host].ballots_left - 1;
            state.hosts[host] = Host { ballots_left, begun: true, asking: None, holds: None };
            // Late in the ballot already: only so many rounds are left.
            self.sends(&mut state, host, Round { number: ROUNDS - self.rounds[host], ..Round::first(seen.into()) });
            next.push(state);
        };
        begin(0);
        if highest > 0 {
            begin(highest);
        }
    }

    fn sends(&self, state: &mut State, host: usize, round: Round) {
        self.stops(state, host);
        state.hosts[host].asking = Some((round, state.wins.len()));
        state.sleds.iter_mut().flatten().for_each(|sled| sled.slots[host] = ASKED);
    }

    /// A host waits no more for what it asked.
    fn stops(&self, state: &mut State, host: usize) {
        let asked = state.hosts[host].asking.take().map(|(round, _)| small(round.at_least()));
        for sled in state.sleds.iter_mut().flatten() {
            if sled.slots[host] == ASKED && self.ghosts {
                sled.ghosts[host] = asked;
            }
            sled.slots[host] = IDLE;
        }
    }

    /// A host decides with any part of the answers.
    fn decides(
        &self,
        state: &State,
        host: usize,
        round: Round,
        wins_before: usize,
        next: &mut Vec<State>,
    ) -> Result<(), String> {
        let sleds: Vec<_> = state.sleds.iter().flatten().collect();
        let mut answers = vec![Answer::Silent; sleds.len()];
        'parts: for regarded in 0..1_u8 << sleds.len() {
            for (index, sled) in sleds.iter().enumerate() {
                answers[index] = match (sled.slots[host], regarded & 1 << index != 0) {
                    (_, false) => Answer::Silent,
                    (ASKED, true) if self.refusals => Answer::Refused { highest: sled.granted.into(), firm: false },
                    // As if it was not regarded.
                    (IDLE | ASKED, true) => continue 'parts,
                    (granted, true) => Answer::Granted(granted.into()),
                };
            }
            next.push(self.decided(state, host, round, wins_before, &answers)?);
        }
        Ok(())
    }

    fn decided(
        &self,
        state: &State,
        host: usize,
        round: Round,
        wins_before: usize,
        answers: &[Answer],
    ) -> Result<State, String> {
        let mut next = state.clone();
        match (self.decide)(&round, answers) {
            Decision::Won(generation) => {
                let (win, index) = (Win { host, generation }, next.wins.len());
                state.may_win(win, wins_before)?;
                for (sled, answer) in next.sleds.iter_mut().flatten().zip(answers) {
                    sled.majorities |= u8::from(*answer == Answer::Granted(generation)) << index;
                }
                self.stops(&mut next, host);
                next.hosts[host].holds = Some(index);
                next.wins.push(win);
            }
            Decision::AskAgain(round) => self.sends(&mut next, host, round),
            Decision::Lost(_) => self.stops(&mut next, host),
        }
        Ok(next)
    }

    /// A sled carries out a host's request, or one that the host waits for no more.
    fn carries_out(&self, state: &State, sled: &Sled, host: usize, becomes: &mut impl FnMut(&State, Sled)) {
        if let (ASKED, Some((round, _))) = (sled.slots[host], state.hosts[host].asking)
            && let Some(mut sled) = self.grants(*sled, host, round.at_least())
        {
            sled.slots[host] = sled.granted;
            becomes(state, sled);
        }
        if let Some(asked) = sled.ghosts[host]
            && let Some(mut sled) = self.grants(*sled, host, asked.into())
        {
            sled.ghosts[host] = None;
            becomes(state, sled);
        }
    }

    fn grants(&self, sled: Sled, host: usize, asked: u64) -> Option<Sled> {
        let granted = small((self.grant)(asked, sled.granted.into(), sled.clock.into())?);
        let recorded = if self.recorded { granted } else { sled.recorded };
        // The first grant fences in any case: before it there is nobody to shut out.
        let lets_in = if self.fences || sled.lets_in == NOBODY { host as u8 } else { sled.lets_in };
        Some(Sled { granted, recorded, lets_in, ..sled })
    }
}

fn small(generation: u64) -> u16 {
    u16::try_from(generation).ok().filter(|small| *small != ASKED).unwrap()
}

/// The states after something that a sled does by itself: it crashes, its clock moves.
fn happens(state: &State, sled: &Sled, becomes: &mut impl FnMut(&State, Sled)) {
    if state.crashes_left > 0 {
        let state = State { crashes_left: state.crashes_left - 1, ..state.clone() };
        let slots = sled.slots.map(|slot| if slot == ASKED { IDLE } else { slot });
        becomes(&state, Sled { granted: sled.recorded, slots, ghosts: [None; HOSTS], ..*sled });
    }
    if state.ticks_left > 0 {
        let state = State { ticks_left: state.ticks_left - 1, ..state.clone() };
        // By more than a round's slack, and back.
        for clock in [sled.clock + 20, sled.clock.saturating_sub(4)] {
            becomes(&state, Sled { clock, ..*sled });
        }
    }
}

impl State {
    /// Find that no generation is won twice, and that later is higher.
    fn may_win(&self, new: Win, wins_before: usize) -> Result<(), String> {
        if let Some(old) = self.wins.iter().find(|old| old.generation == new.generation) {
            return Err(format!("twice: {old:?}, {new:?}: {self:?}"));
        }
        match self.wins[..wins_before].iter().find(|old| old.generation > new.generation) {
            Some(old) => Err(format!("not higher: {old:?}, and later {new:?}: {self:?}")),
            None => Ok(()),
        }
    }

    /// Find that any two majorities meet, and that where they do the holder of the lower generation is locked out.
    fn locked_out(&self, look_at_fences: bool) -> Result<(), String> {
        for (high, winner) in self.wins.iter().enumerate() {
            for (low, loser) in self.wins.iter().enumerate().filter(|(_, loser)| loser.generation < winner.generation) {
                let in_both = 1 << high | 1 << low;
                let both = |sled: &&Sled| sled.majorities & in_both == in_both;
                if !self.sleds.iter().flatten().any(|sled| both(&sled)) {
                    return Err(format!("apart: {loser:?}, {winner:?}"));
                }
                let runs = look_at_fences && self.hosts[loser.host].holds == Some(low) && loser.host != winner.host;
                let let_in = |sled: &Sled| usize::from(sled.lets_in) == loser.host;
                if runs && self.sleds.iter().flatten().filter(both).any(let_in) {
                    return Err(format!("let in: {loser:?}, {winner:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Everything holds in each of these fleets, and each is large enough to mean something.
fn holds(fleet: &Fleet, at_least: usize) {
    match search(fleet) {
        Ok(states) => assert!(states >= at_least, "only {states} states"),
        Err(why) => panic!("{why}"),
    }
}

/// The search finds this fault in a fleet.
fn finds(fleet: &Fleet, fault: &str) {
    let found = search(fleet).expect_err("nothing was found");
    assert!(found.starts_with(fault), "{found}");
}

#[test]
fn one_sled() {
    holds(&Fleet { clocks: &[5], ballots: [1; 3], rounds: [2; 3], ..TWO_HOSTS }, 20_000);
    holds(&Fleet { clocks: &[5], ballots: [2, 2, 0], rounds: [1; 3], crashes: 1, ticks: 1, ..TWO_HOSTS }, 40_000);
}

#[test]
fn two_sleds() {
    holds(&Fleet { clocks: &[5, 6], ticks: 1, ..TWO_HOSTS }, 80_000);
    holds(&Fleet { clocks: &[5, 6], ballots: [1; 3], rounds: [2, 1, 1], ..TWO_HOSTS }, 80_000);
}

#[test]
fn three_sleds_and_two_hosts() {
    holds(&Fleet { refusals: true, ..TWO_HOSTS }, 90_000);
    holds(&Fleet { rounds: [2, 1, 0], crashes: 1, ..TWO_HOSTS }, 40_000);
    holds(&Fleet { clocks: &[5, 5, 5], rounds: [2, 1, 0], ticks: 1, ..TWO_HOSTS }, 37_000);
}

#[test]
fn three_sleds_and_hosts_that_come_back() {
    holds(&Fleet { clocks: &[5, 5, 5], ballots: [2, 1, 0], rounds: [1; 3], ..TWO_HOSTS }, 11_000);
}

#[test]
fn three_sleds_and_three_hosts() {
    holds(&Fleet { clocks: &[5, 5, 5], ballots: [1; 3], rounds: [1; 3], ..TWO_HOSTS }, 50_000);
}

/// Late requests take nothing from what is won, nor from its order.
#[test]
fn requests_that_nobody_waits_for() {
    holds(&Fleet { clocks: &[5, 5, 5], rounds: [2, 1, 0], ghosts: true, look_at_fences: false, ..TWO_HOSTS }, 37_000);
    finds(&Fleet { ghosts: true, ..TWO_HOSTS }, "let in");
}

#[test]
fn what_is_broken_is_found() {
    fn one_is_enough(round: &Round, answers: &[Answer]) -> Decision {
        let granted = answers.iter().find(|answer| matches!(answer, Answer::Granted(_)));
        granted.map_or_else(|| round.decide(answers), |answer| Decision::Won(answer.highest()))
    }
    fn higher_is_as_good(round: &Round, answers: &[Answer]) -> Decision {
        let granted = answers.iter().filter(|answer| matches!(answer, Answer::Granted(_))).count();
        if granted >= majority(answers.len()) && round.at_least() > 0 {
            Decision::Won(round.at_least())
        } else {
            round.decide(answers)
        }
    }
    finds(&Fleet { decide: one_is_enough, ..TWO_HOSTS }, "apart");
    finds(&Fleet { decide: higher_is_as_good, ..TWO_HOSTS }, "not higher");
    let grant = |asked: u64, granted: u64, clock: u64| Some(asked.max(granted).max(clock));
    finds(&Fleet { clocks: &[5], grant, ..TWO_HOSTS }, "twice");
    finds(&Fleet { grant, ..TWO_HOSTS }, "twice");
    finds(&Fleet { recorded: false, crashes: 2, ..TWO_HOSTS }, "twice");
    finds(&Fleet { fences: false, ..TWO_HOSTS }, "let in");
}
