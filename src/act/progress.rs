//! How long work tells how far it is, and hears that it is to stop.

use std::sync::Arc;
use tokio::sync::watch;

/// How far some work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it is doing, in a few words.
    pub doing: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// Of how much; 0 if that is not known.
    pub total: u64,
    /// It may still be cancelled.
    pub cancellable: bool,
}

/// The worker's end: it tells, and listens. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    tell: Arc<dyn Fn(Step) + Send + Sync>,
    cancelled: watch::Receiver<bool>,
}

/// The work was cancelled by whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

impl Progress {
    /// Progress that `tell` hears of, of work that ends early when `cancelled` turns true.
    pub fn new(tell: impl Fn(Step) + Send + Sync + 'static, cancelled: watch::Receiver<bool>) -> Self {
        Self { tell: Arc::new(tell), cancelled }
    }

    /// Tells what is being done, of work that can still be cancelled.
    pub fn step(&self, doing: &'static str, done: u64, total: u64) {
        (self.tell)(Step { doing, done, total, cancellable: true });
    }

    /// Tells what is being done, and that it is too late to cancel it.
    pub fn step_for_good(&self, doing: &'static str, done: u64, total: u64) {
        (self.tell)(Step { doing, done, total, cancellable: false });
    }

    /// Whether the work is still wanted.
    ///
    /// # Errors
    /// [`Cancelled`], if it is not.
    pub fn check(&self) -> Result<(), Cancelled> {
        if *self.cancelled.borrow() { Err(Cancelled) } else { Ok(()) }
    }

    /// Returns when the work is cancelled. Cancel-safe: nothing is taken from the channel.
    pub async fn cancelled(&self) {
        if self.cancelled.clone().wait_for(|cancelled| *cancelled).await.is_err() {
            // Nobody is left who could cancel it.
            std::future::pending::<()>().await;
        }
    }
}
