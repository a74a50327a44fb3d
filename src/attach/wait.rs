//! Wait for a volume: every sled that carries it is polled until it may be attached, and it is said meanwhile why it
//! may not. A sled that cannot be reached, restarts, or answers too quickly is asked again more and more slowly, and
//! never given up.
//!
//! Each sled has a task that holds a poll at it and sends what it hears into one bounded channel.

use super::client::{self, Look, Trouble};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::show::note;
use super::sleds::{Aim, Reason, Sleds};
use crate::backoff::Backoff;
use crate::names::VolumeName;
use crate::wire::{Error, ErrorCode, Refusal};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The time that a sled is to hold its answer, in seconds.
const HOLD_SECONDS: u64 = 30;
/// The time below which an answer was not held: the next question waits.
const HELD_AT_LEAST: Duration = Duration::from_secs(1);
/// The pauses between questions that are not held.
const QUESTION_PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(2)];
/// The shortest time between two causes of one reason that are told.
const TELL_PAUSE: Duration = Duration::from_secs(10);
/// The most reasons that are told at once.
const REASON_LIMIT: usize = 20;

type News = (usize, Result<Look, Trouble>);

/// Wait until this host may attach a volume, and give what its sleds said then.
///
/// # Errors
/// If that takes until the deadline, no sled that was named carries the volume, all refuse this host, or `still` says
/// that it is of no use any more.
pub(super) async fn until_ready(
    volume: &VolumeName,
    given: Vec<Endpoint>,
    deadline: Option<Instant>,
    aim: Aim,
    still: &(dyn Fn(&Sleds) -> Result<(), Failure> + Sync),
) -> Result<Sleds, Failure> {
    let mut sleds = Sleds::new(volume, given, aim);
    let mut teller = Teller::default();
    let done = match deadline {
        None => Ok(poll(&mut sleds, &mut teller, still).await),
        Some(deadline) => timeout_at(deadline, poll(&mut sleds, &mut teller, still)).await,
    };
    match done {
        Ok(done) => done.map(|()| sleds),
        Err(_) if !sleds.reached() => Err(Failure::Unreachable(silent(&sleds))),
        Err(_) => Err(late(&sleds)),
    }
}

fn silent(sleds: &Sleds) -> Error {
    let asked: Vec<_> = sleds.all.iter().map(|sled| sled.endpoint.to_string()).collect();
    let message = format!("time is up, and no sled has answered: {}", asked.join(", "));
    Error::new(Refusal::Unreachable, message, "are they on, and is this host's network up?")
}

/// Time is up: why the volume may not be attached yet.
pub(super) fn late(sleds: &Sleds) -> Failure {
    let reasons: BTreeSet<_> = sleds.reasons().into_iter().map(|reason| reason.code.to_string()).collect();
    let reasons = reasons.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!("time is up, and {} may not be attached yet: {reasons}", sleds.volume);
    Failure::refused(Refusal::TimedOut, message, format!("see crucible-attach status {}", sleds.volume))
}

async fn poll(
    sleds: &mut Sleds,
    teller: &mut Teller,
    still: &(dyn Fn(&Sleds) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let (sender, mut news) = mpsc::channel(16);
    let mut pollers = JoinSet::new();
    let start = |pollers: &mut JoinSet<()>, sleds: &Sleds, index: usize| {
        pollers.spawn(ask(index, sleds.all[index].endpoint.clone(), sleds.volume.clone(), sender.clone()));
    };
    (0..sleds.all.len()).for_each(|index| start(&mut pollers, sleds, index));
    loop {
        let due = teller.due();
        // Cancel-safe: a channel loses nothing, and the clock is absolute.
        tokio::select! {
            Some((index, heard)) = news.recv() => {
                sleds.hears(index, heard).into_iter().for_each(|index| start(&mut pollers, sleds, index));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        sleds.carried()?;
        sleds.admitted()?;
        still(sleds)?;
        teller.tells(sleds);
        if sleds.ready() {
            // A sled's answer may be half a minute old.
            for (index, heard) in fresh(sleds).await {
                sleds.hears(index, heard).into_iter().for_each(|index| start(&mut pollers, sleds, index));
            }
        }
        still(sleds)?;
        if sleds.ready() {
            return Ok(());
        }
    }
}

/// Ask them all for what they say now.
async fn fresh(sleds: &Sleds) -> Vec<News> {
    let asked = sleds.all.iter().map(|sled| client::look(&sled.endpoint, &sleds.volume, None));
    join_all(asked).await.into_iter().enumerate().collect()
}

/// Poll a sled for ever.
pub(super) async fn ask(index: usize, endpoint: Endpoint, volume: VolumeName, sender: mpsc::Sender<News>) {
    let mut backoff = Backoff::new(QUESTION_PAUSES[0], QUESTION_PAUSES[1]);
    let mut known = None;
    loop {
        let asked = Instant::now();
        let heard = client::look(&endpoint, &volume, known.map(|revision| (HOLD_SECONDS, revision))).await;
        known = heard.as_ref().ok().map(|look| look.volume.revision);
        if sender.send((index, heard)).await.is_err() {
            return;
        }
        if asked.elapsed() >= HELD_AT_LEAST {
            backoff.reset();
        }
        sleep(backoff.grow()).await;
    }
}

/// The teller of why it waits, whenever that changes.
#[derive(Debug, Default)]
struct Teller {
    /// The reasons that were told and still hold or have only just ceased to, and when.
    told: BTreeMap<(String, ErrorCode, String), (String, Instant)>,
    /// The time at which there is something to be told.
    due: Option<Instant>,
    disagreement: Option<String>,
}

impl Teller {
    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn tells(&mut self, sleds: &Sleds) {
        let disagreement = sleds.disagreement();
        if disagreement != self.disagreement {
            disagreement.iter().for_each(|what| note(&format!("warning: {what}")));
            self.disagreement = disagreement;
        }
        for line in self.lines(&sleds.reasons(), Instant::now()) {
            note(&format!("{} waits for {line}", sleds.volume));
        }
    }

    /// The lines to be told now. One reason is told again only after a while, however it changes.
    fn lines(&mut self, reasons: &[Reason], now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.due = None;
        let holds: BTreeSet<_> = reasons.iter().map(key).collect();
        self.told.retain(|key, (_, when)| holds.contains(key) || now - *when < TELL_PAUSE);
        for reason in reasons.iter().take(REASON_LIMIT) {
            match self.told.get(&key(reason)) {
                Some((cause, _)) if *cause == reason.cause => {}
                Some((_, when)) if now - *when < TELL_PAUSE => {
                    self.due = Some(self.due.map_or(*when + TELL_PAUSE, |due| due.min(*when + TELL_PAUSE)));
                }
                _ => {
                    lines.push(reason.to_string());
                    self.told.insert(key(reason), (reason.cause.clone(), now));
                }
            }
        }
        lines
    }
}

fn key(reason: &Reason) -> (String, ErrorCode, String) {
    (reason.sled.clone(), reason.code.clone(), reason.subject.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;

    fn reason(code: Code, cause: &str) -> Reason {
        Reason { sled: "a".into(), code: code.into(), subject: "region v-0".into(), cause: cause.into() }
    }

    #[test]
    fn a_reason_is_told_once_and_a_restless_one_now_and_then() {
        let mut teller = Teller::default();
        let begin = Instant::now();
        let mut lines = |seconds: u64, reasons: &[Reason]| teller.lines(reasons, begin + Duration::from_secs(seconds));
        let down = reason(Code::RegionDown, "it ended");
        assert_eq!(lines(0, std::slice::from_ref(&down)), ["a: REGION_DOWN region v-0: it ended"]);
        assert!(lines(1, std::slice::from_ref(&down)).is_empty());
        assert_eq!(lines(2, &[down.clone(), reason(Code::RegionHung, "1")]).len(), 1);
        for second in 3..12 {
            let causes = [down.clone(), reason(Code::RegionHung, &second.to_string())];
            assert!(lines(second, &causes).is_empty(), "{second}");
        }
        assert_eq!(lines(12, &[reason(Code::RegionHung, "12")]), ["a: REGION_HUNG region v-0: 12"]);
        // A cause that has ceased for a while is news when it comes back.
        assert!(lines(13, &[]).is_empty());
        assert_eq!(lines(23, &[down]).len(), 1);
    }
}
