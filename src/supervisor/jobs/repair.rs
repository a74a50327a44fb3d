//! Repair of a region's rotten extents from its siblings on this sled: what the last scrub found is looked at again, a copy
//! of a sibling's extent is made aside and held to its hashes, and put in place while the region is stopped for that moment,
//! in its turn. Where no sibling fits nothing is changed, and it is told why. The order is decided here; what is done to
//! the files is [`act::extent_repair`](crate::act::extent_repair)'s.

use crate::act::adopt::unused;
use crate::act::extent_repair::{Patch, kept_name, make_kept, sweep};
use crate::act::units;
use crate::decide::facts::Busy;
use crate::decide::scrub::to_repair;
use crate::decide::turns::{Asks, Manner, may_repair, unforced};
use crate::files::{make_dir, open_below, set_mode};
use crate::kernel::processes::runners;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::region::Ledger;
use crate::region::extent::Layout;
use crate::region::format::extent_path;
use crate::store::extent_scrub::scrub;
use crate::store::layout::{INCOMING, TRASH};
use crate::store::ledger;
use crate::store::scrubs;
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled, cut_short};
use crate::supervisor::jobs::restart::turn;
use crate::supervisor::jobs::work::{Job, Work};
use crate::supervisor::jobs::{host_redundancy, restart_check};
use crate::wire::{self, JobKind, Refusal};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// Number of times that extents are copied again which were written before they could be put in place.
const ROUNDS: u32 = 5;

impl Work {
    /// Repair what the last scrub of a region found, or tell what would be done.
    pub(in crate::supervisor) fn repair(local: LocalRegion, dry_run: bool) -> Self {
        Self::new(JobKind::Repair, &local.name.clone(), async move |job: Job| {
            repair(&job, &local, dry_run).await.map_err(unforced)
        })
    }
}

impl Supervisor {
    /// Begin the repair of what a scrub has found, if that is to be done without being asked.
    pub(in crate::supervisor) fn repair_what_was_found(&mut self) {
        let lately = |name: &RegionName| self.jobs.repairs.lately(name);
        let (Some(local), Some(disk)) = (to_repair(&self.config, &self.facts, lately), self.disk()) else { return };
        let (Ok(local), Some(bus)) = (may_repair(&self.config, &self.facts, &local.name), self.systemd.bus().cloned())
        else {
            return;
        };
        self.jobs.repairs.note(local.name.clone());
        self.begin_unasked(Work::repair(local, false), bus, disk);
    }
}

/// Plan of a repair: what there is for each extent that is rotten.
#[derive(Debug, Default)]
struct Plan {
    /// Identity of the region that it is of.
    uuid: Uuid,
    /// Copies that can be put in place.
    patches: Vec<Patch>,
    /// Extents for which there is none, and why, by sibling.
    unfit: Vec<String>,
    /// Extents that turned out to be right.
    right: Vec<u32>,
    /// Directory aside in which the copies lie, removed with this.
    aside: Aside,
}

/// Directory aside: an attempt like that of a creation, which the next start sweeps away if this one does not.
#[derive(Debug, Default)]
struct Aside(Option<PathBuf>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(dir) = &self.0
            && let Err(why) = fs::remove_dir_all(dir)
        {
            tracing::warn!("{} is left over from a repair: {why}", dir.display());
        }
    }
}

async fn repair(job: &Job, local: &LocalRegion, dry_run: bool) -> Result<String, wire::Error> {
    let (mut repaired, mut kept, mut rounds) = (Vec::new(), Vec::new(), 0);
    loop {
        let plan = plan(job, local).await?;
        if !dry_run && !plan.right.is_empty() {
            let (root, name, right) =
                (job.context.config.sled.storage.root.clone(), local.name.clone(), plan.right.clone());
            job.context.held(move || note(&root, &name, &right)).await?;
        }
        if dry_run || plan.patches.is_empty() {
            return ended(&local.name, &plan, &repaired, &kept, dry_run);
        }
        rounds += 1;
        let done = put_in_place(job, local, plan).await?;
        kept.extend(done.kept);
        repaired.extend(done.repaired);
        if !done.late.is_empty() && rounds >= ROUNDS {
            return Err(not_repaired(&local.name, &format!("{}; {}", count(&repaired), done.late.join("; "))));
        }
    }
}

/// Look again at what the last scrub found, and copy aside what can be put in its place.
async fn plan(job: &Job, local: &LocalRegion) -> Result<Plan, wire::Error> {
    let (context, progress) = (job.context.clone(), job.progress.clone());
    let local = local.clone();
    progress.step("looking at what the last scrub found", 0, 0);
    let planned = tokio::task::spawn_blocking(move || plan_aside(&context, &local, &progress)).await;
    planned.map_err(|why| cut_short(&why))?
}

fn plan_aside(context: &Context, local: &LocalRegion, progress: &Progress) -> Result<Plan, wire::Error> {
    let (config, name) = (&context.config, &local.name);
    let (root, dir) = (&config.sled.storage.root, config.region_dir(name));
    let failed = |why: &dyn std::fmt::Display| not_repaired(name, &why.to_string());
    let uuid = region_uuid(&dir).map_err(|why| failed(&why))?;
    let ledger = ledger::load(root).map_err(|why| failed(&why))?.ledger;
    let record = scrubs::read(root, name).map_err(|why| failed(&why))?;
    let record = record.filter(|record| record.uuid == uuid).ok_or_else(|| never_scrubbed(name))?;
    let suspects: Vec<u32> = record.rotten.keys().chain(record.unreadable.keys()).copied().collect();
    let mut plan = Plan { uuid, ..Plan::default() };
    let all = suspects.len() as u64;
    for (done, extent) in suspects.into_iter().enumerate() {
        progress.step("copying from its siblings", done as u64, all);
        let pace = |_| progress.check().map_err(io::Error::other);
        if is_right(&dir, local, extent, pace) {
            plan.right.push(extent);
            continue;
        }
        progress.check().map_err(|_| cancelled())?;
        let aside = plan.aside.get(root, name).map_err(|why| failed(&why))?;
        match from_siblings(context, &ledger, local, extent, aside, pace) {
            Ok(patch) => plan.patches.push(patch),
            Err(why) => plan.unfit.push(format!("extent {extent}: {why}")),
        }
        progress.check().map_err(|_| cancelled())?;
    }
    Ok(plan)
}

impl Aside {
    /// The directory, which is made when it is needed.
    fn get(&mut self, root: &Path, name: &RegionName) -> io::Result<&Path> {
        let dir = match self.0.take() {
            Some(dir) => dir,
            None => {
                let incoming = root.join(INCOMING);
                make_dir(&incoming, 0o755)?;
                let dir = incoming.join(format!("{name}.{}", Uuid::new_v4().simple()));
                fs::create_dir(&dir)?;
                // What hosts have written is nobody else's.
                set_mode(&dir, 0o700)?;
                dir
            }
        };
        Ok(self.0.insert(dir))
    }
}

fn region_uuid(dir: &Path) -> Result<Uuid, String> {
    crate::store::region_dir::region_json(dir).map(|json| json.uuid)
}

/// Find that what lies in a region's place is the one on record: another one's extent may have the same generation and flush.
///
/// # Errors
/// It is not, in words that follow its name.
fn on_record(dir: &Path, ledger: &Ledger, name: &RegionName) -> Result<(), String> {
    let uuid = region_uuid(dir).map_err(|why| format!("cannot be taken: {why}"))?;
    match ledger.regions.get(name) {
        Some(record) if record.uuid == uuid => Ok(()),
        Some(record) => Err(format!("cannot be taken: {uuid} lies there, and {} is on record", record.uuid)),
        None => Err("cannot be taken: it is not on record".into()),
    }
}

/// Tell whether an extent is right after all.
fn is_right(dir: &Path, local: &LocalRegion, extent: u32, pace: impl FnMut(u64) -> io::Result<()>) -> bool {
    let looked = open_below(dir, &extent_path(extent)).and_then(|file| scrub(&file, Layout::of(local.geometry), pace));
    looked.is_ok_and(|found| found.findings.is_empty() && found.restless == 0)
}

/// Copy an extent from the first sibling that fits.
///
/// # Errors
/// Why none does, of each.
fn from_siblings(
    context: &Context,
    ledger: &Ledger,
    local: &LocalRegion,
    extent: u32,
    aside: &Path,
    pace: impl Fn(u64) -> io::Result<()>,
) -> Result<Patch, String> {
    let config = &context.config;
    let of_volume = |other: &LocalRegion| other.name.volume() == local.name.volume() && other.name != local.name;
    let mut why = String::new();
    for sibling in config.local_regions().into_iter().filter(of_volume) {
        let unfit = match on_record(&config.region_dir(&sibling.name), ledger, &sibling.name) {
            Ok(()) => match Patch::copy(config, local, extent, &sibling.name, aside, &pace) {
                Ok(patch) => return Ok(patch),
                Err(unfit) => unfit.to_string(),
            },
            Err(other) => other,
        };
        let comma = if why.is_empty() { "" } else { ", and " };
        _ = write!(why, "{comma}that of {} {unfit}", sibling.name);
    }
    Err(if why.is_empty() { "no other region of the volume is on this sled".into() } else { why })
}

/// What putting in place came to.
struct Done {
    /// Extents that are repaired.
    repaired: Vec<u32>,
    /// Those that are not, and why.
    late: Vec<String>,
    /// Name of the directory in the trash in which the old ones are, if any was repaired.
    kept: Option<String>,
}

/// Put the copies in place, while the region is stopped if it runs, and in its turn.
async fn put_in_place(job: &Job, local: &LocalRegion, plan: Plan) -> Result<Done, wire::Error> {
    let Job { context, id, bus, progress } = job;
    let (name, dir) = (&local.name, context.config.region_dir(&local.name));
    let failed = |why: String| ended_badly(name, &why);
    let runs = !runs_on(&dir).await.map_err(failed)?.is_empty();
    let manner = Manner { force: false, unrepaired: false, asks: Asks::Others, rolling: false, starts: runs };
    turn(context, *id, local, manner, bus, progress).await?;
    if runs {
        restart_check::could_start(context, local, bus).await?;
    }
    progress.no_way_back().map_err(|_| cancelled())?;
    let hosts = host_redundancy::hosts(local).await.map_err(failed)?;
    let before = units::invocation(bus, name).await.map_err(failed)?;
    context.tell(Report::Mark { job: *id, region: name.clone(), busy: Busy::Restarting }).await;
    progress.step("putting them in place", 0, plan.patches.len() as u64);
    if runs {
        units::stop(bus, name).await.map_err(failed)?;
    }
    let done = swap(context, local, plan).await;
    if runs {
        // Whatever became of it: the old ones are in place where the new ones are not.
        _ = units::forgive(bus, name).await;
        context.look_again().await;
        units::start(bus, name).await.map_err(failed)?;
        progress.step("waiting until it serves", 0, 0);
        host_redundancy::wait_until_it_serves(context, local, bus, before).await.map_err(failed)?;
        context.tell(Report::Mark { job: *id, region: name.clone(), busy: Busy::Watching }).await;
        host_redundancy::wait_for_return(context, local, &hosts, progress).await.map_err(failed)?;
    }
    done
}

async fn runs_on(dir: &Path) -> Result<Vec<u32>, String> {
    let dir = dir.to_owned();
    let looked = tokio::task::spawn_blocking(move || runners(&dir)).await.map_err(|why| why.to_string())?;
    let runners = looked.map_err(|why| format!("it cannot be told what runs on it: {why}"))?;
    Ok(runners.into_iter().map(|runner| runner.pid).collect())
}

async fn swap(context: &Context, local: &LocalRegion, plan: Plan) -> Result<Done, wire::Error> {
    let (config, region, clock) = (context.config.clone(), local.clone(), context.clock.clone());
    let swapping = move || -> Result<Done, String> {
        let (root, dir) = (&config.sled.storage.root, config.region_dir(&region.name));
        unused(&dir, |_| false)?;
        // Since it was looked at its turn may have been long in coming.
        if region_uuid(&dir)? != plan.uuid {
            return Err("another region has its place by now".into());
        }
        let (trash, keep) = (root.join(TRASH), Duration::from(config.sled.storage.keep_deleted));
        if let Err(why) = sweep(&trash, clock.now(), keep) {
            tracing::warn!("what was replaced long ago is kept still: {why}");
        }
        let kept = kept_name(&region.name, clock.stamp());
        let aside = make_kept(&trash, &kept).map_err(|why| why.to_string())?;
        let mut done = Done { repaired: Vec::new(), late: Vec::new(), kept: None };
        for patch in plan.patches {
            let extent = patch.number;
            match patch.put_in_place(&dir, region.geometry.extent_file_bytes(), &aside) {
                Ok(()) => done.repaired.push(extent),
                Err(why) => done.late.push(why.to_string()),
            }
        }
        if done.repaired.is_empty() {
            // Nothing is in it.
            _ = fs::remove_dir(&aside);
        } else {
            done.kept = Some(kept);
        }
        note(root, &region.name, &done.repaired);
        Ok(done)
    };
    context.held(swapping).await?.map_err(|why| ended_badly(&local.name, &why))
}

/// Take what is repaired off the record of what the scrub found. If that cannot be written, the next scrub does.
fn note(root: &Path, name: &RegionName, repaired: &[u32]) {
    let noted = scrubs::read(root, name).and_then(|record| match record {
        None => Ok(()),
        Some(mut record) => {
            repaired.iter().for_each(|extent| record.repaired(*extent));
            scrubs::write(root, name, &record)
        }
    });
    if let Err(why) = noted {
        tracing::warn!("{name} is repaired, and the record of its scrub was not changed: {why}");
    }
}

fn never_scrubbed(name: &RegionName) -> wire::Error {
    let message =
        format!("{name} is not repaired: it was never scrubbed, so that nothing is known to be wrong with it");
    wire::Error::new(Refusal::NotRepaired, message, format!("sledctl region scrub {name}"))
}

fn not_repaired(name: &RegionName, why: &str) -> wire::Error {
    let remedy = format!(
        "have the volume's other regions scrubbed: sledctl region scrub --volume {}; where nothing is wrong with these: \
         sledctl region rebuild {name} makes an empty one in its place, which its host fills; see sledctl region show {name}",
        name.volume()
    );
    wire::Error::new(Refusal::NotRepaired, format!("{name} is not repaired: {why}"), remedy)
}

/// A repair that something else has ended than the extents.
fn ended_badly(name: &RegionName, why: &str) -> wire::Error {
    let remedy = format!(
        "see sledctl region show {name} and journalctl -u sledd; each extent is the one that was there or its sibling's, \
         and what was replaced is kept in {TRASH}"
    );
    wire::Error::new(Refusal::NotRepaired, format!("the repair of {name} has not come to its end: {why}"), remedy)
}

fn count(extents: &[u32]) -> String {
    match extents.len() {
        0 => "no extent was repaired".into(),
        1 => "1 extent was repaired".into(),
        some => format!("{some} extents were repaired"),
    }
}

/// Tell what became of it.
fn ended(
    name: &RegionName,
    plan: &Plan,
    repaired: &[u32],
    kept: &[String],
    dry_run: bool,
) -> Result<String, wire::Error> {
    let mut said = Vec::new();
    if dry_run {
        let patch = |patch: &Patch| format!("extent {} would be taken from {}", patch.number, patch.source);
        said.extend(plan.patches.iter().map(patch));
    }
    if !kept.is_empty() {
        let kept: Vec<_> = kept.iter().map(|kept| format!("{TRASH}/{kept}")).collect();
        said.push(format!("{}; what was there is kept in {}", count(repaired), kept.join(" and ")));
    }
    if plan.unfit.is_empty() {
        let nothing = said.is_empty();
        said.extend(nothing.then(|| "nothing is wrong with what the last scrub found".to_owned()));
        return Ok(said.join("; "));
    }
    said.extend(plan.unfit.iter().cloned());
    Err(not_repaired(name, &said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Geometry, Record};

    /// Of another region the extent may be clean, whole, and of the same generation and flush.
    #[test]
    fn nothing_is_taken_from_what_is_not_the_region_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let name: RegionName = "still-fawn-1".parse().unwrap();
        let json = |uuid: Uuid| {
            let text = format!(
                r#"{{"block_size":512,"extent_size":{{"value":100,"shift":9}},"extent_count":2,"uuid":"{uuid}",
                "encrypted":false,"database_read_version":1,"database_write_version":1}}"#
            );
            fs::write(dir.path().join("region.json"), text).unwrap();
        };
        let mut ledger = Ledger::default();
        json(Uuid::from_u128(1));
        assert!(on_record(dir.path(), &ledger, &name).unwrap_err().contains("not on record"));
        let geometry = Geometry { block_size: 512, extent_size: 100, extent_count: 2 };
        let record =
            Record { uuid: Uuid::from_u128(1), geometry, created: jiff::Timestamp::UNIX_EPOCH, by: "it".into() };
        ledger.regions.insert(name.clone(), record);
        assert_eq!(on_record(dir.path(), &ledger, &name), Ok(()));
        json(Uuid::from_u128(2));
        assert!(on_record(dir.path(), &ledger, &name).unwrap_err().contains("lies there"));
        fs::remove_file(dir.path().join("region.json")).unwrap();
        assert!(on_record(dir.path(), &ledger, &name).is_err());
    }
}
