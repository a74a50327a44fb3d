//! Parts of a row of the table of operations: what an operation needs to know, how long it takes, and the forms of what
//! it answers. Pure.

use schemars::{Schema, SchemaGenerator};

/// Knowledge of the disk that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The operation is answered from what was published last, beside the supervisor's loop.
    Published,
    /// The operation depends on nothing that lies there, and some of these are in a hurry.
    Nothing,
    /// The disk is looked at before it is answered: what was seen half a minute ago may have been moved since.
    First,
    /// The same, with everything that lies there.
    Afresh,
}

/// Length of the work of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The work is done when it is answered.
    Short,
    /// The operation is answered with a job, by 202.
    Long,
}

/// Manner in which an operation is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Whole, each time.
    Plain,
    /// With a tag (ETag), by which who has the answer already is told so.
    Tagged,
    /// Whole, or as a stream for who follows what happens (server-sent events).
    Followed,
}

/// Schema of a JSON value, made by a generator.
pub type Form = fn(&mut SchemaGenerator) -> Schema;

/// An answer of an operation that is not done, as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct AwayRow {
    /// Schema of the answer.
    pub form: Form,
    /// Statuses that it has.
    pub statuses: &'static [u16],
}
