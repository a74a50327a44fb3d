//! Queue of what the clients have asked for and the engine has not been asked: in its order, and a write not before
//! there is room to keep it. Requests behind such a one wait with it.

use super::clients::{Asked, Wished};
use super::log::Log;
use std::future::pending;
use std::time::Instant;
use tokio::sync::mpsc;

/// The queue of one relay.
#[derive(Debug)]
pub(super) struct Queue {
    asked: mpsc::Receiver<Asked>,
    held: Option<Asked>,
}

impl Queue {
    /// Make the queue of what comes by a channel.
    pub(super) fn of(asked: mpsc::Receiver<Asked>) -> Self {
        Self { asked, held: None }
    }

    /// Take the next request, as soon as there is room for it; `None` if nobody is left who may ask. Cancel-safe.
    pub(super) async fn next(&mut self, log: &Log) -> Option<Asked> {
        match self.held.take_if(|held| fits(held, log)) {
            None if self.held.is_some() => pending().await,
            None => self.asked.recv().await,
            held => held,
        }
    }

    /// The instant since which a request is held for want of room.
    pub(super) fn since(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.reply.began)
    }

    /// Take another that is there already behind that.
    pub(super) fn another(&mut self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }

    /// Give the request back if there is room for it; else it is the next again.
    pub(super) fn fitting(&mut self, asked: Asked, log: &Log) -> Option<Asked> {
        if !fits(&asked, log) {
            self.held = Some(asked);
            return None;
        }
        Some(asked)
    }

    /// Let nobody ask any more: all that is left.
    pub(super) fn closed(&mut self) -> Vec<Asked> {
        self.asked.close();
        let mut left: Vec<_> = self.held.take().into_iter().collect();
        while let Some(asked) = self.another() {
            left.push(asked);
        }
        left
    }
}

fn fits(asked: &Asked, log: &Log) -> bool {
    !matches!(&asked.wish, Wished::Write(_, data) if !log.has_room(data.len()))
}
