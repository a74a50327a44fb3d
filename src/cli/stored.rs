//! What takes the data disk, and the jobs, as a person reads them.

use super::show::{ago, or_dash};
use crate::names::RegionName;
use crate::size::spoken;
use crate::table::{Table, Tone, plain};
use crate::times::in_seconds;
use crate::wire::{DeletedRegion, Error, Job, JobState, StorageDetail, StoredRegion};
use std::fmt::Write;

/// `sledctl storage`.
pub(super) fn storage(detail: &StorageDetail) -> String {
    let short = &detail.storage;
    if !short.mounted {
        return format!("{}\n", Tone::Bad.paint(&format!("{} is not mounted", short.root)));
    }
    let owner = match (&detail.belongs_to, detail.disk) {
        (Some(sled), Some(disk)) => format!("{sled}'s, {disk}"),
        _ => Tone::Bad.paint("not marked: sledctl storage init"),
    };
    let mut out = format!("{}: {owner}\n\n", Tone::Heading.paint(&short.root));
    let mut line = |what: &str, bytes: u64, more: &str| _ = writeln!(out, "  {what:<10} {:>10}  {more}", spoken(bytes));
    line("capacity", short.capacity_bytes, "");
    line("promised", short.promised_bytes, &format!("to {} region(s), {}", detail.regions.len(), detail.provisioning));
    line("used", short.used_bytes, "by regions, and by what was deleted");
    let other = short.capacity_bytes.saturating_sub(short.free_bytes).saturating_sub(short.used_bytes);
    line("other", other, "other files, and the file system itself");
    line("unreserved", detail.unreserved_bytes, "may still be written and is not reserved");
    line("free", short.free_bytes, "");
    line("reserve", detail.reserve_bytes, "to be kept free");
    line("repair", detail.repair_bytes, "must be free so that a region can be repaired");
    if let Some(inodes) = detail.inodes_free {
        _ = writeln!(out, "  {:<10} {inodes:>10}  files can be made yet", "inodes");
    }
    if !detail.regions.is_empty() {
        out += &format!("\n{}", regions(&detail.regions));
    }
    if !detail.trash.is_empty() {
        out += &format!("\n{}", trash(&detail.trash));
    }
    out
}

/// Whether all of these regions fit on the disk, if each takes its blocks when it is made: told once,
/// before the first is.
///
/// # Errors
/// They do not.
pub(super) fn fit(detail: &StorageDetail, regions: &[RegionName]) -> Result<(), Error> {
    let wanted: Vec<_> = detail.wanted.iter().filter(|wanted| regions.contains(&wanted.region)).collect();
    let (needs, count): (u64, _) = (wanted.iter().map(|wanted| wanted.bytes).sum(), wanted.len());
    let repair = wanted.iter().map(|wanted| wanted.repair_bytes).max().unwrap_or_default().max(detail.repair_bytes);
    let (keeps, free) = (detail.reserve_bytes.max(repair), detail.storage.free_bytes);
    if count < 2 || detail.provisioning != "thick" || needs.saturating_add(keeps) <= free {
        return Ok(());
    }
    let message = format!(
        "{count} regions do not fit on {}: together they take {}, {} is free, and {} is kept in reserve: none is created",
        detail.storage.root,
        spoken(needs),
        spoken(free),
        spoken(keeps)
    );
    let remedy = "free some (sledctl storage), make the volumes smaller in port-map.toml, name the regions that are to be \
                  created first, or set storage.provisioning = \"thin\"";
    Err(Error::new("NO_ROOM", message, remedy))
}

fn regions(regions: &[StoredRegion]) -> String {
    let mut table = Table::new(&["REGION", "PROMISED", "USED", "SINCE", "BY", "UUID"]);
    for region in regions {
        table.row(vec![
            plain(&region.region),
            plain(spoken(region.promised_bytes)),
            plain(region.used_bytes.map_or_else(|| "-".into(), spoken)),
            plain(ago(region.created)),
            plain(&region.by),
            plain(region.uuid),
        ]);
    }
    table.text()
}

fn trash(trash: &[DeletedRegion]) -> String {
    let mut table = Table::new(&["DELETED", "USED", "AGO", "KEPT FOR", "UUID"]);
    for deleted in trash {
        let left = deleted.kept_for_seconds;
        let kept = match (deleted.removing, left) {
            (true, _) => "being removed".into(),
            (false, 0..3600) => format!("{} min", left / 60),
            (false, 3600..86_400) => format!("{} h", left / 3600),
            (false, _) => format!("{} d", (left + 43_200) / 86_400),
        };
        table.row(vec![
            plain(format!("{}.{}", deleted.region, deleted.deleted.as_second())),
            plain(spoken(deleted.used_bytes)),
            plain(ago(deleted.deleted)),
            plain(kept),
            plain(deleted.uuid),
        ]);
    }
    table.text()
}

/// `sledctl jobs`.
pub(super) fn jobs(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "no jobs yet\n".into();
    }
    let mut table = Table::new(&["JOB", "WHAT", "REGION", "STATE", "AGO", "STEP"]);
    for job in jobs {
        let tone = match job.state {
            JobState::Running => Tone::Warning,
            JobState::Done => Tone::Well,
            JobState::Failed => Tone::Bad,
            JobState::Cancelled => Tone::Faint,
        };
        table.row(vec![
            plain(job.id),
            plain(job.kind.as_str()),
            plain(&job.region),
            (job.state.as_str().into(), tone),
            plain(ago(job.asked)),
            plain(step(job)),
        ]);
    }
    table.text()
}

fn step(job: &Job) -> String {
    match (&job.error, job.progress) {
        (Some(error), _) => error.message.clone(),
        (None, Some(progress)) => format!("{} {} of {}", job.step, progress.done, progress.total),
        (None, None) => job.step.clone(),
    }
}

/// `sledctl jobs show`.
pub(super) fn job(job: &Job) -> String {
    let head = format!("job {}: {} {}", job.id, job.kind.as_str(), job.region);
    let mut out = format!("{}, {}\n\n", Tone::Heading.paint(&head), job.state.as_str());
    _ = writeln!(out, "  asked        {}", in_seconds(job.asked));
    _ = writeln!(out, "  took         {}", or_dash(job.took_ms.map(|ms| format!("{ms} ms"))));
    _ = writeln!(out, "  step         {}", step(job));
    _ = writeln!(out, "  cancellable  {}", if job.cancellable { "yes" } else { "no" });
    if let Some(error) = &job.error {
        _ = writeln!(out, "\n  {}\n    -> {}", error.code, error.remedy);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Storage, WantedRegion};

    #[test]
    fn what_does_not_fit_together_is_told_once() {
        let names: Vec<RegionName> = ["a-0", "a-1", "a-2"].map(|name| name.parse().unwrap()).into();
        let detail = |gib: u64, provisioning: &str| StorageDetail {
            storage: Storage {
                root: "/crucible".into(),
                mounted: true,
                capacity_bytes: 100 << 30,
                free_bytes: gib << 30,
                promised_bytes: 0,
                used_bytes: 0,
            },
            disk: None,
            belongs_to: None,
            reserve_bytes: 5 << 30,
            repair_bytes: 0,
            inodes_free: None,
            wanted: names
                .iter()
                .map(|name| WantedRegion { region: name.clone(), bytes: 10 << 30, repair_bytes: 1 << 27 })
                .collect(),
            provisioning: provisioning.into(),
            unreserved_bytes: 0,
            regions: Vec::new(),
            trash: Vec::new(),
        };
        assert!(fit(&detail(35, "thick"), &names).is_ok());
        let why = fit(&detail(34, "thick"), &names).unwrap_err();
        assert!(why.message.contains("3 regions") && why.message.contains("take 30 GiB, 34 GiB is free"), "{why:?}");
        // Fewer of them, or such as take nothing yet.
        assert!(fit(&detail(34, "thick"), &names[..2]).is_ok());
        assert!(fit(&detail(4, "thin"), &names).is_ok());
    }
}
