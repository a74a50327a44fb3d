//! The control socket of a relay: whoever may open it (root) is told how the relay is, in HTTP and JSON
//! (`curl --unix-socket /run/crucible-attach/V.control http://relay/`). It changes nothing.

use super::account::Account;
use super::show::note;
use crate::wire::{Error, ErrorBody, Refusal};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections that are answered at once.
const CONNECTION_LIMIT: usize = 16;
/// How long a connection may last, until it has its answers.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// How long the first line of a question may take.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The pause after a connection could not be let in, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The paths at which the state is told.
const PATHS: [&str; 2] = ["/", "/v1/relay"];

/// The path of the control socket, beside the relay's own.
pub(super) fn beside(socket: &Path) -> PathBuf {
    socket.with_extension("control")
}

/// Answer connections for ever.
pub(super) async fn answer(listener: UnixListener, account: Account) {
    let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let account = account.clone();
                tokio::spawn(async move {
                    _ = timeout(CONNECTION_LIFETIME, converse(stream, account)).await;
                    drop(place);
                });
            }
            Err(why) => {
                note(&format!("a question could not be taken: {why}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answer one connection, until the other side leaves.
async fn converse(stream: UnixStream, account: Account) {
    let service = service_fn(async |request: Request<Incoming>| {
        let (method, path) = (request.method(), request.uri().path());
        Ok::<_, Infallible>(if !PATHS.contains(&path) {
            error(
                StatusCode::NOT_FOUND,
                Error::new(Refusal::NotFound, "there is nothing at this path", "GET /v1/relay"),
            )
        } else if method == Method::GET || method == Method::HEAD {
            json(StatusCode::OK, &account.state().await)
        } else {
            let message = "this path does not take that method";
            let mut refused =
                error(StatusCode::METHOD_NOT_ALLOWED, Error::new(Refusal::MethodNotAllowed, message, "use GET"));
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        })
    });
    let mut server = http1::Builder::new();
    server.half_close(true).timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(16 * 1024);
    // A client that hangs up or speaks nonsense does it at his own cost.
    _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn error(status: StatusCode, error: Error) -> Response<Full<Bytes>> {
    json(status, &ErrorBody { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let (status, mut body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string().into_bytes()),
    };
    body.push(b'\n');
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
