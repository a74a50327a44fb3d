//! Answers to requests: each is found in the table of operations, read, and answered from what was published
//! last or by the supervisor. What is told of an operation, from its method to its parameters, stands there.

use super::answer::{Answer, bulletin, error, not_allowed};
use super::door::Door;
use super::end::End;
use super::manners::Manners;
use super::{events, intake, origin, published, target};
use crate::api::{self, Found, Look, Operation, Row, Values};
use crate::desk::Handle;
use crate::desk::request::{Caller, Request, Visitor, Wish};
use crate::kernel::presence::Presence;
use crate::wire::{Error, Refusal};
use bytes::Bytes;
use http::Request as HttpRequest;
use http::request::Parts;
use hyper::body::Body;
use std::net::SocketAddr;
use tokio::sync::oneshot;

/// Answer a request, in the form that is wished for; `at` is the sled's end of a TCP connection.
pub(super) async fn answer<B>(
    request: HttpRequest<B>,
    door: Door,
    at: Option<SocketAddr>,
    handle: &Handle,
    end: End,
) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let manners = Manners::of(&request);
    manners.of_answer(plain(request, door, at, handle, end).await).await
}

/// Answer a request.
async fn plain<B>(request: HttpRequest<B>, door: Door, at: Option<SocketAddr>, handle: &Handle, end: End) -> Answer
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if matches!(door, Door::Admin { admitted: false, .. }) {
        let message = "only root and members of the group sled may use this socket";
        return error(Error::new(Refusal::Forbidden, message, "sudo, or: adduser NAME sled"));
    }
    let (request, body) = request.into_parts();
    if let Some(refused) = at.and_then(|at| foreign(handle, &request, at)) {
        return refused;
    }
    let asked = match asked(&request, door) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    // With a faulty configuration nothing can be done but this, by which it is mended.
    if asked.row.look != Look::Published
        && asked.row.name != "Reload"
        && let Err(why) = bulletin(handle)
    {
        return *why;
    }
    let operation = match asked.read(body, door).await {
        Ok(operation) => operation,
        Err(refused) => return *refused,
    };
    if operation.row().look == Look::Published {
        return match events::question(&operation).filter(|_| events::wants_stream(&request.headers)) {
            Some(question) => events::follow(handle, question, &request, end).await,
            None => published::answer(handle, &operation, &request.headers, end).await,
        };
    }
    ask(handle, Wish::Do(operation, caller(&request, door))).await
}

/// What a request asks for, as far as its head says.
struct Asked {
    row: &'static Row,
    values: Values,
}

impl Asked {
    /// The operation, with what comes with the request.
    async fn read<B>(self, body: B, door: Door) -> Result<Operation, Box<Answer>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let body = match &self.row.body {
            Some(row) => intake::body(body, row, door).await?,
            None => Bytes::new(),
        };
        self.row.read(&Values { body, ..self.values }).map_err(|why| Box::new(error(why)))
    }
}

/// Find what a request asks for.
fn asked(request: &Parts, door: Door) -> Result<Asked, Box<Answer>> {
    let uri = &request.uri;
    let (path, query) = match (target::path(uri), target::query(uri)) {
        (Ok(path), Ok(query)) => (path, query),
        (Err(why), _) | (_, Err(why)) => return Err(Box::new(error(why))),
    };
    // There is nothing without a name.
    let segments: Vec<_> = path.as_ref().map_or(vec![""], |path| path.iter().map(String::as_str).collect());
    match api::find(&request.method, &segments, matches!(door, Door::Admin { .. })) {
        Found::Row(row, _) if row.door == api::Door::Host && !matches!(door, Door::Tcp(_)) => {
            let message = "a ticket is for the address from which it is asked for, and this socket has none";
            Err(Box::new(error(Error::new(Refusal::HostNotAllowed, message, "ask over TCP"))))
        }
        Found::Row(row, path) => Ok(Asked { row, values: Values { path, query, body: Bytes::new() } }),
        Found::NotAllowed(methods) => Err(Box::new(not_allowed(&methods))),
        Found::Nothing => {
            let message = format!("there is nothing at {}", uri.path());
            Err(Box::new(error(Error::new(Refusal::NotFound, message, "see the README for the paths"))))
        }
    }
}

/// The one that asks: a host, of which it is told as well whether it is there to be answered, or an operator.
fn caller(request: &Parts, door: Door) -> Caller {
    match door {
        Door::Admin { peer, .. } => Caller::Operator(peer.asker()),
        Door::Tcp(host) => {
            let there = request.extensions.get::<Presence>().cloned().unwrap_or_else(Presence::nobody);
            Caller::Host(Visitor { host: host.to_canonical(), there })
        }
    }
}

/// Ask the supervisor, and answer as it does.
async fn ask(handle: &Handle, wish: Wish) -> Answer {
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(answer))) => super::answer::json(answer.status(), &answer),
        (Ok(()), Ok(Err(why))) => error(why),
        _ => error(Error::new(Refusal::Stopping, "the supervisor is ending", "ask again in a moment")),
    }
}

/// Refuse a request that came in over TCP and is none that a host makes.
fn foreign(handle: &Handle, request: &Parts, at: SocketAddr) -> Option<Answer> {
    let last = handle.bulletins.borrow().clone();
    origin::refused(request, at, last.as_ref().map_or(&Default::default(), |last| &last.names))
}
