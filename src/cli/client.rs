//! The supervisor's unix socket, spoken to in HTTP.

use super::doors::{Doors, Elsewhere};
use crate::wire::{Error, ErrorBody, Sled};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How long the supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before asking one again that has only just started.
const MOMENT: Duration = Duration::from_millis(50);

/// How long a body may be, in bytes: of a sled with a thousand regions it has less than a tenth of it.
const LONGEST: usize = 64 << 20;

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The supervisor cannot be reached.
    #[error("{0}: {1}")]
    Unreachable(PathBuf, #[source] io::Error),
    /// It refused, and says why.
    #[error("{0}")]
    Refused(Error),
    /// Some of several things were not done; each was told of where it happened.
    #[error("{failed} of {all} regions: not done")]
    Several {
        /// How many were not.
        failed: usize,
        /// How many were asked for.
        all: usize,
    },
    /// It ended while it was at something, and what becomes of that is not known.
    #[error("the supervisor ended while it was at it; what has become of it: sledctl jobs")]
    Gone,
    /// Something else went wrong on the way.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// The failure as it is shown.
    pub(super) fn error(&self) -> Error {
        match self {
            Self::Unreachable(socket, why) => Error::new(
                "UNREACHABLE",
                format!("the supervisor cannot be reached at {}: {why}", socket.display()),
                match why.kind() {
                    io::ErrorKind::PermissionDenied => "use sudo, or: adduser NAME sled",
                    _ => "systemctl status sledd.socket sledd.service",
                },
            ),
            Self::Refused(error) => error.clone(),
            Self::Several { .. } => Error::new("FAILED", self.to_string(), "see above: each says why, and what to do"),
            Self::Gone => {
                Error::new("UNREACHABLE", self.to_string(), "systemctl status sledd.service; then: sledctl jobs")
            }
            Self::Io(why) => Error::new("FAILED", why.to_string(), "see journalctl -u sledd"),
        }
    }
}

/// A text as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A client of one supervisor. Every question is a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
    /// Where the supervisor's neighbours are asked, which it cannot ask itself.
    pub(super) doors: Arc<Doors>,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), doors: Arc::default() }
    }

    /// The same, which asks its neighbours where somebody has said.
    ///
    /// # Errors
    /// What was said is of none of them.
    pub(super) async fn knowing(&self, elsewhere: &Elsewhere) -> Result<Self, Failure> {
        let mut doors = Doors::usual();
        if !elsewhere.sleds.is_empty() {
            doors.hear_of(elsewhere, &self.sled().await?).map_err(Failure::Refused)?;
        }
        Ok(Self { doors: Arc::new(doors), ..self.clone() })
    }

    /// Everything about the sled.
    pub(super) async fn sled(&self) -> Result<Sled, Failure> {
        self.get("/v1/sled").await
    }

    /// What a path answers. A volume that is not ready answers 503 with its body, which is an
    /// answer too.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, PATIENCE).await
    }

    /// As [`Client::get`], for an answer that the supervisor may hold for a minute.
    pub(super) async fn get_held<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, PATIENCE + Duration::from_secs(60)).await
    }

    /// What a request for action answers. Looking at regions may take a while.
    pub(super) async fn order<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failure> {
        self.ask(method, path, PATIENCE * 6).await
    }

    /// As [`Client::order`], with something that is brought along.
    pub(super) async fn bring<T: DeserializeOwned>(&self, path: &str, what: Bytes) -> Result<T, Failure> {
        self.patiently(Method::POST, path, what, PATIENCE * 6).await
    }

    /// Asks, and gives up after a while: systemd holds the socket open even when no supervisor
    /// answers on it.
    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, patience: Duration) -> Result<T, Failure> {
        self.patiently(method, path, Bytes::new(), patience).await
    }

    async fn patiently<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        what: Bytes,
        patience: Duration,
    ) -> Result<T, Failure> {
        let late = || Failure::Unreachable(self.socket.clone(), io::Error::from(io::ErrorKind::TimedOut));
        let talk = async {
            loop {
                match self.talk(method.clone(), path, what.clone()).await {
                    // It has only just started: it knows more in a moment.
                    Err(Failure::Refused(why)) if why.code == "STARTING" => sleep(MOMENT).await,
                    answer => return answer,
                }
            }
        };
        timeout(patience, talk).await.unwrap_or_else(|_| Err(late()))
    }

    async fn talk<T: DeserializeOwned>(&self, method: Method, path: &str, what: Bytes) -> Result<T, Failure> {
        let unreachable = |why| Failure::Unreachable(self.socket.clone(), why);
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(http::header::HOST, "sled");
        let request = request.body(Full::new(what)).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(|why| unreachable(io::Error::other(why)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|why| {
            match why.is::<LengthLimitError>() {
                true => Failure::Io(io::Error::other(why)),
                // It ended while it answered.
                false => unreachable(io::Error::other(why)),
            }
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
