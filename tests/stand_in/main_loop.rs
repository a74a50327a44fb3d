//! The one place all frames pass through, and which upstairs is active.
//!
//! The real downstairs answers everything in one loop. Here it is one lock,
//! taken for each frame: who holds it up holds up every answer, while the
//! sockets go on listening. It never reads from a connection.

use crate::faults::FaultFile;
use crate::log;
use crate::wire::{self, Reply, Upstairs};
use stand_ins::stream::Stream;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The loop that a frame has to wait for.
pub struct MainLoop {
    /// The address at which repair is done.
    pub repair: SocketAddr,
    /// Whether no upstairs may write.
    pub read_only: bool,
    /// Whether the region is for an upstairs that encrypts.
    pub encrypted: bool,
    /// The last flush of each extent.
    pub flushes: Vec<u64>,
    /// The faults that a test wants.
    pub faults: FaultFile,
    /// Which upstairs is active.
    pub active: Mutex<Option<Active>>,
}

/// The upstairs that may read and write.
pub struct Active {
    upstairs: Upstairs,
    connection: Stream,
}

/// A turn of the loop, for one frame.
pub struct Turn<'a> {
    main_loop: &'a MainLoop,
    active: MutexGuard<'a, Option<Active>>,
}

impl MainLoop {
    /// Waits for a turn.
    pub fn turn(&self) -> Turn<'_> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.wait_while_hung();
        log::wait_for_reader();
        Turn { main_loop: self, active }
    }
}

impl Turn<'_> {
    /// Makes an upstairs the active one. Refused, with the one that is active,
    /// if that is the same upstairs with a higher generation.
    pub fn promote(&mut self, upstairs: Upstairs, connection: Stream) -> Result<(), Upstairs> {
        if let Some(earlier) = self.active.as_mut() {
            if earlier.upstairs.upstairs_id == upstairs.upstairs_id && earlier.upstairs.generation > upstairs.generation
            {
                return Err(earlier.upstairs);
            }
            log::plain(&format!("{upstairs} replaces {}", earlier.upstairs));
            // The earlier upstairs may be gone or cut off: then it learns nothing.
            let _ = wire::send(&mut earlier.connection, &Reply::YouAreNoLongerActive(upstairs));
        }
        *self.active = Some(Active { upstairs, connection });
        self.log_active(&upstairs);
        Ok(())
    }

    fn log_active(&self, upstairs: &Upstairs) {
        let mode = if self.main_loop.read_only { "read-only" } else { "read-write" };
        log::plain(&format!("{upstairs} is now active ({mode})"));
        let flushes = &self.main_loop.flushes;
        let shown = &flushes[..flushes.len().min(12)];
        log::plain(&format!("Current flush_numbers [0..12]: {shown:?}"));
    }

    /// Lets go of a connection. As with the real program, the UUID decides
    /// whether it was the active one: one that merely bears the same UUID
    /// demotes the active one when it leaves.
    pub fn remove(&mut self, id: u64, negotiated: Option<&Upstairs>) {
        log::plain("connection closed; disconnection");
        let Some(upstairs) = negotiated else {
            log::plain(&format!("connection ConnectionId({id}) removed, it had not negotiated"));
            return;
        };
        let who = format!("upstairs {upstairs} (ConnectionId({id}))");
        log::plain(&format!("{who} removed, 0 jobs left"));
        let same = |active: &Active| active.upstairs.upstairs_id == upstairs.upstairs_id;
        if self.active.as_ref().is_some_and(same) {
            log::plain(&format!("{who} was previously active, clearing"));
            *self.active = None;
        }
    }
}
