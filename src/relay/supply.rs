//! Where servers come from, and what is known of one that is silent. Nothing but the words for it.

use tokio::net::TcpStream;

/// Where servers come from. It has one at most, and ends it before it begins the next.
pub trait Supply: Send + 'static {
    /// Why there will be no more.
    type End: Send;

    /// The next server, as soon as there can be one: a connection to it. Takes as long as it takes.
    fn next(&mut self) -> impl Future<Output = Result<TcpStream, Self::End>> + Send;

    /// Why the server is silent.
    fn silence(&mut self) -> impl Future<Output = Silence> + Send;
}

/// Why a server is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It has this reason, and is waited for.
    Excused(String),
    /// It has none: all that it needs is there, and it says itself that it is active, or says nothing at all.
    Unexcused,
    /// All that it needs is there again, and it has not come back to it: another server would at once.
    Adrift,
}
