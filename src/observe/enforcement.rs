//! Enforcement by systemd of what the regions' units ask for: tried when systemd is reached, and
//! anew whenever it has read its units again or has executed itself, as it does when it or a
//! library that it uses was upgraded.
//!
//! On a connection of its own, for the signals of the manager alone: who watches the units is not
//! held up by a canary, and the other way round.

use crate::backoff::Backoff;
use crate::config::Configuration;
use crate::decide::facts::{Enforcement, Facts, Gap};
use crate::observe::canary;
use crate::observe::changes::{arrived, began, owners, reloads};
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::systemd::job::spoken;
use crate::systemd::proxy::ManagerProxy;
use futures_util::{FutureExt, StreamExt};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// After systemd has changed, it is let finish what it does then.
const SIGNALS_PAUSE: Duration = Duration::from_secs(1);
/// Before the first canary, and between two: however often systemd reads its units again, one comes
/// after the last.
const TRIAL_PAUSE: Duration = Duration::from_secs(10);
/// Pause after several trials that could not be made.
const SLOW_TRIAL_PAUSE: Duration = Duration::from_secs(60);
/// Number of trials before it is told that none could be made: a canary that systemd forgets
/// because it executes itself anew is nothing to tell.
const TRIAL_COUNT: u32 = 3;
/// Time that systemd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Observer of whether systemd enforces what units ask for.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "enforcement";
    const SLOW_LOOK: Option<Duration> = None;
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::Once(|ground, to| Some(watch(ground.settled.subscribe(), to).boxed()));
    type Fact = Enforcement;

    fn tell(found: Self::Fact) -> Observation {
        Observation::known(|facts| facts.enforcement = Some(found))
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches until nobody listens any more. `settled` tells that all serves: what hosts wait for comes
/// first, if it comes soon.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(mut settled: watch::Receiver<bool>, to: Publisher) -> Result<(), NobodyListens> {
    _ = timeout(TRIAL_PAUSE, settled.wait_for(|settled| *settled)).await;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match session(&to, &mut backoff).await {
            Ok(gone) => return Err(gone),
            // That systemd cannot be reached is told by who watches the units.
            Err(why) => tracing::debug!("no canary: {}", spoken(why)),
        }
        backoff.pause().await;
    }
}

/// Watch one connection to systemd, as long as it lasts. `Ok` when nobody listens any more.
async fn session(to: &Publisher, backoff: &mut Backoff) -> zbus::Result<NobodyListens> {
    let bus = zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build().await?;
    let (mut reloads, mut owners) = (reloads(&bus).await?, owners(&bus).await?);
    ManagerProxy::new(&bus).await?.subscribe().await?;
    backoff.reset();
    let (mut due, mut last, mut misses) = (Some(Instant::now()), None, 0);
    loop {
        // Cancel-safe: a message that is not taken stays, and the time to wait for stays the same.
        let changed = tokio::select! {
            biased;
            reload = reloads.next() => !began(&arrived(reload)?)?,
            owner = owners.next() => arrived(owner).map(|_| true)?,
            () = at(due) => false,
            () = to.closed() => return Ok(NobodyListens),
        };
        let now = Instant::now();
        if changed {
            // What is due already is not put off: systemd may change all the time.
            let next = last.map_or(now, |last: Instant| last + TRIAL_PAUSE).max(now + SIGNALS_PAUSE);
            due = Some(due.map_or(next, |due| due.min(next)));
        } else if due.is_some_and(|due| due <= now) {
            let found = canary::ask(&bus).await;
            tracing::info!("canary: ports {}, addresses {}", word(&found.bind), word(&found.address));
            (misses, last) = (if found.untried() { misses + 1 } else { 0 }, Some(Instant::now()));
            due = found
                .untried()
                .then(|| Instant::now() + if misses < TRIAL_COUNT { TRIAL_PAUSE } else { SLOW_TRIAL_PAUSE });
            if (misses == 0 || misses >= TRIAL_COUNT)
                && let Err(gone) = publish::<Watch>(to, found).await
            {
                return Ok(gone);
            }
        }
    }
}

/// Word a result for the journal; the verdict tells why.
fn word(proof: &Result<(), Gap>) -> &'static str {
    match proof {
        Ok(()) => "enforced",
        Err(Gap::Untried(_)) => "not tried",
        Err(_) => "not enforced",
    }
}

/// Waits until it is due. Cancel-safe: nothing is taken.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
