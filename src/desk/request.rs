//! Requests to the supervisor: what is wished, by whom, and where the answer goes.

use crate::api::{Look, Operation};
use crate::desk::answer::Answer;
use crate::kernel::presence::Presence;
use crate::wire;
use std::net::IpAddr;
use tokio::sync::oneshot;

/// Channel for an answer.
pub type Reply = oneshot::Sender<Result<Answer, wire::Error>>;

/// Request: what is wished, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// Wish that is to be fulfilled.
    pub wish: Wish,
    /// Channel for the answer. Whoever asked may have gone; what was begun goes on.
    pub answer: Reply,
}

/// Wish of whoever asks.
#[derive(Debug)]
pub enum Wish {
    /// An operation, and who asks for it.
    Do(Operation, Caller),
    /// The daemon was told to end: do what has to be done before.
    Leave,
}

/// The one that asks for an operation.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A host, over TCP.
    Host(Visitor),
    /// An operator, or whatever else asks as one.
    Operator(wire::Asker),
}

/// A host that asks.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Address of the host.
    pub host: IpAddr,
    /// Presence of the host: whether it is there to be answered.
    pub there: Presence,
}

/// Asker of something.
pub struct Asker {
    /// Host that it is for.
    pub host: IpAddr,
    /// Presence of the host: whether it is there still, where that matters.
    pub there: Presence,
    /// Channel for the answer.
    pub answer: Reply,
}

impl Wish {
    /// Tell what it needs to know of the disk.
    pub fn look(&self) -> Look {
        match self {
            Self::Do(operation, _) => operation.row().look,
            Self::Leave => Look::Nothing,
        }
    }
}
