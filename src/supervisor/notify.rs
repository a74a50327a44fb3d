//! Notifications of checks, for whoever is not looking: a task of its own sees what is published, decides whom it
//! concerns ([`Notices`]), and queues it; another one has it delivered, and tries again for a while. Neither is ever
//! waited for. What cannot be delivered is a check itself, of which nobody is notified.

use crate::act::notify::{Target, deliver};
use crate::backoff::Backoff;
use crate::config::{self, Configuration};
use crate::decide::notices::{Notice, Notices};
use crate::desk::Publish;
use crate::desk::answer::Answer;
use crate::desk::bulletin::Bulletin;
use crate::desk::request::Reply;
use crate::names::SledName;
use crate::supervisor::tasks::{Tasks, run_unheard};
use crate::times;
use crate::wire::{self, Delivery, Notification, Notified, Occasion, Refusal};
use futures_util::future::join_all;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use zbus::connection::Builder;

/// Number of notifications that wait to be delivered; what comes after them is left out.
const QUEUE: usize = 16;
/// Number of times that a delivery is tried, and the first and the longest pause between two.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Time that systemd may take to answer a call.
const CALL_LIMIT: Duration = Duration::from_secs(25);

/// Whom to tell, and what of.
type Wanted = Option<config::Notify>;

/// Notifications, as they are configured.
pub(in crate::supervisor) struct Notify {
    wanted: watch::Sender<Wanted>,
    tasks: Tasks<Report>,
}

/// Report of what came of deliveries, and by which configuration they were made.
pub(in crate::supervisor) struct Report {
    of: config::Notify,
    /// Reason why some were not delivered.
    failed: Option<String>,
}

/// Notification that is to be delivered, and by which configuration.
type Told = (config::Notify, Notification);

impl Notify {
    /// Begin to see what is published.
    pub(in crate::supervisor) fn new(config: &Configuration, publish: &Publish, tasks: Tasks<Report>) -> Self {
        let (wanted, known) = watch::channel(config.sled.notify.clone());
        let ((to, queue), lost) = (mpsc::channel(QUEUE), Arc::new(AtomicU64::new(0)));
        run_unheard(carry(queue, tasks.clone(), lost.clone()));
        let watch = Watch { wanted: known, published: publish.subscribe(), to, lost, notices: None };
        run_unheard(watch.run());
        Self { wanted, tasks }
    }

    /// Tell by another configuration from now on.
    pub(in crate::supervisor) fn configure(&self, config: &Configuration) {
        self.wanted.send_if_modified(|known| {
            let other = *known != config.sled.notify;
            known.clone_from(&config.sled.notify);
            other
        });
    }

    /// Try whether notifications arrive, and answer what came back.
    pub(in crate::supervisor) fn test(&self, config: &Configuration, answer: Reply) {
        let Some(wanted) = config.sled.notify.clone() else {
            let (message, remedy) = ("nobody is to be told of checks", "write whom: [notify] of sled.toml");
            _ = answer.send(Err(wire::Error::new(Refusal::NotifyUnset, message, remedy)));
            return;
        };
        let (sled, occasion, time) = (config.sled.name.clone(), Occasion::Test, times::now());
        let told = Notification { sled, occasion, check: None, time, left_out: 0 };
        self.tasks.run(|_| None, async move {
            let deliveries = join_all(Target::all(&wanted).iter().map(|target| try_once(target, &told))).await;
            let report = Report { of: wanted, failed: failed(&deliveries) };
            _ = answer.send(Ok(Answer::Notified(Notified { deliveries })));
            Some(report)
        });
    }
}

impl Report {
    /// Tell why nobody is told by this configuration, if it is of that.
    pub(in crate::supervisor) fn failed(self, config: &Configuration) -> Option<Option<String>> {
        (config.sled.notify.as_ref() == Some(&self.of)).then_some(self.failed)
    }
}

/// Watch over what is published.
struct Watch {
    wanted: watch::Receiver<Wanted>,
    published: watch::Receiver<Option<Arc<Bulletin>>>,
    to: mpsc::Sender<Told>,
    /// Number of those that were queued and could not be delivered.
    lost: Arc<AtomicU64>,
    /// Checks that somebody was told of; `None` before anything was published.
    notices: Option<Notices>,
}

impl Watch {
    /// Watch until the supervisor has ended. As long as nobody is to be told, nothing that is published is looked at.
    async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let due = self.notices.as_ref().zip(wanted.as_ref()).and_then(|(notices, wanted)| notices.due(wanted));
            let due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            // Cancel-safe: what has changed stays so, and the clock is absolute.
            let goes_on = tokio::select! {
                changed = self.wanted.changed() => changed.is_ok(),
                changed = self.published.changed(), if wanted.is_some() => changed.is_ok(),
                () = due => true,
            };
            match (goes_on, wanted) {
                (false, _) => return,
                (true, Some(wanted)) => self.look(&wanted),
                // Whoever is to be told later is told of all that holds then.
                (true, None) => self.notices = Some(Notices::default()),
            }
        }
    }

    /// Look at what was published last, and queue what is to be told of it.
    fn look(&mut self, wanted: &config::Notify) {
        let bulletin = self.published.borrow_and_update().clone();
        let Some(sled) = bulletin.as_ref().and_then(|bulletin| bulletin.whole.as_ref()) else { return };
        let now = Instant::now().into_std();
        self.notices.get_or_insert_with(|| Notices::after_another(&sled.checks, wanted, sled.started, now));
        self.tell(&sled.sled, &sled.checks, wanted, now);
    }

    /// Queue what is to be told of these checks; what has no room there is counted, and told with the next.
    fn tell(&mut self, name: &SledName, checks: &[wire::Check], wanted: &config::Notify, now: std::time::Instant) {
        let notices = self.notices.get_or_insert_default();
        notices.lost(self.lost.swap(0, Ordering::Relaxed));
        for Notice { occasion, check, left_out } in notices.see(checks, wanted, now) {
            let (sled, check, time) = (name.clone(), Some(check), times::now());
            let told = Notification { sled, occasion, check, time, left_out };
            if self.to.try_send((wanted.clone(), told)).is_err() {
                notices.lost(left_out + 1);
            }
        }
    }
}

/// Have what is queued delivered, one after the other, and tell the loop whether it was.
async fn carry(mut queue: mpsc::Receiver<Told>, tasks: Tasks<Report>, lost: Arc<AtomicU64>) {
    while let Some((wanted, told)) = queue.recv().await {
        let deliveries = join_all(Target::all(&wanted).iter().map(|target| try_often(target, &told))).await;
        if deliveries.iter().all(|delivery| delivery.error.is_some()) {
            lost.fetch_add(told.left_out + 1, Ordering::Relaxed);
        }
        tasks.tell(Report { of: wanted, failed: failed(&deliveries) }).await;
    }
}

/// Deliver by one way, and try again for a while.
async fn try_often(target: &Target, told: &Notification) -> Delivery {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut delivery = try_once(target, told).await;
    for _ in 1..ATTEMPTS {
        if delivery.error.is_none() {
            break;
        }
        backoff.pause().await;
        delivery = try_once(target, told).await;
    }
    delivery
}

/// Deliver by one way, on a connection to systemd of its own: the loop's may be another by the next time.
async fn try_once(target: &Target, told: &Notification) -> Delivery {
    match Builder::system().method_timeout(CALL_LIMIT).build().await {
        Ok(bus) => deliver(&bus, target, told).await,
        Err(why) => {
            let error = Some(format!("systemd does not answer on D-Bus: {why}"));
            Delivery { way: target.way(), to: target.shown(), answer: None, error }
        }
    }
}

/// Put together why some were not delivered.
fn failed(deliveries: &[Delivery]) -> Option<String> {
    let why = |delivery: &Delivery| {
        let why = delivery.error.as_ref()?;
        Some(format!("{} to {}: {why}", delivery.way.as_str(), delivery.to))
    };
    let all: Vec<_> = deliveries.iter().filter_map(why).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Code, Severity};
    use crate::span::Span;
    use jiff::Timestamp;

    fn check(number: usize) -> wire::Check {
        let (code, subject) = (Code::DiskLow, format!("disk {number}"));
        let (severity, since) = (Severity::Blocking, Timestamp::UNIX_EPOCH);
        wire::Check { code, severity, subject, cause: "c".into(), remedy: "r".into(), since }
    }

    /// Whoever is slow to be told holds nobody up: what has no room is left out, and the next one that has says how many.
    #[tokio::test]
    async fn a_queue_that_is_full_leaves_out_and_says_how_many() {
        let severity = Severity::Information;
        let (program, delay) = (vec!["/bin/true".to_owned()], Span::seconds(0));
        let wanted = config::Notify { program, webhook: None, ntfy: None, severity, delay, at_most: 1000 };
        let ((to, mut queue), (_published, published)) = (mpsc::channel(QUEUE), watch::channel(None));
        let (_wanted, known) = watch::channel(Some(wanted.clone()));
        let mut watch = Watch { wanted: known, published, to, lost: Arc::default(), notices: None };
        let (name, now) = ("proper-raptor".parse().unwrap(), std::time::Instant::now());
        let all: Vec<_> = (0..QUEUE + 3).map(check).collect();
        watch.tell(&name, &all, &wanted, now);
        let mut told = Vec::new();
        while let Ok((_, one)) = queue.try_recv() {
            told.push(one);
        }
        assert_eq!((told.len(), told.iter().map(|one| one.left_out).sum::<u64>()), (QUEUE, 0));
        assert!(told.iter().all(|one| one.occasion == Occasion::Raised && one.sled == name));
        // They are over, all but one: which is told as well, with those that nobody heard of, and two that could not be
        // delivered.
        watch.lost.fetch_add(2, Ordering::Relaxed);
        watch.tell(&name, &all[1..], &wanted, now);
        let (_, next) = queue.try_recv().unwrap();
        assert_eq!((next.occasion, next.left_out), (Occasion::Over, 3 + 2));
        watch.tell(&name, &all, &wanted, now);
        assert_eq!(queue.try_recv().unwrap().1.left_out, 0, "it is said once");
        assert!(queue.try_recv().is_err(), "what is known is not told again");
    }
}
