//! Health of the disks below the data, as they tell of themselves (SMART): asked with smartctl, where that is installed,
//! once an hour and when there is another disk, by a unit of systemd's that takes a bounded time. One that goes away and
//! comes back all the time is asked a few times more, and a disk that sleeps is not woken. What was not read, or too long
//! ago, or of another disk that had the name, is not known; it is never taken to be well.

mod report;

use crate::backoff::Backoff;
use crate::config::Configuration;
use crate::decide::facts::{Facts, Health, Smart};
use crate::kernel::block::{identity, mount_at, name, stack};
use crate::observe::observer::{Begin, Ground, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::systemd::output::Output;
use crate::systemd::{job, sandbox};
use futures_util::FutureExt;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use zbus::{Connection, Variant};

/// Time between two questions: each costs the disk a moment.
const SLOW_LOOK: Duration = Duration::from_secs(3600);
/// The most questions within that time for other disks than before: each reset of a bridge makes one of the same.
const OUT_OF_TURN_MOST: usize = 4;
/// Time until the first: what hosts wait for comes first.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The age of an answer that is too old to say anything: two were missed.
const OLD: Duration = Duration::from_secs(3 * 3600);
/// The places of the program.
const PROGRAMS: [&str; 2] = ["/usr/sbin/smartctl", "/usr/bin/smartctl"];
/// Time that a question may take: a disk that fails answers late, or never.
const UNIT_LIMIT: Duration = Duration::from_secs(60);
/// Time until a unit is given up that systemd says nothing of, and that systemd may take to answer a call.
const GIVEN_UP: Duration = Duration::from_secs(90);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// `CAP_SYS_RAWIO` and `CAP_SYS_ADMIN` of capabilities(7): to ask SATA, and NVMe.
const CAPABILITIES: u64 = 1 << 17 | 1 << 21;

/// Observer of the disks' health.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "smart";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| Some(Doctor::new(ground).watch(to).boxed()));
    type Fact = BTreeMap<String, Health>;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.health = seen)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        if by.old.sled.storage.root != by.new.sled.storage.root {
            facts.health.clear();
        }
    }
}

/// Questions that were asked for other disks than before.
#[derive(Default)]
struct OutOfTurn(VecDeque<Instant>);

impl OutOfTurn {
    /// Tell whether one may be asked now, and count it.
    fn may(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now.duration_since(*at) < SLOW_LOOK);
        let may = self.0.len() < OUT_OF_TURN_MOST;
        self.0.extend(may.then_some(now));
        may
    }
}

/// Whoever asks the disks.
struct Doctor {
    root: PathBuf,
    sysfs: PathBuf,
    rhythm: Rhythm,
    settled: watch::Receiver<bool>,
    /// The bell that is rung when there are other disks.
    others: Arc<Notify>,
}

/// Disk that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Patient {
    name: String,
    /// What tells it from another disk of that name; `None`: nothing does.
    identity: Option<String>,
}

/// Answers of disks, by their names, with the disk that gave it and when it did.
type Answers = BTreeMap<String, (Patient, Instant, Smart)>;

impl Doctor {
    fn new(ground: &Ground) -> Self {
        Self {
            root: ground.config.sled.storage.root.clone(),
            sysfs: ground.kernel.sysfs.clone(),
            rhythm: ground.rhythm.clone(),
            settled: ground.settled.subscribe(),
            others: ground.looks.heard_by::<Watch>(),
        }
    }

    /// Watch until nobody listens any more.
    async fn watch(mut self, to: Publisher) -> Result<(), NobodyListens> {
        _ = timeout(FIRST_PAUSE, self.settled.wait_for(|settled| *settled)).await;
        let mut slow = self.rhythm.every(SLOW_LOOK);
        let (mut last, mut known, mut asked) = (Answers::new(), BTreeMap::new(), Vec::new());
        let mut out_of_turn = OutOfTurn::default();
        loop {
            // Cancel-safe: a beat or a bell that is not taken stays.
            let in_turn = tokio::select! {
                _ = slow.next() => true,
                () = self.others.notified() => false,
            };
            let there = disks(&self.root, &self.sysfs);
            // What has gone, or is another now, is not believed while the new one is asked.
            let count = known.len();
            known.retain(|name, _| asked.iter().any(|one: &Patient| one.name == *name && there.contains(one)));
            if known.len() < count {
                publish::<Watch>(&to, known.clone()).await?;
            }
            if !in_turn && !out_of_turn.may(Instant::now()) {
                asked = there;
                continue;
            }
            let told = self.ask_all(&there, &mut last).await;
            asked = there;
            if known != told {
                known.clone_from(&told);
                publish::<Watch>(&to, told).await?;
            }
        }
    }

    /// Ask every disk; `last` has what each has told, and when.
    async fn ask_all(&self, disks: &[Patient], last: &mut Answers) -> BTreeMap<String, Health> {
        last.retain(|_, (of, ..)| disks.contains(of));
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
        let (Some(program), false) = (program, disks.is_empty()) else {
            let unknown = |disk: &Patient| (disk.name.clone(), Health::Unknown("smartctl is not installed".into()));
            return disks.iter().map(unknown).collect();
        };
        let bus = connected().await;
        let mut all = BTreeMap::new();
        for disk in disks {
            let answer = match &bus {
                Ok(bus) => ask(bus, program, &disk.name).await,
                Err(why) => Err(why.clone()),
            };
            // Whoever has the name by now may have given the answer.
            let answer = answer.and_then(|told| {
                let same = self::disks(&self.root, &self.sysfs).contains(disk);
                if same { Ok(told) } else { Err("another disk has its name since it was asked".into()) }
            });
            all.insert(disk.name.clone(), judged(disk, answer, last));
        }
        all
    }
}

/// What is known of a disk after this answer: of one that sleeps, or did not answer once, what it told not long ago.
/// Of one that cannot be told from another of its name, no more than it says now.
fn judged(disk: &Patient, answer: Result<Smart, String>, last: &mut Answers) -> Health {
    match answer {
        Ok(told) => {
            last.insert(disk.name.clone(), (disk.clone(), Instant::now(), told.clone()));
            Health::Known(Box::new(told))
        }
        Err(why) => {
            let own =
                last.get(&disk.name).filter(|(of, at, _)| of == disk && disk.identity.is_some() && at.elapsed() < OLD);
            own.map_or(Health::Unknown(why), |(.., told)| Health::Known(Box::new(told.clone())))
        }
    }
}

/// The disks that can be asked: those of hardware.
fn disks(root: &Path, sysfs: &Path) -> Vec<Patient> {
    let stack = mount_at(root).and_then(|mount| stack(sysfs, &mount.number));
    let dirs = stack.map(|stack| stack.disks).unwrap_or_default();
    let patient = |dir: &PathBuf| Some(Patient { name: name(dir)?, identity: identity(dir) });
    dirs.iter().filter(|dir| dir.join("device").exists()).filter_map(patient).collect()
}

async fn connected() -> Result<Connection, String> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut tries = 0;
    loop {
        tries += 1;
        match zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build().await {
            Ok(bus) => return Ok(bus),
            Err(why) if tries >= 5 => return Err(format!("systemd cannot be asked: {}", job::spoken(why))),
            Err(_) => backoff.pause().await,
        }
    }
}

/// Ask one disk.
async fn ask(bus: &Connection, program: &str, disk: &str) -> Result<Smart, String> {
    let unit = format!("sled-smart-{}-{}.service", process::id(), disk.replace('/', "-"));
    let device = format!("/dev/{disk}");
    let words = [program, "--json", "--nocheck=standby", "--all", &device].map(str::to_owned).to_vec();
    let said = Output::new()?;
    let own: Vec<(&str, Variant<'_>)> = vec![
        ("Description", format!("Ask {device} for its health").into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        // How it ends is a mask of bits, and stands in what it says.
        ("ExecStart", vec![(program.to_owned(), words, true)].into()),
        ("TimeoutStartUSec", u64::try_from(UNIT_LIMIT.as_micros()).unwrap_or(u64::MAX).into()),
        ("CapabilityBoundingSet", CAPABILITIES.into()),
        ("PrivateNetwork", true.into()),
        ("DevicePolicy", "closed".into()),
        ("DeviceAllow", vec![(device.clone(), "rw".to_owned())].into()),
        ("StandardOutputFileDescriptor", said.fd().into()),
    ];
    let others = sandbox::confined().into_iter().filter(|(name, _)| *name != "CapabilityBoundingSet");
    let properties: Vec<_> = own.into_iter().chain(others).collect();
    let ended = timeout(GIVEN_UP, job::run_transient(bus, &unit, &properties)).await;
    ended.unwrap_or_else(|_| Err(format!("systemd has not told its end for {} s", GIVEN_UP.as_secs())))?;
    report::read(&said.text().ok_or("what smartctl says cannot be read")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_comes_back_all_the_time_is_asked_a_few_times_an_hour() {
        let (mut out_of_turn, began) = (OutOfTurn::default(), Instant::now());
        let asked = (0..120).filter(|minute| out_of_turn.may(began + Duration::from_mins(*minute)));
        assert_eq!(asked.collect::<Vec<_>>(), [0, 1, 2, 3, 60, 61, 62, 63]);
    }

    #[test]
    fn what_a_disk_told_counts_for_a_while_and_then_nothing_is_known() {
        let (mut last, told) = (Answers::new(), Smart { hours: Some(1), ..Smart::default() });
        let (known, unknown) = (Health::Known(Box::new(told.clone())), Health::Unknown("asleep".into()));
        let asleep = || Err("asleep".to_owned());
        let disk = |identity: Option<&str>| Patient { name: "sda".into(), identity: identity.map(str::to_owned) };
        let sda = disk(Some("diskseq 7"));
        assert_eq!(judged(&sda, asleep(), &mut last), unknown);
        assert_eq!(judged(&sda, Ok(told.clone()), &mut last), known);
        assert_eq!(judged(&sda, asleep(), &mut last), known);
        assert_eq!(judged(&disk(Some("diskseq 8")), asleep(), &mut last), unknown, "another disk has the name");
        if let Some(long_ago) = Instant::now().checked_sub(OLD) {
            last.insert("sda".into(), (sda.clone(), long_ago, told.clone()));
            assert_eq!(judged(&sda, asleep(), &mut last), unknown);
        }
        assert_eq!(judged(&disk(None), Ok(told), &mut last), known);
        assert_eq!(judged(&disk(None), asleep(), &mut last), unknown, "nobody knows which disk that was");
    }
}
