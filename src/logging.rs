//! The daemon's events in systemd's journal, with all their fields, and without the loop ever waiting
//! for it. tracing-journald sends each event at once: if journald has stopped and its queue is full, that
//! takes until journald goes on. In the loop, everything would wait with it, and the watchdog kill a
//! supervisor that had nothing wrong with it.
//!
//! So the loop's layer only queues what an event says, and a thread of its own gives that to
//! tracing-journald and alone waits. What there is no room for is lost, and the journal is told how much
//! that was, as far as that is known: what tracing-journald fails to send although journald listened a moment
//! before (for want of the kernel's memory, or as it goes away) is lost and not counted. Spans are left out: the daemon has none.

use crate::clean;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::iter;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::field::{Field, Value, Visit};
use tracing::subscriber::{self, DefaultGuard};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// Level of what is told, and what is not.
pub const LEVEL: LevelFilter = LevelFilter::INFO;

/// Socket at which journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Name of who speaks, as `journalctl -t` has it.
const IDENTIFIER: &str = "sledd";
/// Number of records that wait for journald; what comes after them is lost.
const QUEUE_LENGTH: usize = 1024;
/// The most bytes of a value: several such fit into one datagram, which may have some 200 KiB.
const VALUE_LIMIT_BYTES: usize = 16 << 10;
/// Number of times that a record is offered to a journald that is not there, and the pause after
/// each time: together the second that a restart of journald may take.
const OFFER_COUNT: u32 = 50;
const OFFER_PAUSE: Duration = Duration::from_millis(20);
/// Time for which the end of the process waits for what is still queued.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The layer: it takes down an event and queues it.
#[derive(Debug)]
pub struct Journal {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// Rest that is still queued. Dropping it waits until that is sent, for a second at most.
#[derive(Debug)]
#[must_use = "dropped at once, it waits for nothing"]
pub struct Rest(SyncSender<Entry>);

#[derive(Debug)]
enum Entry {
    Record(Record),
    /// Answered when all that was queued before it has been sent.
    Rest(SyncSender<()>),
}

impl Journal {
    /// Starts the thread that sends. The second value is to be kept until the end of the process.
    ///
    /// # Errors
    /// There is no journald, or there is no thread to be had.
    pub fn open() -> io::Result<(Self, Rest)> {
        let probe = UnixDatagram::unbound()?;
        probe.connect(SOCKET)?;
        let (queue, queued) = mpsc::sync_channel(QUEUE_LENGTH);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        // What the thread tells by is its own alone, and so made there.
        let work = move || Courier { probe, told: None, lost: counted }.run(&queued);
        thread::Builder::new().name("journal".into()).spawn(work)?;
        Ok((Self { queue: queue.clone(), lost }, Rest(queue)))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.queue.try_send(Entry::Record(Record::of(event))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let end = Instant::now() + FLUSH_LIMIT;
        let (answer, sent) = mpsc::sync_channel(1);
        // The queue may be full, and it has no way to wait for room that would end in time.
        while let Err(TrySendError::Full(_)) = self.0.try_send(Entry::Rest(answer.clone())) {
            if Instant::now() >= end {
                return;
            }
            thread::sleep(OFFER_PAUSE);
        }
        // Without its own end of it, a thread that has ended is not waited for.
        drop(answer);
        let _ = sent.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Courier that the thread has: the only one here that waits for journald.
struct Courier {
    /// Asks whether journald listens: to connect does not wait, as a message would.
    probe: UnixDatagram,
    /// What is told on this thread goes to tracing-journald while there is this.
    told: Option<DefaultGuard>,
    lost: Arc<AtomicU64>,
}

impl Courier {
    fn run(mut self, queued: &Receiver<Entry>) {
        while let Ok(first) = queued.recv() {
            iter::once(first).chain(queued.try_iter()).for_each(|entry| self.handle(entry));
            // What is queued is older than what was lost: it comes first.
            self.tell_lost();
        }
    }

    fn handle(&mut self, entry: Entry) {
        match entry {
            Entry::Record(record) => {
                if self.reaches() {
                    record.tell();
                } else {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Rest(answer) => {
                self.tell_lost();
                let _ = answer.try_send(());
            }
        }
    }

    fn tell_lost(&mut self) {
        if self.lost.load(Ordering::Relaxed) == 0 || !self.reaches() {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        tracing::warn!("{lost} messages were lost: the journal did not take them");
    }

    /// Tell whether journald listens, as it mostly does in a moment. tracing-journald says nothing of what
    /// it could not send: without this, a restart of journald would take messages along, and nobody count
    /// them.
    fn reaches(&mut self) -> bool {
        for _ in 0..OFFER_COUNT {
            match self.connect() {
                Ok(()) => return true,
                Err(_) => thread::sleep(OFFER_PAUSE),
            }
        }
        false
    }

    fn connect(&mut self) -> io::Result<()> {
        self.probe.connect(SOCKET)?;
        if self.told.is_none() {
            // This sends a message, and may wait.
            let journald = tracing_journald::layer()?.with_field_prefix(None).with_syslog_identifier(IDENTIFIER.into());
            self.told = Some(subscriber::set_default(tracing_subscriber::registry().with(LEVEL).with(journald)));
        }
        Ok(())
    }
}

/// Record of what an event says, kept until it can be told.
#[derive(Debug)]
struct Record {
    about: &'static Metadata<'static>,
    /// Values in the order of its fields.
    values: Vec<Option<String>>,
}

impl Record {
    fn of(event: &Event<'_>) -> Self {
        let about = event.metadata();
        let mut record = Self { about, values: vec![None; about.fields().len()] };
        event.record(&mut record);
        record
    }

    /// The same event again, to what listens on this thread.
    fn tell(&self) {
        let values: Vec<_> = self.values.iter().map(|value| value.as_ref().map(|text| text as &dyn Value)).collect();
        Event::dispatch(self.about, &self.about.fields().value_set_all(&values));
    }

    fn put(&mut self, field: &Field, value: &str) {
        // What tracing-journald leaves of a name may be nothing, and journald takes no such field.
        if let Some(place) = self.values.get_mut(field.index())
            && field.name().contains(|c: char| c.is_ascii_alphanumeric())
        {
            *place = Some(cut(&clean::lines(value)).into_owned());
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// A value of bounded length.
fn cut(value: &str) -> Cow<'_, str> {
    if value.len() <= VALUE_LIMIT_BYTES {
        return value.into();
    }
    format!("{}…", &value[..value.floor_char_boundary(VALUE_LIMIT_BYTES)]).into()
}

#[cfg(test)]
mod tests;
