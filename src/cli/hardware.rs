//! `sledctl hardware`: what the machine is made of, and how each part of it is.

use super::checks;
use super::client::Client;
use super::failure::Failure;
use super::print::Output;
use super::view::{View, Watch, show};
use crate::api::Operation;
use crate::check::Severity;
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::Tone;
use crate::wire::{DiskDetail, FileSystem, Hardware, Inventory, NetworkAdapter};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;

const EXAMPLES: &str = "Examples:
  sledctl hardware             the machine, its adapters, disks, sensors and watchdogs, and what is wrong with them
  sledctl hardware --json      the same for a program, or for whoever is to help";

/// Show what the machine is made of: firmware, processor, adapters with their USB ports, disks, sensors, watchdogs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct HardwareCommand {
    #[command(flatten)]
    watch: Watch,
}

impl HardwareCommand {
    /// Show the hardware; `Ok(false)` if a blocking condition concerns it.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for HardwareCommand {
    type Answer = Hardware;

    async fn ask(&self, client: &Client) -> Result<Hardware, Failure> {
        client.ask(&Operation::ShowHardware {}).await
    }

    fn body<'a>(&self, hardware: &'a Hardware) -> impl Serialize + 'a {
        hardware
    }

    fn names(&self, hardware: &Hardware) -> Vec<String> {
        let adapters = hardware.inventory.iter().flat_map(|inventory| &inventory.adapters);
        let disks = hardware.disks.iter().map(|disk| disk.name.clone());
        adapters.map(|adapter| adapter.name.clone()).chain(disks).collect()
    }

    fn text(&self, hardware: &Hardware, _: Screen) -> String {
        text(hardware)
    }

    fn is_well(&self, hardware: &Hardware) -> bool {
        hardware.checks.iter().all(|check| check.severity != Severity::Blocking)
    }
}

/// A page in the making: lines, each behind the label of what it is about.
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        _ = writeln!(self.0, "  {label:<11}{text}");
    }

    /// Write the words that there are, between commas, unless there are none.
    fn words(&mut self, label: &str, words: impl IntoIterator<Item = Option<String>>) {
        let words: Vec<_> = words.into_iter().flatten().collect();
        if !words.is_empty() {
            self.line(label, &words.join(", "));
        }
    }
}

fn text(hardware: &Hardware) -> String {
    let mut page = Page(String::new());
    match &hardware.inventory {
        None => page.line("machine", &Tone::Faint.paint("not looked at yet")),
        Some(inventory) => machine(inventory, &mut page),
    }
    page.words("kernel", [hardware.inventory.as_ref().and_then(|it| it.kernel.clone()), hardware.taint.map(taint)]);
    let adapters = hardware.inventory.iter().flat_map(|inventory| &inventory.adapters);
    adapters.for_each(|one| adapter(one, &mut page));
    hardware.disks.iter().for_each(|one| disk(one, &mut page));
    page.words("", [hardware.file_system.as_ref().map(file_system)]);
    for sensor in hardware.sensors.iter().filter(|sensor| sensor.disk.is_none()) {
        let label = sensor.label.as_ref().map(|label| format!(" {label}")).unwrap_or_default();
        page.line("sensor", &format!("{}{label}: {}", sensor.chip, degrees(sensor.degrees, sensor.limit_degrees)));
    }
    for watchdog in &hardware.watchdogs {
        let armed = match watchdog.armed {
            Some(true) => Tone::Well.paint("fed"),
            Some(false) => Tone::Warning.paint("not fed"),
            None => "not known whether it is fed".into(),
        };
        let reset = watchdog.has_reset.then(|| Tone::Warning.paint("the last reset was its own"));
        let timeout = watchdog.timeout_s.map(|seconds| format!("resets after {seconds} s"));
        page.words("watchdog", [Some(watchdog.device.clone()), watchdog.identity.clone(), Some(armed), timeout, reset]);
    }
    page.words(
        "clock",
        [hardware.clock_synchronised.map(|synchronised| {
            if synchronised {
                Tone::Well.paint("in step with others")
            } else {
                Tone::Warning.paint("not in step with others")
            }
        })],
    );
    if !hardware.checks.is_empty() {
        page.0 += &format!("\n{}", checks::text(&hardware.checks));
    }
    page.0
}

fn machine(of: &Inventory, page: &mut Page) {
    if let Some(container) = &of.container {
        page.line("machine", &Tone::Warning.paint(&format!("a container ({container}): the hardware is its host's")));
    }
    page.words("machine", [of.vendor.clone(), of.product.clone(), of.serial.as_ref().map(|it| format!("serial {it}"))]);
    page.words("board", [of.board.clone()]);
    page.words("firmware", [of.firmware.clone()]);
    let microcode = of.microcode.as_ref().map(|it| format!("microcode {it}"));
    page.words("processor", [of.processor.clone(), Some(format!("{} processor(s)", of.processors)), microcode]);
    page.words("memory", [of.memory_bytes.map(spoken)]);
    page.words("rtc", [of.rtc.clone()]);
}

fn taint(bits: u64) -> String {
    if bits == 0 { "not tainted".into() } else { format!("tainted ({bits})") }
}

fn adapter(of: &NetworkAdapter, page: &mut Page) {
    let link = of.link_mbps.map(|mbps| format!("link at {mbps} Mbit/s"));
    let duplex = of.duplex.as_ref().map(|duplex| format!("{duplex} duplex"));
    let driver = of.driver.as_ref().map(|driver| format!("driver {driver}"));
    page.words("adapter", [Some(of.name.clone()), of.mac.clone(), driver, link, duplex]);
    let usb = of.usb_path.as_ref().map(|path| match of.usb_mbps {
        Some(mbps) => format!("USB {path} at {mbps} Mbit/s"),
        None => format!("USB {path}"),
    });
    page.words("", [usb, of.usb_product.clone(), of.pci.as_ref().map(|at| format!("PCI {at}"))]);
}

fn disk(of: &DiskDetail, page: &mut Page) {
    let kind = if of.rotational { "turns" } else { "flash" };
    let serial = of.serial.as_ref().map(|serial| format!("serial {serial}"));
    let firmware = of.firmware.as_ref().map(|firmware| format!("firmware {firmware}"));
    page.words(
        "disk",
        [Some(of.name.clone()), of.model.clone(), serial, firmware, Some(spoken(of.bytes)), Some(kind.into())],
    );
    let tone = match of.health.as_str() {
        "well" => Tone::Well,
        "failing" => Tone::Bad,
        _ => Tone::Faint,
    };
    let words = of.health_words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
    let trim = if of.discards { "takes TRIM" } else { "takes no TRIM" };
    page.words(
        "",
        [
            Some(tone.paint(&format!("{}{words}", of.health))),
            of.used_percent.map(|used| format!("{used} % of its life used")),
            of.degrees.map(|now| degrees(now, None)),
            of.hours.map(|hours| format!("{hours} h switched on")),
            of.failed_requests
                .filter(|failed| *failed > 0)
                .map(|failed| format!("{failed} failed requests within an hour")),
            Some(trim.into()),
        ],
    );
}

fn degrees(now: i64, limit: Option<i64>) -> String {
    let limit = limit.map(|limit| format!(" (limit {limit} °C)")).unwrap_or_default();
    format!("{now} °C{limit}")
}

fn file_system(of: &FileSystem) -> String {
    let device = of.device.as_ref().map(|device| format!(" on {device}")).unwrap_or_default();
    let errors = match of.errors {
        Some(0) => ", no error on record".into(),
        Some(count) => format!(", {}", Tone::Bad.paint(&format!("{count} error(s) on record"))),
        None => String::new(),
    };
    let discard = if of.discard { ", tells at once what is freed" } else { "" };
    format!("{}{device}{errors}{discard}", of.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_machine_is_shown_by_its_parts() {
        let hardware: Hardware = serde_json::from_value(json!({
            "sled": "proper-raptor", "as_of": "2026-01-01T00:00:00Z",
            "inventory": {"vendor": "Dell Inc.", "product": "Wyse", "serial": "ABC", "firmware": "AMI 1.2 01/02/2024",
                "processor": "AMD A4", "processors": 2, "memory_bytes": 4_u64 << 30, "kernel": "6.12.48",
                "adapters": [{"name": "enx0", "mac": "00:e0:4c:a8:11:10", "driver": "r8152", "link_mbps": 2500,
                    "duplex": "full", "usb_path": "2-1", "usb_mbps": 5000, "usb_product": "LAN (0bda:8156)"}]},
            "disks": [{"name": "sda", "bytes": 1_u64 << 40, "model": "870 EVO", "rotational": false, "discards": true,
                "health": "failing", "health_words": "it says itself that it is failing", "used_percent": 7,
                "degrees": 33, "hours": 4711}],
            "file_system": {"kind": "ext4", "device": "sda1", "errors": 2, "discard": false},
            "sensors": [{"chip": "k10temp", "label": "Tctl", "degrees": 61, "limit_degrees": 95}],
            "watchdogs": [{"device": "watchdog0", "identity": "SP5100 TCO timer", "armed": false, "timeout_s": 60,
                "has_reset": true}],
            "clock_synchronised": true, "taint": 0, "checks": [],
        }))
        .unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&text(&hardware)).to_string(),
            "  machine    Dell Inc., Wyse, serial ABC
  firmware   AMI 1.2 01/02/2024
  processor  AMD A4, 2 processor(s)
  memory     4 GiB
  kernel     6.12.48, not tainted
  adapter    enx0, 00:e0:4c:a8:11:10, driver r8152, link at 2500 Mbit/s, full duplex
             USB 2-1 at 5000 Mbit/s, LAN (0bda:8156)
  disk       sda, 870 EVO, 1 TiB, flash
             failing: it says itself that it is failing, 7 % of its life used, 33 °C, 4711 h switched on, takes TRIM
             ext4 on sda1, 2 error(s) on record
  sensor     k10temp Tctl: 61 °C (limit 95 °C)
  watchdog   watchdog0, SP5100 TCO timer, not fed, resets after 60 s, the last reset was its own
  clock      in step with others
"
        );
    }
}
