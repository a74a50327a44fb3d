//! Maintenance: hosts are asked to wait, for a while or until somebody ends that.
//!
//! Requests and ends that come by themselves are written by one hand, one after the other: what is
//! known here is always what was last written.

use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::lived::Moment;
use crate::span::Span;
use crate::store::lived::Clock;
use crate::store::maintenance::{Kept, read, write};
use crate::supervisor::hosts::Report;
use crate::supervisor::tasks::Tasks;
use crate::times;
use crate::wire::{self, Refusal};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maintenance: what is known of it, by which clock, and who writes it.
pub(in crate::supervisor) struct Maintenance {
    record: Record,
    clock: Arc<Clock>,
    tasks: Tasks<Report>,
}

/// Record of maintenance: what is known of it, and what is to be written.
#[derive(Default)]
struct Record {
    kept: Option<Kept>,
    waiting: VecDeque<Order>,
    writing: bool,
}

/// Request to hosts: to wait for so long, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Asked {
    /// Time for which they are to wait; `None`: until somebody ends it.
    pub(in crate::supervisor) time: Option<Span>,
    /// Reason, in words.
    pub(in crate::supervisor) reason: Option<String>,
}

/// View of it that is shown.
type Shown = Option<wire::Maintenance>;

/// Order of something to be written.
struct Order {
    wanted: Option<Kept>,
    /// Channel to whoever waits for it.
    reply: Option<Reply>,
}

/// Order that was to be written, and what became of it.
pub(in crate::supervisor) struct Written {
    order: Order,
    written: io::Result<()>,
}

impl Record {
    /// Take something that is to be written when what was asked for before has been.
    fn ask(&mut self, wanted: Option<Kept>, reply: Option<Reply>) {
        self.waiting.push_back(Order { wanted, reply });
    }

    /// Take what is to be written now, if nothing is being written.
    fn next(&mut self) -> Option<Order> {
        let next = if self.writing { None } else { self.waiting.pop_front() };
        self.writing |= next.is_some();
        next
    }

    /// Take what became of it. What could not be written changes nothing.
    fn written(&mut self, wanted: Option<Kept>, well: bool) {
        self.writing = false;
        if well {
            self.kept = wanted;
        }
    }

    /// Tell whether nothing is being written or waits for it: what does may be more time.
    fn is_idle(&self) -> bool {
        !self.writing && self.waiting.is_empty()
    }

    /// End it if its time is over.
    fn end(&mut self, now: Moment) -> bool {
        let idle = self.is_idle();
        let over = self.kept.take_if(|kept| idle && kept.left(now) == Some(Duration::ZERO)).is_some();
        if over {
            self.ask(None, None);
        }
        over
    }

    /// Tell how long it lasts yet, if it ends by itself.
    fn left(&self, now: Moment) -> Option<Duration> {
        self.kept.as_ref()?.left(now)
    }
}

impl Maintenance {
    /// Begin with nothing that is known of it. Its time is counted by this clock, and it is written aside
    /// from the loop.
    pub(in crate::supervisor) fn new(clock: Arc<Clock>, tasks: Tasks<Report>) -> Self {
        Self { record: Record::default(), clock, tasks }
    }

    /// Take up again what an earlier supervisor knew of it.
    pub(in crate::supervisor) fn resume(&mut self, shown: &mut Shown) {
        match read() {
            Ok(None) => {}
            Ok(Some(known)) => {
                let resumed = known.clone().resume(self.clock.now(), times::now());
                if resumed != known {
                    self.record.ask(Some(resumed.clone()), None);
                }
                self.record.kept = Some(resumed);
            }
            Err(why) => tracing::error!("what was said of maintenance cannot be read: {why}; it is taken for over"),
        }
        self.show(shown);
        self.end(shown);
    }

    /// Begin it, or end it.
    pub(in crate::supervisor) fn ask(&mut self, wanted: Option<Asked>, reply: Reply) {
        let (now, clock) = (self.clock.now(), times::now());
        let wanted = wanted.map(|Asked { time, reason }| Kept::begin(reason, time.map(Into::into), now, clock));
        self.record.ask(wanted, Some(reply));
        self.write();
    }

    /// End it when its time is over.
    pub(in crate::supervisor) fn end(&mut self, shown: &mut Shown) {
        if self.record.end(self.clock.now()) {
            tracing::info!("maintenance is over");
            self.show(shown);
        }
        self.write();
    }

    /// Tell when it ends by itself.
    pub(in crate::supervisor) fn alarm(&self) -> Option<Instant> {
        let left = self.record.left(self.clock.now()).filter(|_| self.record.is_idle())?;
        // A moment later, so that it is over when it is looked at.
        Some(Instant::now() + left + Duration::from_millis(1))
    }

    /// Tell whether the time until its end is counted.
    pub(in crate::supervisor) fn counts(&self) -> bool {
        self.record.left(self.clock.now()).is_some()
    }

    /// Show what is known of it, with the times that the clock has now.
    pub(in crate::supervisor) fn show(&mut self, shown: &mut Shown) {
        let (now, clock) = (self.clock.now(), times::now());
        self.record.kept.iter_mut().for_each(|kept| kept.show(now, clock));
        *shown = self.record.kept.as_ref().map(|kept| kept.shown.clone());
    }

    fn write(&mut self) {
        let Some(order) = self.record.next() else { return };
        let (clock, wanted, again) = (self.clock.clone(), order.wanted.clone(), order.wanted.clone());
        let lost = move |why: String| {
            let order = Order { wanted: again, reply: None };
            Some(Report::Maintenance(Written { order, written: Err(io::Error::other(why)) }))
        };
        self.tasks.run(lost, async move {
            let writing = move || {
                // Its end is counted from here.
                if wanted.is_some() {
                    clock.stamp();
                }
                write(wanted.as_ref())
            };
            let written = tokio::task::spawn_blocking(writing).await.unwrap_or_else(|why| Err(io::Error::other(why)));
            Some(Report::Maintenance(Written { order, written }))
        });
    }

    /// Take what became of something that was to be written. Whoever waits for it is to be answered this, when it
    /// is shown.
    pub(in crate::supervisor) fn hear(
        &mut self,
        Written { order, written }: Written,
        shown: &mut Shown,
    ) -> Option<(Reply, Result<Answer, wire::Error>)> {
        self.record.written(order.wanted, written.is_ok());
        self.show(shown);
        let failed = |why: io::Error| {
            tracing::warn!("maintenance cannot be written down: {why}");
            let message = format!("maintenance is as it was, as it cannot be written down: {why}");
            wire::Error::new(Refusal::NotRecorded, message, "see df -h /var/lib/sled and dmesg, and ask again")
        };
        let result = written.map_err(failed).map(|()| Answer::Maintenance(shown.clone()));
        self.write();
        order.reply.map(|reply| (reply, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use uuid::Uuid;

    fn moment(seconds: u64) -> Moment {
        Moment { clock: Uuid::nil(), ms: seconds * 1000 }
    }

    fn kept(from: u64, seconds: u64) -> Option<Kept> {
        Some(Kept::begin(None, Some(Duration::from_secs(seconds)), moment(from), Timestamp::UNIX_EPOCH))
    }

    /// Carry out what waits: the file, as the writer leaves it, and what is known.
    fn carry_out(room: &mut Record, file: &mut Option<Kept>) {
        while let Some(order) = room.next() {
            file.clone_from(&order.wanted);
            room.written(order.wanted, true);
        }
    }

    #[test]
    fn more_time_that_is_asked_for_at_the_moment_of_its_end_counts() {
        let (mut room, mut file) = (Record::default(), None);
        room.ask(kept(0, 10), None);
        carry_out(&mut room, &mut file);
        // Asked for before the end, and written after it.
        room.ask(kept(9, 100), None);
        let order = room.next().unwrap();
        assert!(!room.end(moment(10)) && room.next().is_none());
        file.clone_from(&order.wanted);
        room.written(order.wanted, true);
        assert!(!room.end(moment(11)) && room.left(moment(11)).is_some());
        assert_eq!(file, room.kept);
        // Asked for while its end is being written.
        assert!(room.end(moment(109)) && room.kept.is_none());
        let order = room.next().unwrap();
        room.ask(kept(109, 5), None);
        file.clone_from(&order.wanted);
        room.written(order.wanted, true);
        carry_out(&mut room, &mut file);
        assert!(file.is_some() && file == room.kept);
        // What cannot be written changes nothing.
        room.ask(None, None);
        let order = room.next().unwrap();
        room.written(order.wanted, false);
        assert_eq!(file, room.kept);
    }
}
