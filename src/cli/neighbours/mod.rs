//! Neighbours: the other sleds of a volume, asked before one of its regions goes away for a moment. The supervisor has
//! no way to them, and a job of its asks whoever follows it.
//!
//! Two sleds must not both find that the other one serves, and then both go. So a job's turn is shown before its
//! question is; and who sees another's turn does not go. Of two that see each other the one with the lower name
//! keeps its turn and waits, and the other gives up its own for a moment.
//!
//! | module | job |
//! |---|---|
//! | [`doors`] | at which ports they are asked |
//! | [`report`] | what they say of a volume |
//! | [`verdict`] | what that means for a region of this sled that goes away for a moment |
//! | [`whole`] | what it means for one that is made anew, and filled from theirs |

mod doors;
mod report;
mod verdict;
mod whole;

pub(super) use doors::{Doors, Elsewhere};
pub(super) use report::get_in_time;

use super::client::Client;
use super::failure::Failure;
use crate::api::{JobId, Operation};
use crate::names::{RegionName, VolumeName};
use crate::wire::{Ask, Granted, Hosts, Refusal, Replica, Volume, Word};
use report::reports;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use verdict::{Verdict, judge};
use whole::{Here, judge_whole};

/// Time that what passes by itself is waited for: a host that connects anew, another sled's turn.
const PASSING_LIMIT: Duration = Duration::from_secs(50);
/// Time between two questions.
const POLL: Duration = Duration::from_millis(250);

/// Neighbours of a sled, on behalf of one job.
#[derive(Debug)]
pub(super) struct Neighbours<'a> {
    doors: &'a Doors,
    /// Number of the last question that was answered; 0 before the first.
    answered: u64,
}

impl<'a> Neighbours<'a> {
    /// Begin with no question answered.
    pub(super) fn new(doors: &'a Doors) -> Self {
        Self { doors, answered: 0 }
    }

    /// Answer a job's question, unless that was done.
    pub(super) async fn answer(&mut self, client: &Client, job: u64, ask: &Ask) {
        if ask.number <= self.answered {
            // The job has not heard yet.
            return sleep(POLL).await;
        }
        let word = self.word(client, ask).await;
        let told = Operation::AnswerJob { id: JobId(job), number: ask.number, word };
        // A word that could not be told is told again.
        if client.ask::<Granted>(&told).await.is_ok() {
            self.answered = ask.number;
        }
    }

    /// Find out how the neighbours are, and wait for what passes.
    async fn word(&self, client: &Client, ask: &Ask) -> Word {
        let mut asked = None;
        loop {
            let (volume, hosts) = match own(client, ask.region.volume()).await {
                Ok(own) => own,
                Err(why) => return Word::No(why.error()),
            };
            let before = match replicas(client, here(&volume, ask), Instant::now() + PASSING_LIMIT).await {
                Ok(before) => before,
                Err(why) => return Word::No(why.error()),
            };
            // A look at what this sled has takes its time, and is none of the others'.
            let began = *asked.get_or_insert_with(Instant::now);
            let reports = reports(&volume, ask, self.doors).await;
            let verdict = match judge(&volume, hosts.as_ref(), ask, &reports) {
                Verdict::Well if ask.whole => {
                    let siblings = here(&volume, ask).filter(|name| **name != ask.region);
                    match replicas(client, siblings, began + PASSING_LIMIT).await {
                        Ok(now) => judge_whole(&volume, &Here { before, now, used: is_used(hosts) }, ask, &reports),
                        Err(why) => Verdict::No(why.error()),
                    }
                }
                verdict => verdict,
            };
            match verdict {
                Verdict::Well => return Word::Well,
                Verdict::No(why) => return Word::No(why),
                Verdict::Turn(other) if volume.sled > other => return Word::Yield,
                Verdict::Turn(_) if began.elapsed() >= PASSING_LIMIT => return Word::Yield,
                Verdict::Later(why) if began.elapsed() >= PASSING_LIMIT => return Word::No(why),
                Verdict::Turn(_) | Verdict::Later(_) => sleep(POLL).await,
            }
        }
    }
}

/// Read what this sled itself knows of a volume, and of the hosts that are connected by a look made for it.
async fn own(client: &Client, name: &VolumeName) -> Result<(Volume, Option<Hosts>), Failure> {
    let volume = client.volume(name).await?;
    let hosts = match client.ask(&Operation::ShowHosts { volume: name.clone() }).await {
        Err(Failure::Refused(why)) if why.code == Refusal::NotFound => None,
        hosts => Some(hosts?),
    };
    Ok((volume, hosts))
}

/// Tell whether a host is connected to the volume on this sled.
fn is_used(hosts: Option<Hosts>) -> bool {
    hosts.is_some_and(|hosts| !hosts.attached.is_empty())
}

/// Name the volume's regions on this sled of which it is to be read what they have, if that matters: all but the one that is
/// asked about, if the supervisor itself cannot read that.
fn here<'a>(own: &'a Volume, ask: &Ask) -> impl Iterator<Item = &'a RegionName> {
    let (whole, unread) = (ask.whole, ask.unreadable.then(|| ask.region.clone()));
    let here = own.regions.iter().filter(move |region| whole && region.sled == own.sled).map(|region| &region.name);
    here.filter(move |name| Some(*name) != unread.as_ref())
}

/// Read what these regions of this sled have: before the others are asked, who may have more by then; and of its siblings
/// afterwards, as they may have more by then themselves.
///
/// # Errors
/// What one of them has is not known: nothing is made of that.
async fn replicas<'a>(
    client: &Client,
    regions: impl Iterator<Item = &'a RegionName>,
    deadline: Instant,
) -> Result<Vec<Replica>, Failure> {
    let mut found = Vec::new();
    for region in regions {
        let asked = Operation::ShowReplica { region: region.clone() };
        let replica = loop {
            match client.ask::<Replica>(&asked).await {
                Err(why) if Instant::now() < deadline && passes(&why) => sleep(POLL).await,
                read => break read?,
            }
        };
        found.push(replica);
    }
    Ok(found)
}

/// Whether it may be read in a moment: a look is under way, somebody else's or the one that was just waited for, and that
/// goes on; or a file is being replaced as its extent is repaired.
fn passes(why: &Failure) -> bool {
    match why {
        Failure::Refused(why) => why.code == Refusal::Busy || why.code == Refusal::Failed,
        Failure::Unreachable(_, why) => why.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;
    use crate::wire::{Error, ErrorCode};
    use std::collections::BTreeSet;

    #[test]
    fn what_is_here_has_to_be_known_but_of_a_region_that_its_supervisor_cannot_read() {
        let mut own: Volume = serde_json::from_str(include_str!("../../attach/tests/volume.json")).unwrap();
        own.regions[1].sled = "other".parse().unwrap();
        let region = own.regions[0].name.clone();
        for (whole, unreadable, wanted) in
            [(true, false, vec![0, 2]), (true, true, vec![2]), (false, false, vec![]), (false, true, vec![])]
        {
            let (region, moved) = (region.clone(), BTreeSet::new());
            let ask = Ask { number: 1, region, moved, whole, alone: true, stopped: false, unreadable };
            let wanted: Vec<_> = wanted.into_iter().map(|index: usize| &own.regions[index].name).collect();
            assert_eq!(here(&own, &ask).collect::<Vec<_>>(), wanted, "{whole} {unreadable}");
        }
    }

    #[test]
    fn a_look_that_may_do_better_in_a_moment_is_waited_for_and_no_other() {
        for (code, wanted) in [
            (ErrorCode::from(Refusal::Busy), true),
            (Refusal::Failed.into(), true),
            (Refusal::RegionUnknown.into(), false),
            (Code::DataNotMounted.into(), false),
        ] {
            assert_eq!(passes(&Failure::Refused(Error::new(code.clone(), "", ""))), wanted, "{code:?}");
        }
    }
}
