//! What the admin socket asks for, and what it is answered.

use crate::act::storage;
use crate::check::Code;
use crate::config::Kept;
use crate::decide::facts::{Disk, Region};
use crate::decide::permits::{Creation, Deletion, may_adopt, may_create, may_delete, may_purge, may_restore};
use crate::decide::storage::{running, usable};
use crate::decide::turns::{Manner, may_hold, may_release, may_restart, may_upgrade};
use crate::kernel::presence::Presence;
use crate::names::{RegionName, VolumeName};
use crate::span::Span;
use crate::supervisor::event::Event;
use crate::supervisor::fencing::grant::Asker;
use crate::supervisor::jobs::adoption;
use crate::supervisor::jobs::restart_check;
use crate::supervisor::jobs::run::Task;
use crate::supervisor::jobs::upgrade::{Cargo, Spoken, Upgrade};
use crate::supervisor::{Reloading, Supervisor};
use crate::wire::{self, Attach, JobKind, Refusal};
use bytes::Bytes;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::sync::oneshot;
use uuid::Uuid;

/// A wish, and where its answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is wished.
    pub wish: Wish,
    /// Where the answer goes. Whoever asked may have gone; what was begun goes on.
    pub answer: oneshot::Sender<Result<Answer, wire::Error>>,
}

/// What is wished.
#[derive(Debug)]
pub enum Wish {
    /// Create a region; with its name said once more, if it may have existed.
    Create(RegionName, Option<RegionName>),
    /// Delete a region; with its name said once more.
    Delete(RegionName, Option<String>),
    /// Have a deleted region back; of several the one that was deleted at that second.
    Restore(RegionName, Option<i64>),
    /// Remove a deleted region for good, as before; with what was said repeated.
    Purge(RegionName, Option<i64>, Option<String>),
    /// Adopt a region, from this directory or from where it is found.
    Adopt(RegionName, Option<PathBuf>),
    /// Tell what adopting a region would come to.
    ProposeAdoption(RegionName, Option<PathBuf>),
    /// Restart a region's downstairs.
    Restart(RegionName, Manner),
    /// Stop a region and keep it from running, for this reason.
    Hold(RegionName, String, Manner),
    /// Let a region run again that is held.
    Release(RegionName),
    /// Roll another downstairs program over all regions: this one, which came from there, or the
    /// one of `sled.toml`; even if a region does not serve or hosts are cut off.
    Upgrade(Option<(Bytes, PathBuf)>, bool),
    /// End a job early.
    Cancel(u64),
    /// Tell a job what it has asked, by the number of the question.
    Word(u64, u64, wire::Word),
    /// Ask hosts to wait, or not any more.
    Maintain(Option<Asked>),
    /// Who is connected to a volume now.
    Hosts(VolumeName),
    /// A ticket for a volume, for the host at this address, as long as it is there to be given it.
    Attach(VolumeName, IpAddr, Attach, Presence),
    /// The host at this address lets go of its ticket for a volume: the one with this generation, or
    /// whichever it has.
    LetGo(VolumeName, IpAddr, Option<u64>, Presence),
    /// Let a host, by its address or its name in the map, talk to a volume again, or cut it off.
    Permit(VolumeName, String, bool),
    /// Have a volume drained, for a reason if there is one, or not any more.
    Drain(VolumeName, Option<Option<String>>),
    /// The host at this address says what has come of that it is to detach a volume.
    Drained(VolumeName, IpAddr, wire::Drained, Presence),
    /// Take the configuration over from its files, or show what that would change.
    Reload(Reloading),
    /// What was in force; or the one with this number, with its files.
    Configurations(Option<u64>),
    /// The daemon was told to end: do what has to be done before.
    Leave,
    /// Look at the disk and at everything that lies there, and answer when what was seen is shown.
    Look,
    /// Mark the data disk as this sled's, in place of the one that is named.
    InitStorage(Option<Uuid>),
}

/// What is asked of hosts: to wait for so long, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// For how long; `None`: until somebody ends it.
    pub time: Option<Span>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// What was granted.
#[derive(Debug)]
pub enum Answer {
    /// A job, or that it is done already.
    Granted(wire::Granted),
    /// What adopting a region would come to.
    Proposal(wire::Proposal),
    /// The data disk is this sled's.
    Marked(wire::Marked),
    /// Hosts are asked to wait, or not any more.
    Maintenance(Option<wire::Maintenance>),
    /// What another configuration changes.
    Difference(Box<wire::Difference>),
    /// What was in force.
    Configurations(Box<wire::Configurations>),
    /// One that was, with its files.
    Kept(Box<Kept>),
    /// Who is connected to a volume.
    Hosts(wire::Hosts),
    /// A ticket.
    Ticket(Box<wire::Ticket>),
    /// No ticket, and why.
    Refused(wire::RefusedTicket),
    /// A host is let in again, or was cut off.
    Permitted,
    /// A volume is being drained, or not any more.
    Drain(Option<wire::Drain>),
    /// A host has let go of its ticket.
    Released(wire::Released),
    /// What was looked at is shown.
    Looked,
    /// The daemon may end.
    Left,
}

impl Supervisor {
    /// Looks at the disk before a request is answered: what was seen half a minute ago may
    /// have been moved away since.
    pub(in crate::supervisor) fn look_first(&mut self, request: Request) {
        // These do not depend on what lies there, and some are in a hurry.
        if matches!(
            request.wish,
            Wish::Leave
                | Wish::Maintain(_)
                | Wish::Hosts(_)
                | Wish::Attach(..)
                | Wish::LetGo(..)
                | Wish::Permit(..)
                | Wish::Drain(..)
                | Wish::Drained(..)
                | Wish::Reload(_)
                | Wish::Configurations(_)
        ) {
            return self.answer(request);
        }
        let (scanner, context, bus) =
            (self.observers.scanner().clone(), self.jobs.context().clone(), self.systemd.bus().cloned());
        let afresh = matches!(request.wish, Wish::Look);
        self.tasks.run(|_| None, async move {
            let disk = if afresh { scanner.look_afresh().await? } else { scanner.look().await? };
            if let Wish::Restart(name, _) = &request.wish
                && let Err(why) = restart_check::of_request(&context, &disk, name, bus.as_ref()).await
            {
                _ = request.answer.send(Err(why));
                return None;
            }
            Some(Event::Looked(disk, request))
        });
    }

    /// Answers a request by what the disk looked like, unless that was a look for the regions of
    /// another configuration: then it is looked at once more.
    pub(in crate::supervisor) fn hear_look(&mut self, disk: Disk, request: Request) {
        match disk.config == self.systemd.configuration() {
            true => {
                self.see_disk(disk);
                self.answer(request);
            }
            false => self.look_first(request),
        }
    }

    /// Answers a request, now or when what it asks for has been looked at.
    pub(in crate::supervisor) fn answer(&mut self, Request { wish, answer }: Request) {
        let granted = match wish {
            Wish::Create(name, never_existed) => self.create(&name, never_existed.as_ref()),
            Wish::Delete(name, yes) => self.delete(&name, yes.as_deref()),
            Wish::Restore(name, time) => self.restore(&name, time),
            Wish::Purge(name, time, yes) => self.purge(&name, time, yes.as_deref()),
            Wish::Adopt(name, from) => self.adopt(&name, from),
            Wish::Restart(name, manner) => self.restart(&name, manner),
            Wish::Hold(name, why, manner) => self.hold_on_request(&name, why, manner),
            Wish::Release(name) => self.release(&name),
            Wish::Upgrade(program, force) => self.upgrade(program, force),
            Wish::Cancel(id) => self.jobs.list.cancel(id).map(wire::Granted::Job),
            Wish::Word(id, number, word) => self.jobs.list.word(id, number, word).map(wire::Granted::Job),
            Wish::ProposeAdoption(name, from) => return self.propose(name, from, answer),
            Wish::Maintain(wanted) => return self.maintenance.ask(wanted, answer),
            Wish::Hosts(volume) => return self.jobs.tell_hosts(volume, answer, &self.facts),
            Wish::Attach(volume, host, wanted, there) => {
                let (fencing, mut by) = self.fencing();
                return fencing.ask_for_ticket(volume, Asker { host, there, answer }, wanted, &mut by);
            }
            Wish::LetGo(volume, host, ticket, there) => {
                let (fencing, mut by) = self.fencing();
                return fencing.let_go(volume, Asker { host, there, answer }, ticket, &mut by);
            }
            Wish::Permit(volume, host, allow) => {
                let (fencing, mut by) = self.fencing();
                return fencing.permit(volume, &host, allow, answer, &mut by);
            }
            Wish::Drain(volume, wanted) => {
                return self.drains.ask(volume, wanted, answer, (&self.config, &self.facts));
            }
            Wish::Drained(volume, host, said, there) => {
                let asker = Asker { host, there, answer };
                return self.drains.hear_host(volume, asker, said, (&self.config, &self.facts));
            }
            Wish::Reload(asked) => return self.read_again(asked, answer),
            Wish::Configurations(number) => {
                _ = answer.send(self.configurations(number));
                return;
            }
            Wish::Leave => return self.leave(answer),
            Wish::Look => return self.publisher.answer_when_shown(&self.tasks, answer, Ok(Answer::Looked)),
            Wish::InitStorage(replace) => return self.init_storage(replace, answer),
        };
        _ = answer.send(granted.map(Answer::Granted));
    }

    fn create(&mut self, name: &RegionName, never_existed: Option<&RegionName>) -> Result<wire::Granted, wire::Error> {
        match may_create(&self.config, &self.facts, name, never_existed)? {
            Creation::AlreadyThere(uuid) => Ok(wire::Granted::AlreadyThere(uuid)),
            Creation::Go(local) => self.grant(JobKind::Create, Task::Create(local)),
        }
    }

    fn delete(&mut self, name: &RegionName, yes: Option<&str>) -> Result<wire::Granted, wire::Error> {
        let deletion: Deletion = may_delete(&self.config, &self.facts, name, yes)?;
        self.grant(JobKind::Delete, Task::Delete(name.clone(), deletion))
    }

    fn restore(&mut self, name: &RegionName, time: Option<i64>) -> Result<wire::Granted, wire::Error> {
        let stone = may_restore(&self.config, &self.facts, name, time)?;
        self.grant(JobKind::Restore, Task::Restore(stone))
    }

    fn purge(&mut self, name: &RegionName, time: Option<i64>, yes: Option<&str>) -> Result<wire::Granted, wire::Error> {
        let stone = may_purge(&self.config, &self.facts, name, time, yes)?;
        self.grant(JobKind::Purge, Task::Purge(stone))
    }

    fn adopt(&mut self, name: &RegionName, from: Option<PathBuf>) -> Result<wire::Granted, wire::Error> {
        let local = may_adopt(&self.config, &self.facts, name)?;
        self.grant(JobKind::Adopt, Task::Adopt(local, from))
    }

    fn restart(&mut self, name: &RegionName, manner: Manner) -> Result<wire::Granted, wire::Error> {
        let local = may_restart(&self.config, &self.facts, name, manner.force)?;
        self.grant(JobKind::Restart, Task::Restart(local, manner))
    }

    fn hold_on_request(
        &mut self,
        name: &RegionName,
        why: String,
        manner: Manner,
    ) -> Result<wire::Granted, wire::Error> {
        let local = may_hold(&self.config, &self.facts, name, manner.force)?;
        self.grant(JobKind::Hold, Task::Hold(local, why, manner))
    }

    fn release(&mut self, name: &RegionName) -> Result<wire::Granted, wire::Error> {
        let local = may_release(&self.config, &self.facts, name)?;
        self.grant(JobKind::Release, Task::Release(local))
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
        self.grant(JobKind::Upgrade, Task::Upgrade(first, Box::new(Upgrade { cargo, force, spoken })))
    }

    fn grant(&mut self, kind: JobKind, task: Task) -> Result<wire::Granted, wire::Error> {
        let (bus, disk) = (self.line()?, self.disk());
        let disk = disk.ok_or_else(|| wire::Error::new(Code::DataForeign, "the disk has no mark", "sledctl status"))?;
        Ok(wire::Granted::Job(self.begin(kind, task, bus, disk)))
    }

    fn line(&self) -> Result<zbus::Connection, wire::Error> {
        self.systemd.bus().cloned().ok_or_else(|| {
            let message = "systemd does not answer on D-Bus, and everything runs under systemd";
            wire::Error::new(Code::SystemdUnreachable, message, "systemctl status dbus")
        })
    }

    fn propose(&self, name: RegionName, from: Option<PathBuf>, answer: oneshot::Sender<Result<Answer, wire::Error>>) {
        let granted = may_adopt(&self.config, &self.facts, &name).and_then(|local| Ok((local, self.line()?)));
        let context = self.jobs.context().clone();
        let proposing = async move {
            let proposal = match granted {
                Ok((local, bus)) => Ok(Answer::Proposal(adoption::propose(&context, &local, from, &bus).await)),
                Err(why) => Err(why),
            };
            _ = answer.send(proposal);
            None
        };
        self.tasks.run(|_| None, proposing);
    }

    fn init_storage(&self, replace: Option<Uuid>, answer: oneshot::Sender<Result<Answer, wire::Error>>) {
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
            None
        };
        self.tasks.run(|_| None, marking);
    }
}
