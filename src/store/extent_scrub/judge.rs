//! Judge of what was read of an extent: a thread of its own, while the next is read, or whoever reads. Touches no file.

use super::window::{Judged, Window};
use crate::kernel::priority;
use crate::region::extent::Layout;
use crate::region::format::Trailer;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, Scope};

/// Pieces that are read ahead of the one that is held to its contexts: while that is done the disk is at work.
const AHEAD: usize = 2;

/// Judge of what was read: a thread of its own, or whoever reads; also where there is no thread to be had.
pub(super) struct Judge {
    layout: Layout,
    trailer: Trailer,
    beside: Option<Beside>,
}

/// Thread that judges, and what is on its way to it and back. It ends when nothing more is read.
struct Beside {
    to_judge: SyncSender<Window>,
    judged: Receiver<Judged>,
    on_the_way: usize,
}

impl Beside {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, layout: Layout, trailer: Trailer) -> io::Result<Self> {
        let (to_judge, read) = sync_channel::<Window>(AHEAD);
        let (to_settle, judged) = channel();
        let judge = move || {
            // Else it takes the reader's place on a processor before that has asked for the next.
            _ = priority::let_others_go_on();
            read.iter().try_for_each(|window| to_settle.send(window.judged(layout, trailer)))
        };
        thread::Builder::new().name("hash".into()).spawn_scoped(scope, judge)?;
        Ok(Self { to_judge, judged, on_the_way: 0 })
    }
}

impl Judge {
    /// Whoever reads judges.
    pub(super) fn new(layout: Layout, trailer: Trailer) -> Self {
        Self { layout, trailer, beside: None }
    }

    /// A thread judges, if there is one to be had.
    pub(super) fn beside<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Self {
        Self { beside: Beside::start(scope, self.layout, self.trailer).ok(), ..self }
    }

    /// Wait for the oldest that is being judged, if enough is.
    pub(super) fn oldest(&mut self) -> Option<Judged> {
        let beside = self.beside.as_mut().filter(|beside| beside.on_the_way > AHEAD)?;
        let judged = beside.judged.recv().ok()?;
        beside.on_the_way -= 1;
        Some(judged)
    }

    /// Have this judged: at once, or beside.
    pub(super) fn hold(&mut self, window: Window) -> Option<Judged> {
        let Some(beside) = &mut self.beside else { return Some(window.judged(self.layout, self.trailer)) };
        beside.on_the_way += usize::from(beside.to_judge.send(window).is_ok());
        None
    }

    /// Wait for all that is being judged.
    pub(super) fn rest(self) -> impl Iterator<Item = Judged> {
        self.beside.into_iter().flat_map(|beside| {
            drop(beside.to_judge);
            beside.judged
        })
    }
}
