//! Ballot of a host for a volume: from the answers of the sleds that carry it, to won, ask again, or lost. Pure: it
//! asks nobody and knows no time; [`super::ticket`] does the asking.
//!
//! Each sled grants generations of its own accord (`decide::generation`), every one higher than
//! the last, on record before it is answered; and from a grant on, its regions of the volume let
//! in the host that it was granted to and no other, until the next grant. A volume on several
//! sleds needs more: **a host has won generation G when a majority of the sleds that carry
//! regions of the volume granted exactly G to it in one round**, and nobody answered with a higher
//! one in that round. A grant above what was asked is no agreement: the next round asks all for
//! [`SLACK`] more than the highest that was seen, so that a clock that moves on does not spoil it.
//!
//! What follows, and why:
//!
//! 1. *No generation is won twice.* Two majorities share a sled, and that sled grants G once.
//! 2. *Later is higher.* If a round began after another win was complete, then a sled of both
//!    majorities granted the earlier generation first, and everything after it is higher. Of two
//!    rounds that overlap either may get the higher one.
//! 3. *The lower one is locked out.* Of two wins, every sled in both majorities granted the higher
//!    generation last, and its regions let in that host only. Here it rests on the fences: the
//!    generation alone keeps nobody out of a downstairs. An upstairs needs all three regions to
//!    become active, so the lower one's holder cannot; if it was active, it has lost a region for
//!    each such sled. The winner in turn needs every sled's grant before it can become active,
//!    which is why [`super::run`] goes on asking until none is missing.
//!
//! `ballot/model.rs` searches every order of events of small fleets for a counterexample, with
//! this code and the sled's. It finds one for 3 if a sled still carries out a request whose asker
//! has stopped waiting for it: then a host that has lost the volume since may be let in once more.
//! So a host closes the connection of a request that it gives up, and a sled must grant nothing on
//! a connection that is closed. What happens on each sled around a grant is searched by
//! `decide/granting/model.rs`, with the sled's own order of steps.
//!
//! A sled refuses others as long as a holder may come back, so a host that has lost lets go of what
//! some sleds have granted it ([`super::release()`]), with the generation that it was granted: what it was
//! granted since stays. A holder that is refused by some sleds goes on asking these, and holds the others.
//!
//! *Not promised*: 3 for a volume whose port map names no hosts, for its regions are open to all but
//! those that were cut off; anything across two port maps that put the volume on different sleds (grants
//! under different digests are never counted together, but two majorities of different fleets need
//! share no sled); and 1 and 2 for a sled whose ledger is lost, both copies, while neither its
//! regions' trailers nor its clock has reached what it had granted.

#[cfg(test)]
mod model;

/// The distance of the next round's generation from the highest one seen.
pub const SLACK: u64 = 16;
/// The rounds without a winner after which the host gives up.
pub const ROUNDS: u32 = 8;

/// The answer of a sled in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Nothing, or not yet.
    Silent,
    /// The sled granted this generation.
    Granted(u64),
    /// The sled granted none.
    Refused {
        /// The highest that it ever granted, as it says; 0 if it does not say.
        highest: u64,
        /// Asking it again is of no use.
        firm: bool,
    },
}

/// A round of asking every sled that carries regions of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Round {
    /// The number of rounds before this one.
    number: u32,
    /// The generation that each sled is asked for.
    at_least: u64,
    /// The highest one that was seen before it.
    highest: u64,
}

/// The decision that a round has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The volume is won with this generation.
    Won(u64),
    /// Nothing is won yet: the next round.
    AskAgain(Round),
    /// Nothing will be won.
    Lost(Loss),
}

/// A volume that was not won, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// So many sleds refuse that the others are no majority.
    Refused,
    /// The rounds are over, and no majority has answered alike.
    NoMajority,
    /// No higher generation is left to ask for.
    UsedUp,
}

/// The number of sleds that is a majority of so many.
pub fn majority(sleds: usize) -> usize {
    sleds / 2 + 1
}

impl Round {
    /// Begin the first round. `highest` is what the sleds say was granted before; 0 if nothing was.
    pub fn first(highest: u64) -> Self {
        let at_least = if highest == 0 { 0 } else { highest.saturating_add(1) };
        Self { number: 0, at_least, highest }
    }

    /// The generation that each sled is asked for in this round.
    pub fn at_least(&self) -> u64 {
        self.at_least
    }

    /// The number of rounds before this one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Decide a round from these answers, one for each sled that carries regions of the volume. Only answers to this
    /// round's requests may be among them.
    pub fn decide(&self, answers: &[Answer]) -> Decision {
        let needed = majority(answers.len());
        let alike = |generation| answers.iter().filter(|answer| **answer == Answer::Granted(generation)).count();
        let highest = answers.iter().map(Answer::highest).fold(self.highest, u64::max);
        if alike(highest) >= needed {
            return Decision::Won(highest);
        }
        let firm = answers.iter().filter(|answer| matches!(answer, Answer::Refused { firm: true, .. })).count();
        if answers.len() < needed + firm {
            return Decision::Lost(Loss::Refused);
        }
        if self.number + 1 >= ROUNDS {
            return Decision::Lost(Loss::NoMajority);
        }
        match highest.checked_add(SLACK) {
            Some(at_least) => Decision::AskAgain(Self { number: self.number + 1, at_least, highest }),
            None => Decision::Lost(Loss::UsedUp),
        }
    }
}

impl Answer {
    fn highest(&self) -> u64 {
        match self {
            Self::Silent => 0,
            Self::Granted(generation) => *generation,
            Self::Refused { highest, .. } => *highest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer::{Granted, Silent};
    use super::*;
    use proptest::prelude::*;

    const AWAY: Answer = Answer::Refused { highest: 0, firm: true };
    const BUSY: Answer = Answer::Refused { highest: 90, firm: false };

    #[test]
    fn a_majority_that_grants_alike_wins_if_nobody_is_higher() {
        let first = Round::first(0);
        assert_eq!(first.at_least(), 0);
        let again = |at_least| Decision::AskAgain(Round { number: 1, at_least, highest: at_least - SLACK });
        for (answers, decision) in [
            (&[Granted(5)][..], Decision::Won(5)),
            (&[Granted(5), Granted(5)], Decision::Won(5)),
            (&[Granted(5), Silent], again(21)),
            (&[Granted(5), Granted(6)], again(22)),
            (&[Granted(5), Granted(5), Silent], Decision::Won(5)),
            (&[Granted(5), Granted(4), Granted(5)], Decision::Won(5)),
            (&[Granted(5), Granted(5), Granted(6)], again(22)),
            (&[Granted(5), Granted(5), AWAY], Decision::Won(5)),
            (&[Granted(5), Granted(5), BUSY], again(106)),
            (&[Granted(5), AWAY, AWAY], Decision::Lost(Loss::Refused)),
            (&[Granted(5), AWAY, Silent], again(21)),
            (&[Granted(5), AWAY], Decision::Lost(Loss::Refused)),
            (&[AWAY], Decision::Lost(Loss::Refused)),
            (&[BUSY], again(106)),
            (&[Silent, Silent, Silent], again(16)),
            (&[Granted(u64::MAX), Silent, Silent], Decision::Lost(Loss::UsedUp)),
        ] {
            assert_eq!(first.decide(answers), decision, "{answers:?}");
        }
    }

    #[test]
    fn what_was_seen_before_is_asked_for_and_more() {
        assert_eq!(Round::first(41).at_least(), 42);
        assert_eq!(Round::first(u64::MAX).at_least(), u64::MAX);
        let Decision::AskAgain(second) = Round::first(41).decide(&[Granted(42), Granted(43), Silent]) else { panic!() };
        assert_eq!((second.number(), second.at_least()), (1, 59));
        // A sled that forgot what it had said does not win with less.
        assert!(matches!(second.decide(&[Granted(42), Granted(42), Granted(42)]), Decision::AskAgain(_)));
    }

    proptest! {
        #[test]
        fn every_ballot_ends(answers in proptest::collection::vec(answer(), 1..5), highest in any::<u64>()) {
            let mut round = Round::first(highest);
            for _ in 0..ROUNDS {
                match round.decide(&answers) {
                    Decision::AskAgain(next) => {
                        prop_assert!(next.at_least() > round.highest);
                        round = next;
                    }
                    Decision::Won(generation) => {
                        let alike = answers.iter().filter(|answer| **answer == Granted(generation)).count();
                        prop_assert!(2 * alike > answers.len());
                        return Ok(());
                    }
                    Decision::Lost(_) => return Ok(()),
                }
            }
            prop_assert!(false, "it goes on for ever");
        }
    }

    fn answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            Just(Silent),
            (0..30u64).prop_map(Granted),
            any::<u64>().prop_map(Granted),
            (0..30u64, any::<bool>()).prop_map(|(highest, firm)| Answer::Refused { highest, firm }),
        ]
    }
}
