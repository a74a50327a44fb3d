//! Supply of servers, and what is known of one that is silent. Nothing but the words for it.

use tokio::net::TcpStream;

/// The supply of servers. It has one at most, and ends it before it begins the next.
pub trait Supply: Send + 'static {
    /// The reason why there will be no more.
    type End: Send;

    /// Give the next server, as soon as there can be one: a connection to it. Takes as long as it takes.
    fn next(&mut self) -> impl Future<Output = Result<TcpStream, Self::End>> + Send;

    /// Find the reason why the server is silent.
    fn silence(&mut self) -> impl Future<Output = Silence> + Send;
}

/// The reason why a server is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// The server has this reason, and is waited for.
    Excused(String),
    /// The server has none: all that it needs is there, and it says itself that it is active, or says nothing at all.
    Unexcused,
    /// The server's needs are all there again, and it has not come back to them: another server would at once.
    Adrift,
}
