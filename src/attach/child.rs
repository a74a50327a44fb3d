//! Upstream's server as a child: begun with a ticket, found to listen when it is active, asked how it is, and ended.
//! Never decides when.

use super::activity::Info;
use super::apart::Ways;
use super::failure::Failure;
use super::network::Network;
use super::server::Server;
use super::show::note;
use super::ticket::Won;
use crate::clean;
use crate::wire::Refusal;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The pause between two looks whether a server listens: it does once it is active, and nothing tells of that.
const LISTEN_POLL: Duration = Duration::from_millis(10);
/// How long a server may take to say how it is.
const INFO_LIMIT: Duration = Duration::from_secs(3);
/// The most that is read of that, in bytes; a real answer has some hundred.
const INFO_LIMIT_BYTES: usize = 64 * 1024;

/// A server that was begun.
#[derive(Debug)]
pub(super) struct Serving {
    child: Child,
    network: Network,
    /// The address at which the server says how it is.
    control: Option<SocketAddr>,
    /// The ways to its sleds.
    ways: Ways,
}

/// The address at which a server is asked how it is.
#[derive(Debug, Clone)]
pub(super) struct Control {
    /// `None` if the server was told where to say so by whoever began it.
    pub(super) at: Option<SocketAddr>,
    network: Network,
}

impl Serving {
    /// Begin a server with what was won. It ends with this process, however that ends.
    ///
    /// # Errors
    /// If the server cannot be run, or something else listens where it is going to.
    pub(super) async fn begin(server: &Server, won: &Won) -> Result<Self, Failure> {
        let network = server.network().clone();
        network.can_listen(server.listens())?;
        let mut words = server.words(won)?;
        let ways = network.ways(&won.ticket.targets).await.map_err(|why| {
            let message = format!("the server cannot be led to {}'s sleds: {why}", won.ticket.volume);
            Failure::refused(Refusal::NotApart, message, "see the addresses that sledctl volume show has of it")
        })?;
        let named = words.iter().any(|word| word.to_string_lossy().starts_with("--control"));
        let control = if named { None } else { network.free().await };
        if let Some(control) = control {
            words.extend(["--control".into(), control.to_string().into()]);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(server.program()).args(words);
        // The output has the key in it, and a line a request.
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = network.spawn(command).await.map_err(|why| {
            let message = format!("{} cannot be run: {why}", server.program().display());
            Failure::refused(
                Refusal::NoServer,
                message,
                "is util-linux installed (setpriv), and the server in its place?",
            )
        })?;
        note(&format!("{} is won with generation {}, and its server begins", won.ticket.volume, won.generation));
        Ok(Self { child, network, control, ways })
    }

    /// Wait until the server listens, from when on it is active: a connection to it.
    ///
    /// # Errors
    /// How the server ended instead.
    pub(super) async fn listens(&mut self, at: SocketAddr) -> Result<TcpStream, String> {
        loop {
            // Cancel-safe: nothing is lost by trying again.
            tokio::select! {
                ended = self.child.wait() => return Err(said(ended)),
                () = sleep(LISTEN_POLL) => {}
            }
            if let Ok(stream) = self.network.connect(at).await {
                return Ok(stream);
            }
        }
    }

    /// The server's process, unless it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The address at which the server says how it is.
    pub(super) fn control(&self) -> Control {
        Control { at: self.control, network: self.network.clone() }
    }

    /// Ask the server how it is.
    ///
    /// # Errors
    /// Why the server says nothing.
    pub(super) async fn info(&self) -> Result<Info, Box<dyn Error + Send + Sync>> {
        info(&self.control()).await
    }

    /// End the server, and return when it has ended.
    pub(super) async fn end(mut self) {
        if let Err(why) = self.child.kill().await {
            note(&format!("the server cannot be ended: {}", clean::line(&why.to_string())));
        }
        // Nothing that it has said is still on its way when the next one begins.
        self.ways.end().await;
    }
}

/// Ask a server how it is.
///
/// # Errors
/// Why the server says nothing.
pub(super) async fn info(control: &Control) -> Result<Info, Box<dyn Error + Send + Sync>> {
    let at = control.at.ok_or("it was told where to say so by whoever began it")?;
    timeout(INFO_LIMIT, async { ask(control.network.connect(at).await?, at).await }).await?
}

fn said(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("it ended ({status})"),
        Err(why) => format!("it is not known how it ended: {why}"),
    }
}

async fn ask(stream: TcpStream, control: SocketAddr) -> Result<Info, Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/info").header(http::header::HOST, control.to_string());
    let request = request.body(Empty::<Bytes>::new())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        let body = Limited::new(answer.into_body(), INFO_LIMIT_BYTES).collect().await?;
        Ok(Info::read(&body.to_bytes())?)
    };
    let (mut connection, mut asking) = (std::pin::pin!(connection), std::pin::pin!(asking));
    // Cancel-safe: the connection is driven only while the answer is awaited.
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
