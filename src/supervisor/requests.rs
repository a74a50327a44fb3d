//! Requests to the supervisor: the operations that hosts and operators ask for, and what they are answered.

use crate::act::storage;
use crate::api::{Choice, Directory, Look, Operation, Program, Sentence};
use crate::check::Code;
use crate::decide::facts::{Disk, Region};
use crate::decide::permits::{Creation, Deletion, may_adopt, may_create, may_delete, may_purge, may_restore};
use crate::decide::rebuild::may_rebuild;
use crate::decide::storage::{running, usable};
use crate::decide::turns::{Asks, Manner, may_hold, may_release, may_repair, may_restart, may_upgrade};
use crate::desk::answer::Answer;
use crate::desk::request::{Asker, Caller, Reply, Request, Visitor, Wish};
use crate::names::{RegionName, VolumeName};
use crate::supervisor::Supervisor;
use crate::supervisor::configuration::reload::{Reload, Reloading};
use crate::supervisor::hosts::maintenance::Asked;
use crate::supervisor::jobs::adoption;
use crate::supervisor::jobs::restart_check;
use crate::supervisor::jobs::upgrade::{Cargo, Spoken, Upgrade};
use crate::supervisor::jobs::work::Work;
use crate::supervisor::publish::events::About;
use crate::supervisor::tasks::run_unheard;
use crate::wire::{self, Refusal};
use bytes::Bytes;
use std::path::PathBuf;
use uuid::Uuid;

/// Report of a look at the disk, for a request that is to be answered by what is there now.
pub(in crate::supervisor) struct Report(Disk, Request);

impl Supervisor {
    /// Look at the disk before a request is answered: what was seen half a minute ago may have been
    /// moved away since.
    pub(in crate::supervisor) fn look_first(&mut self, request: Request) {
        let look = request.wish.look();
        if !matches!(look, Look::First | Look::Afresh) {
            return self.answer(request);
        }
        let (scanner, context, bus) =
            (self.lookout.observers.scanner().clone(), self.jobs.context().clone(), self.systemd.bus().cloned());
        let afresh = look == Look::Afresh;
        self.tasks().run(|_| None, async move {
            let disk = if afresh { scanner.look_afresh().await? } else { scanner.look().await? };
            if let Wish::Do(Operation::RestartRegion { region, .. }, _) = &request.wish
                && let Err(why) = restart_check::of_request(&context, &disk, region, bus.as_ref()).await
            {
                _ = request.answer.send(Err(why));
                return None;
            }
            Some(Report(disk, request))
        });
    }

    /// Answer a request by what the disk looked like, unless that was a look for the regions of
    /// another configuration: then it is looked at once more.
    pub(in crate::supervisor) fn hear_look(&mut self, Report(disk, request): Report) {
        if disk.config == self.systemd.configuration() {
            self.see_disk(disk);
            self.answer(request);
        } else {
            self.look_first(request);
        }
    }

    /// Answer a request, now or when what it asks for has been looked at.
    pub(in crate::supervisor) fn answer(&mut self, Request { wish, answer }: Request) {
        match wish {
            Wish::Leave => self.leave(answer),
            Wish::Do(operation, Caller::Host(visitor)) => self.answer_host(operation, visitor, answer),
            Wish::Do(operation, Caller::Operator(by)) => self.answer_operator(operation, by, answer),
        }
    }

    /// Answer what depends on the address that asks; anything else is anybody's to ask.
    fn answer_host(&mut self, operation: Operation, Visitor { host, there }: Visitor, answer: Reply) {
        let asker = |answer| Asker { host, there, answer };
        match operation {
            Operation::AttachVolume { volume, wanted } => {
                let (fencing, mut by) = self.fencing();
                fencing.ask_for_ticket(volume, asker(answer), wanted, &mut by);
            }
            Operation::ReleaseVolume { volume, held } => {
                let (fencing, mut by) = self.fencing();
                fencing.let_go(volume, asker(answer), held.generation, &mut by);
            }
            Operation::ReportDrain { volume, said } => {
                self.hosts.drains.hear_host(volume, asker(answer), said, (&self.config, &self.facts));
            }
            other => self.answer_operator(other, wire::Asker::Host(host), answer),
        }
    }

    fn answer_operator(&mut self, operation: Operation, by: wire::Asker, answer: Reply) {
        if let Some(about) = about(&operation) {
            self.publisher.events.asked(about, by.clone());
        }
        match operation {
            Operation::ShowHosts { volume } => self.jobs.tell_hosts(volume, answer, &self.facts),
            Operation::ShowExtents { region } => self.tell_extents(region, answer),
            Operation::ShowReplica { region } => self.tell_replica(region, answer),
            Operation::AllowHost { volume, host } => self.permit(volume, &host, true, answer),
            Operation::DenyHost { volume, host } => self.permit(volume, &host, false, answer),
            Operation::DrainVolume { volume, reason } => self.drain(volume, Some(words(reason)), answer),
            Operation::EndDrain { volume } => self.drain(volume, None, answer),
            Operation::ProposeAdoption { region, from } => self.propose(region, directory(from), answer),
            Operation::SetMaintenance { on: Choice(on), time, reason } => {
                self.hosts.maintenance.ask(on.then(|| Asked { time, reason: words(reason) }), answer);
            }
            Operation::Reload { dry_run, yes, unattended, kept, by } => {
                match Reloading::new(Reload::asked(dry_run, yes, unattended), kept, by) {
                    Ok(reloading) => self.read_again(reloading, answer),
                    Err(why) => _ = answer.send(Err(why)),
                }
            }
            Operation::ListConfigurations {} => _ = answer.send(self.kept.configurations(None, &self.facts)),
            Operation::ShowConfiguration { number } => {
                _ = answer.send(self.kept.configurations(Some(number.0), &self.facts))
            }
            Operation::Look {} => self.publisher.answer_when_shown(answer, Ok(Answer::Looked)),
            Operation::TestNotify {} => self.notify.test(&self.config, answer),
            Operation::InitStorage { replace } => self.init_storage(replace, answer),
            long => {
                let granted = self.begin_work(long).map(|granted| self.jobs.list.asked_by(granted, by));
                _ = answer.send(granted.map(Answer::Granted));
            }
        }
    }

    fn permit(&mut self, volume: VolumeName, host: &str, allow: bool, answer: Reply) {
        let (fencing, mut by) = self.fencing();
        fencing.permit(volume, host, allow, answer, &mut by);
    }

    fn drain(&mut self, volume: VolumeName, wanted: Option<Option<String>>, answer: Reply) {
        self.hosts.drains.ask(volume, wanted, answer, (&self.config, &self.facts));
    }

    /// Begin long work, or say that it is done already.
    fn begin_work(&mut self, operation: Operation) -> Result<wire::Granted, wire::Error> {
        match operation {
            Operation::CreateRegion { region, never_existed } => self.create(&region, never_existed.as_ref()),
            Operation::DeleteRegion { region, yes_destroy } => self.delete(&region, yes_destroy.as_deref()),
            Operation::RestoreRegion { region, deleted } => self.restore(&region, deleted.map(|at| at.0)),
            Operation::PurgeRegion { region, deleted, yes_destroy } => {
                self.purge(&region, deleted.map(|at| at.0), yes_destroy.as_deref())
            }
            Operation::AdoptRegion { region, from } => self.adopt(&region, directory(from)),
            Operation::RestartRegion { region, force, rolling } => {
                self.restart(&region, Manner { rolling, ..manner(force, true) })
            }
            Operation::RepairRegion { region, dry_run } => self.repair(&region, dry_run),
            Operation::RebuildRegion { region, dry_run, attached } => self.rebuild(&region, dry_run, attached),
            Operation::HoldRegion { region, force, reason } => {
                self.hold_on_request(&region, words(reason).unwrap_or_default(), manner(force, false))
            }
            Operation::ReleaseRegion { region } => self.release(&region),
            Operation::ScrubRegion { region } => self.scrub(&region),
            Operation::UpgradeDownstairs { force, from, program: Program(program) } => {
                let from = PathBuf::from(from.unwrap_or_default());
                self.upgrade((!program.is_empty()).then_some((program, from)), force)
            }
            Operation::CancelJob { id } => self.jobs.list.cancel(id.0).map(wire::Granted::Job),
            Operation::AnswerJob { id, number, word } => {
                self.jobs.list.word(id.0, number, word).map(wire::Granted::Job)
            }
            other => {
                let message = format!("the supervisor does not do {}", other.row().name);
                Err(wire::Error::new(Refusal::Failed, message, "it is a fault of sledd: report it"))
            }
        }
    }

    fn create(&mut self, name: &RegionName, never_existed: Option<&RegionName>) -> Result<wire::Granted, wire::Error> {
        match may_create(&self.config, &self.facts, name, never_existed)? {
            Creation::AlreadyThere(uuid) => Ok(wire::Granted::AlreadyThere(uuid)),
            Creation::Go(local) => self.grant(Work::create(local)),
        }
    }

    fn delete(&mut self, name: &RegionName, yes: Option<&str>) -> Result<wire::Granted, wire::Error> {
        let deletion: Deletion = may_delete(&self.config, &self.facts, name, yes)?;
        self.grant(Work::delete(name.clone(), deletion))
    }

    fn restore(&mut self, name: &RegionName, time: Option<i64>) -> Result<wire::Granted, wire::Error> {
        let stone = may_restore(&self.config, &self.facts, name, time)?;
        self.grant(Work::restore(stone))
    }

    fn purge(&mut self, name: &RegionName, time: Option<i64>, yes: Option<&str>) -> Result<wire::Granted, wire::Error> {
        let stone = may_purge(&self.config, &self.facts, name, time, yes)?;
        self.grant(Work::purge(stone))
    }

    fn adopt(&mut self, name: &RegionName, from: Option<PathBuf>) -> Result<wire::Granted, wire::Error> {
        let local = may_adopt(&self.config, &self.facts, name)?;
        self.grant(Work::adopt(local, from))
    }

    fn restart(&mut self, name: &RegionName, manner: Manner) -> Result<wire::Granted, wire::Error> {
        let local = may_restart(&self.config, &self.facts, name, manner.force)?;
        self.grant(Work::restart(local, manner))
    }

    fn repair(&mut self, name: &RegionName, dry_run: bool) -> Result<wire::Granted, wire::Error> {
        let local = may_repair(&self.config, &self.facts, name)?;
        self.grant(Work::repair(local, dry_run))
    }

    fn rebuild(&mut self, name: &RegionName, dry_run: bool, attached: bool) -> Result<wire::Granted, wire::Error> {
        let rebuild = may_rebuild(&self.config, &self.facts, name, attached)?;
        self.grant(Work::rebuild(rebuild, dry_run))
    }

    fn hold_on_request(
        &mut self,
        name: &RegionName,
        why: String,
        manner: Manner,
    ) -> Result<wire::Granted, wire::Error> {
        let local = may_hold(&self.config, &self.facts, name, manner.force)?;
        self.grant(Work::hold(local, why, manner))
    }

    fn release(&mut self, name: &RegionName) -> Result<wire::Granted, wire::Error> {
        let local = may_release(&self.config, &self.facts, name)?;
        self.grant(Work::release(local))
    }

    fn upgrade(&mut self, program: Option<(Bytes, PathBuf)>, force: bool) -> Result<wire::Granted, wire::Error> {
        if self.facts.upgrading.is_some() {
            let message = "another upgrade is under way";
            return Err(wire::Error::new(Refusal::Busy, message, "wait until it is done: sledctl jobs"));
        }
        let first = may_upgrade(&self.config, &self.facts, force)?;
        let connected = |region: &&Region| region.sockets.as_ref().is_some_and(|s| !s.connected.is_empty());
        let spoken = match self.facts.regions.values().find(connected) {
            None => Spoken::Nothing,
            Some(region) => {
                region.program.as_ref().map_or(Spoken::Unknown, |program| Spoken::Version(program.messages))
            }
        };
        let cargo = program.map_or(Cargo::Configured, |(program, from)| Cargo::Brought(program, from));
        self.grant(Work::upgrade(&first, Upgrade { cargo, force, spoken }))
    }

    pub(in crate::supervisor) fn grant(&mut self, work: Work) -> Result<wire::Granted, wire::Error> {
        let (bus, disk) = (self.line()?, self.disk());
        let disk = disk.ok_or_else(|| wire::Error::new(Code::DataForeign, "the disk has no mark", "sledctl status"))?;
        Ok(wire::Granted::Job(self.begin(work, bus, disk)))
    }

    fn line(&self) -> Result<zbus::Connection, wire::Error> {
        self.systemd.bus().cloned().ok_or_else(|| {
            let message = "systemd does not answer on D-Bus, and everything runs under systemd";
            wire::Error::new(Code::SystemdUnreachable, message, "systemctl status dbus")
        })
    }

    fn propose(&self, name: RegionName, from: Option<PathBuf>, answer: Reply) {
        let granted = may_adopt(&self.config, &self.facts, &name).and_then(|local| Ok((local, self.line()?)));
        let context = self.jobs.context().clone();
        let proposing = async move {
            let proposal = match granted {
                Ok((local, bus)) => Ok(Answer::Proposal(adoption::propose(&context, &local, from, &bus).await)),
                Err(why) => Err(why),
            };
            _ = answer.send(proposal);
        };
        run_unheard(proposing);
    }

    fn init_storage(&self, replace: Option<Uuid>, answer: Reply) {
        let running = running(&self.facts);
        if running > 0 && usable(&self.config, &self.facts).is_err() {
            let message =
                format!("the disk is not marked: {running} downstairs still serve from the disk that was there");
            let remedy = "mount that one again, or: systemctl stop 'crucible-downstairs@*'";
            _ = answer.send(Err(wire::Error::new(Refusal::NotMarked, message, remedy)));
            return;
        }
        let context = self.jobs.context().clone();
        let marking = async move {
            let config = context.config.clone();
            let done = context.held(move || storage::init(&config, replace)).await;
            context.look_again().await;
            let marked = done.and_then(|done| {
                let refused = |why: std::io::Error| {
                    let message = format!("the disk is not marked: {why}");
                    wire::Error::new(Refusal::NotMarked, message, "nothing was changed; sledctl status shows the disk")
                };
                let mark = done.map_err(refused)?;
                Ok(Answer::Marked(wire::Marked { disk: mark.disk, sled: mark.sled, marked: mark.marked }))
            });
            _ = answer.send(marked);
        };
        run_unheard(marking);
    }
}

/// Find the change that an operation asks for, of which it is told who asked.
fn about(operation: &Operation) -> Option<About> {
    match operation {
        Operation::SetMaintenance { .. } => Some(About::Maintenance),
        Operation::Reload { dry_run: false, .. } => Some(About::Configuration),
        Operation::DrainVolume { volume, .. } | Operation::EndDrain { volume } => Some(About::Drain(volume.clone())),
        Operation::AllowHost { volume, .. } | Operation::DenyHost { volume, .. } => Some(About::Permit(volume.clone())),
        _ => None,
    }
}

/// Choose how an operator has a region stopped: by force, whatever becomes of the volume's hosts.
fn manner(force: bool, starts: bool) -> Manner {
    Manner { force, unrepaired: force, asks: Asks::unless(force), rolling: false, starts }
}

fn words(sentence: Option<Sentence>) -> Option<String> {
    sentence.map(|sentence| sentence.0)
}

fn directory(from: Option<Directory>) -> Option<PathBuf> {
    from.map(|from| from.0)
}
