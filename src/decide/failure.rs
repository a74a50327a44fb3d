//! Failure of a downstairs, and what it means for the next start: a table over what upstream's program writes to
//! stderr, as every failure of it exits with 1 and only the text tells them apart. Text that no row knows is taken
//! for a passing trouble: it is tried again, ever more slowly, until it is a crash loop.

use super::remedy::Remedy::{self, Lost, Mild};

/// The status with which the unit's flock(1) ends when another process has the lock; set in the unit's drop-in.
pub const LOCKED: i32 = 75;
/// The longest word of a downstairs that is shown, in characters.
const SHOWN_CHARS: usize = 300;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// An end by itself, with this status.
    Status(i32),
    /// An end by this signal.
    Signal(i32),
}

/// The kind of a failure: what has to happen before another start makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process was killed, it panicked, or nobody knows: systemd tries again, ever more slowly.
    Transient,
    /// Another process has the region: it is tried again when that one is gone.
    Locked,
    /// A port of it is taken: it is tried again when the port is free.
    Port,
    /// Its address is not this machine's yet: it is tried again when it is.
    Network,
    /// There is no room, or the disk cannot be written to: it is tried again when there is.
    Space,
    /// The files of `[tls]` cannot be used: it is tried again when they can be.
    Tls,
    /// The next start would end the same way every time: the region is held until somebody has mended it.
    Permanent,
}

impl Kind {
    /// Whether something that is watched must change before the next start: systemd need not
    /// try meanwhile.
    pub fn waits(self) -> bool {
        matches!(self, Self::Locked | Self::Port | Self::Network | Self::Space | Self::Tls)
    }
}

/// The failure of a downstairs: how it ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: Kind,
    /// The end of its process.
    pub exit: Exit,
    /// The last words that tell why, if it said anything.
    pub said: Option<String>,
    /// The row of the table that says what that means, if one does.
    pub row: Option<&'static Row>,
}

/// The meaning of some words.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Words that only this failure has.
    pub words: &'static str,
    /// The kind of failure.
    pub kind: Kind,
    /// The fault, as part of a sentence that begins with the region's name or "it".
    pub meaning: &'static str,
    /// The remedy.
    pub remedy: Remedy,
}

/// The remedy for a file that is not there, or is not what it was: who did that may still have it.
const RESTORE: Remedy = Lost("look at the disk first (dmesg); put back what was there, or restore {dir} from a backup");

const SEE_TLS: Remedy = Mild("see TLS_UNUSABLE in sledctl checks");
const END: Remedy = Mild("end the process that has it");
const ROOM: Remedy = Mild("make room: sledctl storage");
const OWNER: Remedy = Mild("chown -R {user}: {dir} && chmod -R u+rwX {dir} (what the files hold is as it was)");
const DISK: Remedy = Mild("look at the disk (dmesg; smartctl -a): the files may be whole, on a disk that is not");
const DESCRIPTORS: Remedy = Mild("see LimitNOFILE= of its unit (systemctl cat), which a drop-in must have lowered");

const fn row(words: &'static str, kind: Kind, meaning: &'static str, remedy: Remedy) -> Row {
    Row { words, kind, meaning, remedy }
}

/// The rows: the more particular ones first, and the milder before those that it could also be. The
/// texts are upstream's, at message version 13; those of fixtures are held against this table by a test.
pub const ROWS: &[Row] = &[
    // The downstairs says just this of the files of [tls], and of no others, before the system's own words.
    row("Error: IO error", Kind::Tls, "a file of [tls] cannot be read", SEE_TLS),
    row("rustls error", Kind::Tls, "its certificate and key cannot be used", SEE_TLS),
    row("client cert verifier builder error", Kind::Tls, "its root certificate cannot be used", SEE_TLS),
    row("common/src/x509.rs", Kind::Tls, "its key is not in a form that it takes", SEE_TLS),
    row("Address already in use", Kind::Port, "a port of it is taken", END),
    row("failed to bind to", Kind::Port, "its repair port is taken", END),
    row(
        "Error: Operation not permitted",
        Kind::Permanent,
        "its unit does not let it bind the port that it was started with, which is not the port map's",
        Mild(
            "see ExecStart= and SocketBindAllow= of its unit (systemctl cat), one of which a drop-in must have changed",
        ),
    ),
    row(
        "Cannot assign requested address",
        Kind::Network,
        "this machine does not have its address",
        Mild("see the network"),
    ),
    row("No space left on device", Kind::Space, "the data disk is full", ROOM),
    row("ENOSPC", Kind::Space, "the data disk is full", ROOM),
    row(
        "Read-only file system",
        Kind::Space,
        "the data disk cannot be written to",
        Mild("see dmesg, and mount it again"),
    ),
    row("Permission denied", Kind::Permanent, "its files may not be opened by the service user", OWNER),
    row("Input/output error", Kind::Permanent, "the data disk failed to read or write", DISK),
    row("Structure needs cleaning", Kind::Permanent, "the file system of the data disk is damaged", DISK),
    row(
        "cannot open all required files",
        Kind::Permanent,
        "it may not open as many files as it has extents",
        DESCRIPTORS,
    ),
    row("Too many open files", Kind::Permanent, "it may not open as many files as it has extents", DESCRIPTORS),
    row(
        "failed: Operation not permitted",
        Kind::Permanent,
        "its files may not be changed, not even by their owner",
        Mild("lsattr -R {dir} shows which are immutable: chattr -R -i -a {dir}"),
    ),
    row(
        "file not found opening region config",
        Kind::Permanent,
        "its region.json is missing",
        Mild("put region.json back into {dir}, from where it was moved or from a backup"),
    ),
    row(
        "opening region config",
        Kind::Permanent,
        "its region.json cannot be read",
        Lost("restore region.json of {dir} from a backup"),
    ),
    row(
        "Database read version mismatch",
        Kind::Permanent,
        "its region has another format than this program reads",
        Mild("install the program that wrote it"),
    ),
    row("missing context slot", Kind::Permanent, "the checksums of a block in it are lost", RESTORE),
    row("context slot deserialization failed", Kind::Permanent, "the checksums of a block in it are garbage", RESTORE),
    row("metadata deserialization failed", Kind::Permanent, "an extent of it holds garbage", RESTORE),
    row("unknown tag", Kind::Permanent, "an extent of it is cut off or holds garbage", RESTORE),
    row("InvalidInput", Kind::Permanent, "an extent of it has a wrong length", RESTORE),
    row("does not match expected", Kind::Permanent, "an extent of it has a wrong length", RESTORE),
    row("open of ", Kind::Permanent, "an extent of it is missing or cannot be opened", RESTORE),
    row(
        "No CA certificates were loaded",
        Kind::Permanent,
        "there is no bundle of CA certificates, without which it does not start",
        Mild("apt install ca-certificates"),
    ),
];

/// Classify the end of a process. `lines` is what it last wrote to stderr.
pub fn classify(exit: Exit, lines: &[String]) -> Failure {
    if exit == Exit::Status(LOCKED) {
        return Failure { kind: Kind::Locked, exit, said: None, row: None };
    }
    let text = lines.join("\n");
    let row = ROWS.iter().find(|row| text.contains(row.words));
    let said = said(lines);
    Failure { kind: row.map_or(Kind::Transient, |row| row.kind), exit, said, row }
}

/// The words that tell why, in one line: the error and its first cause, or how it panicked.
fn said(lines: &[String]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rposition(|line| line.starts_with("Error: "));
    let panic = lines.iter().rposition(|line| line.contains("panicked at"));
    let words: Vec<&str> = match (error, panic) {
        (Some(at), _) => {
            let rest = lines[at + 1..].iter().take_while(|line| !line.starts_with("Stack backtrace"));
            let causes = rest.copied().filter(|line| *line != "Caused by:");
            std::iter::once(lines[at].trim_start_matches("Error: ")).chain(causes).collect()
        }
        (None, Some(at)) => lines[at..].iter().take(2).copied().collect(),
        (None, None) => lines.last().into_iter().copied().collect(),
    };
    let text = words.join(": ");
    let shown = text.char_indices().nth(SHOWN_CHARS).map_or(text.as_str(), |(end, _)| &text[..end]);
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// The end of a process, as part of a sentence that begins with "its downstairs".
pub fn ended(exit: Exit) -> String {
    match exit {
        Exit::Status(LOCKED) => "did not start, as another process has locked its directory (fuser -v shows it)".into(),
        Exit::Status(203) => "did not start: its program cannot be executed (downstairs.program)".into(),
        Exit::Status(217) => "did not start: its user does not exist (downstairs.user)".into(),
        Exit::Status(status) => format!("exited with status {status}"),
        Exit::Signal(6) => "panicked or was aborted (signal 6)".into(),
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

impl Failure {
    /// The cause in words, as part of a sentence that begins with "its downstairs": how it ended and why.
    pub fn cause(&self) -> String {
        let ended = ended(self.exit);
        match (self.row, &self.said) {
            (Some(row), Some(said)) => format!("{ended}, as {} (\"{said}\")", row.meaning),
            (None, Some(said)) => format!("{ended} (\"{said}\")"),
            _ => ended,
        }
    }
}
