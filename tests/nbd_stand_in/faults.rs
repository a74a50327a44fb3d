//! Faults on demand: what a test asks the stand-in to do wrong.
//!
//! They are lines of the file `stand-in-fault` in the store, which is read when one could strike:
//!
//!     refuse TEXT      at activation: print `Error: TEXT`, exit 1
//!     stuck            it does not become active while the line stands
//!     away N           the first N targets seem away while the line stands
//!     hang             no answer to a client while the line stands; the control port answers
//!     mute             no answer on the control port while the line stands
//!     info JSON        the control port's answer has the members of this object instead of its own
//!     slow MS          each request waits so long
//!     fail KIND        the next request of the kind fails: EIO, and a flush drops the connection
//!     drop KIND        the next one is not done; the connection is dropped
//!     lose KIND        the next one is done, but the connection is dropped instead of an answer
//!     cut KIND         the next one is done, and the connection is dropped in the middle of the answer
//!     exit KIND        the next one is not done; the process ends
//!     die KIND         the next one is done, but the process ends instead of an answer
//!     half             the next flush keeps the first half of its blocks, and the process ends
//!
//! KIND is `read`, `write`, `flush` or, if it is left out, any of them. What strikes once takes its line
//! out of the file as it does, so that the file tells a test when it has struck, and the next server
//! does not fall over it as well. A test writes the file by renaming another one over it. A fault that
//! nobody knows ends the program: a test that misspells one must not pass.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "stand-in-fault";
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A flush.
    Flush,
}

/// The fate of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The request fails.
    Fail,
    /// The request is not done, and the connection ends.
    Drop,
    /// The request is done, and the connection ends.
    Lose,
    /// The request is done, and the connection ends in the middle of the answer.
    Cut,
    /// The request is not done, and the process ends.
    Exit,
    /// The request is done, and the process ends.
    Die,
    /// Half of it is done, and the process ends.
    Half,
}

#[derive(PartialEq, Eq)]
enum Fault {
    Refuse(String),
    Stuck,
    Away(usize),
    Hang,
    Mute,
    Info(Value),
    Slow(Duration),
    Once(Strike, Option<Kind>),
}

/// The faults of a store, which may change at any time.
#[derive(Clone)]
pub struct Faults(PathBuf);

impl Faults {
    /// Those of this store.
    pub fn of_store(dir: &Path) -> Self {
        Self(dir.join(FILE))
    }

    /// With what words it is not to become active.
    pub fn refusal(&self) -> Option<String> {
        self.find(|fault| match fault {
            Fault::Refuse(text) => Some(text),
            _ => None,
        })
    }

    /// Whether it is not to become active now.
    pub fn is_stuck(&self) -> bool {
        self.stands(&Fault::Stuck)
    }

    /// How many targets seem away.
    pub fn away(&self) -> usize {
        let away = |fault| match fault {
            Fault::Away(count) => Some(count),
            _ => None,
        };
        self.find(away).unwrap_or_default()
    }

    /// Returns once no hang is asked for.
    pub fn wait_while_hung(&self) {
        self.wait_while(&Fault::Hang);
    }

    /// Returns once the control port may answer.
    pub fn wait_while_mute(&self) {
        self.wait_while(&Fault::Mute);
    }

    /// The words of the control port, as members of an object.
    pub fn info(&self) -> Option<Value> {
        self.find(|fault| match fault {
            Fault::Info(info) => Some(info),
            _ => None,
        })
    }

    /// Waits as long as each request is to wait.
    pub fn dawdle(&self) {
        let slow = |fault| match fault {
            Fault::Slow(pause) => Some(pause),
            _ => None,
        };
        if let Some(pause) = self.find(slow) {
            std::thread::sleep(pause);
        }
    }

    /// The fate of this request, once.
    pub fn strike(&self, kind: Kind) -> Option<Strike> {
        let text = self.read();
        let lines: Vec<&str> = text.lines().collect();
        let struck = lines.iter().enumerate().find_map(|(at, line)| match parsed(line) {
            Some(Fault::Once(strike, of)) if of.is_none_or(|of| of == kind) => Some((at, strike)),
            _ => None,
        });
        struck.map(|(at, strike)| {
            let rest = lines.iter().enumerate().filter(|(other, _)| *other != at);
            let rest: String = rest.map(|(_, line)| format!("{line}\n")).collect();
            let new = self.0.with_extension("new");
            fs::write(&new, rest).and_then(|()| fs::rename(&new, &self.0)).expect("a store that can be written");
            strike
        })
    }

    fn wait_while(&self, wanted: &Fault) {
        while self.stands(wanted) {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn stands(&self, wanted: &Fault) -> bool {
        self.find(|fault| (fault == *wanted).then_some(())).is_some()
    }

    fn find<T>(&self, wanted: impl Fn(Fault) -> Option<T>) -> Option<T> {
        self.read().lines().filter_map(parsed).find_map(wanted)
    }

    fn read(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

/// The fault of a line, unless it is empty.
fn parsed(line: &str) -> Option<Fault> {
    let line = line.trim();
    (!line.is_empty()).then(|| fault(line).unwrap_or_else(|| panic!("no stand-in fault: {line:?}")))
}

fn fault(line: &str) -> Option<Fault> {
    let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
    let once = |strike| kind(argument).map(|kind| Fault::Once(strike, kind));
    match name {
        "refuse" => Some(Fault::Refuse(argument.to_owned())),
        "stuck" => Some(Fault::Stuck),
        "away" => argument.parse().ok().map(Fault::Away),
        "hang" => Some(Fault::Hang),
        "mute" => Some(Fault::Mute),
        "info" => serde_json::from_str(argument).ok().filter(Value::is_object).map(Fault::Info),
        "slow" => argument.parse().ok().map(Duration::from_millis).map(Fault::Slow),
        "fail" => once(Strike::Fail),
        "drop" => once(Strike::Drop),
        "lose" => once(Strike::Lose),
        "cut" => once(Strike::Cut),
        "exit" => once(Strike::Exit),
        "die" => once(Strike::Die),
        "half" => Some(Fault::Once(Strike::Half, Some(Kind::Flush))),
        _ => None,
    }
}

fn kind(word: &str) -> Option<Option<Kind>> {
    match word {
        "" => Some(None),
        "read" => Some(Some(Kind::Read)),
        "write" => Some(Some(Kind::Write)),
        "flush" => Some(Some(Kind::Flush)),
        _ => None,
    }
}
