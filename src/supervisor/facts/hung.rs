//! Hung processes, which do not answer: what each is doing is looked at aside from the loop, one look at a
//! time.

use crate::config::Configuration;
use crate::decide::facts::{Beat, Doing, Facts, Region};
use crate::names::RegionName;
use crate::observe::doing;
use crate::supervisor::facts::{Lookout, Report};

impl Lookout {
    /// Look at what those are doing that do not answer; and if there is one at the disk, as a full one is the
    /// reason, and none is restarted then.
    pub(in crate::supervisor) fn look_at_the_hung(&mut self, config: &Configuration, facts: &Facts) {
        for local in config.local_regions() {
            let region = facts.regions.get(&local.name);
            let Some(pid) = region.filter(|region| silent(region)).and_then(Region::alive) else { continue };
            // One look at a time: a kernel that does not answer is not asked for more and more.
            if !self.looking.insert(local.name.clone()) {
                continue;
            }
            let name = local.name.clone();
            let lost = {
                let name = name.clone();
                move |_| Some(Report::Doing(name, None))
            };
            self.tasks.run(lost, async move {
                let looked = tokio::task::spawn_blocking(move || doing::look(pid, &local)).await;
                Some(Report::Doing(name, looked.ok().flatten()))
            });
        }
        if facts.regions.values().any(silent) {
            self.observers.look_at_disk();
        }
    }

    /// Take what one is doing that does not answer, unless another process is there by now.
    pub(super) fn hear_doing(&mut self, name: &RegionName, seen: Option<Doing>, facts: &mut Facts) {
        self.looking.remove(name);
        let Some(region) = facts.regions.get_mut(name) else { return };
        if let Some(seen) = seen.filter(|seen| Some(seen.pid) == region.alive()) {
            region.doing = Some(seen);
        }
    }
}

fn silent(region: &Region) -> bool {
    region.pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Silent)
}
