//! Writer of the events: it puts what is new on the disk, in batches and aside from whoever adds to them. It is woken
//! by an event and by nothing else: what could not be written is tried again with the next one.

use super::{Feed, News};
use crate::lived::Moment;
use crate::store::events::{Bounds, Line, Ring};
use crate::wire::EventKind;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, yield_now};

/// The writer of a feed.
pub struct Writer {
    feed: Feed,
    ring: Arc<Mutex<Ring>>,
    bounds: watch::Receiver<Bounds>,
    /// The moment of the sled's life, whenever that is called.
    moment: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// The last batch could not be written.
    fails: bool,
}

impl Writer {
    /// Make the writer of a feed that was opened.
    pub fn new(
        feed: Feed,
        bounds: watch::Receiver<Bounds>,
        moment: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        let (ring, opened) = Ring::open(&feed.0.dir, *bounds.borrow());
        if let Err(why) = opened {
            feed.tell_damage(&format!("the record of events cannot be opened: {why}"));
        }
        Self { feed, ring: Arc::new(Mutex::new(ring)), bounds, moment: Arc::new(moment), fails: false }
    }

    /// Write what there is and what comes, until nobody adds to it any more.
    pub async fn run(mut self) {
        let mut news = self.feed.watch();
        loop {
            // Hosts that wait for the same news are answered before it is written down.
            yield_now().await;
            news.borrow_and_update();
            self.write().await;
            // The feed is its own, so its end is that of the runtime.
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Write what is not on the disk yet.
    async fn write(&mut self) {
        let lines = self.feed.unwritten();
        let Some(last) = lines.last().map(|line| line.event.id) else { return };
        let (ring, bounds, moment) = (self.ring.clone(), *self.bounds.borrow(), self.moment.clone());
        let written = spawn_blocking(move || {
            let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.keep_to(bounds);
            ring.append(&lines, moment())
        });
        let written = written.await.map_err(std::io::Error::other).flatten();
        match written {
            Ok(()) => {
                self.fails = false;
                self.feed.note_written(last);
            }
            Err(why) => {
                // Whoever waits for it waits no longer.
                self.feed.0.written.send_replace(last);
                if !std::mem::replace(&mut self.fails, true) {
                    self.feed.tell_damage(&format!("events cannot be written down: {why}; they are kept in memory"));
                }
            }
        }
    }
}

impl Feed {
    fn unwritten(&self) -> Vec<Arc<Line>> {
        let lines = self.lines();
        let first = lines.kept.partition_point(|line| line.event.id <= lines.written);
        lines.kept.range(first..).cloned().collect()
    }

    /// Record that everything up to this event is on the disk, and tell if something before it could not be.
    fn note_written(&self, last: u64) {
        let lost = {
            let mut lines = self.lines();
            lines.written = last;
            lines.trim();
            std::mem::take(&mut lines.lost)
        };
        self.0.written.send_replace(last);
        if lost > 0 {
            tracing::warn!("{lost} event(s) could not be written down in time, and are lost");
            let mut news = News::of(EventKind::EventsLost, "events");
            news.0.cause = Some(format!("{lost} event(s) could not be written down in time"));
            self.add(vec![news]);
        }
    }

    /// Tell that the record is not as it should be.
    fn tell_damage(&self, cause: &str) {
        tracing::warn!("{cause}");
        let mut news = News::of(EventKind::EventsDamaged, "events");
        news.0.cause = Some(cause.to_owned());
        self.add(vec![news]);
    }
}
