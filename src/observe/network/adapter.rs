//! Network adapter as sysfs tells of it: speed, driver, and where on the USB it hangs. A place of it can be missing, or
//! tell nonsense, and an adapter that fails takes its time to tell: whoever calls this waits on a thread of its own.

use super::history::Counters;
use crate::clean;
use crate::decide::facts::{Hub, Manager, Nic, Usb};
use crate::kernel::ethtool::Drivers;
use std::fs;
use std::path::{Path, PathBuf};

/// Read all that sysfs tells of an interface.
pub(super) fn told(sysfs: &Path, nic: &str) -> Nic {
    let place = sysfs.join("class/net").join(nic);
    Nic {
        link_mbps: link_speed(&place),
        half_duplex: word(&place.join("duplex")).is_some_and(|duplex| duplex == "half"),
        driver: fs::read_link(place.join("device/driver")).ok().and_then(|it| file_name(&it)),
        usb: usb_device(&place).and_then(|device| usb(&device)),
        lineage: lineage(&place, nic),
        ..Nic::default()
    }
}

/// Read the counters of an interface. The packets that an adapter had no room for are counted by its driver alone, if it
/// is on the USB (`rx_missed`): they are not known unless that is asked.
pub(super) fn counters(sysfs: &Path, nic: &str, ask_driver: bool) -> Counters {
    let place = sysfs.join("class/net").join(nic);
    let number = |file: &str| word(&place.join(file)).and_then(|word| word.parse().ok()).unwrap_or_default();
    let missed = match usb_device(&place) {
        None => Some(number("statistics/rx_missed_errors")),
        Some(_) if ask_driver => Drivers::open().and_then(|drivers| drivers.counter(nic, "rx_missed")).ok().flatten(),
        Some(_) => None,
    };
    Counters {
        received: number("statistics/rx_packets"),
        received_faulty: number("statistics/rx_errors"),
        missed,
        sent: number("statistics/tx_packets"),
        sent_faulty: number("statistics/tx_errors"),
        losses: number("carrier_down_count"),
    }
}

/// Find by what an interface is configured: systemd-networkd keeps the state of each that it has, by the kernel's number
/// of it; ifupdown's configuration names it. `root` is where the machine's files are.
pub(super) fn manager(root: &Path, index: u32, name: &str) -> Option<Manager> {
    let state = fs::read_to_string(root.join(format!("run/systemd/netif/links/{index}"))).unwrap_or_default();
    if state.lines().any(|line| ["ADMIN_STATE=configured", "ADMIN_STATE=configuring"].contains(&line)) {
        return Some(Manager::Networkd);
    }
    let dir = root.join("etc/network");
    let more = fs::read_dir(dir.join("interfaces.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    let says = |file: PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line.split_whitespace().take(2).eq(["iface", name]))
    };
    std::iter::once(dir.join("interfaces")).chain(more).any(says).then_some(Manager::Ifupdown)
}

/// Read the release of the kernel.
pub(super) fn release(proc: &Path) -> Option<String> {
    word(&proc.join("sys/kernel/osrelease"))
}

/// Read what the kernel tells of an adapter on the USB.
fn usb(device: &Path) -> Option<Usb> {
    let id = |file| word(&device.join(file));
    let hubs = device.ancestors().skip(1).take_while(|above| file_name(above).is_some_and(|name| name.contains('-')));
    let hub = |path: &Path| {
        let name = word(&path.join("product"));
        Some(Hub { path: file_name(path)?, name, mbps: number(&path.join("speed")) })
    };
    let mut hubs: Vec<_> = hubs.filter_map(hub).collect();
    hubs.reverse();
    Some(Usb {
        path: file_name(device)?,
        mbps: number(&device.join("speed")),
        id: id("idVendor").zip(id("idProduct")).map(|(vendor, product)| format!("{vendor}:{product}")),
        autosuspend: word(&device.join("power/control")).is_some_and(|control| control == "auto"),
        hubs,
    })
}

/// The names of the devices that an interface hangs on, as they follow each other in the kernel's tree of devices, and
/// its own.
fn lineage(place: &Path, nic: &str) -> Vec<String> {
    let whole = fs::canonicalize(place).unwrap_or_default();
    let names = whole.iter().filter_map(|name| Some(clean::line(name.to_str()?).into_owned()));
    let above = names.skip_while(|name| name != "devices").skip(1).take_while(|name| name != "net");
    above.chain([nic.to_owned()]).collect()
}

fn file_name(path: &Path) -> Option<String> {
    Some(clean::line(path.file_name()?.to_str()?).into_owned())
}

/// The negotiated speed in Mbit/s. sysfs has -1, or an error, while there is no link.
fn link_speed(place: &Path) -> Option<u32> {
    number(&place.join("speed"))
}

/// The USB device behind an interface; `None` if it is none. `device` leads to the USB *interface*; its parent is the
/// device, which has the speed.
fn usb_device(place: &Path) -> Option<PathBuf> {
    let interface = place.join("device");
    let subsystem = fs::read_link(interface.join("subsystem")).ok()?;
    if subsystem.file_name()? != "usb" {
        return None;
    }
    Some(fs::canonicalize(interface).ok()?.parent()?.to_owned())
}

/// The one line of a file, if it has any.
fn word(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(clean::line(text.trim()).into_owned()).filter(|word| !word.is_empty())
}

fn number(file: &Path) -> Option<u32> {
    word(file)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const NIC: &str = "enx00e04ca81110";

    /// A tree as the kernel lays it out for a USB adapter at a hub's third port.
    fn sysfs(link: &str, usb: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let hub = root.path().join("devices/pci0000:00/0000:00:14.0/usb2/2-1");
        let device = hub.join("2-1.3");
        let net = device.join("2-1.3:1.0/net").join(NIC);
        for dir in [&net, &device.join("power"), &root.path().join("bus/usb"), &root.path().join("class/net")] {
            fs::create_dir_all(dir).unwrap();
        }
        for (file, text) in [
            (hub.join("speed"), "480\n"),
            (hub.join("product"), "USB2.0 Hub\n"),
            (device.join("speed"), usb),
            (device.join("idVendor"), "0bda\n"),
            (device.join("idProduct"), "8156\n"),
            (device.join("power/control"), "auto\n"),
            (net.join("speed"), link),
            (net.join("duplex"), "half\n"),
        ] {
            fs::write(file, text).unwrap();
        }
        symlink(root.path().join("bus/usb"), device.join("2-1.3:1.0/subsystem")).unwrap();
        symlink("../..", net.join("device")).unwrap();
        symlink(root.path().join("bus/usb/drivers/r8152"), device.join("2-1.3:1.0/driver")).unwrap();
        symlink(&net, root.path().join("class/net").join(NIC)).unwrap();
        root
    }

    #[test]
    fn everything_is_read_from_sysfs() {
        let tree = sysfs("2500\n", "5000\n");
        let told = told(tree.path(), NIC);
        assert_eq!((told.link_mbps, told.driver.as_deref(), told.half_duplex), (Some(2500), Some("r8152"), true));
        let hub = Hub { path: "2-1".into(), name: Some("USB2.0 Hub".into()), mbps: Some(480) };
        let (path, id) = ("2-1.3".into(), Some("0bda:8156".into()));
        assert_eq!(told.usb, Some(Usb { path, mbps: Some(5000), id, autosuspend: true, hubs: vec![hub] }));
        assert_eq!(
            told.lineage,
            ["pci0000:00", "0000:00:14.0", "usb2", "2-1", "2-1.3", "2-1.3:1.0", "enx00e04ca81110"]
        );
    }

    #[test]
    fn no_link_and_no_usb_are_no_speed() {
        let tree = sysfs("-1\n", "480\n");
        let usb = told(tree.path(), NIC);
        assert_eq!((usb.link_mbps, usb.usb.and_then(|usb| usb.mbps)), (None, Some(480)));
        assert_eq!(told(tree.path(), "eth0"), Nic { lineage: vec!["eth0".into()], ..Nic::default() });
        assert_eq!(told(Path::new("/sys"), "lo").usb, None);
    }

    #[test]
    fn who_configures_an_interface_is_found() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(manager(root.path(), 3, "br0"), None);
        file("etc/network/interfaces", "auto lo\niface lo inet loopback\nsource interfaces.d/*\n");
        file("etc/network/interfaces.d/bridge", "auto br0\niface br0 inet static\n    bridge-ports enx0\n");
        assert_eq!(manager(root.path(), 3, "br0"), Some(Manager::Ifupdown));
        assert_eq!(manager(root.path(), 3, "br1"), None);
        file("run/systemd/netif/links/3", "# private\nADMIN_STATE=unmanaged\n");
        assert_eq!(manager(root.path(), 3, "br0"), Some(Manager::Ifupdown));
        file("run/systemd/netif/links/3", "# private\nADMIN_STATE=configured\n");
        assert_eq!(manager(root.path(), 3, "br0"), Some(Manager::Networkd));
    }

    #[test]
    fn counters_are_read_and_what_is_not_there_is_zero() {
        let tree = sysfs("2500\n", "5000\n");
        let place = tree.path().join("class/net").join(NIC);
        fs::create_dir(place.join("statistics")).unwrap();
        fs::write(place.join("statistics/rx_packets"), "18446744073709551615\n").unwrap();
        fs::write(place.join("statistics/rx_errors"), "-3\n").unwrap();
        fs::write(place.join("carrier_down_count"), "4\n").unwrap();
        let wanted = Counters { received: u64::MAX, losses: 4, ..Counters::default() };
        assert_eq!(counters(tree.path(), NIC, false), wanted);
        // No driver has this one: it is asked, and that is no error.
        assert_eq!(counters(tree.path(), NIC, true), wanted);
    }

    #[test]
    fn nonsense_is_read_as_nothing() {
        let tree = sysfs("\u{0}\u{1b}[2J", "many");
        fs::write(tree.path().join("devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.3/idVendor"), [0xff, 0xfe]).unwrap();
        let told = told(tree.path(), NIC);
        let usb = told.usb.unwrap();
        assert_eq!((told.link_mbps, usb.mbps, usb.id), (None, None, None));
    }
}
