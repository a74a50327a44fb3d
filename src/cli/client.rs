//! The supervisor's unix socket, spoken to in HTTP.

use super::failure::Failure;
use super::followed::{Rest, Told};
use crate::api::{Look, Media, Operation, Outgoing};
use crate::names::VolumeName;
use crate::wire::{ErrorBody, Refusal, Sled, Volume};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// Time that the supervisor may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Time that the supervisor may take to answer a request for action: it may look at regions first.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// Time between two requests to a supervisor that has only just started.
const STARTING_POLL: Duration = Duration::from_millis(50);
/// Longest body of an answer: of a sled with a thousand regions it has less than a tenth of it.
const BODY_LIMIT_BYTES: usize = 64 << 20;

/// Client of one supervisor. Every request is a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Read everything about the sled.
    pub(super) async fn sled(&self) -> Result<Sled, Failure> {
        self.ask(&Operation::ShowSled {}).await
    }

    /// Read everything about a volume.
    pub(super) async fn volume(&self, name: &VolumeName) -> Result<Volume, Failure> {
        self.ask(&Operation::ShowVolume { volume: name.clone(), wait: None, revision: None }).await
    }

    /// Have the supervisor look at the disk now.
    pub(super) async fn look(&self) -> Result<(), Failure> {
        self.ask(&Operation::Look {}).await
    }

    /// Read what lies at a path, whatever it is.
    pub(super) async fn read(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let asked = Outgoing { method: Method::GET, target: path.into(), body: Bytes::new() };
        let late = || Failure::Unreachable(self.socket.clone(), io::Error::from(io::ErrorKind::TimedOut));
        timeout(ANSWER_LIMIT, self.talk(asked)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Ask for an operation, and give up after a while: systemd holds the socket open even when no supervisor
    /// answers on it. A volume that is not ready answers 503 with its body, which is an answer too.
    pub(super) async fn ask<T: DeserializeOwned>(&self, operation: &Operation) -> Result<T, Failure> {
        let row = operation.row();
        let reads = row.method == Method::GET && !matches!(row.look, Look::First | Look::Afresh);
        let limit = if reads { ANSWER_LIMIT } else { ORDER_LIMIT } + operation.hold() + operation.look();
        let request = operation.request();
        let late = || Failure::Unreachable(self.socket.clone(), io::Error::from(io::ErrorKind::TimedOut));
        let talk = async {
            loop {
                match self.talk(request.clone()).await {
                    // A supervisor that has only just started knows more in a moment.
                    Err(Failure::Refused(why)) if why.code == Refusal::Starting => sleep(STARTING_POLL).await,
                    answer => return answer,
                }
            }
        };
        timeout(limit, talk).await.unwrap_or_else(|_| Err(late()))
    }

    /// Follow what is told of an operation, behind the event of this number, until the supervisor ends.
    pub(super) async fn follow(
        &self,
        operation: &Operation,
        last: u64,
        mut hear: impl FnMut(Told) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Outgoing { method, target, body } = operation.request();
        let unreachable = |why| Failure::Unreachable(self.socket.clone(), why);
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(target).header(http::header::HOST, "sled");
        let request = request.header(http::header::ACCEPT, Media::EventStream.content_type());
        let request = request.header("last-event-id", last).body(Full::new(body)).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let status = answer.status();
        if !status.is_success() {
            let body = Limited::new(answer.into_body(), BODY_LIMIT_BYTES).collect().await;
            let body = body.map_err(|why| unreachable(io::Error::other(why)))?.to_bytes();
            return read::<serde::de::IgnoredAny>(status, &body).map(|_| ());
        }
        let (mut told, mut rest) = (answer.into_body(), Rest::default());
        while let Some(Ok(frame)) = told.frame().await {
            let data = frame.into_data().unwrap_or_default();
            rest.take(&data).into_iter().try_for_each(&mut hear)?;
        }
        driver.abort();
        Ok(())
    }

    async fn talk<T: DeserializeOwned>(&self, asked: Outgoing) -> Result<T, Failure> {
        let unreachable = |why| Failure::Unreachable(self.socket.clone(), why);
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(asked.method).uri(asked.target).header(http::header::HOST, "sled");
        let request = request.body(Full::new(asked.body)).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT_BYTES).collect().await.map_err(|why| {
            // Any other end of a body is an end of the supervisor.
            let too_long = why.is::<LengthLimitError>();
            let why = io::Error::other(why);
            if too_long { Failure::Io(why) } else { unreachable(why) }
        });
        let body = body?.to_bytes();
        driver.abort();
        read(status, &body)
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Failure> {
    // A volume that is not ready answers 503 with its own body, and a job that failed 200.
    if !status.is_success()
        && let Ok(refusal) = serde_json::from_slice::<ErrorBody>(body)
    {
        return Err(Failure::Refused(refusal.error));
    }
    serde_json::from_slice(body).map_err(|why| {
        Failure::Io(io::Error::other(format!("the supervisor answered {status} with an odd body: {why}")))
    })
}
