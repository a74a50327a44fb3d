//! Heat: what the sensors of sysfs say, and whether a processor is slowed down by it.

use crate::decide::facts::Sensor;
use crate::kernel::attributes::{names, number, text};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

/// The chips whose sensors are where they say: of others an input that leads nowhere shows a hundred degrees and more.
const PROCESSORS: [&str; 4] = ["k10temp", "zenpower", "coretemp", "cpu_thermal"];
const DISKS: [&str; 2] = ["nvme", "drivetemp"];
/// The limit of a chip that names none, in degrees Celsius: of a processor (AMD's Zen is at its limit at 95), of a disk
/// (most SSDs are made for 70).
const PROCESSOR_DEGREES: i64 = 95;
const DISK_DEGREES: i64 = 70;
/// The limits in degrees Celsius that are meant as such: firmware fills in nonsense where it knows none.
const LIMITS: std::ops::RangeInclusive<i64> = 30..=130;
/// The temperatures in degrees Celsius that a sensor can mean.
const DEGREES: std::ops::RangeInclusive<i64> = -40..=150;

/// The time that is waited for the disks' sensors.
const PATIENCE: Duration = Duration::from_secs(1);

/// Read the sensors of processors.
pub(super) fn processors(sysfs: &Path) -> Vec<Sensor> {
    sensors(sysfs, &PROCESSORS)
}

/// Sensors of disks. To read one the kernel asks the disk, and one that hangs does not answer: so that is done aside, and
/// never twice at once. Of one that does not answer in time nothing is known.
#[derive(Default)]
pub(super) struct OfDisks {
    /// The answer that nobody waits for any more.
    late: Option<Receiver<Vec<Sensor>>>,
}

impl OfDisks {
    /// Read them, as long as they answer.
    pub(super) fn read(&mut self, sysfs: &Path) -> Vec<Sensor> {
        if self.late.as_ref().is_some_and(|late| matches!(late.try_recv(), Err(TryRecvError::Empty))) {
            return Vec::new();
        }
        let (tell, told) = sync_channel(1);
        let sysfs = sysfs.to_owned();
        let ask = move || _ = tell.send(sensors(&sysfs, &DISKS));
        self.late = None;
        if std::thread::Builder::new().name("disk-heat".into()).spawn(ask).is_err() {
            return Vec::new();
        }
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            self.late = Some(told);
            Vec::new()
        })
    }
}

fn sensors(sysfs: &Path, of: &[&str]) -> Vec<Sensor> {
    let class = sysfs.join("class/hwmon");
    names(&class).iter().flat_map(|chip| of_chip(&class.join(chip), of)).collect()
}

fn of_chip(dir: &Path, wanted: &[&str]) -> Vec<Sensor> {
    let Some(chip) = text(&dir.join("name")).filter(|chip| wanted.contains(&chip.as_str())) else { return Vec::new() };
    let disk = DISKS.contains(&chip.as_str());
    // Of Intel's processors the other one is what the fan is to keep to, and of AMD's older ones always 70.
    let kinds: &[&str] = if disk { &["crit", "max"] } else { &["crit"] };
    let degrees = |name: &str, kind: &str| number::<i64>(&dir.join(format!("{name}_{kind}"))).map(|milli| milli / 1000);
    let inputs = names(dir).into_iter().filter_map(|file| Some(file.strip_suffix("_input")?.to_owned()));
    let inputs = inputs.filter(|name| name.starts_with("temp"));
    let one = |name: String| {
        let limits = kinds.iter().filter_map(|kind| degrees(&name, kind).filter(|limit| LIMITS.contains(limit)));
        let limit = limits.min();
        Some(Sensor {
            chip: chip.clone(),
            label: text(&dir.join(format!("{name}_label"))),
            disk: if disk { disk_of(dir) } else { None },
            degrees: degrees(&name, "input").filter(|degrees| DEGREES.contains(degrees))?,
            limit: limit.or(Some(if disk { DISK_DEGREES } else { PROCESSOR_DEGREES })),
        })
    };
    inputs.filter_map(one).collect()
}

/// Find the disk that a chip is in: below a SCSI device it lies in `block`; of NVMe the name space is beside it.
fn disk_of(dir: &Path) -> Option<String> {
    let device = dir.join("device");
    let is_space = |name: &String| name.starts_with("nvme") && name.contains('n') && name[4..].contains('n');
    names(&device.join("block")).into_iter().next().or_else(|| names(&device).into_iter().find(is_space))
}

/// Count how often a processor was slowed down since the machine was booted, as it was too hot. Those of AMD do not
/// count it.
pub(super) fn throttled(sysfs: &Path) -> Option<u64> {
    let processors = sysfs.join("devices/system/cpu");
    let of = |name: &String| {
        let dir = processors.join(name).join("thermal_throttle");
        number::<u64>(&dir.join("package_throttle_count")).or_else(|| number(&dir.join("core_throttle_count")))
    };
    // All of one package say the same.
    names(&processors).iter().filter_map(of).max()
}

/// Tell whether a processor is slowed down now: it is a device by which the kernel cools.
pub(super) fn slowed(sysfs: &Path) -> bool {
    let class = sysfs.join("class/thermal");
    let slows = |name: &String| {
        let dir = class.join(name);
        name.starts_with("cooling_device")
            && text(&dir.join("type")).is_some_and(|kind| kind == "Processor")
            && number::<u64>(&dir.join("cur_state")).is_some_and(|state| state > 0)
    };
    names(&class).iter().any(slows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn sensors_of_processors_and_disks_are_read_and_of_nothing_else() {
        let tree = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("class/hwmon/hwmon0/name", "k10temp"),
            ("class/hwmon/hwmon0/temp1_input", "61250"),
            ("class/hwmon/hwmon0/temp1_label", "Tctl"),
            ("class/hwmon/hwmon1/name", "nvme"),
            ("class/hwmon/hwmon1/temp1_input", "44850"),
            ("class/hwmon/hwmon1/temp1_crit", "84850"),
            ("class/hwmon/hwmon1/temp1_max", "79850"),
            ("class/hwmon/hwmon1/device/nvme0n1/size", "1"),
            ("class/hwmon/hwmon2/name", "drivetemp"),
            ("class/hwmon/hwmon2/temp1_input", "38000"),
            ("class/hwmon/hwmon2/temp1_max", "-1000"),
            ("class/hwmon/hwmon2/device/block/sda/size", "1"),
            ("class/hwmon/hwmon3/name", "nct6775"),
            ("class/hwmon/hwmon3/temp1_input", "127500"),
            ("class/hwmon/hwmon4/name", "coretemp"),
            ("class/hwmon/hwmon4/temp1_input", "garbage"),
            // Its fan is to keep it below the one, and it works up to the other.
            ("class/hwmon/hwmon5/name", "coretemp"),
            ("class/hwmon/hwmon5/temp1_input", "85000"),
            ("class/hwmon/hwmon5/temp1_max", "80000"),
            ("class/hwmon/hwmon5/temp1_crit", "100000"),
        ] {
            let file = tree.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{text}\n")).unwrap();
        }
        let all: Vec<_> = [processors(tree.path()), OfDisks::default().read(tree.path())]
            .concat()
            .into_iter()
            .map(|sensor| (sensor.chip, sensor.disk, sensor.degrees, sensor.limit.unwrap()))
            .collect();
        let of =
            |chip: &str, disk: Option<&str>, degrees, limit| (chip.to_owned(), disk.map(str::to_owned), degrees, limit);
        assert_eq!(
            all,
            [
                of("k10temp", None, 61, 95),
                of("coretemp", None, 85, 100),
                of("nvme", Some("nvme0n1"), 44, 79),
                of("drivetemp", Some("sda"), 38, 70)
            ]
        );
    }

    #[test]
    fn a_disk_that_does_not_answer_is_not_waited_for_and_not_asked_again() {
        let tree = tempfile::tempdir().unwrap();
        let chip = tree.path().join("class/hwmon/hwmon0");
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("name"), "nvme\n").unwrap();
        let input = chip.join("temp1_input");
        // Who reads it waits for somebody who writes.
        nix::unistd::mkfifo(&input, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut disks = OfDisks::default();
        assert_eq!((disks.read(tree.path()), disks.late.is_some()), (vec![], true));
        let began = std::time::Instant::now();
        (0..1000).for_each(|_| assert_eq!(disks.read(tree.path()), []));
        assert!(began.elapsed() < 1000 * PATIENCE, "each was waited for");
        // What it says in the end is of then.
        let mut late = fs::OpenOptions::new().write(true).open(&input).unwrap();
        std::io::Write::write_all(&mut late, b"99000\n").unwrap();
        drop(late);
        fs::remove_file(&input).unwrap();
        fs::write(&input, "44000\n").unwrap();
        let told = disks.late.take().unwrap().recv().unwrap();
        assert_eq!(told[0].degrees, 99);
        assert_eq!(disks.read(tree.path())[0].degrees, 44);
    }

    #[test]
    fn a_processor_that_is_slowed_down_is_seen() {
        let tree = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = tree.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!((throttled(tree.path()), slowed(tree.path())), (None, false));
        write("devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "7\n");
        write("devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "3\n");
        write("class/thermal/cooling_device0/type", "Processor\n");
        write("class/thermal/cooling_device0/cur_state", "0\n");
        write("class/thermal/cooling_device1/type", "Fan\n");
        write("class/thermal/cooling_device1/cur_state", "3\n");
        assert_eq!((throttled(tree.path()), slowed(tree.path())), (Some(7), false));
        write("class/thermal/cooling_device0/cur_state", "2\n");
        assert!(slowed(tree.path()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_firmware_fills_in_a_degree_is_one_that_there_is(input in "[0-9-]{0,20}|.{0,9}", limit in "[0-9-]{0,20}") {
            let tree = tempfile::tempdir().unwrap();
            let chip = tree.path().join("class/hwmon/hwmon0");
            fs::create_dir_all(&chip).unwrap();
            for (file, text) in [("name", "coretemp"), ("temp1_input", &input), ("temp1_crit", &limit)] {
                fs::write(chip.join(file), text).unwrap();
            }
            let told = processors(tree.path());
            proptest::prop_assert!(told.iter().all(|one| DEGREES.contains(&one.degrees) && LIMITS.contains(&one.limit.unwrap())));
        }
    }
}
