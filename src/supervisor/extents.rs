//! Extents of a region, looked at for whoever asks: aside from the loop, and from what else looks at the disk, as there
//! may be many files. One look of a kind at a time: a disk that hangs keeps no more threads.

use crate::decide::extents::judge;
use crate::decide::permits::not_on_record;
use crate::decide::rebuild::counts_from;
use crate::decide::storage::readable;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::names::RegionName;
use crate::region::Record;
use crate::region::reconciliation::flushes;
use crate::region::scrub::Scrubs;
use crate::store::region_dir;
use crate::supervisor::Supervisor;
use crate::supervisor::tasks::run_unheard;
use crate::times;
use crate::wire::{self, Flushed, Refusal, Replica};
use jiff::Timestamp;
use std::path::Path;
use tokio::sync::Semaphore;

/// Turn to look at extents, for an operator.
static EXTENTS: Semaphore = Semaphore::const_new(1);
/// The same for anybody: who asks often is in no operator's way.
static REPLICA: Semaphore = Semaphore::const_new(1);

impl Supervisor {
    /// Tell how the extents of a region stand.
    pub(in crate::supervisor) fn tell_extents(&self, name: RegionName, answer: Reply) {
        let known = self.recorded(&name);
        self.look_at(&EXTENTS, (name.clone(), known), answer, move |dir, (record, scrubs)| {
            let one = |number| region_dir::standing(dir, record.geometry, number).map_err(|why| why.to_string());
            let stand = (0..record.geometry.extent_count).map(one).collect();
            Ok(Answer::Extents(Box::new(judge((name, &record), stand, scrubs.as_ref(), times::now()))))
        });
    }

    /// Tell what a region has, for whoever would have another one filled from it.
    pub(in crate::supervisor) fn tell_replica(&self, region: RegionName, answer: Reply) {
        let (sled, known) = (self.config.sled.name.clone(), self.recorded(&region));
        let counts_from = known.as_ref().ok().map(|(record, _)| counts_from(&self.facts, &region, record.uuid));
        let counts_from = counts_from.filter(|from| *from > Timestamp::MIN);
        self.look_at(&REPLICA, (region.clone(), known), answer, move |dir, (record, _)| {
            let read = region_dir::trailers(dir, record.geometry, |_| ());
            let read = read.map_err(|why| {
                let message = format!("what {region} has flushed cannot be read: {why}");
                wire::Error::new(Refusal::Failed, message, format!("see sledctl region show {region} and dmesg"))
            })?;
            let extents = flushes(&read).into_iter();
            let extents = extents.map(|(generation, flush)| Flushed { generation, flush }).collect();
            let (uuid, as_of) = (record.uuid, times::now());
            Ok(Answer::Replica(Replica { region, sled, uuid, as_of, counts_from, extents }))
        });
    }

    /// Have a region looked at, aside, when nobody else's look of that kind is under way.
    fn look_at<T: Send + 'static>(
        &self,
        turn: &'static Semaphore,
        (name, known): (RegionName, Result<T, wire::Error>),
        answer: Reply,
        look: impl FnOnce(&Path, T) -> Result<Answer, wire::Error> + Send + 'static,
    ) {
        let known = match known {
            Ok(known) => known,
            Err(why) => {
                _ = answer.send(Err(why));
                return;
            }
        };
        let Ok(turn) = turn.try_acquire() else {
            let message = format!("the extents of {name} are not shown: another look at extents has not ended");
            let remedy =
                "ask again in a moment; if it does not end, see dmesg and sledctl storage for what the disk does";
            _ = answer.send(Err(wire::Error::new(Refusal::Busy, message, remedy)));
            return;
        };
        let (dir, context) = (self.config.region_dir(&name), self.jobs.context());
        // What is on record is of this disk, and another one may be there when it is looked at.
        let context = self.disk().map_or_else(|| context.clone(), |disk| context.on(disk));
        let look = move || {
            // It is over when this is, whoever waits for it or not.
            let _turn = turn;
            look(&dir, known)
        };
        run_unheard(async move {
            let told = context.aside(look).await;
            _ = answer.send(told.and_then(|told| told));
        });
    }

    fn recorded(&self, name: &RegionName) -> Result<(Record, Option<Scrubs>), wire::Error> {
        let ledger = readable(&self.config, &self.facts)?;
        let record = ledger.regions.get(name).ok_or_else(|| not_on_record(&self.config, name))?;
        let seen = self.facts.disk.as_ref().and_then(|disk| disk.scrubs.get(name));
        Ok((record.clone(), seen.and_then(|seen| seen.record.clone())))
    }
}
