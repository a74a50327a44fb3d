//! Tasks that are done aside from the loop: one way to begin it, and its end is heard of whatever
//! happens. A panic is an end as well; without that, what waits for it would wait for ever.

use crate::supervisor::event::Event;
use std::future::Future;
use tokio::sync::mpsc;

/// Starter of what is done aside, which tells the loop. Cheap to clone.
#[derive(Clone)]
pub(in crate::supervisor) struct Tasks {
    events: mpsc::Sender<Event>,
}

impl Tasks {
    pub(in crate::supervisor) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events }
    }

    /// Tell the loop something. It hears it unless it has ended.
    pub(in crate::supervisor) async fn tell(&self, event: Event) {
        _ = self.events.send(event).await;
    }

    /// Tell the loop something that is not worth waiting for while its channel is full.
    pub(in crate::supervisor) fn tell_if_room(&self, event: Event) {
        _ = self.events.try_send(event);
    }

    /// Do something aside, and tell the loop what came of it: what it returns, or, if it was cut
    /// short by a panic, what `lost` makes of the reason.
    pub(in crate::supervisor) fn run(
        &self,
        lost: impl FnOnce(String) -> Option<Event> + Send + 'static,
        work: impl Future<Output = Option<Event>> + Send + 'static,
    ) {
        let tasks = self.clone();
        tokio::spawn(async move {
            let end = tokio::spawn(work).await.unwrap_or_else(|why| {
                tracing::error!("what was begun aside was cut short: {why}");
                lost(why.to_string())
            });
            if let Some(event) = end {
                tasks.tell(event).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Start;
    use crate::supervisor::event::Said;
    use crate::supervisor::systemd::World;

    #[tokio::test]
    async fn a_panic_is_an_end_that_is_heard_of() {
        let (events, mut heard) = mpsc::channel(1);
        let name: crate::names::RegionName = "still-fawn-0".parse().unwrap();
        let lost = move |why| Some(Event::Systemd(World::default(), Said::Started(name, Start::Refused(why))));
        Tasks::new(events).run(lost, async { panic!("as it should") });
        match heard.recv().await {
            Some(Event::Systemd(_, Said::Started(_, Start::Refused(why)))) => {
                assert!(why.contains("as it should"), "{why}")
            }
            _ => panic!("the end was not heard of"),
        }
        assert!(heard.recv().await.is_none());
    }
}
