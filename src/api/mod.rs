//! The operations: all that may be asked of a supervisor, each once, in one table. HTTP routes by it, its 405
//! and 404 come from it, the supervisor is asked by its enum, `sledctl` and the hosts' tool make their requests
//! of it, the lists of paths that people read are compared with it,
//! and the description of the API is made of it. It lies beneath all of them, and asks
//! nobody anything. Pure.

mod body;
mod door;
mod media;
pub mod openapi;
mod operation;
mod parameter;
mod request;
mod route;
mod row;

pub use body::{Body, BodyRow, Program};
pub use door::Door;
pub use media::Media;
pub use operation::{LOOK_LIMIT, Operation, Row, TABLE};
pub use parameter::{
    Choice, ConfigNumber, Directory, Held, JobId, Kind, PRETTY, Parameter, ParameterRow, Pretty, Sentence, Since, Unix,
};
pub use request::{Outgoing, Values};
pub use route::{Found, find};
pub use row::{AwayRow, Form, Look, Manner, Work};
