//! Granting of a volume: the order in which whom it lets in is changed, by a ticket, by an operator's word, by a
//! holder that lets go. Each step is done by the supervisor, which is told here what comes after it, by how it went;
//! it does nothing in another order. Pure.
//!
//! *At no moment may two addresses reach a volume's ports unless an operator allowed it, and
//! nobody without a grant ever may.* So:
//!
//! 1. Before anybody is disturbed it is looked whether whoever asks is still there, whether systemd
//!    answers at all, and whether the record can be written: what can be known to fail later fails here.
//! 2. The fence is made narrow: it lets in those alone whom both what is on record and what is to be
//!    there let in, and for a takeover that is nobody. Those outside of it are cut off, and it is
//!    waited until the regions have let go of them.
//! 3. Whoever asks is looked at once more, and only then is it on record. From there on it holds, and
//!    the fence lets in whom the record does.
//! 4. Whatever fails between 2 and 3: the fence becomes what is on record again.
//!
//! `granting/model.rs` searches what can happen around these steps for a moment at which that does
//! not hold.

#[cfg(test)]
mod model;

/// The kind of a change, on which it depends what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Another generation for the only host that the fence lets in, which stands: nobody is cut off.
    Renewal,
    /// A change of who is let in: somebody else than before, or fewer.
    Change,
    /// The record as it is known, written anew; nobody is let in or cut off by it.
    Rewrite,
}

/// A step of granting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Look whether whoever asks is still there to be answered.
    Asker,
    /// See to it that systemd answers, and open the record to be written.
    Prepare,
    /// Judge, by who is connected now and by what is on record, whether it may be.
    Judge,
    /// Let in only those whom both what is on record and what is to be there let in.
    Narrow,
    /// End the connections of all others, and wait until the regions have let go of them.
    Cut,
    /// Look once more whether whoever asks is there.
    StillThere,
    /// Put it on record, durably.
    Record,
    /// Let in whom the record now lets in.
    Open,
    /// Let in whom the record lets in, which is what it was.
    PutBack,
}

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// This step.
    Do(Step),
    /// Nothing is left: this is what came of it.
    Over(End),
}

/// The outcome of granting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// Whether it is on record, and was not before.
    pub recorded: bool,
    /// The units' fence afterwards.
    pub fence: Left,
}

/// The fence of the units afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// The fence was not touched.
    AsItWas,
    /// The fence is what is on record.
    AsRecorded,
    /// The fence may be so in part.
    Unknown,
}

impl Kind {
    /// The first step.
    pub fn first(self) -> Step {
        match self {
            Self::Renewal | Self::Change => Step::Asker,
            Self::Rewrite => Step::Prepare,
        }
    }

    /// The step after another, by whether that went well.
    pub fn after(self, step: Step, well: bool) -> Next {
        let over = |recorded, fence| Next::Over(End { recorded, fence });
        match (self, step, well) {
            (Self::Change, Step::Asker, true) => Next::Do(Step::Prepare),
            (Self::Change, Step::Prepare, true) => Next::Do(Step::Judge),
            (Self::Change, Step::Judge, true) => Next::Do(Step::Narrow),
            (Self::Change, Step::Narrow, true) => Next::Do(Step::Cut),
            (Self::Change, Step::Cut, true) => Next::Do(Step::StillThere),
            (Self::Change, Step::StillThere, true) => Next::Do(Step::Record),
            (Self::Change, Step::Record, true) => Next::Do(Step::Open),
            (Self::Change, Step::Narrow | Step::Cut | Step::StillThere | Step::Record, false) => {
                Next::Do(Step::PutBack)
            }
            (Self::Renewal, Step::Asker, true) | (Self::Rewrite, Step::Prepare, true) => Next::Do(Step::Record),
            (Self::Renewal | Self::Rewrite, Step::Record, well) => over(well, Left::AsItWas),
            (_, Step::Open, true) => over(true, Left::AsRecorded),
            (_, Step::Open, false) => over(true, Left::Unknown),
            (_, Step::PutBack, true) => over(false, Left::AsRecorded),
            (_, Step::PutBack, false) => over(false, Left::Unknown),
            // No fence was begun yet.
            (..) => over(false, Left::AsItWas),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of a change of which one fails, and what came of it.
    fn steps(kind: Kind, failing: &[Step]) -> (Vec<Step>, End) {
        let (mut done, mut step) = (Vec::new(), kind.first());
        loop {
            done.push(step);
            match kind.after(step, !failing.contains(&step)) {
                Next::Do(next) => step = next,
                Next::Over(end) => return (done, end),
            }
        }
    }

    #[test]
    fn nobody_is_disturbed_before_what_can_fail_was_tried_and_nobody_is_let_in_before_the_record() {
        use Step::{Asker, Cut, Judge, Narrow, Open, Prepare, PutBack, Record, StillThere};
        let whole = [Asker, Prepare, Judge, Narrow, Cut, StillThere, Record, Open];
        let (done, end) = steps(Kind::Change, &[]);
        assert_eq!((&done[..], end), (&whole[..], End { recorded: true, fence: Left::AsRecorded }));
        for (at, step) in whole.into_iter().enumerate() {
            let (done, end) = steps(Kind::Change, &[step]);
            let (last, recorded, fence) = match at {
                0..3 => (step, false, Left::AsItWas),
                3..7 => (PutBack, false, Left::AsRecorded),
                _ => (Open, true, Left::Unknown),
            };
            assert_eq!((done.last(), end), (Some(&last), End { recorded, fence }), "{step:?} fails");
            let (_, end) = steps(Kind::Change, &[step, PutBack]);
            assert_eq!(end.fence == Left::Unknown, at >= 3, "{step:?} fails, and what comes then");
        }
    }

    #[test]
    fn what_cuts_off_nobody_touches_no_fence() {
        for kind in [Kind::Renewal, Kind::Rewrite] {
            let (done, end) = steps(kind, &[]);
            assert_eq!((done.len(), end), (2, End { recorded: true, fence: Left::AsItWas }));
            let (_, end) = steps(kind, &[Step::Record]);
            assert_eq!(end, End { recorded: false, fence: Left::AsItWas });
        }
        assert_eq!(steps(Kind::Renewal, &[Step::Asker]).0, [Step::Asker]);
    }
}
