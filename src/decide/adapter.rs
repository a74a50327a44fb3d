//! Adapter of the network and what is wrong with it: its link, its place, its driver, and what the kernel's log says of
//! it. One finding for one cause.

use super::facts::{Facts, Incident, Network, Nic, Sign, Usb};
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::times;
use std::collections::BTreeSet;

/// The drivers that take any adapter of a class of USB: slower than its own, and without what mends it.
const GENERIC_DRIVERS: [&str; 3] = ["cdc_ncm", "cdc_ether", "cdc_eem"];
/// The driver of Realtek's adapters, and the beginning of what these are called on the USB.
const REALTEK: (&str, &str) = ("r8152", "0bda:815");
/// The signs that no adapter gives that works: one of them is enough. What else there is happens once when somebody
/// plugs it elsewhere.
const GRAVE: [Sign; 4] = [Sign::TransmitTimeout, Sign::UsbMute, Sign::UsbResetFailed, Sign::UsbControllerLost];
/// Kernels known to be bad with a driver: those before this version, and what they do. The sources are in the kernel's
/// history of `drivers/net/usb/r8152.c`.
const BAD_KERNELS: [(&str, (u32, u32), &str); 1] =
    [("r8152", (6, 6), "its driver r8152 leaves an adapter that hangs as it is, where later ones reset it")];

/// The findings about the adapter.
pub(super) fn findings(config: &Configuration, facts: &Facts, network: &Network) -> Vec<Finding> {
    let Some(nic) = &network.nic else { return vec![missing(config)] };
    let about = About { config, nic, subject: format!("nic {}", config.sled.network.nic) };
    [about.link(), about.slow(), about.half_duplex(), about.usb2(), about.driver(), about.autosuspend()]
        .into_iter()
        .chain([about.resets(facts), about.kernel(network)])
        .flatten()
        .collect()
}

fn missing(config: &Configuration) -> Finding {
    let nic = &config.sled.network.nic;
    let cause = format!("there is no network interface {nic}");
    Finding::new(Code::NicMissing, format!("nic {nic}"), cause, Code::NicMissing.remedy())
}

/// An adapter that is there.
struct About<'a> {
    config: &'a Configuration,
    nic: &'a Nic,
    subject: String,
}

impl About<'_> {
    fn name(&self) -> &str {
        &self.config.sled.network.nic
    }

    fn finding(&self, code: Code, cause: String, remedy: impl Into<String>) -> Option<Finding> {
        Some(Finding::new(code, self.subject.clone(), cause, remedy))
    }

    fn link(&self) -> Option<Finding> {
        let name = self.name();
        if !self.nic.up {
            let remedy = format!("ip link set {name} up");
            return self.finding(Code::NicNoCarrier, format!("{name} is switched off"), remedy);
        }
        if self.nic.carrier {
            return None;
        }
        let remedy = "check the cable, and whether the switch port is on";
        self.finding(Code::NicNoCarrier, format!("{name} has no link"), remedy)
    }

    fn slow(&self) -> Option<Finding> {
        let least = self.config.sled.network.min_link_mbps;
        let speed = self.nic.link_mbps.filter(|speed| self.nic.carrier && *speed < least)?;
        let cause = format!("{} runs at {speed} Mbit/s, and {least} are expected", self.name());
        self.finding(Code::NicSlow, cause, Code::NicSlow.remedy())
    }

    fn half_duplex(&self) -> Option<Finding> {
        let name = self.name();
        if !(self.nic.carrier && self.nic.half_duplex) {
            return None;
        }
        let cause = format!("{name} sends or receives, and never both at once (half duplex)");
        let remedy = format!(
            "let both ends negotiate: ethtool -s {name} autoneg on, and the same at the switch's port; then the cable"
        );
        self.finding(Code::NicHalfDuplex, cause, remedy)
    }

    fn usb2(&self) -> Option<Finding> {
        let (name, least) = (self.name(), self.config.sled.network.min_usb_mbps);
        let usb = self.nic.usb.as_ref()?;
        let speed = usb.mbps.filter(|speed| *speed < least)?;
        let cause = format!("{name} hangs on a USB port at {speed} Mbit/s, and {least} are expected: {}", place(usb));
        let remedy = match usb.hubs.last() {
            Some(hub) => format!(
                "plug the adapter into a USB 3 port (blue) of the machine itself, not into the hub at {}, and without an \
                 extension",
                hub.path
            ),
            None => Code::NicUsb2.remedy().to_owned(),
        };
        self.finding(Code::NicUsb2, cause, remedy)
    }

    fn driver(&self) -> Option<Finding> {
        let driver = self.nic.driver.as_ref().filter(|driver| GENERIC_DRIVERS.contains(&driver.as_str()))?;
        let usb = self.nic.usb.as_ref()?;
        let id = usb.id.as_ref().filter(|id| id.starts_with(REALTEK.1))?;
        let (name, own) = (self.name(), REALTEK.0);
        let cause = format!(
            "{name} is a Realtek adapter ({id}), and the driver {driver} has it, not {own}: it is slower so, and nobody \
             resets it when it hangs"
        );
        let path = &usb.path;
        let remedy = format!(
            "modprobe {own}; then have it choose anew: echo 1 > /sys/bus/usb/devices/{path}/bConfigurationValue (the \
             link is down for some seconds); that it stays so: install 66-sled-network.rules, or a kernel since 6.3"
        );
        self.finding(Code::NicDriver, cause, remedy)
    }

    fn autosuspend(&self) -> Option<Finding> {
        let usb = self.nic.usb.as_ref().filter(|usb| usb.autosuspend)?;
        let cause = format!("the kernel may suspend {} while it is idle: adapters get lost by that", self.name());
        let remedy = format!(
            "echo on > /sys/bus/usb/devices/{}/power/control; that it stays so: install 66-sled-network.rules, or \
             usbcore.autosuspend=-1 on the kernel's command line",
            usb.path
        );
        self.finding(Code::NicAutosuspend, cause, remedy)
    }

    /// The finding about what the kernel's log says of it.
    fn resets(&self, facts: &Facts) -> Option<Finding> {
        let all = facts.kernel_log.of(self.nic.lineage.iter().map(String::as_str));
        let all: Vec<_> = all.into_iter().filter(|incident| is_failure(incident)).collect();
        let grave = all.iter().any(|incident| incident.signs.iter().any(|sign| GRAVE.contains(sign)));
        let last = all.last().filter(|_| grave || all.len() > 1)?;
        let ways: BTreeSet<_> = all.iter().flat_map(|incident| &incident.signs).collect();
        let ways: Vec<_> = ways.into_iter().filter_map(|sign| sign.of_adapter()).collect();
        let times = if all.len() == 1 { "once".to_owned() } else { format!("{} times", all.len()) };
        let cause = format!(
            "{} failed {times} within a day, the last time at {}: {} (the kernel: {:?})",
            self.name(),
            times::in_seconds(last.began),
            ways.join(", "),
            last.words
        );
        self.finding(Code::NicResets, cause, self.what_helps())
    }

    fn what_helps(&self) -> String {
        let name = self.name();
        let Some(usb) = &self.nic.usb else {
            return format!(
                "another cable, another port of the switch; ethtool --set-eee {name} eee off; another adapter"
            );
        };
        let (path, id) = (&usb.path, usb.id.as_deref().unwrap_or("VENDOR:PRODUCT"));
        format!(
            "another USB port, without a hub or an extension ({name} is at {}); autosuspend off: echo on > \
             /sys/bus/usb/devices/{path}/power/control; no link power management: usbcore.quirks={id}:k on the kernel's \
             command line; ethtool --set-eee {name} eee off; another power supply, another adapter",
            place(usb)
        )
    }

    fn kernel(&self, network: &Network) -> Option<Finding> {
        let (release, driver) = (network.kernel.as_ref()?, self.nic.driver.as_ref()?);
        let version = version(release)?;
        let (_, since, what) = BAD_KERNELS.iter().find(|(of, since, _)| of == driver && version < *since)?;
        let cause = format!("the kernel {release} is known to be bad for {}: {what}", self.name());
        self.finding(Code::NicKernel, cause, format!("a kernel since {}.{}", since.0, since.1))
    }
}

/// Whether an incident is more than what a device says while it is found: the driver resets it then.
fn is_failure(incident: &Incident) -> bool {
    let found = incident.signs.contains(&Sign::UsbFound) && !incident.signs.contains(&Sign::UsbLost);
    let of_finding = |sign: &Sign| found && *sign == Sign::UsbReset;
    incident.signs.iter().any(|sign| sign.of_adapter().is_some() && !of_finding(sign))
}

/// The place of an adapter on the USB, in words.
fn place(usb: &Usb) -> String {
    let port = |path: &str| path.rsplit(['.', '-']).next().unwrap_or_default().to_owned();
    let Some(hub) = usb.hubs.last() else {
        let bus = usb.path.split('-').next().unwrap_or_default();
        return format!("{}, port {} of USB bus {bus}", usb.path, port(&usb.path));
    };
    let told = [hub.name.clone(), hub.mbps.map(|mbps| format!("{mbps} Mbit/s"))].into_iter().flatten();
    let told = told.collect::<Vec<_>>().join(", ");
    let told = if told.is_empty() { told } else { format!(" ({told})") };
    format!("{}, port {} of the hub at {}{told}", usb.path, port(&usb.path), hub.path)
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
