//! The operations: all that may be asked of a supervisor, each once, in one table. HTTP routes by it, its 405
//! and 404 come from it, the supervisor is asked by its enum, `sledctl` and the hosts' tool make their requests
//! of it, and the lists of paths that people read are compared with it. It lies beneath all of them, and asks
//! nobody anything. Pure.

mod body;
mod door;
mod media;
mod operation;
mod parameter;
mod route;

pub use body::{Body, BodyRow, Program};
pub use door::Door;
pub use media::Media;
pub use operation::{Look, Operation, Outgoing, Row, TABLE, Values, Work};
pub use parameter::{
    Choice, ConfigNumber, Directory, Held, JobId, Kind, PRETTY, Parameter, ParameterRow, Pretty, Sentence, Since, Unix,
};
pub use route::{Found, find};
