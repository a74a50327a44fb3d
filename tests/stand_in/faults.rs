//! Faults on demand: what a test asks the stand-in to do wrong.
//!
//! A fault is read from a file in the region directory or from the environment
//! and looked up where it strikes. Nothing goes wrong that was not asked for,
//! except that a fault nobody knows ends the program: a test that misspells
//! one must not pass.

use stand_ins::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

const FILE: &str = "stand-in-fault";
const VARIABLE: &str = "STAND_IN_FAULT";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

enum Fault {
    Exit(String),
    Panic(String),
    SlowStart(Duration),
    BindGap(Duration),
    Hang,
    Livelock,
    WrongUuid(Uuid),
    SlowCreate(Duration),
    EnospcAt(u32),
}

/// The faults asked for at one moment.
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults that the environment asks for.
    pub fn of_environment() -> Outcome<Self> {
        Self::parse(&std::env::var(VARIABLE).unwrap_or_default(), ';')
    }

    /// The faults that a region directory asks for. One that is gone asks for
    /// none: a running downstairs does not notice.
    fn of_file(file: &Path) -> Outcome<Self> {
        Self::parse(&std::fs::read_to_string(file).unwrap_or_default(), '\n')
    }

    fn parse(text: &str, separator: char) -> Outcome<Self> {
        let wanted = text.split(separator).map(str::trim);
        wanted
            .filter(|fault| !fault.is_empty())
            .map(|fault| parse(fault).ok_or_else(|| Failure::new(format!("no stand-in fault: {fault:?}"))))
            .collect::<Outcome<_>>()
            .map(Self)
    }

    fn find<T>(&self, wanted: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(wanted)
    }

    /// Ends the process if that is asked for.
    pub fn strike_at_start(&self) {
        for fault in &self.0 {
            match fault {
                Fault::Exit(text) => {
                    eprintln!("{text}");
                    std::process::exit(1)
                }
                Fault::Panic(text) => panic!("{text}"),
                _ => {}
            }
        }
    }

    /// How long to wait before binding the ports.
    pub fn slow_start(&self) -> Duration {
        self.find(|fault| match fault {
            Fault::SlowStart(pause) => Some(*pause),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// How long to wait between binding the data port and the repair port.
    pub fn bind_gap(&self) -> Duration {
        self.find(|fault| match fault {
            Fault::BindGap(pause) => Some(*pause),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// How long to wait before creating each extent.
    pub fn slow_create(&self) -> Duration {
        self.find(|fault| match fault {
            Fault::SlowCreate(pause) => Some(*pause),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// Whether the disk seems full to this extent.
    pub fn disk_full_at(&self, extent: u32) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::EnospcAt(full) if *full == extent))
    }
}

fn parse(fault: &str) -> Option<Fault> {
    let (name, argument) = fault.split_once(' ').unwrap_or((fault, ""));
    let argument = argument.trim();
    let pause = || argument.parse().ok().map(Duration::from_millis);
    match name {
        "exit" => Some(Fault::Exit(argument.to_owned())),
        "panic" => Some(Fault::Panic(argument.to_owned())),
        "slow-start" => pause().map(Fault::SlowStart),
        "bind-gap" => pause().map(Fault::BindGap),
        "hang" => Some(Fault::Hang),
        "livelock" => Some(Fault::Livelock),
        "wrong-uuid" => argument.parse().ok().map(Fault::WrongUuid),
        "slow-create" => pause().map(Fault::SlowCreate),
        "enospc-at" => argument.parse().ok().map(Fault::EnospcAt),
        _ => None,
    }
}

/// The faults of a running downstairs, which may change under it.
pub struct FaultFile(PathBuf);

impl FaultFile {
    /// The fault file of a region, which need not exist.
    pub fn of_region(directory: &Path) -> Self {
        Self(directory.join(FILE))
    }

    /// The faults asked for now.
    pub fn read(&self) -> Outcome<Faults> {
        Faults::of_file(&self.0)
    }

    /// Returns once no hang and no livelock is asked for.
    pub fn wait_while_hung(&self) {
        loop {
            let faults = self.read_or_panic();
            if faults.0.iter().any(|f| matches!(f, Fault::Livelock)) {
                burn(LOOK_AGAIN);
            } else if faults.0.iter().any(|f| matches!(f, Fault::Hang)) {
                std::thread::sleep(LOOK_AGAIN);
            } else {
                return;
            }
        }
    }

    /// The UUID to report instead of the region's.
    pub fn wrong_uuid(&self) -> Option<Uuid> {
        self.read_or_panic().find(|fault| match fault {
            Fault::WrongUuid(uuid) => Some(*uuid),
            _ => None,
        })
    }

    fn read_or_panic(&self) -> Faults {
        self.read().unwrap_or_else(|failure| panic!("{failure:?}"))
    }
}

fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
