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
        out += &format!("\n{}", regions(&detail.regions, screen));
    }
    if !detail.trash.is_empty() {
        out += &format!("\n{}", trash(&detail.trash, screen));
    }
    out
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
