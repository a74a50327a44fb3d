//! `sledctl storage`: what takes the data disk, and whose it is.

use super::client::Client;
use super::failure::Failure;
use super::print::{Output, ago, print};
use super::view::{View, Watch, show};
use crate::api::Operation;
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::{Table, Tone, column, plain};
use crate::times::in_seconds;
use crate::wire::{DeletedRegion, Marked, StorageDetail, StoredRegion};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Time between two looks while it is watched: each has the supervisor look at everything that lies there.
const DISK_POLL: Duration = Duration::from_secs(10);

/// Show what takes the data disk: by region, and what lies in the trash.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct StorageCommand {
    #[command(flatten)]
    watch: Watch,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Init),
}

impl StorageCommand {
    /// Show the data disk, or mark it; `Ok(false)` if it is not mounted.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        if let Some(Command::Init(init)) = &self.command {
            return init.run(client, output).await;
        }
        show(self, client, output, self.watch).await
    }
}

impl View for StorageCommand {
    type Answer = StorageDetail;

    async fn ask(&self, client: &Client) -> Result<StorageDetail, Failure> {
        detail(client).await
    }

    fn body<'a>(&self, detail: &'a StorageDetail) -> impl Serialize + 'a {
        detail
    }

    fn names(&self, detail: &StorageDetail) -> Vec<String> {
        detail.regions.iter().map(|region| region.region.to_string()).collect()
    }

    fn text(&self, detail: &StorageDetail, screen: Screen) -> String {
        text(detail, screen)
    }

    fn is_well(&self, detail: &StorageDetail) -> bool {
        detail.storage.mounted
    }

    async fn change(&self, _: &Client, _: &StorageDetail) {
        sleep(DISK_POLL).await;
    }
}

/// Mark the data disk as this sled's, and begin its ledger. What lies on it is left as it is.
#[derive(Debug, Args)]
struct Init {
    /// The disk that it replaces or that is taken over, as the refusal names it.
    #[arg(long, value_name = "UUID")]
    replace: Option<Uuid>,
}

impl Init {
    async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let marked: Marked = client.ask(&Operation::InitStorage { replace: self.replace }).await?;
        print(output, &marked, |Marked { disk, sled, marked }| {
            format!("the data disk is {disk}, of the sled {sled} since {}\n", in_seconds(*marked))
        })?;
        Ok(true)
    }
}

/// Read what takes the data disk, as it lies there now.
pub(super) async fn detail(client: &Client) -> Result<StorageDetail, Failure> {
    client.look().await?;
    client.ask(&Operation::ShowStorage {}).await
}

fn text(detail: &StorageDetail, screen: Screen) -> String {
    let short = &detail.storage;
    if !short.mounted {
        return format!("{}\n", Tone::Bad.paint(&format!("{} is not mounted", short.root)));
    }
    let owner = match (&detail.belongs_to, detail.disk) {
        (Some(sled), Some(disk)) => format!("{sled}'s, {disk}"),
        _ => Tone::Bad.paint("not marked: sledctl storage init"),
    };
    let mut out = format!("{}: {owner}\n\n", Tone::Heading.paint(&short.root));
    out += &format!("  {}\n\n", bar(detail, screen.columns.map_or(BAR_LIMIT, |columns| columns.saturating_sub(4))));
    let mut line = |what: &str, bytes: u64, more: &str| {
        let mark = PARTS.iter().find(|(name, _)| *name == what).map_or(' ', |(_, mark)| *mark);
        _ = writeln!(out, "{mark} {what:<10} {:>10}  {more}", spoken(bytes));
    };
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
        out += &format!("\n{}", regions(&detail.regions, screen));
    }
    if !detail.trash.is_empty() {
        out += &format!("\n{}", trash(&detail.trash, screen));
    }
    out
}

/// Longest drawing of the disk, in columns.
const BAR_LIMIT: usize = 72;
/// Parts of the drawing, as the lines below it name them, and the mark of each.
const PARTS: [(&str, char); 5] = [("used", '█'), ("other", '▓'), ("unreserved", '▒'), ("free", '·'), ("reserve", '░')];

/// Draw the disk in so many columns: what is used, what may still be written, what is free, and of that the reserve.
fn bar(detail: &StorageDetail, columns: usize) -> String {
    let short = &detail.storage;
    let all = short.capacity_bytes;
    let used = short.used_bytes.min(all);
    let other = all.saturating_sub(short.free_bytes).saturating_sub(used);
    let reserve = detail.reserve_bytes.min(short.free_bytes);
    let open = detail.unreserved_bytes.min(short.free_bytes - reserve);
    let free = short.free_bytes - reserve - open;
    let columns = columns.clamp(10, BAR_LIMIT) - 2;
    let (mut sum, mut drawn, mut out) = (0_u64, 0, String::new());
    for ((_, mark), bytes) in PARTS.iter().zip([used, other, open, free, reserve]) {
        sum = sum.saturating_add(bytes);
        let end = column_of(sum, all, columns);
        // What there is at all is seen.
        let end = if bytes > 0 && end == drawn { (drawn + 1).min(columns) } else { end };
        out.extend(std::iter::repeat_n(*mark, end.saturating_sub(drawn)));
        drawn = end.max(drawn);
    }
    format!("[{out}]")
}

/// Find the column at which so many bytes of all end.
fn column_of(bytes: u64, all: u64, columns: usize) -> usize {
    let at = u128::from(bytes) * columns as u128 / u128::from(all.max(1));
    usize::try_from(at).unwrap_or(columns).min(columns)
}

fn regions(regions: &[StoredRegion], screen: Screen) -> String {
    let mut table = Table::new(&[
        column("REGION"),
        column("PROMISED").rank(1),
        column("USED"),
        column("SINCE").rank(2),
        column("BY").cut(8).rank(3),
        column("UUID").id().rank(4),
    ]);
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
    table.on(screen)
}

fn trash(trash: &[DeletedRegion], screen: Screen) -> String {
    let mut table = Table::new(&[
        column("DELETED"),
        column("USED"),
        column("AGO").rank(2),
        column("KEPT FOR").rank(1),
        column("UUID").id().rank(3),
    ]);
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
    table.on(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail(used: u64, free: u64, unreserved: u64) -> StorageDetail {
        let body = json!({"root": "/crucible", "mounted": true, "capacity_bytes": 100_u64 << 30, "free_bytes": free << 30,
            "promised_bytes": (used + unreserved) << 30, "used_bytes": used << 30,
            "disk": "b46e4c29-8f7c-4d8e-9f0a-0123456789ab", "belongs_to": "proper-raptor", "reserve_bytes": 5_u64 << 30,
            "repair_bytes": 1 << 27, "inodes_free": 1000, "provisioning": "thin", "unreserved_bytes": unreserved << 30,
            "regions": [{"region": "still-fawn-0", "uuid": "b46e4c29-8f7c-4d8e-9f0a-0123456789ab",
                "promised_bytes": 10_u64 << 30, "used_bytes": 1 << 30, "created": "2026-01-01T00:00:00Z", "by": "create"}],
            "trash": []});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_disk_is_drawn_by_what_takes_it() {
        assert_eq!(
            bar(&detail(40, 50, 20), 52),
            format!("[{}{}{}{}{}]", "█".repeat(20), "▓".repeat(5), "▒".repeat(10), "·".repeat(12), "░".repeat(3))
        );
        // More is promised than there is room for: nothing of the reserve is drawn as if it could be had.
        assert_eq!(
            bar(&detail(40, 50, 90), 52),
            format!("[{}{}{}{}]", "█".repeat(20), "▓".repeat(5), "▒".repeat(22), "░".repeat(3))
        );
        // A full disk, and a screen that is hardly one.
        assert_eq!(bar(&detail(100, 0, 0), 12), format!("[{}]", "█".repeat(10)));
        assert_eq!(bar(&detail(1, 99, 0), 1).chars().count(), 10);
    }

    #[test]
    fn a_page_fits_its_screen_and_is_whole_without_one() {
        for columns in [20, 40, 80, 200] {
            let screen = Screen::columns(columns);
            let page = screen.fold(&text(&detail(40, 50, 20), screen)).into_owned();
            let longest = page.lines().map(crate::screen::width).max().unwrap();
            assert!(longest <= columns, "{columns}: {page}");
        }
        let bare = anstream::adapter::strip_str(&text(&detail(40, 50, 20), Screen::NONE)).to_string();
        assert!(bare.contains("█ used           40 GiB  by regions, and by what was deleted\n"), "{bare}");
        assert!(bare.contains("b46e4c29-8f7c-4d8e-9f0a-0123456789ab\n"), "{bare}");
    }
}
