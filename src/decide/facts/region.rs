//! Region as it is seen: its unit, its process, its ports, and whether it answers.

pub use crate::decide::failure::Exit;
use crate::decide::failure::Failure;
use crate::port_map::Fence;
use crate::programs::Program;
use crate::wire::Peer;
use jiff::Timestamp;
use std::net::SocketAddr;
use uuid::Uuid;

/// The facts of a region beside what lies on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    /// Whether its process was started with TLS; known only where it was just asked for.
    pub speaks_tls: Option<bool>,
    /// The region's unit.
    pub unit: Option<Unit>,
    /// The holders of its ports.
    pub sockets: Option<Sockets>,
    /// The pulse: whether it answers.
    pub pulse: Option<Pulse>,
    /// The outcome of the last wish to start it.
    pub start: Start,
    /// The outcome of the last wish to change whom it lets in.
    pub fencing: Fencing,
    /// Whether it has served for a minute without a break.
    pub steady: bool,
    /// The least serial of a look at the disk that counts: what lies there was last looked at before its downstairs
    /// ended, and only such a look tells what it would start on.
    pub needs_look: u64,
    /// The last run of its unit whose process has ended, by the kernel's word; systemd may not have
    /// said so yet.
    pub ended: Option<Run>,
    /// The run that its unit was last in when the region was made, or released: how that ended says
    /// nothing of the region that there is now.
    pub former: Option<String>,
    /// The time at which it was last stopped by somebody else than the supervisor, since the machine was booted.
    pub stopped: Option<Stopped>,
    /// The failure in which its last downstairs ended, unless one has served since.
    pub failure: Option<Failure>,
    /// The number of ends within the time in which they are counted.
    pub crashes: u32,
    /// Whether it ended a moment ago: it is not time to start it again.
    pub pausing: bool,
    /// Whether systemd has been asked to stop or restart its unit, and has not answered.
    pub changing: bool,
    /// The doing of its process, looked at while it does not answer.
    pub doing: Option<Doing>,
    /// The seconds for which it has been hung; 0 if it is not.
    pub hung_seconds: u64,
    /// The program that its process runs, as that states it.
    pub program: Option<Program>,
    /// The percentage of the last minute in which it did not get on, as it waited for a disk; `None` if that was little.
    pub io_stalled: Option<u8>,
}

impl Region {
    /// The main process, unless it has ended.
    pub fn alive(&self) -> Option<u32> {
        self.run().map(|run| run.pid)
    }

    /// The run that its unit is in, unless its process has ended. Numbers of processes are given again: the run has
    /// ended, and not the number.
    pub fn run(&self) -> Option<Run> {
        self.unit.as_ref().and_then(Unit::run).filter(|run| self.ended.as_ref() != Some(run))
    }

    /// Whether a run of its unit was over before the region was made, or released.
    pub fn is_former(&self, run: Option<&String>) -> bool {
        self.former.is_some() && self.former.as_ref() == run
    }

    /// Whether its unit runs, or would by itself.
    pub fn runs(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| matches!(unit.active, Active::Active | Active::Activating))
    }
}

/// One run of a region's unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The main process.
    pub pid: u32,
    /// The invocation, if systemd told it.
    pub invocation: Option<String>,
}

impl Unit {
    /// The run that it is in, if it is active.
    pub fn run(&self) -> Option<Run> {
        let pid = self.pid.filter(|_| self.active == Active::Active)?;
        Some(Run { pid, invocation: self.invocation.clone() })
    }
}

/// The stop of a unit from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The time at which that was seen.
    pub at: Timestamp,
    /// The run that was ended.
    pub run: Option<String>,
}

/// The doing of a process that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// The process.
    pub pid: u32,
    /// Its state as proc(5) has it: `R`, `S`, `D`, `T`.
    pub state: char,
    /// The share of one processor that it takes, in percent.
    pub cpu_percent: u32,
    /// The share of the time in which it computed, or would have and waited for a processor, in percent of one: what it
    /// takes where nobody else computes.
    pub wanted_percent: u32,
    /// The connections that wait to be accepted.
    pub backlog: u32,
    /// The bytes that it was sent and has not read.
    pub unread: u64,
    /// Whether the journal is stopped, and with it whoever writes to it.
    pub journal_stopped: bool,
}

/// The outcome of the last wish to start a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Start {
    /// No wish is open: there was none, or it was granted.
    #[default]
    Idle,
    /// systemd has been asked and has not answered.
    Asked,
    /// systemd has done so; the unit is awaited in another state.
    Granted,
    /// A port could not be had, and why; systemd was not asked. It is tried again after a while.
    NoPort(u16, String),
    /// systemd refused, with this reason. It is asked again after a while.
    Refused(String),
}

/// The outcome of the last wish to change whom a unit lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fencing {
    /// No wish is open: there was none, or it was granted.
    #[default]
    Idle,
    /// systemd has been asked and has not answered.
    Asked,
    /// systemd refused, with this reason. It is asked again after a while.
    Refused(String),
}

/// A unit, as systemd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Whether it runs.
    pub active: Active,
    /// The main process.
    pub pid: Option<u32>,
    /// The end of the last main process.
    pub exit: Option<Exit>,
    /// systemd's word for how the unit ended, for example `exit-code` or `start-limit-hit`.
    pub result: String,
    /// The number of times that systemd restarted it by itself.
    pub restarts: u32,
    /// The run that it is in or was in last (systemd.exec(5), `$INVOCATION_ID`).
    pub invocation: Option<String>,
    /// The time at which it became active, if it is.
    pub since: Option<Timestamp>,
    /// The fence by which it lets others in; `None` if systemd does not tell.
    pub fence: Option<Fence>,
    /// Whether somebody has masked it: systemd does not start it.
    pub masked: bool,
}

/// A unit's state, as systemd has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// Not running.
    Inactive,
    /// Being started, or waiting to be started again.
    Activating,
    /// Running.
    Active,
    /// Being stopped.
    Deactivating,
    /// Not running, and systemd has given up.
    Failed,
}

/// The holders of a region's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// The main process for which this was found; `None` if the unit had none.
    pub pid: Option<u32>,
    /// The data port.
    pub data: Holder,
    /// The repair port.
    pub repair: Holder,
    /// Other places that the main process listens at: it was started with other values.
    pub elsewhere: Vec<SocketAddr>,
    /// The peers that are connected to the data port, the supervisor's own probe left out.
    pub connected: Vec<Peer>,
    /// The packets that the listeners at its two ports have dropped: those of peers that its unit does not let in are
    /// among them.
    pub dropped: u32,
}

/// The holder of a port, who listens on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The region's own main process, or one in its unit's control group.
    Own,
    /// Another process.
    Other(Stranger),
}

/// A process that listens where only a region may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The process's id; `None` if its descriptors could not be read or it has just gone.
    pub pid: Option<u32>,
    /// The process's command line.
    pub command: String,
    /// The process's unit, if it has one.
    pub unit: Option<String>,
}

/// The pulse of a region's downstairs: whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// The main process that was asked.
    pub pid: u32,
    /// The beat: what came of it.
    pub beat: Beat,
    /// The identity that `/region-info` on the repair port tells.
    pub identity: Option<Result<Uuid, String>>,
    /// The end of the certificate that it showed, if it speaks TLS.
    pub presents: Option<Timestamp>,
}

/// The outcome of asking `Ruok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// Nobody listens yet.
    Refused,
    /// The downstairs listens; the answer is awaited.
    Asked,
    /// The downstairs answered within the allowance, last time and now.
    Answering,
    /// The downstairs has not answered within the allowance.
    Silent,
    /// The connection broke.
    Lost(String),
    /// No socket was there to ask with, and why.
    Unasked(String),
    /// The downstairs was started to speak TLS and should not, or the other way round: it is not asked.
    Otherwise,
}
