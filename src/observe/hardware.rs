//! Hardware that the machine is made of: an inventory from sysfs and proc(5), read at the start and now and then, as
//! somebody may plug. Reads only, and asks no device.

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::kernel::attributes::{names, number, raw, text, value};
use crate::observe::observer::{Begin, Kernel, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::wire::{Inventory, NetworkAdapter};
use futures_util::FutureExt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Time between two looks.
const SLOW_LOOK: Duration = Duration::from_secs(300);
/// The mark of a container (systemd, CONTAINER_INTERFACE), with its kind in it.
const CONTAINER: &str = "/run/systemd/container";

/// Observer of the hardware.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "hardware";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin =
        Begin::Once(|ground, to| Some(watch(ground.kernel.clone(), ground.rhythm.clone(), to).boxed()));
    type Fact = Inventory;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.inventory = Some(seen))
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches until nobody listens any more.
async fn watch(kernel: Kernel, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let (mut slow, mut known) = (rhythm.in_turn(SLOW_LOOK, 4), None);
    loop {
        slow.next().await;
        let places = kernel.clone();
        match tokio::task::spawn_blocking(move || look(&places.sysfs, &places.proc)).await {
            Ok(seen) if known.as_ref() != Some(&seen) => {
                known = Some(seen.clone());
                publish::<Watch>(&to, seen).await?;
            }
            Ok(_) => {}
            Err(why) => tracing::error!("the look at the hardware ended early: {why}"),
        }
    }
}

fn look(sysfs: &Path, proc: &Path) -> Inventory {
    let dmi = |name: &str| text(&sysfs.join("class/dmi/id").join(name));
    let joined = |names: [&str; 3]| {
        let words: Vec<_> = names.into_iter().filter_map(|name| dmi(name).filter(|_| !name.is_empty())).collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    let cpuinfo = raw(&proc.join("cpuinfo")).unwrap_or_default();
    let of_processor = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(crate::clean::line(line.split_once(':')?.1.trim()).into_owned())
    };
    let memory = raw(&proc.join("meminfo")).and_then(|text| value(&text, "MemTotal"));
    Inventory {
        container: text(Path::new(CONTAINER)),
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        board: joined(["board_vendor", "board_name", "board_version"]),
        firmware: joined(["bios_vendor", "bios_version", "bios_date"]),
        processor: of_processor("model name"),
        microcode: of_processor("microcode"),
        processors: processors(sysfs),
        memory_bytes: memory.map(|kibibytes| kibibytes * 1024),
        kernel: text(&proc.join("sys/kernel/osrelease")),
        rtc: text(&sysfs.join("class/rtc/rtc0/name")),
        adapters: adapters(sysfs),
    }
}

fn processors(sysfs: &Path) -> u32 {
    let is_one = |name: &&String| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok());
    names(&sysfs.join("devices/system/cpu")).iter().filter(is_one).count().try_into().unwrap_or_default()
}

/// List the adapters: the interfaces that are of a device.
fn adapters(sysfs: &Path) -> Vec<NetworkAdapter> {
    let class = sysfs.join("class/net");
    names(&class)
        .into_iter()
        .filter(|name| class.join(name).join("device").exists())
        .map(|name| adapter(&class, name))
        .collect()
}

fn adapter(class: &Path, name: String) -> NetworkAdapter {
    let dir = class.join(&name);
    let device = fs::canonicalize(dir.join("device")).ok();
    let subsystem = device.as_ref().and_then(|device| file_name(&fs::read_link(device.join("subsystem")).ok()?));
    // On the USB it is an interface of the device, which is above it.
    let usb =
        device.as_ref().filter(|_| subsystem.as_deref() == Some("usb")).and_then(|it| it.parent().map(Path::to_owned));
    NetworkAdapter {
        mac: text(&dir.join("address")),
        driver: fs::read_link(dir.join("device/driver")).ok().and_then(|driver| file_name(&driver)),
        link_mbps: number(&dir.join("speed")),
        duplex: text(&dir.join("duplex")).filter(|duplex| duplex != "unknown"),
        usb_path: usb.as_ref().and_then(|usb| file_name(usb)),
        usb_mbps: usb.as_ref().and_then(|usb| number(&usb.join("speed"))),
        usb_product: usb.as_ref().and_then(|usb| usb_product(usb)),
        pci: device.filter(|_| subsystem.as_deref() == Some("pci")).and_then(|device| file_name(&device)),
        name,
    }
}

fn usb_product(usb: &Path) -> Option<String> {
    let word = |name: &str| text(&usb.join(name));
    let (vendor, product) = (word("idVendor")?, word("idProduct")?);
    let name = word("product").map(|name| format!("{name} ")).unwrap_or_default();
    let revision = word("bcdDevice").map(|revision| format!(", revision {revision}")).unwrap_or_default();
    Some(format!("{name}({vendor}:{product}{revision})"))
}

fn file_name(path: &Path) -> Option<String> {
    Some(crate::clean::line(path.file_name()?.to_str()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("{text}\n")).unwrap();
    }

    #[test]
    fn a_machine_tells_what_it_is_made_of() {
        let tree = tempfile::tempdir().unwrap();
        let (sysfs, proc) = (tree.path().join("sys"), tree.path().join("proc"));
        let nothing = look(&sysfs, &proc);
        assert_eq!(nothing, Inventory { container: nothing.container.clone(), ..Inventory::default() });
        for (file, text) in [
            ("class/dmi/id/sys_vendor", "Dell Inc."),
            ("class/dmi/id/bios_vendor", "AMI"),
            ("class/dmi/id/bios_date", "01/02/2024"),
            ("devices/system/cpu/cpu0/online", "1"),
            ("devices/system/cpu/cpu1/online", "1"),
            ("devices/system/cpu/cpufreq/x", "1"),
            ("class/net/br0/address", "02:00:00:00:00:01"),
            ("devices/usb2/2-1/speed", "5000"),
            ("devices/usb2/2-1/idVendor", "0bda"),
            ("devices/usb2/2-1/idProduct", "8156"),
            ("devices/usb2/2-1/bcdDevice", "3104"),
            ("devices/usb2/2-1/product", "USB 10/100/1G/2.5G LAN"),
            ("devices/usb2/2-1/2-1:1.0/net/enx0/address", "00:e0:4c:a8:11:10"),
            ("devices/usb2/2-1/2-1:1.0/net/enx0/duplex", "full"),
            ("bus/usb/x", ""),
        ] {
            write(&sysfs, file, text);
        }
        let interface = sysfs.join("devices/usb2/2-1/2-1:1.0");
        symlink(sysfs.join("bus/usb"), interface.join("subsystem")).unwrap();
        symlink(&interface, interface.join("net/enx0/device")).unwrap();
        symlink(interface.join("net/enx0"), sysfs.join("class/net/enx0")).unwrap();
        write(&proc, "meminfo", "MemTotal:       1024 kB");
        write(&proc, "sys/kernel/osrelease", "6.12.48+deb13-amd64");
        write(&proc, "cpuinfo", "processor\t: 0\nmodel name\t: AMD A4-9120C\nmicrocode\t: 0x6006705");
        let seen = look(&sysfs, &proc);
        assert_eq!((seen.vendor.as_deref(), seen.firmware.as_deref()), (Some("Dell Inc."), Some("AMI 01/02/2024")));
        assert_eq!((seen.processor.as_deref(), seen.processors), (Some("AMD A4-9120C"), 2));
        assert_eq!((seen.microcode.as_deref(), seen.memory_bytes), (Some("0x6006705"), Some(1 << 20)));
        let [adapter] = &seen.adapters[..] else { panic!("{seen:?}") };
        assert_eq!((adapter.usb_path.as_deref(), adapter.usb_mbps, adapter.link_mbps), (Some("2-1"), Some(5000), None));
        assert_eq!(adapter.usb_product.as_deref(), Some("USB 10/100/1G/2.5G LAN (0bda:8156, revision 3104)"));
        assert_eq!((adapter.duplex.as_deref(), adapter.pci.as_deref()), (Some("full"), None));
    }
}
