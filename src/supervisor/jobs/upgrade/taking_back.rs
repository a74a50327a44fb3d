//! Taking an upgrade back: every region gets the program that it ran before. Never begins one anew.

use super::{Rolling, save};
use crate::act::programs;
use crate::decide::facts::Busy;
use crate::decide::turns::{Asks, Manner};
use crate::port_map::LocalRegion;
use crate::programs::Programs;
use crate::region::{HeldBy, Hold};
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::list::CANCELLED;
use crate::supervisor::jobs::restart;
use crate::wire::{self, Refusal};

impl Rolling<'_> {
    /// Give every region its old program again, the last one first; and stop at one that does not
    /// come back with it, so that no other is put at risk.
    pub(super) async fn back(&self, record: &mut Programs, why: wire::Error) -> wire::Error {
        tracing::error!("the upgrade is taken back: {}", why.message);
        if let Some(roll) = &mut record.rolling {
            roll.back = true;
        }
        // That it was cancelled does not keep it from being taken back; nor can that be cancelled, unless
        // it may wait for long.
        let patient = self.asks == Asks::Patiently && self.progress.check().is_ok();
        let progress = if patient {
            self.progress.clone()
        } else {
            _ = self.progress.no_way_back();
            self.progress.for_good()
        };
        let asks = if self.asks == Asks::Patiently && !patient { Asks::Others } else { self.asks };
        let back = Rolling { progress: &progress, asks, ..*self };
        let undone = match save(record).await {
            Ok(()) => back.give_all_back(record).await,
            Err(why) => Err(why),
        };
        let same = record.rolling.as_ref().is_some_and(|roll| roll.to == record.current);
        let tidied = match undone {
            Ok(()) => {
                record.rolling = None;
                self.tidy(record).await
            }
            stuck => stuck,
        };
        let (end, remedy) = match tidied {
            Ok(()) if same => (
                "what was restarted runs the file of sled.toml as it is now".to_owned(),
                "to go back, bring the old program: sledctl downstairs upgrade PATH",
            ),
            Ok(()) if why.code == CANCELLED => return why,
            Ok(()) => ("every region runs what it ran before".to_owned(), "see why: journalctl -u sledd"),
            Err(stuck) => (
                format!("taking it back has stopped, as {}; the others are left as they are", stuck.message),
                "see sledctl downstairs; mend that, then: systemctl restart sledd, which goes on with it; without a \
                 sled that is gone for good: sledctl reload with a map that has it no more, or sledctl downstairs upgrade --force",
            ),
        };
        wire::Error::new(Refusal::UpgradeFailed, format!("{}; {end}", why.message), remedy)
    }

    async fn give_all_back(&self, record: &mut Programs) -> Result<(), wire::Error> {
        for local in self.regions().await?.iter().rev() {
            let given = self.give_back(record, local).await;
            self.context.tell(Report::Free { job: self.job, region: local.name.clone() }).await;
            match given {
                Err(_) if self.is_gone(local).await? => {}
                given => given?,
            }
        }
        Ok(())
    }

    /// Give one region back what it ran, if it was given the program.
    async fn give_back(&self, record: &mut Programs, local: &LocalRegion) -> Result<(), wire::Error> {
        let name = &local.name;
        let Some(roll) = record.rolling.clone() else { return Ok(()) };
        let old = record.path(record.current.as_ref(), &self.context.config.sled.downstairs.program).to_owned();
        let runs_old = self.main_pid(local).await?.is_some_and(|pid| programs::is(pid, &old));
        if !roll.done.contains(name) && runs_old {
            return Ok(());
        }
        self.progress.step(format!("{name}: taking it back"), 0, 0);
        // One that serves waits until the others do and hosts have caught up; one that does not has
        // nothing to lose.
        let force = !self.context.serving.borrow().contains_key(name);
        let manner = |asks, starts| Manner { force, unrepaired: force, asks, rolling: true, starts };
        let asks = if force { Asks::Nobody } else { self.asks };
        restart::turn(self.context, self.job, local, manner(asks, false), self.bus, self.progress).await?;
        // From here on nothing is done about it unasked; and what the program did wrong is not held
        // against the region.
        self.context.tell(Report::Mark { job: self.job, region: name.clone(), busy: Busy::Restarting }).await;
        if let Some(roll) = &mut record.rolling {
            roll.done.retain(|done| done != name);
        }
        save(record).await?;
        self.refresh().await?;
        let since = roll.since;
        let not_its_own = move |hold: &Hold| hold.by != HeldBy::Operator && hold.since >= since;
        if !restart::forgive(self.context, name, not_its_own).await? {
            return Ok(());
        }
        restart::turn(self.context, self.job, local, manner(Asks::Nobody, true), self.bus, self.progress).await?;
        restart::down_and_up(self.context, self.job, local, self.bus, self.progress).await.map(|_| ())
    }
}
