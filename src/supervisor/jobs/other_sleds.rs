//! Word of a volume's other sleds, before one of its regions goes away for a moment. The supervisor has
//! no way to them: whoever follows the job asks them. For a job that nobody follows it has it followed;
//! and work that nobody waits for waits until the others are well, for as long as that takes.

use crate::act::follower;
use crate::api::LOOK_LIMIT;
use crate::decide::facts::Awaited;
use crate::decide::turns::{Asks, reason};
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::filling::own;
use crate::wire::{self, Ask, Refusal, Word};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::sleep;
use zbus::Connection;

/// Time for which the word is waited for once somebody should follow the job.
const WORD_LIMIT: Duration = Duration::from_secs(60);
/// Time for which that is waited for longer, if it takes looks at regions: a volume has three.
const LOOKS_LIMIT: Duration = LOOK_LIMIT.saturating_mul(3);
/// Time after which somebody is made to follow the job, if nobody who does has answered: of one that
/// somebody has asked for, when that one would have answered. He may know better where the others are.
const FOLLOWED_LIMIT: Duration = Duration::from_secs(57);
/// Time after which somebody is made to follow one that nobody waits for.
const UNFOLLOWED_LIMIT: Duration = Duration::from_secs(1);
/// Time for which a turn is given up for another sled's.
const YIELD_PAUSE: Duration = Duration::from_secs(1);
/// Pause before those are asked again that were not well.
const QUESTION_PAUSE: Duration = Duration::from_secs(5);

/// Question that a job asks, of one region.
pub(in crate::supervisor) struct Question<'a> {
    pub(in crate::supervisor) context: &'a Context,
    pub(in crate::supervisor) job: u64,
    pub(in crate::supervisor) local: &'a LocalRegion,
    pub(in crate::supervisor) asks: Asks,
    /// Whether the region is stopped already.
    pub(in crate::supervisor) stopped: bool,
    pub(in crate::supervisor) bus: &'a Connection,
    pub(in crate::supervisor) progress: &'a Progress,
}

impl Question<'_> {
    /// Tell whether there is somebody to ask. What does not serve makes nothing worse when it goes; one that
    /// is not where the map has it serves those who are connected to it all the same.
    pub(in crate::supervisor) async fn is_due(&self) -> bool {
        let (context, name, asks) = (self.context, &self.local.name, self.asks);
        if !asks.anybody(&context.config, name) {
            return false;
        }
        if matches!(asks, Asks::Whole { .. }) {
            return true;
        }
        let serves = context.serving.borrow().contains_key(name);
        serves || (asks.patiently() && context.hosts(name).await.map_or(true, |hosts| !hosts.is_empty()))
    }

    /// Ask how the others are, and whether they were found whole if that matters. Nobody's word is a no.
    ///
    /// # Errors
    /// The job was cancelled, or its look at the region was cut short.
    pub(in crate::supervisor) async fn ask(&self) -> Result<Word, wire::Error> {
        let whole = matches!(self.asks, Asks::Whole { .. });
        let alone = self.asks == Asks::Whole { attached: false };
        let unfollowed = if self.asks.patiently() { UNFOLLOWED_LIMIT } else { FOLLOWED_LIMIT };
        let patience = unfollowed + WORD_LIMIT + if whole { LOOKS_LIMIT } else { Duration::ZERO };
        let moved = self.asks.left_out(self.local.name.volume());
        let (region, stopped) = (self.local.name.clone(), self.stopped);
        // What it has is not had from whoever answers if it cannot be had here.
        let unreadable = whole && own(self.context, self.local).await?.is_err();
        let question = Ask { number: 0, region, moved, whole, alone, stopped, unreadable };
        let followed = async {
            sleep(unfollowed).await;
            if let Err(why) = follower::begin(self.bus, &self.context.config.map, self.job).await {
                tracing::warn!("nobody is made to follow job {}: {why}", self.job);
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            word = self.progress.ask(question, patience) => {
                Ok(word.unwrap_or_else(|| Word::No(self.unheard())))
            }
            never = followed => match never {},
            () = self.progress.cancelled() => Err(cancelled()),
        }
    }

    /// Refuse, as nobody has told.
    fn unheard(&self) -> wire::Error {
        let (name, volume, job) = (&self.local.name, self.local.name.volume(), self.job);
        let message = format!(
            "{name} stays as it is: {volume} has regions on other sleds, and nobody who follows job {job} has told how \
             they are"
        );
        let remedy = format!(
            "ask for it with sledctl, and leave that running: it asks them (and for a job that waits: sledctl jobs \
             follow {job}); journalctl -u {} has why nobody did; with --force it is done all the same",
            follower::unit(job)
        );
        wire::Error::new(Refusal::SiblingUnknown, message, remedy)
    }

    /// Wait until the others are well, for as long as that takes; until then that is a condition, and
    /// nobody is kept back.
    ///
    /// # Errors
    /// The job was cancelled.
    pub(in crate::supervisor) async fn wait(&self) -> Result<(), wire::Error> {
        while self.is_due().await
            && let Word::No(why) = self.ask().await?
        {
            let (name, cause) = (&self.local.name, reason(&self.local.name, &why.message));
            self.progress.step(format!("{name}: waiting, as {cause}"), 0, 0);
            self.tell(Some(Awaited { job: self.job, why })).await;
            self.pause(QUESTION_PAUSE).await?;
        }
        self.tell(None).await;
        Ok(())
    }

    async fn tell(&self, what: Option<Awaited>) {
        self.context.tell(Report::Awaits(self.local.name.clone(), what)).await;
    }

    /// Give the region's turn up for a moment: another sled has its own, or is not well any more.
    ///
    /// # Errors
    /// The job was cancelled.
    pub(in crate::supervisor) async fn give_way(&self) -> Result<(), wire::Error> {
        self.context.tell(Report::Free { job: self.job, region: self.local.name.clone() }).await;
        self.wait_a_moment().await
    }

    /// Wait while another sled has its turn, and be at the region still.
    ///
    /// # Errors
    /// The job was cancelled.
    pub(in crate::supervisor) async fn wait_a_moment(&self) -> Result<(), wire::Error> {
        self.pause(YIELD_PAUSE).await
    }

    async fn pause(&self, time: Duration) -> Result<(), wire::Error> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            () = self.progress.cancelled() => Err(cancelled()),
        }
    }
}
