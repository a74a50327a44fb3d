//! What takes the data disk, and the jobs, as a person reads them.

use super::show::{ago, or_dash};
use crate::size::spoken;
use crate::table::{Table, Tone, plain};
use crate::times::in_seconds;
use crate::wire::{DeletedRegion, Job, JobState, StorageDetail, StoredRegion};
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
    if !detail.regions.is_empty() {
        out += &format!("\n{}", regions(&detail.regions));
    }
    if !detail.trash.is_empty() {
        out += &format!("\n{}", trash(&detail.trash));
    }
    out
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
        return "no jobs since the supervisor started\n".into();
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
