//! Connection to systemd, and what results must be of to be believed.
//!
//! A question that was asked on another connection, or for another configuration, than there is now has no answer:
//! whoever waits for one is told so, and what there is now is asked for again.

use crate::act;
use crate::act::units::NotRefreshed;
use crate::config::Configuration;
use crate::decide::facts::{Bus, Facts, Obstacle, Outdated, Rejoined, Start};
use crate::kernel::port_reservation;
use crate::names::RegionName;
use crate::port_map::Fence;
use crate::supervisor::tasks::{Tasks, run_unheard};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zbus::Connection;

/// Pause before systemd is asked again to read units that it has read to no effect.
const STALE_REFRESH_PAUSE: Duration = Duration::from_secs(60);

/// World in which systemd is asked: the configuration that is in force and the connection to
/// systemd, each by its number: it grows whenever there is another, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::supervisor) struct World {
    config: u64,
    line: u64,
}

/// Result of what systemd was asked, in the world in which it was asked.
pub(in crate::supervisor) struct Report(pub(in crate::supervisor) World, pub(in crate::supervisor) Said);

/// Results of what systemd was asked: what it did, or did not do.
pub(in crate::supervisor) enum Said {
    /// The units are known to systemd as they are configured, or are not, and why.
    Refreshed(Result<(), NotRefreshed>),
    /// The wish to start a unit came to this.
    Started(RegionName, Start),
    /// A unit was stopped or restarted, or was not, and why.
    Changed(RegionName, Result<(), String>),
    /// The fence of a region's unit, whom it lets in, was changed, or was not, and why.
    Fenced(RegionName, Fence, Result<(), String>),
    /// These regions run, and are not in the map.
    Strays(Vec<RegionName>),
    /// The network adapter was put back into its bridge, or was not, and why.
    Rejoined(Rejoined),
}

/// Connection to systemd.
pub(in crate::supervisor) struct Systemd {
    /// Connection, when systemd knows the units as they are configured.
    bus: Option<Connection>,
    /// Connection that there is, whether systemd knows them or not.
    line: Option<Connection>,
    world: World,
    /// Time from which systemd is asked again, as it would not read the units, or read them to no effect.
    unrefreshed: Option<Instant>,
    /// Units that it would not stop or restart; asked again after a while.
    unchanged: BTreeSet<RegionName>,
    tasks: Tasks<Report>,
}

/// Outcome of having systemd read its units again, whether it has or not.
pub(in crate::supervisor) struct Refreshed {
    /// The record of programs can be read again.
    pub(in crate::supervisor) readable_again: bool,
    /// Connection on which there is news of the units.
    pub(in crate::supervisor) put_in_place: Option<Connection>,
}

impl Systemd {
    /// Begin without a connection.
    pub(in crate::supervisor) fn new(tasks: Tasks<Report>) -> Self {
        let (bus, line, unrefreshed) = (None, None, None);
        Self { bus, line, world: World::default(), unrefreshed, unchanged: BTreeSet::new(), tasks }
    }

    /// Give the connection, when systemd knows the units as they are configured.
    pub(in crate::supervisor) fn bus(&self) -> Option<&Connection> {
        self.bus.as_ref()
    }

    /// Tell whether what was asked in that world is believed.
    pub(in crate::supervisor) fn believes(&self, of: World) -> bool {
        self.world == of
    }

    /// Tell the number of the configuration.
    pub(in crate::supervisor) fn configuration(&self) -> u64 {
        self.world.config
    }

    /// Take over another configuration. The units are read anew when the new watch on it begins.
    pub(in crate::supervisor) fn take_over(&mut self) {
        self.world.config += 1;
    }

    /// Have systemd do something, and hear of it as of a result of this connection and configuration.
    pub(in crate::supervisor) fn ask(
        &self,
        lost: impl FnOnce(String) -> Said + Send + 'static,
        work: impl Future<Output = Said> + Send + 'static,
    ) {
        let of = self.world;
        let lost = move |why| Some(Report(of, lost(why)));
        self.tasks.run(lost, async move { Some(Report(of, work.await)) });
    }

    /// Take another connection to systemd, or none any more: what was asked on the one before has no
    /// answer.
    pub(in crate::supervisor) fn see_line(
        &mut self,
        line: Result<Connection, String>,
        config: &Arc<Configuration>,
        facts: &mut Facts,
    ) {
        self.world.line += 1;
        self.unrefreshed = None;
        match line {
            Ok(bus) => {
                self.line = Some(bus.clone());
                self.refresh_units(bus, config);
            }
            Err(why) => {
                (self.bus, self.line) = (None, None);
                facts.bus = Some(Bus::Unreachable(why));
            }
        }
    }

    /// See to it that systemd knows the units as they are configured; nothing is started before
    /// that.
    fn refresh_units(&self, bus: Connection, config: &Arc<Configuration>) {
        let (wanted, line) = (config.clone(), bus.clone());
        let lost = |why| Said::Refreshed(Err(NotRefreshed::Systemd(why)));
        self.ask(lost, async move { Said::Refreshed(act::units::refresh(&line, &wanted).await) });
        let config = config.clone();
        let reserving = async move {
            if let Err(why) = port_reservation::refresh(&bus, &config).await {
                tracing::warn!("the ports of the port map are not kept free for the regions: {why}");
            }
        };
        run_unheard(reserving);
    }

    /// Ask again for what it has not read, if that is due.
    pub(in crate::supervisor) fn refresh_again(&mut self, config: &Arc<Configuration>) {
        if self.unrefreshed.take_if(|due| *due <= Instant::now()).is_some()
            && let Some(bus) = self.line.clone()
        {
            self.refresh_units(bus, config);
        }
    }

    /// Hear that it has read the units again, or has not.
    pub(in crate::supervisor) fn hear_refreshed(
        &mut self,
        result: Result<(), NotRefreshed>,
        facts: &mut Facts,
    ) -> Refreshed {
        self.unrefreshed = result.as_ref().err().map(|why| match why {
            // It is a burden for the whole machine, and to no effect before somebody mends something.
            NotRefreshed::Stale { .. } => Instant::now() + STALE_REFRESH_PAUSE,
            NotRefreshed::Programs { .. } | NotRefreshed::Systemd(_) => Instant::now(),
        });
        let well = result.is_ok();
        let outdated = match result {
            Err(NotRefreshed::Systemd(why)) => {
                facts.bus = Some(Bus::Unreachable(format!("it does not read the units again: {why}")));
                (self.bus, facts.outdated) = (None, None);
                return Refreshed { readable_again: false, put_in_place: None };
            }
            Err(NotRefreshed::Programs { why, regions }) => Some(Outdated { by: Obstacle::Programs(why), regions }),
            Err(NotRefreshed::Stale { why, regions }) => Some(Outdated { by: Obstacle::Systemd(why), regions }),
            Ok(()) => None,
        };
        // With the units as they were, everything goes on but the regions that are configured otherwise.
        facts.bus = Some(Bus::Connected);
        self.bus = self.line.clone();
        let news = well || facts.stale_units || facts.outdated != outdated;
        let readable_again = unread(facts.outdated.as_ref()) && !unread(outdated.as_ref());
        (facts.stale_units, facts.outdated) = (false, outdated);
        Refreshed { readable_again, put_in_place: self.bus.clone().filter(|_| news) }
    }

    /// Record that it would not stop or restart a unit: that is asked for again after a while.
    pub(in crate::supervisor) fn has_not_changed(&mut self, name: RegionName) {
        self.unchanged.insert(name);
    }

    /// Take the units that it would not stop or restart, and that may be asked for again.
    pub(in crate::supervisor) fn take_unchanged(&mut self) -> BTreeSet<RegionName> {
        std::mem::take(&mut self.unchanged)
    }

    /// Tell in which world systemd is asked now.
    #[cfg(test)]
    pub(in crate::supervisor) fn world(&self) -> World {
        self.world
    }

    /// Tell whether it is to be asked again to read the units.
    #[cfg(test)]
    pub(in crate::supervisor) fn is_unrefreshed(&self) -> bool {
        self.unrefreshed.is_some()
    }
}

/// Tell whether units are outdated because the record of programs cannot be read.
fn unread(outdated: Option<&Outdated>) -> bool {
    matches!(outdated, Some(Outdated { by: Obstacle::Programs(_), .. }))
}
