//! The data port: connections of upstairs, one thread for each, plain or by TLS (see `tls`).
//!
//! A connection may ask for a sign of life, negotiate and become active. It
//! never reads or writes a block: what goes beyond is answered by hanging up.

use crate::log;
use crate::main_loop::MainLoop;
use crate::tls;
use crate::version::MESSAGE_VERSION;
use crate::wire::{self, End, Reply, Request, Upstairs};
use serde_json::json;
use stand_ins::stream::Stream;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

const IDLE: Duration = Duration::from_secs(45);
/// Keeps an upstairs that does not read from holding up all others for ever.
const UNREAD: Duration = Duration::from_secs(5);

struct Connection {
    id: u64,
    stream: Stream,
    negotiated: Option<Upstairs>,
    promoted: bool,
}

/// Accepts connections for as long as the process lives.
pub fn serve(listener: &TcpListener, main_loop: &Arc<MainLoop>, acceptor: Option<&TlsAcceptor>) -> ! {
    let mut id = 0;
    let mut accepted = |peer: SocketAddr, stream: Stream| {
        log::main_task(&format!("accepted connection from {peer}"));
        log::info(&format!("connection ({peer}): tasks spawned"), &json!({"id": id.to_string()}));
        let (main_loop, number) = (Arc::clone(main_loop), id);
        std::thread::spawn(move || Connection::new(number, stream).serve(&main_loop));
        id += 1;
    };
    if let Some(acceptor) = acceptor {
        tls::serve(listener, acceptor, |peer, stream| accepted(peer, Stream::Decrypted(stream)));
    }
    loop {
        match listener.accept() {
            Ok((stream, peer)) => accepted(peer, Stream::Plain(stream)),
            Err(error) => {
                log::warn(&format!("cannot accept: {error}"), &json!({"task": "main"}));
                // Out of descriptors, most likely: give somebody time to leave.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

impl Connection {
    fn new(id: u64, stream: Stream) -> Self {
        Self { id, stream, negotiated: None, promoted: false }
    }

    fn serve(mut self, main_loop: &MainLoop) {
        let end = self.converse(main_loop);
        self.log_end(&end);
        main_loop.turn().remove(self.id, self.negotiated.as_ref());
        // The active one is known by a copy of the stream, which would keep
        // the connection open.
        self.stream.close();
    }

    fn converse(&mut self, main_loop: &MainLoop) -> End {
        if let Err(error) = self.stream.limit(IDLE, UNREAD) {
            return error.into();
        }
        loop {
            let answered = match wire::receive(&mut self.stream) {
                Ok(request) => self.answer(request, main_loop),
                Err(end) => Err(end),
            };
            if let Err(end) = answered {
                return end;
            }
        }
    }

    fn answer(&mut self, request: Request, main_loop: &MainLoop) -> Result<(), End> {
        match request {
            Request::Ruok => {
                let _turn = main_loop.turn();
                Ok(wire::send(&mut self.stream, &Reply::Imok)?)
            }
            Request::HereIAm { version, upstairs, read_only, encrypted } => {
                self.negotiate(main_loop, version, upstairs, read_only, encrypted)
            }
            Request::PromoteToActive(upstairs) => self.promote(main_loop, upstairs),
            Request::Other(tag) => {
                let _turn = main_loop.turn();
                Err(End::Nonsense(format!("no answer to a message of tag {tag}: the stand-in keeps no data")))
            }
        }
    }

    fn negotiate(
        &mut self,
        main_loop: &MainLoop,
        version: u32,
        upstairs: Upstairs,
        read_only: bool,
        encrypted: bool,
    ) -> Result<(), End> {
        let _turn = main_loop.turn();
        log::plain(&format!("Connection request from {} with version {version}", upstairs.upstairs_id));
        if self.negotiated.is_some() {
            return Err(End::Nonsense("a second HereIAm".to_owned()));
        }
        let refusal = if version != MESSAGE_VERSION {
            Reply::VersionMismatch(MESSAGE_VERSION)
        } else if read_only != main_loop.read_only {
            Reply::ReadOnlyMismatch(main_loop.read_only)
        } else if encrypted != main_loop.encrypted {
            Reply::EncryptedMismatch(main_loop.encrypted)
        } else {
            self.negotiated = Some(upstairs);
            log::plain(&format!("upstairs {upstairs} connected, version {version}"));
            return Ok(wire::send(&mut self.stream, &Reply::YesItsMe(main_loop.repair))?);
        };
        wire::send(&mut self.stream, &refusal)?;
        Err(End::Nonsense("what was offered does not match".to_owned()))
    }

    fn promote(&mut self, main_loop: &MainLoop, upstairs: Upstairs) -> Result<(), End> {
        let mut turn = main_loop.turn();
        if self.promoted || self.negotiated != Some(upstairs) {
            return Err(End::Nonsense(format!("cannot promote {upstairs} here")));
        }
        let copy = self.stream.try_clone()?;
        if let Err(active) = turn.promote(upstairs, copy) {
            wire::send(&mut self.stream, &Reply::YouAreNoLongerActive(active))?;
            return Err(End::Nonsense(format!("{upstairs} is older than {active}")));
        }
        self.promoted = true;
        Ok(wire::send(&mut self.stream, &Reply::YouAreNowActive(upstairs))?)
    }

    fn log_end(&self, end: &End) {
        let context = json!({"task": "recv", "id": self.id.to_string()});
        match end {
            End::Closed => log::info("upstairs disconnected", &context),
            End::Idle => log::warn("inactivity timeout", &context),
            End::Nonsense(why) => log::warn(&format!("hanging up: {why}"), &context),
        }
        log::warn("recv_task sending ConnectionClosed", &context);
    }
}
