//! Crash histories: what is remembered of each region's ends: how often it crashed lately, what is
//! known of the last end already, when it may be started again, and since when it has been hung.
//! Times become facts here; what they mean is [`decide`](crate::decide)'s.

use crate::config::Downstairs;
use crate::decide::facts::{Active, Beat, Exit, Region, Unit};
use crate::decide::failure::{Failure, Kind};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause before what waits for something is started again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Crash history of one region.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct CrashHistory {
    /// Times at which it crashed, of late.
    crashes: VecDeque<Instant>,
    /// Run whose end has been noted.
    noted: Option<String>,
    /// Runs whose ends have been noted, and whose last words are being looked for.
    unexplained: BTreeSet<String>,
    /// An end was noted that systemd has not counted as a restart yet.
    ahead: bool,
    /// Number of times in a row that it ended for something that had to be waited for.
    waits: u32,
    /// Time from which it may be started again.
    not_before: Option<Instant>,
    /// Time since which it has been hung.
    hung: Option<Instant>,
    /// Number of times that it ended by itself, hung, or had to be stopped or restarted unasked,
    /// ever.
    breaks: u64,
    /// Number of ends that were over before anybody looked, and that nobody has asked for yet.
    unseen: u64,
}

/// End that last words are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Explained {
    /// The last end there was.
    Latest,
    /// An end after which there was another.
    Earlier,
    /// An end that is not held against the region any more, or was never noted.
    Forgotten,
}

impl CrashHistory {
    /// Take a change of the unit. An end that is not noted yet is returned: its run, and how it
    /// ended.
    pub(in crate::supervisor) fn changed(
        &mut self,
        before: Option<&Unit>,
        now: &Unit,
    ) -> Option<(Option<String>, Exit)> {
        // A count that grows within one run is systemd's own, which it has not forgotten yet.
        let other = before.filter(|before| before.invocation != now.invocation);
        let more = other.map_or(0, |before| now.restarts.saturating_sub(before.restarts));
        // Ends that were over before anybody looked; of one of them it may have been told.
        let missed = more.saturating_sub(u32::from(self.ahead && more > 0));
        self.ahead &= more == 0;
        let time = Instant::now();
        self.crashes.extend(std::iter::repeat_n(time, missed as usize));
        self.breaks += u64::from(missed);
        self.unseen += u64::from(missed);
        let unasked = match now.active {
            Active::Activating | Active::Failed => true,
            Active::Inactive | Active::Deactivating => now.result != "success",
            Active::Active => false,
        };
        let exit = now.exit.filter(|_| unasked)?;
        let known = self.noted.is_some() && self.noted == now.invocation;
        (!known).then(|| {
            self.noted.clone_from(&now.invocation);
            self.ahead = matches!(now.active, Active::Activating | Active::Deactivating);
            self.breaks += 1;
            (now.invocation.clone(), exit)
        })
    }

    /// Take the number of ends that were over before anybody looked.
    pub(in crate::supervisor) fn take_unseen(&mut self) -> u64 {
        std::mem::take(&mut self.unseen)
    }

    /// Record that it is stopped or restarted, and nobody has asked for that.
    pub(in crate::supervisor) fn changed_unasked(&mut self) {
        self.breaks += 1;
    }

    /// Count how often it has not gone on as it should, ever: what was asked for is none of that.
    pub(in crate::supervisor) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Record that the last words of a run whose end was noted are being looked for.
    pub(in crate::supervisor) fn awaits_words(&mut self, run: String) {
        self.unexplained.insert(run);
    }

    /// Take what an end meant whose words have been found, and tell of which end it is. The words
    /// may come after the next end, or after what was held against the region was forgotten.
    pub(in crate::supervisor) fn explained(&mut self, run: &str, failure: &Failure) -> Explained {
        if !self.unexplained.remove(run) {
            return Explained::Forgotten;
        }
        if self.noted.as_deref() == Some(run) {
            self.ended(failure);
            return Explained::Latest;
        }
        // How long to wait is for the end to say that came after it; but that it crashed, it did.
        if failure.kind == Kind::Transient {
            self.crashes.push_back(Instant::now());
        }
        Explained::Earlier
    }

    /// Take what an end meant.
    pub(in crate::supervisor) fn ended(&mut self, failure: &Failure) {
        let now = Instant::now();
        if failure.kind.waits() {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.waits.min(16)).min(LONGEST_PAUSE);
            self.waits += 1;
            self.not_before = Some(now + pause);
        } else if failure.kind == Kind::Transient {
            self.crashes.push_back(now);
        }
    }

    /// Forget everything: the region was released.
    pub(in crate::supervisor) fn forget(&mut self) {
        *self = Self { noted: self.noted.take(), breaks: self.breaks, ..Self::default() };
    }

    /// Write what time has made of it into the facts. As long as the disk is full, whoever hangs
    /// waits for that to end: it is hung anew from then on.
    pub(in crate::supervisor) fn tell(&mut self, region: &mut Region, settings: &Downstairs, full: bool) {
        let now = Instant::now();
        while self.crashes.front().is_some_and(|at| now.duration_since(*at) > settings.crashes_within.into()) {
            self.crashes.pop_front();
        }
        region.crashes = u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        self.not_before = self.not_before.filter(|at| *at > now);
        region.pausing = self.not_before.is_some();
        let pid = region.alive();
        let silent = region.pulse.as_ref().is_some_and(|pulse| Some(pulse.pid) == pid && pulse.beat == Beat::Silent);
        self.breaks += u64::from(silent && !full && self.hung.is_none());
        self.hung = (silent && !full).then(|| self.hung.unwrap_or(now));
        region.hung_seconds = self.hung.map_or(0, |since| now.duration_since(since).as_secs());
        if region.steady {
            self.waits = 0;
        }
    }

    /// Tell when it has something to tell that nobody else knows.
    pub(in crate::supervisor) fn alarm(&self, settings: &Downstairs) -> Option<Instant> {
        let hung = self.hung.and_then(|since| Some(since + settings.restart_hung_after?.into()));
        [self.not_before, hung.filter(|at| *at > Instant::now())].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Pulse;
    use crate::decide::failure::classify;
    use crate::span::Span;

    fn settings() -> Downstairs {
        Downstairs {
            program: "/x".into(),
            user: "x".into(),
            hung_after: Span::seconds(5),
            restart_hung_after: Some(Span::seconds(60)),
            crashes: 5,
            crashes_within: Span::seconds(120),
            steady_after: Span::seconds(60),
        }
    }

    fn unit(active: Active, run: &str, restarts: u32) -> Unit {
        let exit = (active != Active::Active).then_some(Exit::Signal(9));
        let (result, invocation) = ("signal".into(), Some(run.to_owned()));
        Unit { active, pid: None, exit, result, restarts, invocation, since: None, fence: None, masked: false }
    }

    #[tokio::test(start_paused = true)]
    async fn every_end_is_noted_once_and_forgotten_after_a_while() {
        let (mut history, mut region) = (CrashHistory::default(), Region::default());
        let killed = classify(Exit::Signal(9), &[]);
        let mut before = unit(Active::Active, "a", 0);
        for (now, noted) in [
            (unit(Active::Activating, "a", 0), true),
            // Told again, and then started again.
            (unit(Active::Activating, "a", 0), false),
            (unit(Active::Active, "b", 1), false),
            (unit(Active::Activating, "b", 1), true),
            (unit(Active::Active, "c", 2), false),
            // Two more that were over before anybody looked.
            (unit(Active::Active, "e", 4), false),
        ] {
            let end = history.changed(Some(&before), &now);
            assert_eq!(end.is_some(), noted, "{now:?}");
            if end.is_some() {
                history.ended(&killed);
            }
            before = now;
        }
        history.tell(&mut region, &settings(), false);
        assert_eq!((region.crashes, history.breaks(), history.take_unseen()), (4, 4, 2));
        assert_eq!(history.take_unseen(), 0);
        history.forget();
        assert_eq!(history.breaks(), 4, "whoever counts on from a number is not led astray");
        history.crashes = std::iter::repeat_n(Instant::now(), 4).collect();
        tokio::time::advance(Duration::from_secs(121)).await;
        history.tell(&mut region, &settings(), false);
        assert_eq!(region.crashes, 0);
    }

    /// A journal that is slow hides no crash: each counts, once, whatever came in between.
    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_explained_after_the_next_one_counts_as_well() {
        let (mut history, mut region) = (CrashHistory::default(), Region::default());
        let (crashed, taken) = (
            classify(Exit::Status(1), &["no such luck".into()]),
            classify(Exit::Status(1), &["Error: Address already in use (os error 98)".into()]),
        );
        let mut before = unit(Active::Active, "a", 0);
        for (restarts, run) in (0..).zip(["a", "b", "c"]) {
            for active in [Active::Active, Active::Activating] {
                let now = unit(active, run, restarts);
                if let Some((Some(run), _)) = history.changed(Some(&before), &now) {
                    history.awaits_words(run);
                }
                before = now;
            }
        }
        assert_eq!(history.explained("a", &crashed), Explained::Earlier);
        assert_eq!(history.explained("a", &crashed), Explained::Forgotten, "it counts once");
        assert_eq!(history.explained("b", &taken), Explained::Earlier);
        assert_eq!(history.explained("c", &crashed), Explained::Latest);
        history.tell(&mut region, &settings(), false);
        assert_eq!((region.crashes, region.pausing), (2, false));
        history.changed(Some(&before), &unit(Active::Activating, "d", 3));
        history.awaits_words("d".into());
        history.forget();
        assert_eq!(history.explained("d", &crashed), Explained::Forgotten, "it was released meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_tried_ever_more_slowly_and_is_no_crash() {
        let (mut history, mut region, settings) = (CrashHistory::default(), Region::default(), settings());
        let taken = classify(Exit::Status(1), &["Error: Address already in use (os error 98)".into()]);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            history.ended(&taken);
            history.tell(&mut region, &settings, false);
            assert!(region.pausing && region.crashes == 0);
            let alarm = history.alarm(&settings).unwrap();
            pauses.push(alarm.duration_since(Instant::now()).as_millis());
            tokio::time::advance(alarm.duration_since(Instant::now())).await;
            history.tell(&mut region, &settings, false);
            assert!(!region.pausing);
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (100, 200, 30_000));
    }

    #[tokio::test(start_paused = true)]
    async fn time_on_a_full_disk_does_not_count_as_hung() {
        let (mut history, settings) = (CrashHistory::default(), settings());
        let unit = Unit { pid: Some(7), ..unit(Active::Active, "a", 0) };
        let pulse = Pulse { pid: 7, beat: Beat::Silent, identity: None, presents: None };
        let mut region = Region { unit: Some(unit), pulse: Some(pulse), ..Region::default() };
        let told = [(false, 0, 1), (false, 10, 1), (true, 0, 1), (true, 0, 1), (false, 0, 2), (false, 10, 2)];
        for (full, hung, breaks) in told {
            history.tell(&mut region, &settings, full);
            assert_eq!((region.hung_seconds, history.breaks()), (hung, breaks));
            tokio::time::advance(Duration::from_secs(10)).await;
        }
    }
}
