//! Against a journald that reads when a test says so, where journald has its place.

use super::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;

/// Long enough for any machine; no test that passes takes it.
const LONG: Duration = Duration::from_secs(60);

/// Does something where `/run` is empty: in a mount namespace that ends with it, and that all threads
/// started there share. Needs root.
fn in_private<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        what()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|why| resume_unwind(why)))
}

/// A journald that reads only when the test says so.
struct Journald(UnixDatagram);

impl Journald {
    /// Does something where there is such a one.
    fn with<T: Send>(what: impl FnOnce(Self) -> T + Send) -> T {
        in_private(|| {
            fs::create_dir_all(Path::new(SOCKET).parent().unwrap()).unwrap();
            what(Self::bind())
        })
    }

    fn bind() -> Self {
        let socket = UnixDatagram::bind(SOCKET).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self(socket)
    }

    fn read(&self) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 1 << 20];
        // An empty message asks whether it is there.
        let length = iter::repeat_with(|| self.0.recv(&mut buffer).unwrap()).find(|length| *length > 0).unwrap();
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

/// The fields of what is told, as journald has them.
fn told(work: impl FnOnce() + Send) -> BTreeMap<String, String> {
    Journald::with(|journald| {
        let (journal, _rest) = Journal::open().unwrap();
        with(journal, work);
        journald.read()
    })
}

#[test]
fn a_value_may_have_several_lines_or_none() {
    let record = told(|| tracing::info!(SUBJECT = "two\nlines", REGION = "", "one=1"));
    assert_eq!((&*record["MESSAGE"], &*record["SUBJECT"], &*record["REGION"]), ("one=1", "two\nlines", ""));
}

#[test]
fn names_are_what_journald_takes() {
    let record = told(|| {
        tracing::info!(
            CODE = 1,
            disk.free_2 = 2,
            "__.trusted" = 3,
            "größe in-bytes" = 4,
            "_" = "a field without a name is no field",
            "message"
        );
    });
    let own = |name: &&str| !["CODE_FILE", "CODE_LINE", "PRIORITY", "SYSLOG_IDENTIFIER", "TARGET"].contains(name);
    let names: Vec<_> = record.keys().map(String::as_str).filter(own).collect();
    assert_eq!(names, ["CODE", "DISK_FREE_2", "GREINBYTES", "MESSAGE", "TRUSTED"]);
}

#[test]
fn a_long_value_is_cut_between_two_characters() {
    assert_eq!(cut(&"a".repeat(VALUE_LIMIT_BYTES)), "a".repeat(VALUE_LIMIT_BYTES));
    assert_eq!(
        cut(&format!("a{}", "ä".repeat(VALUE_LIMIT_BYTES))),
        format!("a{}…", "ä".repeat(VALUE_LIMIT_BYTES / 2 - 1))
    );
}

#[test]
fn a_record_carries_the_fields_of_its_event() {
    Journald::with(|journald| {
        let (journal, _rest) = Journal::open().unwrap();
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
        assert_eq!((record["PRIORITY"].as_str(), record["MESSAGE"].len()), ("4", VALUE_LIMIT_BYTES + "…".len()));
        assert_eq!(journald.read()["PRIORITY"], "5");
    });
}

#[test]
fn a_journald_that_has_stopped_is_not_waited_for() {
    Journald::with(|journald| {
        let (journal, _rest) = Journal::open().unwrap();
        in_time(|| with(journal, || (0..5000).for_each(|number| tracing::info!("{number}"))));
        let (came, lost) = journald.read_all(5000);
        assert!(came.len() >= QUEUE_LENGTH && lost > 0, "{lost} of 5000 were lost");
        // The oldest are among those that came, all of them in their order: how many there was room for
        // after the first was lost is a matter of when the thread that sends had its turns.
        let came: Vec<usize> = came.iter().map(|number| number.parse().unwrap()).collect();
        assert!(came.iter().copied().take(QUEUE_LENGTH).eq(0..QUEUE_LENGTH), "{:?}", &came[..QUEUE_LENGTH]);
        assert!(came.is_sorted_by(|a, b| a < b), "{came:?}");
        assert_eq!(came.len() + lost, 5000);
    });
}

#[test]
fn the_end_does_not_wait_for_a_journald_that_has_stopped() {
    Journald::with(|_journald| {
        let (journal, rest) = Journal::open().unwrap();
        in_time(|| {
            with(journal, || (0..5000).for_each(|number| tracing::info!("{number}")));
            drop(rest);
        });
        // Nor for one that took a part: there is room to ask, and no answer.
        let (journal, rest) = Journal::open().unwrap();
        in_time(|| {
            with(journal, || (0..QUEUE_LENGTH / 2).for_each(|number| tracing::info!("{number}")));
            drop(rest);
        });
    });
}

#[test]
fn what_is_queued_is_sent_before_the_end() {
    Journald::with(|journald| {
        let (journal, rest) = Journal::open().unwrap();
        with(journal, || (0..3).for_each(|number| tracing::info!("{number}")));
        drop(rest);
        journald.0.set_nonblocking(true).unwrap();
        assert_eq!(journald.read_all(3), (["0", "1", "2"].map(str::to_owned).into(), 0));
    });
}

#[test]
fn a_journald_that_comes_back_gets_what_follows() {
    Journald::with(|mut journald| {
        let (journal, _rest) = Journal::open().unwrap();
        fs::remove_file(SOCKET).unwrap();
        with(journal, || {
            tracing::info!("before");
            journald = Journald::bind();
            tracing::info!("after");
        });
        // On a slow machine the first may have been given up by then, and is told.
        let (came, lost) = journald.read_all(2);
        assert_eq!((came.last().map(String::as_str), came.len() + lost), (Some("after"), 2));
    });
}

#[test]
fn without_a_journald_there_is_no_journal() {
    in_private(|| assert!(Journal::open().is_err()));
}
