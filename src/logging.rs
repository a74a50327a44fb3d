//! The daemon's events in systemd's journal, with all their fields: a layer of tracing that never
//! waits. The crate tracing-journald does: it sends each event at once, and if journald has
//! stopped and its queue is full, that takes until journald goes on. The loop waits with it, and
//! the watchdog kills a supervisor that had nothing wrong with it.
//!
//! Here a thread of its own sends, and alone waits for journald. What it has no room for is
//! lost, and the journal is told how much that was. Spans are left out: the daemon has none.

use crate::clean;
use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::iter;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Who speaks, as `journalctl -t` has it.
const IDENTIFIER: &str = "sledd";
/// How many records wait for journald; what comes after them is lost.
const ROOM: usize = 1024;
/// The most bytes of a value: several such fit into one datagram, which may have some 200 KiB.
const LONGEST: usize = 16 << 10;
/// How often a record is offered to a journald that is not there, and the pause after each time:
/// together the second that a restart of journald may take.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// How long the end of the process waits for what is still queued.
const PATIENCE: Duration = Duration::from_secs(1);

/// The layer: it formats an event and queues it.
#[derive(Debug)]
pub struct Journal {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// What is still queued. Dropping it waits until that is sent, for a second at most.
#[derive(Debug)]
#[must_use = "dropped at once, it waits for nothing"]
pub struct Rest(SyncSender<Entry>);

#[derive(Debug)]
enum Entry {
    Record(Vec<u8>),
    /// Answered when all that was queued before it has been sent.
    Rest(SyncSender<()>),
}

impl Journal {
    /// Starts the thread that sends to this socket. The second value is to be kept until the end
    /// of the process.
    ///
    /// # Errors
    /// Nobody listens there, or there is no thread to be had.
    pub fn open(socket: &Path) -> io::Result<(Self, Rest)> {
        // To connect asks whether somebody listens, and does not wait as an empty message would.
        UnixDatagram::unbound()?.connect(socket)?;
        let (queue, queued) = mpsc::sync_channel(ROOM);
        let lost = Arc::new(AtomicU64::new(0));
        let courier = Courier { from: UnixDatagram::unbound()?, to: socket.to_owned(), lost: Arc::clone(&lost) };
        thread::Builder::new().name("journal".into()).spawn(move || courier.run(&queued))?;
        Ok((Self { queue: queue.clone(), lost }, Rest(queue)))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut record = Record::new(*about.level(), about.target());
        if let Some(file) = about.file() {
            record.put("CODE_FILE", file);
        }
        if let Some(line) = about.line() {
            record.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut record);
        if self.queue.try_send(Entry::Record(record.0)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        let (answer, sent) = mpsc::sync_channel(1);
        // The queue may be full, and it has no way to wait for room that would end in time.
        while let Err(TrySendError::Full(_)) = self.0.try_send(Entry::Rest(answer.clone())) {
            if Instant::now() >= end {
                return;
            }
            thread::sleep(PAUSE);
        }
        // Without its own end of it, a thread that has ended is not waited for.
        drop(answer);
        let _ = sent.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// What the thread has: the only one here that waits for journald. It must not log: that would
/// end in its own queue.
struct Courier {
    from: UnixDatagram,
    to: PathBuf,
    lost: Arc<AtomicU64>,
}

impl Courier {
    fn run(&self, queued: &Receiver<Entry>) {
        while let Ok(first) = queued.recv() {
            iter::once(first).chain(queued.try_iter()).for_each(|entry| self.handle(entry));
            // What is queued is older than what was lost: it comes first.
            self.tell_lost();
        }
    }

    fn handle(&self, entry: Entry) {
        match entry {
            Entry::Record(record) => {
                if !self.send(&record) {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Rest(answer) => {
                self.tell_lost();
                let _ = answer.try_send(());
            }
        }
    }

    fn tell_lost(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let mut record = Record::new(Level::WARN, module_path!());
        record.put("MESSAGE", &format!("{lost} messages were lost: the journal did not take them"));
        if !self.send(&record.0) {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Whether journald has it now.
    fn send(&self, record: &[u8]) -> bool {
        for _ in 0..TRIES {
            match self.from.send_to(record, &self.to) {
                Ok(_) => return true,
                Err(why) if passes(&why) => thread::sleep(PAUSE),
                Err(_) => return false,
            }
        }
        false
    }
}

/// Whether it may be otherwise in a moment: journald is being restarted, or memory is short.
fn passes(why: &io::Error) -> bool {
    let why = why.raw_os_error().map(Errno::from_raw);
    matches!(why, Some(Errno::ECONNREFUSED | Errno::ENOENT | Errno::ENOBUFS | Errno::EINTR))
}

/// A record as journald's native protocol has it: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
struct Record(Vec<u8>);

impl Record {
    fn new(level: Level, target: &str) -> Self {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "5",
            Level::DEBUG => "6",
            Level::TRACE => "7",
        };
        let mut record = Self(Vec::new());
        record.put("PRIORITY", priority);
        record.put("SYSLOG_IDENTIFIER", IDENTIFIER);
        record.put("TARGET", target);
        record
    }

    fn put(&mut self, name: &str, value: &str) {
        let name = journal_name(name);
        if name.is_empty() {
            return;
        }
        let value = clean::lines(value);
        let value = cut(&value);
        self.0.extend(name);
        // Only a value of several lines needs its length told.
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend((value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend(value.bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), &format!("{value:?}"));
    }
}

/// The name of a field as journald takes it: capital letters, digits and underscores, of which
/// none comes first.
fn journal_name(name: &str) -> Vec<u8> {
    let dotless = name.bytes().map(|byte| if byte == b'.' { b'_' } else { byte }).skip_while(|&byte| byte == b'_');
    let allowed = dotless.filter(|&byte| byte == b'_' || byte.is_ascii_alphanumeric());
    allowed.map(|byte| byte.to_ascii_uppercase()).collect()
}

/// A value of bounded length.
fn cut(value: &str) -> Cow<'_, str> {
    if value.len() <= LONGEST {
        return value.into();
    }
    format!("{}…", &value[..value.floor_char_boundary(LONGEST)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use tempfile::TempDir;
    use tracing_subscriber::prelude::*;

    /// Long enough for any machine; no test that passes takes it.
    const LONG: Duration = Duration::from_secs(60);

    /// A journald that reads only when the test says so.
    struct Journald {
        dir: TempDir,
        socket: UnixDatagram,
    }

    impl Journald {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = Self::bind(dir.path());
            Self { dir, socket }
        }

        fn bind(dir: &Path) -> UnixDatagram {
            let socket = UnixDatagram::bind(dir.join("socket")).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            socket
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("socket")
        }

        fn open(&self) -> (Journal, Rest) {
            Journal::open(&self.path()).unwrap()
        }

        fn read(&self) -> BTreeMap<String, String> {
            let mut buffer = vec![0; 1 << 20];
            let length = self.socket.recv(&mut buffer).unwrap();
            fields(&buffer[..length])
        }

        /// Reads until so many messages have come or are told to be lost: those that came, and
        /// the number of those lost.
        fn read_all(&self, messages: usize) -> (Vec<String>, usize) {
            let (mut came, mut lost) = (Vec::new(), 0);
            while came.len() + lost < messages {
                let record = self.read();
                match record["MESSAGE"].strip_suffix(" messages were lost: the journal did not take them") {
                    Some(number) => {
                        assert_eq!(record["PRIORITY"], "4");
                        lost += number.parse::<usize>().unwrap();
                    }
                    None => came.push(record["MESSAGE"].clone()),
                }
            }
            (came, lost)
        }
    }

    /// The fields of a record, read as the protocol has it.
    fn fields(mut record: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while !record.is_empty() {
            let end = record.iter().position(|&byte| byte == b'\n').unwrap();
            let (line, rest) = (&record[..end], &record[end + 1..]);
            let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
                Some(equals) => (&line[..equals], &line[equals + 1..], rest),
                None => {
                    let (length, rest) = rest.split_first_chunk().unwrap();
                    let (value, rest) = rest.split_at(u64::from_le_bytes(*length) as usize);
                    (line, value, rest.strip_prefix(b"\n").unwrap())
                }
            };
            fields.insert(text(name), text(value));
            record = rest;
        }
        fields
    }

    /// Runs what logs on a thread of its own, so that one that waits fails the test and does not
    /// hang it.
    fn in_time(work: impl FnOnce() + Send + 'static) {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            work();
            done.send(()).unwrap();
        });
        ended.recv_timeout(LONG).unwrap();
    }

    fn with(journal: Journal, work: impl FnOnce()) {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), work);
    }

    #[test]
    fn a_value_of_several_lines_has_its_length_told() {
        let mut record = Record(Vec::new());
        record.put("MESSAGE", "one=1");
        record.put("SUBJECT", "two\nlines");
        record.put("REGION", "");
        assert_eq!(record.0, b"MESSAGE=one=1\nSUBJECT\n\x09\0\0\0\0\0\0\0two\nlines\nREGION=\n");
    }

    #[test]
    fn names_are_what_journald_takes() {
        let name = |name| String::from_utf8(journal_name(name)).unwrap();
        assert_eq!(name("message"), "MESSAGE");
        assert_eq!(name("CODE"), "CODE");
        assert_eq!(name("disk.free_2"), "DISK_FREE_2");
        assert_eq!(name("__.trusted"), "TRUSTED");
        assert_eq!(name("größe in-bytes"), "GREINBYTES");
        let mut record = Record(Vec::new());
        record.put("_", "a field without a name is no field");
        assert_eq!(record.0, b"");
    }

    #[test]
    fn a_long_value_is_cut_between_two_characters() {
        assert_eq!(cut(&"a".repeat(LONGEST)), "a".repeat(LONGEST));
        assert_eq!(cut(&format!("a{}", "ä".repeat(LONGEST))), format!("a{}…", "ä".repeat(LONGEST / 2 - 1)));
    }

    #[test]
    fn a_record_carries_the_fields_of_its_event() {
        let journald = Journald::new();
        let (journal, _rest) = journald.open();
        let long = "x".repeat(1 << 20);
        with(journal, || {
            tracing::error!(CODE = %"no-disk", SUBJECT = "sled", tries = 3, "no disk:\n{}", "is there");
            tracing::warn!("{long}");
            tracing::info!("all is well");
        });
        let record = journald.read();
        let line = record["CODE_LINE"].parse::<u32>().unwrap();
        assert!(line > 1 && line < line!());
        let expected = [
            ("CODE", "no-disk"),
            ("CODE_FILE", file!()),
            ("CODE_LINE", &record["CODE_LINE"]),
            ("MESSAGE", "no disk:\nis there"),
            ("PRIORITY", "3"),
            ("SUBJECT", "sled"),
            ("SYSLOG_IDENTIFIER", "sledd"),
            ("TARGET", module_path!()),
            ("TRIES", "3"),
        ];
        assert_eq!(record, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let record = journald.read();
        assert_eq!((record["PRIORITY"].as_str(), record["MESSAGE"].len()), ("4", LONGEST + "…".len()));
        assert_eq!(journald.read()["PRIORITY"], "5");
    }

    #[test]
    fn a_journald_that_has_stopped_is_not_waited_for() {
        let journald = Journald::new();
        let (journal, _rest) = journald.open();
        in_time(|| with(journal, || (0..5000).for_each(|number| tracing::info!("{number}"))));
        let (came, lost) = journald.read_all(5000);
        assert!(came.len() >= ROOM && lost > 0, "{lost} of 5000 were lost");
        // The oldest are among those that came, all of them in their order: how many there was room for
        // after the first was lost is a matter of when the thread that sends had its turns.
        let came: Vec<usize> = came.iter().map(|number| number.parse().unwrap()).collect();
        assert!(came.iter().copied().take(ROOM).eq(0..ROOM), "{:?}", &came[..ROOM]);
        assert!(came.is_sorted_by(|a, b| a < b), "{came:?}");
        assert_eq!(came.len() + lost, 5000);
    }

    #[test]
    fn the_end_does_not_wait_for_a_journald_that_has_stopped() {
        let journald = Journald::new();
        let (journal, rest) = journald.open();
        in_time(|| {
            with(journal, || (0..5000).for_each(|number| tracing::info!("{number}")));
            drop(rest);
        });
        // Nor for one that took a part: there is room to ask, and no answer.
        let (journal, rest) = journald.open();
        in_time(|| {
            with(journal, || (0..ROOM / 2).for_each(|number| tracing::info!("{number}")));
            drop(rest);
        });
    }

    #[test]
    fn what_is_queued_is_sent_before_the_end() {
        let journald = Journald::new();
        let (journal, rest) = journald.open();
        with(journal, || (0..3).for_each(|number| tracing::info!("{number}")));
        drop(rest);
        journald.socket.set_nonblocking(true).unwrap();
        assert_eq!(journald.read_all(3), (["0", "1", "2"].map(str::to_owned).into(), 0));
    }

    #[test]
    fn a_journald_that_comes_back_gets_what_follows() {
        let mut journald = Journald::new();
        let (journal, _rest) = journald.open();
        fs::remove_file(journald.path()).unwrap();
        with(journal, || {
            tracing::info!("before");
            journald.socket = Journald::bind(journald.dir.path());
            tracing::info!("after");
        });
        // On a slow machine the first may have been given up by then, and is told.
        let (came, lost) = journald.read_all(2);
        assert_eq!((came.last().map(String::as_str), came.len() + lost), (Some("after"), 2));
    }

    #[test]
    fn without_a_journald_there_is_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Journal::open(&dir.path().join("socket")).is_err());
    }
}
