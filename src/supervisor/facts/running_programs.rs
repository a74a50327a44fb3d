//! Programs that the regions' processes run: every program is asked once for its version, however
//! many run it, and a process by the file that it was started from, even if that was replaced.

use crate::act::programs;
use crate::config::Configuration;
use crate::decide::facts::{Beat, Facts, Run};
use crate::decide::storage::usable;
use crate::decide::turns::may_upgrade;
use crate::decide::verification;
use crate::names::RegionName;
use crate::programs::Program;
use crate::supervisor::Supervisor;
use crate::supervisor::facts::{Lookout, Report};
use crate::supervisor::jobs::upgrade::{Cargo, Spoken, Upgrade};
use crate::supervisor::jobs::work::Work;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Mutex;
use zbus::Connection;

/// Identity of a program's file.
type File = (u64, u64, u64, i64);

/// Knowledge of the programs that run.
#[derive(Default)]
pub(in crate::supervisor) struct Versions {
    /// Process of each region that was asked last.
    asked: BTreeMap<RegionName, Run>,
    /// Answers of the programs. Locked while one is asked: who comes next gets the same answer.
    known: Arc<Mutex<HashMap<File, Program>>>,
    /// An upgrade that was cut short has been gone on with.
    resumed: bool,
}

impl Versions {
    /// Ask once more those that did not tell.
    pub(in crate::supervisor) fn ask_again(&mut self, facts: &Facts) {
        let told = |name: &RegionName| facts.regions.get(name).is_some_and(|region| region.program.is_some());
        self.asked.retain(|name, _| told(name));
    }
}

/// Take what a run's process runs, unless another run is there by now.
pub(super) fn hear_program(name: &RegionName, run: &Run, program: Program, facts: &mut Facts) {
    if let Some(region) = facts.regions.get_mut(name) {
        region.program = Some(program).filter(|_| region.run().as_ref() == Some(run));
    }
}

/// Take whether an upgrade was begun that has not ended. One that has begun meanwhile is not unfinished.
pub(super) fn hear_unfinished(unfinished: bool, facts: &mut Facts) {
    facts.unfinished_upgrade = unfinished && facts.upgrading.is_none();
}

impl Lookout {
    /// Ask for the version of what has been started since it was last asked.
    pub(in crate::supervisor) fn ask_versions(&mut self, config: &Configuration, facts: &mut Facts, bus: &Connection) {
        for (name, region) in &mut facts.regions {
            // Not before it answers: until then the process may be that of flock(1), which becomes it.
            let answers = region.pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Answering);
            let run = region.run().filter(|run| answers && region.pulse.as_ref().is_some_and(|p| p.pid == run.pid));
            if run.as_ref() == self.programs.asked.get(name) {
                continue;
            }
            if run.is_none() && region.run().as_ref() == self.programs.asked.get(name) {
                // It does not answer for a moment, and is still the one that was asked.
                continue;
            }
            region.program = None;
            match run {
                None => _ = self.programs.asked.remove(name),
                Some(run) => {
                    self.programs.asked.insert(name.clone(), run.clone());
                    let (name, user, bus) = (name.clone(), config.sled.downstairs.user.clone(), bus.clone());
                    let known = self.programs.known.clone();
                    self.tasks.run(|_| None, async move {
                        let program = version(&known, &bus, &user, run.pid).await?;
                        Some(Report::Runs(name, run, program))
                    });
                }
            }
        }
    }
}

impl Supervisor {
    /// Look, aside from the loop, whether an upgrade was begun that has not ended.
    pub(in crate::supervisor) fn look_for_upgrade(&self) {
        self.tasks().run(|_| None, async {
            tokio::task::spawn_blocking(upgrade_is_unfinished).await.ok().map(Report::Unfinished)
        });
    }

    /// Go on with an upgrade that was cut short.
    pub(in crate::supervisor) fn resume_upgrade(&mut self, bus: Connection) {
        let due = self.facts.unfinished_upgrade && !self.lookout.programs.resumed && self.facts.upgrading.is_none();
        let ready = due && usable(&self.config, &self.facts).is_ok() && self.publisher.has_published();
        // Regions that are verified first do not serve meanwhile, and to wait for them would be to take it back.
        let ready = ready && !verification::is_open(&self.config, &self.facts);
        let (Some(disk), true) = (self.disk(), ready) else { return };
        self.lookout.programs.resumed = true;
        if let Ok(first) = may_upgrade(&self.config, &self.facts, true) {
            tracing::warn!("going on with an upgrade that was cut short");
            let order = Upgrade { cargo: Cargo::Unfinished, force: false, spoken: Spoken::Nothing };
            self.begin(Work::upgrade(&first, order), bus, disk);
        }
    }
}

/// Tell whether a roll was begun that has not ended. It waits for the disk.
pub(in crate::supervisor) fn upgrade_is_unfinished() -> bool {
    programs::load().is_ok_and(|record| record.rolling.is_some())
}

async fn version(known: &Mutex<HashMap<File, Program>>, bus: &Connection, user: &str, pid: u32) -> Option<Program> {
    let file = programs::running(pid).ok()?;
    let mut known = known.lock().await;
    if let Some(program) = known.get(&file) {
        return Some(program.clone());
    }
    match programs::ask(bus, user, &programs::exe(pid)).await {
        Ok(_) if programs::running(pid).ok() != Some(file) => None,
        Ok(program) => {
            known.insert(file, program.clone());
            Some(program)
        }
        // It may have ended meanwhile.
        Err(why) => {
            tracing::info!("process {pid} does not tell its version: {why}");
            None
        }
    }
}
