//! Machine below the sled: who waits for memory and disks, what the kernel has killed, how hot it is, its clock, its
//! watchdog, its crashes ([`heat`], [`clock`], [`counts`], [`crash`]). The kernel tells when waiting grows long and when the clock is set; all
//! else is looked at slowly. Reads only.
//!
//! In a container all of that is another machine's, which somebody else looks after: nothing is looked at, unless a
//! place is named at which the machine is laid out (`sledd --proc`).

mod clock;
mod counts;
mod crash;
mod heat;

use crate::config::Configuration;
use crate::decide::facts::{Facts, Machine, Watchdog};
use crate::kernel::attributes::{names, number, raw, text, value};
use crate::kernel::pressure;
use crate::names::RegionName;
use crate::observe::observer::{Begin, Ground, Kernel, Observer, TakenOver};
use crate::observe::owners::Pids;
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, groups, publish, register};
use crate::store::boots::PANICS;
use clock::Clock;
use counts::Growth;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::sleep_until;

/// Time between looks when the kernel has told of nothing.
const SLOW_LOOK: Duration = Duration::from_secs(60);
/// The least time between two looks that the kernel asks for: as long as all wait, it tells so every two seconds.
const PAUSE: Duration = Duration::from_secs(10);
/// The time within [`pressure::WINDOW`] in which nobody gets on, from which the kernel is to tell: a tenth for memory,
/// which a machine that has enough never waits for; four fifths for disks, which one that is written to waits for.
const MEMORY_STALL: Duration = Duration::from_millis(200);
const IO_STALL: Duration = Duration::from_millis(1600);
/// The mark of a container (systemd, CONTAINER_INTERFACE).
const CONTAINER: &str = "/run/systemd/container";
/// The place of proc(5) that is this machine's, or a container's host's.
const OWN_PROC: &str = "/proc";
/// `WDIOF_CARDRESET` of linux/watchdog.h: the watchdog has reset the machine.
const CARD_RESET: u64 = 0x20;

/// Observer of the machine.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "machine";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::Once(|ground, to| {
        let elsewhere = ground.kernel.proc != Path::new(OWN_PROC);
        let own = elsewhere || !Path::new(CONTAINER).exists();
        own.then(|| Eyes::new(ground).watch(to).boxed())
    });
    type Fact = Machine;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.machine = Some(seen))
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// What is needed to watch the machine.
struct Eyes {
    kernel: Kernel,
    rhythm: Rhythm,
    /// The processes of the regions' units, by which their control groups are found.
    pids: watch::Receiver<Pids>,
}

impl Eyes {
    fn new(ground: &Ground) -> Self {
        Self { kernel: ground.kernel.clone(), rhythm: ground.rhythm.clone(), pids: ground.pids.subscribe() }
    }

    /// Watch until nobody listens any more.
    async fn watch(self, to: Publisher) -> Result<(), NobodyListens> {
        let (mut slow, mut memory) = (self.rhythm.in_turn(SLOW_LOOK, 3), Memory::new(&self.kernel));
        let mut stalls = ["memory", "io"].map(|of| Stall::new(&self.kernel.proc.join("pressure").join(of)));
        let (mut known, mut last) = (None, None);
        loop {
            let [on_memory, on_io] = &mut stalls;
            // Cancel-safe: a beat or a readiness that is not taken stays.
            tokio::select! {
                _ = slow.next() => {}
                () = on_memory.told(last) => {}
                () = on_io.told(last) => {}
                () = memory.clock.is_set() => {}
            }
            let (kernel, pids) = (self.kernel.clone(), self.pids.borrow().clone());
            let look = move || {
                let seen = memory.look(&kernel, &pids);
                (seen, memory)
            };
            let seen = match tokio::task::spawn_blocking(look).await {
                Ok((seen, kept)) => {
                    memory = kept;
                    Some(seen)
                }
                Err(why) => {
                    tracing::error!("the look at the machine ended early: {why}");
                    memory = Memory::new(&self.kernel);
                    None
                }
            };
            last = Some(Instant::now());
            if let Some(seen) = seen.filter(|seen| known.as_ref() != Some(seen)) {
                known = Some(seen.clone());
                publish::<Watch>(&to, seen).await?;
            }
        }
    }
}

/// The kernel's word that nobody gets on. Where it does not tell (an old kernel, a sandbox), the slow look is all there
/// is.
struct Stall(Option<AsyncFd<File>>);

impl Stall {
    fn new(file: &Path) -> Self {
        let stall = if file.ends_with("memory") { MEMORY_STALL } else { IO_STALL };
        // It is waited on when it has its trigger: before, the kernel has nothing to wake anybody by.
        let told = pressure::trigger(file, stall).and_then(|file| register(file, Interest::PRIORITY));
        Self(told.inspect_err(|why| tracing::info!("the kernel does not tell of {}: {why}", file.display())).ok())
    }

    /// Return when nobody gets on, and a while after the last look. Cancel-safe: what is told and not taken stays.
    async fn told(&mut self, last: Option<Instant>) {
        let Some(file) = &self.0 else { return pending().await };
        if let Some(last) = last {
            sleep_until((last + PAUSE).into()).await;
        }
        match file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => pending().await,
        }
    }
}

/// What is remembered from one look to the next.
struct Memory {
    began: Instant,
    clock: Clock,
    killed: Growth,
    throttled: Growth,
    disks: heat::OfDisks,
    /// The directory of what kernels that crashed have left.
    crashes: PathBuf,
}

impl Memory {
    fn new(kernel: &Kernel) -> Self {
        Self {
            began: Instant::now(),
            clock: Clock::new(&kernel.sysfs),
            killed: Growth::within(Duration::from_hours(24)),
            throttled: Growth::within(Duration::from_hours(1)),
            disks: heat::OfDisks::default(),
            crashes: PANICS.into(),
        }
    }

    fn look(&mut self, kernel: &Kernel, pids: &Pids) -> Machine {
        let (sysfs, proc, at) = (&kernel.sysfs, &kernel.proc, self.began.elapsed());
        let stalled = |of: &str| pressure::read(&proc.join("pressure").join(of)).map(|seen| seen.last_minute);
        let counted = raw(&proc.join("vmstat")).and_then(|text| value(&text, "oom_kill"));
        let throttled = heat::throttled(sysfs);
        let count = throttled.map(|count| self.throttled.note(at, count));
        Machine {
            memory_stalled: stalled("memory"),
            io_stalled: stalled("io"),
            killed: counted.map_or(0, |count| self.killed.note(at, count)),
            killed_in: killed_in(kernel, pids),
            sensors: [heat::processors(sysfs), self.disks.read(sysfs)].concat(),
            throttled: count,
            slowed: heat::slowed(sysfs),
            taint: number(&proc.join("sys/kernel/tainted")),
            watchdogs: watchdogs(sysfs),
            clock: self.clock.look(),
            crash: crash::on_record(&self.crashes),
        }
    }
}

/// Count what was killed in the control group of each region's unit since that was started.
fn killed_in(kernel: &Kernel, pids: &Pids) -> BTreeMap<String, u64> {
    let of = |(name, pid): (&RegionName, &u32)| {
        let events = raw(&groups::of(kernel, name, *pid)?.join("memory.events"))?;
        value(&events, "oom_kill").filter(|killed| *killed > 0).map(|killed| (name.to_string(), killed))
    };
    pids.iter().filter_map(of).collect()
}

fn watchdogs(sysfs: &Path) -> Vec<Watchdog> {
    let class = sysfs.join("class/watchdog");
    let one = |device: String| {
        let dir = class.join(&device);
        // Of a machine that has none, the class may be there and be empty of anything.
        let timeout_s = number(&dir.join("timeout"));
        let state = text(&dir.join("state"));
        (timeout_s.is_some() || state.is_some()).then(|| Watchdog {
            identity: text(&dir.join("identity")),
            armed: state.map(|state| state == "active"),
            reset: number::<u64>(&dir.join("bootstatus")).is_some_and(|bits| bits & CARD_RESET != 0),
            timeout_s,
            device,
        })
    };
    names(&class).into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests;
