//! Extents of a region, looked at for whoever asks: aside from the loop, and from what else looks at the disk, as there
//! may be many files. One look at a time: a disk that hangs keeps no more than one thread.

use crate::decide::extents::judge;
use crate::decide::permits::not_on_record;
use crate::decide::storage::readable;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::names::RegionName;
use crate::region::Record;
use crate::region::scrub::Scrubs;
use crate::store::region_dir;
use crate::supervisor::Supervisor;
use crate::supervisor::tasks::run_unheard;
use crate::times;
use crate::wire::{self, Refusal};
use tokio::sync::Semaphore;

/// Turn to look at extents.
static TURN: Semaphore = Semaphore::const_new(1);

impl Supervisor {
    /// Tell how the extents of a region stand.
    pub(in crate::supervisor) fn tell_extents(&self, name: RegionName, answer: Reply) {
        let (record, scrubs) = match self.recorded(&name) {
            Ok(known) => known,
            Err(why) => {
                _ = answer.send(Err(why));
                return;
            }
        };
        let Ok(turn) = TURN.try_acquire() else {
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
            let one = |number| region_dir::standing(&dir, record.geometry, number).map_err(|why| why.to_string());
            let stand = (0..record.geometry.extent_count).map(one).collect();
            judge((name, &record), stand, scrubs.as_ref(), times::now())
        };
        run_unheard(async move {
            let told = context.aside(look).await;
            _ = answer.send(told.map(|extents| Answer::Extents(Box::new(extents))));
        });
    }

    fn recorded(&self, name: &RegionName) -> Result<(Record, Option<Scrubs>), wire::Error> {
        let ledger = readable(&self.config, &self.facts)?;
        let record = ledger.regions.get(name).ok_or_else(|| not_on_record(&self.config, name))?;
        let seen = self.facts.disk.as_ref().and_then(|disk| disk.scrubs.get(name));
        Ok((record.clone(), seen.and_then(|seen| seen.record.clone())))
    }
}
