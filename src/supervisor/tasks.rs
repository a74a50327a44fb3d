//! Tasks that are done aside from the loop: one way to begin it, and its end is heard of whatever
//! happens. A panic is an end as well; without that, what waits for it would wait for ever.
//!
//! Each room has tasks of its own, which end in reports of its own: no room knows those of another, nor what
//! the loop makes of all of them.

use futures_util::future::BoxFuture;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinError;

/// Starter of what is done aside, which tells the loop what came of it. Cheap to clone.
pub(in crate::supervisor) struct Tasks<R> {
    ear: Arc<dyn Ear<R>>,
}

impl<R> Clone for Tasks<R> {
    fn clone(&self) -> Self {
        Self { ear: self.ear.clone() }
    }
}

/// The loop's ear for reports of one kind.
trait Ear<R>: Send + Sync {
    fn hear(&self, report: R) -> BoxFuture<'_, ()>;
    fn hear_if_room(&self, report: R);
}

impl<R: Send + 'static, All: From<R> + Send> Ear<R> for mpsc::Sender<All> {
    fn hear(&self, report: R) -> BoxFuture<'_, ()> {
        Box::pin(async move { _ = self.send(report.into()).await })
    }

    fn hear_if_room(&self, report: R) {
        _ = self.try_send(report.into());
    }
}

impl<R: Send + 'static> Tasks<R> {
    /// Make one that tells its reports on the channel on which all are told.
    pub(in crate::supervisor) fn new<All: From<R> + Send + 'static>(reports: mpsc::Sender<All>) -> Self {
        Self { ear: Arc::new(reports) }
    }

    /// Tell the loop something. It hears it unless it has ended.
    pub(in crate::supervisor) async fn tell(&self, report: R) {
        self.ear.hear(report).await;
    }

    /// Tell the loop something that is not worth waiting for while its channel is full.
    pub(in crate::supervisor) fn tell_if_room(&self, report: R) {
        self.ear.hear_if_room(report);
    }

    /// Do something aside, and tell the loop what came of it: what it returns, or, if it was cut
    /// short by a panic, what `lost` makes of the reason.
    pub(in crate::supervisor) fn run(
        &self,
        lost: impl FnOnce(String) -> Option<R> + Send + 'static,
        work: impl Future<Output = Option<R>> + Send + 'static,
    ) {
        let tasks = self.clone();
        tokio::spawn(async move {
            let end = tokio::spawn(work).await.unwrap_or_else(|why| lost(cut_short(&why)));
            if let Some(report) = end {
                tasks.tell(report).await;
            }
        });
    }
}

/// Do something aside of which the loop does not hear.
pub(in crate::supervisor) fn run_unheard(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::spawn(work).await.unwrap_or_else(|why| _ = cut_short(&why));
    });
}

/// Write to the journal that something was cut short, and tell why.
fn cut_short(why: &JoinError) -> String {
    tracing::error!("what was begun aside was cut short: {why}");
    why.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_end_that_is_heard_of() {
        let (reports, mut heard) = mpsc::channel::<String>(1);
        Tasks::new(reports).run(Some, async { panic!("as it should") });
        match heard.recv().await {
            Some(why) => assert!(why.contains("as it should"), "{why}"),
            None => panic!("the end was not heard of"),
        }
        assert!(heard.recv().await.is_none());
    }
}
