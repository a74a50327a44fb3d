//! Exchange of the relay with its server: what is sent and heard, how a server is begun with, and how one is lost.
//! Never what clients ask for, nor when the relay ends.

use super::engine::{Outcome, State};
use super::pieces::{Order, Piece};
use super::server::{Happened, Patience, Server, enter, seek};
use super::upstream::{Turn, Upstream, Useless};
use super::{Ended, Relay, Silence, Supply};
use crate::nbd::transmission::{Command, Request};
use std::time::Duration;
use tokio::time::Instant;

impl Relay {
    /// Say to the server what may be said now: how it stands with it then.
    pub(super) fn say<S: Supply>(&mut self, mut server: Server<S>, patience: &mut Patience) -> Server<S> {
        let owed = self.engine.expects().is_some();
        if let Err(why) = self.send(&mut server) {
            server = self.lose(server, &why);
        }
        if !owed {
            // Nothing was to be said until now.
            *patience = Patience::new();
        }
        server
    }

    /// Heed what has happened with the server: how it stands with it then, or how the relay ends.
    pub(super) fn heed<S: Supply>(
        &mut self,
        happened: Happened<S>,
        mut server: Server<S>,
        patience: &mut Patience,
    ) -> Result<Server<S>, Ended<S>> {
        let lost = match happened {
            Happened::Turned(Ok(Turn::Heard)) => {
                *patience = Patience::new();
                self.hear(&mut server).err()
            }
            Happened::Turned(Ok(Turn::PassedOn)) => None,
            Happened::Turned(Err(why)) => Some(Useless::Gone(why)),
            Happened::Found(supply, stream) => return Ok(enter(supply, stream)),
            Happened::Ended(supply, why) => return Err(self.refused(Some(supply), why)),
            Happened::Entered(supply, upstream, entered) => {
                patience.begins_anew();
                return Ok(self.begin(supply, upstream, entered));
            }
            Happened::NotEntered(supply, why) => {
                tracing::warn!("the server could not be entered: {why}");
                return Ok(seek(supply));
            }
            Happened::Judged(supply, upstream, silence) => {
                server = Server::Serves(supply, upstream);
                if let (Silence::Excused(why), true) = (&silence, patience.is_out()) {
                    self.waits_for_it(why, patience.silence());
                }
                patience.judged(&silence)
            }
        };
        Ok(match lost {
            Some(why) => self.lose(server, &why),
            None => server,
        })
    }

    /// Send what may be sent now.
    fn send<S: Supply>(&mut self, server: &mut Server<S>) -> Result<(), Useless> {
        let (Server::Serves(_, upstream) | Server::Doubted(_, upstream)) = server else { return Ok(()) };
        while !upstream.is_full()
            && let Some(Piece { cookie, order }) = self.engine.to_send()
        {
            let again;
            let (request, data) = match &order {
                Order::Read(offset, length) => (request(Command::Read, cookie, *offset, *length), &[][..]),
                Order::Flush => (request(Command::Flush, cookie, 0, 0), &[][..]),
                Order::Write(offset, data) => (request(Command::Write, cookie, *offset, data.len() as u32), &data[..]),
                Order::Again(offset, kept, behind, length) => {
                    again = self.log.read(*kept, *behind, *length)?;
                    (request(Command::Write, cookie, *offset, *length), &again[..])
                }
            };
            upstream.say(&[&request.written(), data])?;
        }
        Ok(())
    }

    /// Take every reply that is there.
    fn hear<S: Supply>(&mut self, server: &mut Server<S>) -> Result<(), Useless> {
        let (Server::Serves(_, upstream) | Server::Doubted(_, upstream)) = server else { return Ok(()) };
        let heard = loop {
            match upstream.reply(&mut self.engine) {
                Ok(Some(Outcome::Done(id, data))) => {
                    self.answered += 1;
                    if let Some(to) = self.waiting.remove(&id) {
                        self.gauge.answered(to.kind, to.began);
                        to.answer(Ok(data));
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        // Replies that were right before it was wrong as well: whoever waits for room would wait for another answer.
        if let Err(why) = self.log.forget(self.engine.needs()) {
            tracing::warn!("more is kept than is needed: {why}");
        }
        heard?;
        self.goes_on();
        Ok(())
    }

    /// Begin with a server that serves from now on, if it has the volume.
    fn begin<S: Supply>(&mut self, supply: S, upstream: Upstream, size: u64) -> Server<S> {
        if size != self.engine.size() {
            tracing::error!("the server has {size} bytes, and the volume has {}: it is given up", self.engine.size());
            return seek(supply);
        }
        self.servers += 1;
        let State { kept_writes, kept_bytes, .. } = self.engine.state();
        if kept_writes > 0 {
            tracing::info!("{kept_writes} acknowledged writes ({kept_bytes} bytes) are given to the next server first");
            self.gauge.replays(kept_writes);
        }
        self.engine.has_server();
        self.goes_on();
        Server::Serves(supply, upstream)
    }

    /// Note that requests go on, if a server serves.
    fn goes_on(&mut self) {
        if (self.held_since.is_none() && !self.silent) || !self.engine.state().serves {
            return;
        }
        (self.held_since, self.silent) = (None, false);
        if let Some(pause) = self.gauge.goes_on() {
            tracing::info!("requests go on; they were held for {:.1} s: {}", pause.length.as_secs_f64(), pause.why);
        }
    }

    /// Wait for a server that has been silent for so long, and may be.
    fn waits_for_it(&mut self, why: &str, silent: Duration) {
        if !std::mem::replace(&mut self.silent, true) {
            tracing::warn!("the server has answered nothing for {} s, and is waited for: {why}", silent.as_secs());
            self.gauge.pauses_since(silent, || format!("the server answered nothing: {why}"));
        }
    }

    /// Lose the server, which is of no use any more; another one is looked for.
    fn lose<S: Supply>(&mut self, server: Server<S>, why: &Useless) -> Server<S> {
        self.engine.lost();
        let State { requests, kept_writes, .. } = self.engine.state();
        tracing::warn!("the server is lost: {why}; {requests} requests are held, {kept_writes} writes are kept");
        self.held_since.get_or_insert_with(Instant::now);
        self.gauge.pauses(|| format!("the server was lost: {why}"));
        match server {
            Server::Serves(supply, _) => seek(supply),
            // As soon as it is known what was asked.
            Server::Doubted(doubt, _) => Server::Sought(Box::pin(async move {
                let (mut supply, _) = doubt.await;
                let found = supply.next().await;
                (supply, found)
            })),
            other => other,
        }
    }
}

fn request(command: Command, cookie: u64, offset: u64, length: u32) -> Request {
    Request { command, flags: 0, cookie, offset, length }
}
