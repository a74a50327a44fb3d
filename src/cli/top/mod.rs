//! `sledctl top`: what each region takes of the machine right now, by the kernel's accounts of its unit.
//!
//! | module | job |
//! |---|---|
//! | [`account`] | what a process's control group has taken so far |
//! | [`rate`] | what that is in a second |

mod account;
mod rate;

use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use super::region::of_this_sled;
use super::view::{View, Watch, show};
use crate::names::{RegionName, SledName};
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::{Table, Tone, column, plain};
use crate::terminal;
use crate::times;
use account::Account;
use clap::Args;
use jiff::Timestamp;
use rate::{Rates, sorted, total};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Time over which it is measured, where it is shown again and again.
const REFRESH: Duration = Duration::from_secs(2);
/// Time over which it is measured once.
const MOMENT: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  sledctl top                  in place, every two seconds, until q
  sledctl top --once -o json   for a program";

/// Show what each region reads, writes, computes and keeps in memory, the busiest first.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct TopCommand {
    /// Measure for a second, and show that; as it is done where there is no terminal.
    #[arg(long)]
    once: bool,
}

/// Answer of `top`.
#[derive(Debug, Serialize)]
pub(super) struct Top {
    sled: SledName,
    as_of: Timestamp,
    regions: Vec<Used>,
}

/// What a region takes.
#[derive(Debug, Serialize)]
struct Used {
    region: RegionName,
    pid: u32,
    #[serde(flatten)]
    rates: Rates,
}

impl TopCommand {
    /// Show what the regions take.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, Watch { watch: self.is_live(output) }).await
    }

    fn is_live(&self, output: Output) -> bool {
        !self.once && output.is_text() && terminal::is_watched()
    }
}

impl View for TopCommand {
    type Answer = Top;

    async fn ask(&self, client: &Client) -> Result<Top, Failure> {
        let sled = client.sled().await?;
        let (name, regions) = (sled.sled.clone(), of_this_sled(sled));
        let running = || regions.iter().filter_map(|region| Some((region.name.clone(), region.pid?)));
        let look = || running().filter_map(|(name, pid)| Some(((name, pid), Account::read(pid)?)));
        let (before, began) = (look().collect::<BTreeMap<_, _>>(), Instant::now());
        sleep(if self.once { MOMENT } else { REFRESH }).await;
        let took = began.elapsed();
        let used = look().filter_map(|((region, pid), now)| {
            let rates = Rates::of(before.get(&(region.clone(), pid))?, &now, took);
            Some(Used { region, pid, rates })
        });
        let regions = sorted(used.collect(), |used: &Used| &used.rates);
        Ok(Top { sled: name, as_of: times::now(), regions })
    }

    fn body<'a>(&self, top: &'a Top) -> impl Serialize + 'a {
        top
    }

    fn names(&self, top: &Top) -> Vec<String> {
        top.regions.iter().map(|used| used.region.to_string()).collect()
    }

    fn text(&self, top: &Top, screen: Screen) -> String {
        text(top, screen)
    }

    /// The measurement takes its time by itself.
    async fn change(&self, _: &Client, _: &Top) {}
}

fn text(top: &Top, screen: Screen) -> String {
    let mut table = Table::new(&[
        column("REGION"),
        column("READ"),
        column("WRITTEN"),
        column("IOPS").rank(3),
        column("CPU").rank(1),
        column("MEMORY").rank(2),
        column("PID").rank(4),
    ]);
    for used in &top.regions {
        let busy = used.rates.moved() > 0;
        let tone = if busy { Tone::Plain } else { Tone::Faint };
        let mut cells = cells(&used.rates).map(|text| (text, tone)).to_vec();
        cells.insert(0, plain(&used.region));
        cells.push(plain(used.pid));
        table.row(cells);
    }
    let all = total(top.regions.iter().map(|used| &used.rates));
    let [read, written, iops, cpu, memory] = cells(&all);
    let name = Tone::Heading.paint(top.sled.as_str());
    let count = top.regions.len();
    format!(
        "{name}: {count} region(s), {read} read, {written} written, {iops} IOPS, CPU {cpu}, {memory} of memory\n\n{}",
        table.on(screen)
    )
}

/// Write what is read, written, asked of the disk, computed and kept.
fn cells(rates: &Rates) -> [String; 5] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), |bytes| format!("{}/s", spoken(bytes)));
    [
        bytes(rates.read_bytes_per_second),
        bytes(rates.written_bytes_per_second),
        rates.operations_per_second.map_or_else(|| "-".into(), |count| count.to_string()),
        format!("{} %", rates.cpu_percent),
        rates.memory_bytes.map_or_else(|| "-".into(), spoken),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top() -> Top {
        let used = |region: &str, written: u64, cpu: u64| Used {
            region: region.parse().unwrap(),
            pid: 712,
            rates: Rates {
                read_bytes_per_second: Some(0),
                written_bytes_per_second: Some(written),
                operations_per_second: Some(written >> 12),
                cpu_percent: cpu,
                memory_bytes: Some(48 << 20),
            },
        };
        let regions = vec![used("still-fawn-0", 12 << 20, 7), used("pve-1", 0, 0)];
        Top { sled: "proper-raptor".parse().unwrap(), as_of: Timestamp::UNIX_EPOCH, regions }
    }

    #[test]
    fn the_table_fits_the_terminal() {
        let page = |columns| {
            let page = text(&top(), Screen { columns, wide: false });
            anstream::adapter::strip_str(&page).to_string()
        };
        let whole = "\
proper-raptor: 2 region(s), 0 B/s read, 12 MiB/s written, 3072 IOPS, CPU 7 %, 96 MiB of memory

REGION        READ   WRITTEN   IOPS  CPU  MEMORY  PID
still-fawn-0  0 B/s  12 MiB/s  3072  7 %  48 MiB  712
pve-1         0 B/s  0 B/s     0     0 %  48 MiB  712
";
        assert_eq!((page(None).as_str(), page(Some(200)).as_str(), page(Some(80)).as_str()), (whole, whole, whole));
        assert!(page(Some(40)).ends_with(
            "\
REGION        READ   WRITTEN   CPU
still-fawn-0  0 B/s  12 MiB/s  7 %
pve-1         0 B/s  0 B/s     0 %
"
        ));
    }
}
