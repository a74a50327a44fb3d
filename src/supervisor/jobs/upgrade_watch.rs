//! Watch over one region under another program, before the next one gets it. Nobody is connected to it:
//! all that can be seen is that it goes on serving.
//!
//! The region is judged by how it goes on by itself. One that ends, hangs, or has to be stopped or
//! restarted unasked has not done well, even if it serves again a moment later. One that somebody has
//! restarted is watched anew, within one time for all of it; one that was held, deleted or taken out
//! of the map has nothing to do with the program any more.

use crate::act::units;
use crate::decide::facts::Run;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::host_redundancy;
use crate::supervisor::jobs::restart::{self, Standing};
use crate::wire::{self, Refusal};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zbus::Connection;

/// Factor by which the watch may be longer than the region is to serve, beside the time to come up.
const TIMES: u32 = 3;
/// Time between looks at what is on record of one that does not serve.
const SIGHT_POLL: Duration = Duration::from_secs(1);
/// Time that is later than anybody waits.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Sight of a region: what is seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sight {
    /// Number of times that it has not gone on as it should, ever; `None` if the map does not have it here.
    breaks: Option<u64>,
    /// Run in which it serves, if it does.
    run: Option<Run>,
}

impl Sight {
    fn of(
        name: &RegionName,
        breaks: &mut watch::Receiver<BTreeMap<RegionName, u64>>,
        serving: &mut watch::Receiver<BTreeMap<RegionName, Run>>,
    ) -> Self {
        let breaks = breaks.borrow_and_update().get(name).copied();
        Self { breaks, run: serving.borrow_and_update().get(name).cloned() }
    }
}

/// Finding of a look.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing yet; if nothing happens, not before then.
    Until(Instant),
    /// The region has served for long enough.
    Well,
    /// The region is not in the map any more.
    Gone,
    /// The region has not done well, and why.
    Broken(String),
}

/// Watch over one region.
struct Vigil {
    /// Time for which it is to serve.
    steady: Duration,
    /// Time that it may take to serve again.
    patience: Duration,
    /// Time at which it is over in any case.
    end: Instant,
    before: Option<u64>,
    run: Option<Run>,
    since: Instant,
}

impl Vigil {
    fn begin(now: Instant, steady: Duration, patience: Duration, sight: Sight) -> Self {
        let end = later(now, steady.saturating_mul(TIMES).saturating_add(patience));
        Self { steady, patience, end, before: sight.breaks, run: sight.run, since: now }
    }

    fn look(&mut self, now: Instant, sight: Sight) -> Found {
        if sight.breaks.is_none() {
            return Found::Gone;
        }
        let steady = self.steady.as_secs();
        if sight.breaks != self.before {
            return Found::Broken(format!(
                "it did not serve for {steady} s without a break: it has ended, hung, or had to be restarted"
            ));
        }
        if sight.run != self.run {
            // Another run is a break as well, however short.
            (self.run, self.since) = (sight.run, now);
        }
        let due = later(self.since, if self.run.is_some() { self.steady } else { self.patience });
        match self.run {
            Some(_) if now >= due => Found::Well,
            None if now >= due => Found::Broken(format!("it does not serve after {} s", self.patience.as_secs())),
            _ if now >= self.end => Found::Broken(format!(
                "it did not serve for {steady} s without a break, as it was restarted again and again"
            )),
            _ => Found::Until(due.min(self.end)),
        }
    }
}

fn later(at: Instant, time: Duration) -> Instant {
    at.checked_add(time).unwrap_or_else(|| at + NEVER)
}

/// Watch a region until it has served for `downstairs.steady_after`, counted on from `before`: how often it
/// had broken, ever, when it was first seen to serve after its restart. Whoever has something to do with it
/// meanwhile does not wait until then.
///
/// # Errors
/// What it has not done well, or that the watch was cancelled.
pub(in crate::supervisor) async fn keep(
    context: &Context,
    job: u64,
    local: &LocalRegion,
    before: Option<u64>,
    (bus, progress): (&Connection, &Progress),
) -> Result<(), wire::Error> {
    let failed = |why: String| wire::Error::new(Refusal::UpgradeFailed, format!("{}: {why}", local.name), "");
    if let again @ 1.. = units::restarts(bus, &local.name).await.map_err(failed)? {
        return Err(failed(format!("it has ended by itself since it was restarted, {again} time(s)")));
    }
    let (name, steady) = (&local.name, Duration::from(context.config.sled.downstairs.steady_after));
    let (mut breaks, mut serving) = (context.breaks.subscribe(), context.serving.subscribe());
    let sight = Sight { breaks: before, ..Sight::of(name, &mut breaks, &mut serving) };
    let mut vigil = Vigil::begin(Instant::now(), steady, host_redundancy::patience(local), sight);
    context.tell(Report::Free { job, region: name.clone() }).await;
    loop {
        let (now, seen) = (Instant::now(), Sight::of(name, &mut breaks, &mut serving));
        let away = seen.run.is_none();
        let until = match vigil.look(now, seen) {
            Found::Until(at) => at,
            Found::Well | Found::Gone => return Ok(()),
            Found::Broken(why) => return Err(failed(why)),
        };
        if away && restart::standing(context, name).await? != Standing::Kept {
            return Ok(());
        }
        let (doing, until) = if away {
            ("waiting until it serves".to_owned(), until.min(now + SIGHT_POLL))
        } else {
            (format!("watching it for {} s", steady.as_secs()), until)
        };
        progress.step(format!("{name}: {doing}"), 0, 0);
        tokio::select! {
            () = progress.cancelled() => return Err(cancelled()),
            // What has changed is seen in the next round. Both are told as long as the context is there.
            _ = breaks.changed() => {}
            _ = serving.changed() => {}
            () = sleep_until(until) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Duration = Duration::from_secs(60);
    const SERVING_LIMIT: Duration = Duration::from_secs(90);

    fn sight(breaks: u64, run: Option<&str>) -> Sight {
        let run = run.map(|run| Run { pid: 7, invocation: Some(run.into()) });
        Sight { breaks: Some(breaks), run }
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_serves_for_long_enough_does_well_whoever_restarts_it() {
        let now = Instant::now();
        let mut vigil = Vigil::begin(now, STEADY, SERVING_LIMIT, sight(3, Some("a")));
        assert_eq!(vigil.look(now, sight(3, Some("a"))), Found::Until(now + STEADY));
        // Somebody restarts it.
        assert_eq!(vigil.look(now + after(50), sight(3, None)), Found::Until(now + after(50) + SERVING_LIMIT));
        assert_eq!(vigil.look(now + after(55), sight(3, Some("b"))), Found::Until(now + after(55) + STEADY));
        assert_eq!(vigil.look(now + after(100), sight(3, Some("c"))), Found::Until(now + after(100) + STEADY));
        assert_eq!(vigil.look(now + after(160), sight(3, Some("c"))), Found::Well);
        assert_eq!(vigil.look(now + after(160), Sight::default()), Found::Gone);
    }

    #[test]
    fn one_that_breaks_does_not_do_well_even_if_it_serves_again() {
        let now = Instant::now();
        let begin = || Vigil::begin(now, STEADY, SERVING_LIMIT, sight(3, Some("a")));
        let broken = |found: Found, what: &str| match found {
            Found::Broken(why) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?}"),
        };
        // It was over before the watch began, and after it was first seen to serve.
        let mut late = Vigil::begin(now, STEADY, SERVING_LIMIT, Sight { breaks: Some(3), ..sight(4, Some("b")) });
        broken(late.look(now, sight(4, Some("b"))), "has ended");
        // It hung, in the same run; or was restarted for that, and nobody looked in between.
        broken(begin().look(now + after(9), sight(4, None)), "hung");
        broken(begin().look(now + after(9), sight(4, Some("a"))), "hung");
        broken(begin().look(now + after(9), sight(5, Some("b"))), "restarted");
        // It does not come back.
        let mut vigil = begin();
        assert!(matches!(vigil.look(now + after(10), sight(3, None)), Found::Until(_)));
        broken(vigil.look(now + after(10) + SERVING_LIMIT, sight(3, None)), "after 90 s");
        // Again and again: there is an end of it.
        let (mut vigil, mut time) = (begin(), now);
        let found = (0..).find_map(|run| {
            time += after(50);
            match vigil.look(time, sight(3, Some(&run.to_string()))) {
                Found::Until(_) => None,
                found => Some(found),
            }
        });
        broken(found.unwrap(), "again and again");
        assert_eq!(time.duration_since(now), after(300));
    }
}
