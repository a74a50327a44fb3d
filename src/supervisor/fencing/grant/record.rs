//! Generations, and their record: each ticket has one of its own, which is on record before it is
//! handed over.

use crate::decide::generation::{self, NoGeneration};
use crate::names::RegionName;
use crate::port_map::Placement;
use crate::region::Grant;
use crate::store::grants::{self, Book};
use crate::store::ledger;
use crate::store::mark;
use crate::supervisor::fencing::grant::{Answer, Answered, Attempt, Order, Wanted};
use crate::wire::{self, Attach, Refusal, RefusedTicket};
use jiff::Timestamp;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Generations that the orders get.
type Given = Vec<Result<u64, wire::Error>>;

impl Attempt {
    /// Make sure that at least one of them can be granted a generation: if none can, nobody is cut
    /// off for it.
    pub(super) async fn may_grant(&self, batch: &[Order]) -> Result<(), wire::Error> {
        let (written, now) = (self.highest_written().await?, Timestamp::now());
        let given = self.generations(batch, self.known.grant.generation, written, now);
        let refused = given.iter().rev().find_map(|given| given.as_ref().err()).cloned();
        if given.iter().any(Result::is_ok) { Ok(()) } else { refused.map_or(Ok(()), Err) }
    }

    /// Open the record to be written; begin one if there is none, and then the ledger knows of it
    /// before anything is in it.
    pub(super) async fn open_book(&self, ticket: bool) -> Result<Book, wire::Error> {
        let (config, disk, volume) = (self.at.context.config.clone(), self.at.disk, self.at.volume.clone());
        let listed = self.known.listed.load(Ordering::Relaxed);
        let look = move || -> io::Result<Option<Book>> {
            mark::is_mounted(&config.sled.storage, disk)?;
            if listed { grants::open(&config.sled.storage.root, &volume) } else { Ok(None) }
        };
        match blocking(look).await? {
            Some(book) => Ok(book),
            None => self.begin_book(ticket).await,
        }
    }

    async fn begin_book(&self, ticket: bool) -> Result<Book, wire::Error> {
        let (config, volume) = (self.at.context.config.clone(), self.at.volume.clone());
        let begin = move || -> io::Result<(Book, bool)> {
            let root = &config.sled.storage.root;
            if grants::open(root, &volume)?.is_none() {
                grants::begin(root, &volume)?;
            }
            let listed = ledger::change(root, |ledger| {
                ledger.tickets.insert(volume.clone());
                Ok(())
            });
            let listed = match listed {
                Err(why) if ticket => return Err(why),
                // What an operator says holds, whatever has become of the ledger.
                Err(why) => {
                    tracing::error!("that {volume} has a record of tickets is not in the ledger: {why}");
                    false
                }
                Ok(()) => true,
            };
            let book = grants::open(root, &volume)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok((book, listed))
        };
        let (book, listed) = self.at.context.held(begin).await?.map_err(|why| not_recorded(&why))?;
        self.known.listed.store(listed, Ordering::Relaxed);
        Ok(book)
    }

    /// Put what is wanted on record.
    pub(super) async fn record(&mut self, batch: &[Order]) -> Result<(), RefusedTicket> {
        let now = Timestamp::now();
        let ticket = batch.iter().any(|order| matches!(order.wish, Wanted::Ticket(_)));
        let recorded = if ticket {
            let cut = std::mem::take(&mut self.done.cut);
            let mut next = self.known.grant.to(self.at.host, self.known.grant.generation, now, &cut);
            self.done.cut = cut;
            let recorded = self.put_on_record(&mut next, batch, now).await;
            self.done.next = next;
            recorded
        } else {
            self.write(self.done.next.clone()).await
        };
        recorded.map_err(|why| self.refusal(why, Vec::new()))?;
        self.known.grant = self.done.next.clone();
        self.known.unread = false;
        Ok(())
    }

    /// Put the next grant on record, and with it the generation of each order.
    ///
    /// What was written to the regions is looked at meanwhile, for a host waits for both: hardly
    /// ever does it tell anything new, and then the record, which nobody was told of, is made again.
    async fn put_on_record(&mut self, next: &mut Grant, batch: &[Order], now: Timestamp) -> Result<(), wire::Error> {
        let base = next.generation;
        let highest = |given: &Given| given.iter().flatten().max().copied();
        let given = self.generations(batch, base, 0, now);
        let Some(first) = highest(&given) else {
            // Nothing is put on record when nobody is granted anything.
            let why = given.iter().find_map(|given| given.as_ref().err()).cloned();
            self.done.given = given;
            return Err(why.unwrap_or_else(|| wire::Error::new(Refusal::NotReady, "nothing was granted", "ask again")));
        };
        next.generation = first;
        let (written, recorded) = tokio::join!(self.highest_written(), self.write(next.clone()));
        let right = match written {
            Ok(written) => self.generations(batch, base, written, now),
            Err(why) => batch.iter().map(|_| Err(why.clone())).collect(),
        };
        let recorded = match after_look(&given, &right) {
            After::Stands => recorded,
            After::Again(more) => {
                next.generation = more;
                self.write(next.clone()).await
            }
            After::TakeBack(why) => {
                // Who is refused is not the holder, after a restart neither. Into the same slot: if that
                // fails, the one before it is still in the other.
                let back = Grant { serial: next.serial + 2, ..self.known.grant.clone() };
                self.write(back.clone()).await.and_then(|()| {
                    (self.known.grant, self.done.taken_back) = (back, true);
                    Err(why)
                })
            }
        };
        self.done.given = right;
        recorded
    }

    /// Find the generations for these orders, one above the other.
    fn generations(&self, batch: &[Order], mut last: u64, written: u64, now: Timestamp) -> Given {
        let one = |order: &Order| match order.wish {
            Wanted::Ticket(attach) => self.generation(&attach, last, written, now).inspect(|given| last = *given),
            Wanted::Permit(_) | Wanted::LetGo(_) | Wanted::Rewrite => Ok(last),
        };
        batch.iter().map(one).collect()
    }

    fn generation(&self, attach: &Attach, last: u64, written: u64, now: Timestamp) -> Result<u64, wire::Error> {
        let clock = now.as_second().try_into().unwrap_or_default();
        generation::next(attach.at_least, last, written, clock).map_err(|why| {
            let (code, remedy) = match why {
                NoGeneration::TooFar { .. } => (
                    Refusal::GenerationTooHigh,
                    "ask with an at_least near what other sleds have granted, or without one",
                ),
                NoGeneration::UsedUp(_) => (
                    Refusal::GenerationsUsedUp,
                    "an extent's trailer is damaged: crucible-downstairs verify finds which",
                ),
            };
            wire::Error::new(code, why.to_string(), remedy)
        })
    }

    async fn highest_written(&self) -> Result<u64, wire::Error> {
        let (written, config, regions) =
            (self.at.written.clone(), self.at.context.config.clone(), self.at.regions.clone());
        let look = move || {
            let mut each = regions.iter().map(|local| written.highest(&config.region_dir(&local.name), local.geometry));
            each.try_fold(0, |highest, one| one.map(|one| highest.max(one)))
        };
        let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|why| Err(why.to_string()));
        looked.map_err(|why| {
            let message = format!("which generations were written cannot be told: {why}");
            wire::Error::new(Refusal::NotReady, message, "sledctl checks")
        })
    }

    /// Write a grant, on the disk that it is for and on no other: into the record that is open, or
    /// else the one that there is.
    async fn write(&self, grant: Grant) -> Result<(), wire::Error> {
        let (config, disk, volume) = (self.at.context.config.clone(), self.at.disk, self.at.volume.clone());
        let (open, text) = (self.done.book.clone(), grant.clone());
        let listed = self.known.listed.load(Ordering::Relaxed);
        let write = move || -> io::Result<bool> {
            mark::is_mounted(&config.sled.storage, disk)?;
            let there = || if listed { grants::open(&config.sled.storage.root, &volume) } else { Ok(None) };
            let book = open.map_or_else(|| there().map(|book| book.map(Arc::new)), |book| Ok(Some(book)))?;
            book.map_or(Ok(false), |book| book.record(&text).map(|()| true))
        };
        if blocking(write).await? {
            return Ok(());
        }
        // It is gone, or the ledger does not know it yet.
        let book = self.begin_book(true).await?;
        blocking(move || book.record(&grant)).await
    }

    /// Give what each of them is told.
    pub(super) fn answers(&self, batch: Vec<Order>, failed: Option<&RefusedTicket>) -> Vec<Answered> {
        let granted = self.known.grant.holder.map_or_else(Timestamp::now, |(_, since)| since);
        let mut given = self.done.given.iter();
        let answer = |order: &Order| match (failed, order.wish, given.next()) {
            // What was not put on record was not granted; and each may have a reason of its own.
            (_, wish @ Wanted::Ticket(_), Some(Err(why))) => wish.refused(&self.refusal(why.clone(), Vec::new())),
            (Some(why), wish, _) => wish.refused(why),
            (None, Wanted::Ticket(_), Some(Ok(generation))) => {
                Ok(Answer::Ticket(Box::new(self.ticket(*generation, granted))))
            }
            (None, wish @ Wanted::Ticket(_), None) => wish.refused(&self.gone()),
            (None, Wanted::Permit(_) | Wanted::Rewrite, _) => Ok(Answer::Permitted),
            (None, Wanted::LetGo(_), _) => Ok(Answer::Released(wire::Released {
                volume: self.at.volume.clone(),
                host: self.at.host,
                generation: self.known.grant.generation,
            })),
        };
        let answers: Vec<_> = batch.iter().map(answer).collect();
        batch.into_iter().map(|order| order.asker.answer).zip(answers).collect()
    }

    fn ticket(&self, generation: u64, granted: Timestamp) -> wire::Ticket {
        let config = self.config();
        let map = &config.map;
        let wanted = &map.volumes[&self.at.volume];
        let named = wanted.regions.iter().enumerate().filter_map(|(index, placement)| {
            let name = RegionName::new(self.at.volume.clone(), index)?;
            Some((name, placement))
        });
        let regions = named.map(|(name, placement)| wire::TicketRegion {
            uuid: self.at.uuids.get(&name).copied(),
            sled: placement.sled.clone(),
            name,
        });
        let target =
            |placement: &Placement| map.sleds.get(&placement.sled).map(|sled| (sled.address, placement.port).into());
        wire::Ticket {
            volume: self.at.volume.clone(),
            generation,
            others: self.known.grant.others,
            sled: config.sled.name.clone(),
            host: self.at.host,
            granted,
            targets: wanted.regions.iter().filter_map(target).collect(),
            regions: regions.collect(),
            size_bytes: wanted.geometry.data_bytes(),
            block_size: wanted.geometry.block_size,
            port_map: map.digest.clone(),
            fault_tolerance: wanted.fault_tolerance(),
            tls: config.sled.tls.is_some(),
        }
    }
}

/// Decision on a record that was written while it was looked what the regions hold.
#[derive(Debug, PartialEq)]
enum After {
    /// The record stands: it says what is granted.
    Stands,
    /// The record is made again, with this generation.
    Again(u64),
    /// Nobody is granted anything after all, for this reason: it says again what it said before.
    TakeBack(wire::Error),
}

/// Decide what becomes of the record, by what each order was to get and what it gets by what was seen
/// meanwhile.
fn after_look(given: &Given, right: &Given) -> After {
    match right.iter().flatten().max() {
        Some(_) if right == given => After::Stands,
        Some(highest) => After::Again(*highest),
        None => {
            let why = right.iter().find_map(|one| one.as_ref().err()).cloned();
            After::TakeBack(
                why.unwrap_or_else(|| wire::Error::new(Refusal::NotReady, "nothing was granted", "ask again")),
            )
        }
    }
}

/// Do something on the disk, aside from the loop's thread.
async fn blocking<T: Send + 'static>(what: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, wire::Error> {
    let done = tokio::task::spawn_blocking(what).await.unwrap_or_else(|why| Err(io::Error::other(why)));
    done.map_err(|why| not_recorded(&why))
}

fn not_recorded(why: &io::Error) -> wire::Error {
    let message = format!("it could not be put on record, so it was not granted: {why}");
    wire::Error::new(Refusal::NotRecorded, message, "see sledctl storage and dmesg, and ask again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_by_what_was_seen_meanwhile_does_not_stay_on_record() {
        let why = wire::Error::new(Refusal::NotReady, "an extent cannot be read", "sledctl checks");
        let refused = || Err(why.clone());
        assert_eq!(after_look(&vec![Ok(7), Ok(8)], &vec![Ok(7), Ok(8)]), After::Stands);
        assert_eq!(after_look(&vec![Ok(7), Ok(8)], &vec![Ok(90), Ok(91)]), After::Again(91));
        assert_eq!(after_look(&vec![Ok(7), Ok(8)], &vec![refused(), Ok(9)]), After::Again(9));
        assert_eq!(after_look(&vec![Ok(7)], &vec![refused()]), After::TakeBack(why.clone()));
    }
}
