//! Adapter of the network and what is wrong with it: its link, its place, its driver, and what the kernel's log says of
//! it. One finding for one cause.

use super::facts::{Facts, Faults, Incident, Network, Nic, Sign, Usb};
use super::finding::Finding;
use super::spare;
use crate::check::Code;
use crate::config::{By, Configuration};
use crate::times;
use std::collections::BTreeSet;

/// The drivers that take any adapter of a class of USB: slower than its own, and without what mends it.
const GENERIC_DRIVERS: [&str; 3] = ["cdc_ncm", "cdc_ether", "cdc_eem"];
/// The driver of Realtek's adapters, and the beginning of what these are called on the USB.
const REALTEK: (&str, &str) = ("r8152", "0bda:815");
/// The signs that no adapter gives that works: one of them is enough. What else there is happens once when somebody
/// plugs it elsewhere.
const GRAVE: [Sign; 4] = [Sign::TransmitTimeout, Sign::UsbMute, Sign::UsbResetFailed, Sign::UsbControllerLost];
/// The fewest losses of the link within an hour that are a fault: a cable that somebody plugs elsewhere is one or two.
const FLAPS: u64 = 4;
/// The fewest faulty packets within ten minutes that are told, and of how many at most they are one: a good cable has
/// none in a day (IEEE 802.3 allows one of some hundred million).
const FAULTS: (u64, u64) = (10, 10_000);
/// Kernels known to be bad with a driver: those before this version, and what they do. The sources are in the kernel's
/// history of `drivers/net/usb/r8152.c`.
const BAD_KERNELS: [(&str, (u32, u32), &str); 1] =
    [("r8152", (6, 6), "its driver r8152 leaves an adapter that hangs as it is, where later ones reset it")];

/// The findings about the adapter.
pub(super) fn findings(config: &Configuration, facts: &Facts, network: &Network) -> Vec<Finding> {
    let spare = spare::down(config, network);
    let Some(nic) = &network.nic else {
        let gone = missing(config);
        return spare.into_iter().chain([spare::instead(config, network, &gone.cause).unwrap_or(gone)]).collect();
    };
    let about = About { config, nic, subject: format!("nic {}", config.sled.network.nic) };
    let link = about.link();
    let link = match &link {
        Some(lost) => spare::instead(config, network, &lost.cause).or(link),
        None => spare::beside(config, network, about.name()),
    };
    let link = [spare, about.renamed(), link, about.slow(), about.half_duplex(), about.flapping(), about.faulty()];
    let place = [about.usb2(), about.driver(), about.autosuspend(), about.resets(facts), about.kernel(network)];
    link.into_iter().chain(place).flatten().collect()
}

fn missing(config: &Configuration) -> Finding {
    let nic = &config.sled.network.nic;
    let cause = match nic.all() {
        [By::Usb] => "there is no network interface on the USB".to_owned(),
        [By::Address(address)] => format!("there is no network interface with the hardware address {address}"),
        _ => format!("there is no network interface {nic}"),
    };
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
        self.nic.known_as(&self.config.sled.network.nic)
    }

    fn finding(&self, code: Code, cause: String, remedy: impl Into<String>) -> Option<Finding> {
        Some(Finding::new(code, self.subject.clone(), cause, remedy))
    }

    /// The finding about the name: it is another one, or does not tell the adapter from another.
    fn renamed(&self) -> Option<Finding> {
        let (name, mac) = (self.name(), self.nic.mac.as_deref().unwrap_or("not known"));
        if let Some(now) = &self.nic.renamed {
            let cause = format!("the adapter {name} is called {now} now: it has the same hardware address, {mac}");
            let remedy = format!(
                "ip link property add dev {now} altname {name}; for good: write its name into network.nic of sled.toml, and \
                 where {} is configured",
                self.config.sled.network.bridge
            );
            return self.finding(Code::NicRenamed, cause, remedy);
        }
        if self.nic.twins.is_empty() {
            return None;
        }
        let others = self.nic.twins.join(" and ");
        let cause = format!(
            "{name} and {others} have one hardware address, {mac}: at the next start either may get the name, and the \
             switch sends to one of them"
        );
        let remedy = format!("unplug {others}, or give one of them another address (MACAddress= of a .link file)");
        self.finding(Code::NicRenamed, cause, remedy)
    }

    fn flapping(&self) -> Option<Finding> {
        let losses = self.nic.losses;
        let cause = format!("{} lost its link {losses} times within an hour", self.name());
        if losses < FLAPS {
            return None;
        }
        let remedy = "another cable, another port of the switch; ethtool --set-eee NIC eee off; if the kernel's log has more: see NIC_RESETS";
        self.finding(
            Code::NicFlapping,
            cause,
            remedy.replace("--set-eee NIC", &format!("--set-eee {}", self.nic.called(self.name()))),
        )
    }

    fn faulty(&self) -> Option<Finding> {
        let Faults { received, received_faulty, missed, sent, sent_faulty } = self.nic.faults;
        let name = self.name();
        let kinds = [
            (received_faulty, received, "arrived damaged"),
            (missed, received, "were missed, as the USB does not take them fast enough"),
            (sent_faulty, sent, "could not be sent"),
        ];
        let told = kinds.into_iter().filter_map(|(faulty, of, what)| Some(format!("{} {what}", share(faulty, of)?)));
        let told: Vec<_> = told.collect();
        if told.is_empty() {
            return None;
        }
        let cause = format!("of the packets of {name} within ten minutes {}", told.join("; "));
        let remedy = if share(missed, received).is_some() {
            "a USB 3 port of the machine itself, without a hub; then the cable, and another port of the switch"
        } else {
            Code::NicErrors.remedy()
        };
        self.finding(Code::NicErrors, cause, remedy)
    }

    fn link(&self) -> Option<Finding> {
        let name = self.nic.called(self.name());
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
        let name = self.nic.called(name);
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
        let name = self.nic.called(self.name());
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

/// The share of faulty packets, if it is one that is told: in powers of ten, so that what is told stays the same.
fn share(faulty: u64, of: u64) -> Option<String> {
    let (fewest, most) = FAULTS;
    if faulty < fewest || faulty.saturating_mul(most) < of {
        return None;
    }
    let in_how_many = 10_u64.pow((of / faulty).max(1).ilog10() + 1);
    Some(format!("more than 1 in {in_how_many}"))
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
