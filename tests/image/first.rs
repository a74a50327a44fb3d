//! The first boot: configured without a keyboard, attachable, hardened; its adapter pulled and
//! plugged in again. What a reboot keeps of it is in `reboot::`.

use crate::guest::{BOOT, Disk, Guest};
use crate::reboot::identities;
use crucible_sled::check::Code;

/// The memory that all of the sled may take, with twelve regions.
const MEMORY_MIB: u64 = 350;

/// Polls the sled's address on the sled itself, and tells every other answer on the console: from
/// outside nobody answers while the adapter is pulled.
const POLLER: &str = r#"last=; while :; do
    exec 3<>/dev/tcp/192.168.4.189/3800
    printf "GET /v1/volumes/still-fawn HTTP/1.0\r\nHost: sled\r\n\r\n" >&3
    read -r _ code _ <&3; exec 3>&-
    if [ "$code" != "$last" ]; then echo "the poll says $code" >/dev/console; last=$code; fi
    sleep 1; done"#;

#[test]
fn an_image_is_a_sled_at_first_boot_and_lives_through_pulled_adapters() {
    let disk = Disk::new().whole().configured(true);
    let mut guest = disk.boot();
    for volume in ["pve", "still-fawn", "pumped-piglet", "chief-horse"] {
        guest.until_ready(volume);
    }
    assert_eq!(identities(&guest.sled().unwrap()).len(), 12);
    is_hardened(&guest);
    keeps_limits(&guest);
    keeps_to_errors_and_settings(&guest);
    shows_itself(&guest);
    guest.says(&format!("systemd-run --quiet --unit=poller bash -c '{POLLER}'"));
    let polled =
        |guest: &mut Guest<'_>, word: &str| guest.until(word, BOOT, |guest| guest.console_shows(word).then_some(()));
    polled(&mut guest, "the poll says 200");
    for _ in 0..5 {
        guest.forget_console();
        guest.unplug();
        polled(&mut guest, "the poll says 503");
        polled(&mut guest, "NIC_MISSING");
        guest.plug();
        guest.until_ready("still-fawn");
        polled(&mut guest, "the poll says 200");
    }
}

/// A root that cannot be changed, and nothing that listens but what has to.
fn is_hardened(guest: &Guest<'_>) {
    assert!(!guest.lets_in_without_key());
    assert!(!guest.root("touch /usr/lib/changed /etc/changed").status.success());
    assert_eq!(guest.says("findmnt -no SOURCE /").trim(), "/dev/mapper/root");
    assert!(guest.says("dmsetup table root 2>/dev/null || veritysetup status root").contains("verity"));
    assert_eq!(guest.says("getent shadow | awk -F: '$2 ~ /^[$]/' | wc -l").trim(), "0", "somebody has a password");
    assert!(guest.says("cat /sys/kernel/security/lockdown").contains("[integrity]"));
    let listening = guest.says("ss -Htuln | awk '{ print $5 }'");
    for socket in listening.lines() {
        let port: u16 = socket.rsplit(':').next().unwrap().parse().unwrap();
        let known = port == 22 || port == 3800 || (3820..3860).contains(&port) || (7820..7860).contains(&port);
        assert!(known, "{socket} listens");
    }
    // The unit that hosts reach, and the one that does the most.
    assert!(exposure(guest, "crucible-downstairs@pve-0.service") <= 1.5);
    assert!(exposure(guest, "sledd.service") <= 2.0);
    assert_eq!(guest.says("systemctl --failed --no-legend --plain"), "");
}

/// An error of a file system stops what is written to it; and nobody at the keyboard changes what is started.
fn keeps_to_errors_and_settings(guest: &Guest<'_>) {
    for at in ["/var", "/crucible"] {
        assert!(guest.says(&format!("findmnt -no OPTIONS {at}")).contains("errors=remount-ro"), "{at}");
    }
    guest.says("systemctl start boot.mount && grep -qx 'editor no' /boot/loader/loader.conf");
    // The clock does not begin before anything that is signed was.
    let [epoch, signed] = ["/usr/lib/clock-epoch", "/usr/lib/systemd/import-pubring.gpg"];
    let seconds = |file: &str| guest.says(&format!("stat -c %Y {file}")).trim().parse::<u64>().unwrap();
    assert_eq!(seconds(epoch), seconds(signed));
}

fn exposure(guest: &Guest<'_>, unit: &str) -> f64 {
    // "→ Overall exposure level for sledd.service: 1.9 OK :-)"
    let told = guest.says(&format!("systemd-analyze security --no-pager {unit} | tail -n 1"));
    told.split_once(": ")
        .and_then(|(_, level)| level.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{told}"))
}

/// systemd's limits are the kernel's: an image has every controller.
fn keeps_limits(guest: &Guest<'_>) {
    let unit = "crucible-downstairs@pve-0.service";
    let group = guest.says(&format!("systemctl show -P ControlGroup {unit}"));
    for (property, file) in [("MemoryMax", "memory.max"), ("TasksMax", "pids.max")] {
        let wanted = guest.says(&format!("systemctl show -P {property} {unit}"));
        let kept = guest.says(&format!("cat '/sys/fs/cgroup{}/{file}'", group.trim()));
        assert!(wanted.trim().parse::<u64>().is_ok(), "{property}={wanted}");
        assert_eq!(
            wanted.trim().parse::<u64>().unwrap() / 4096,
            kept.trim().parse::<u64>().unwrap() / 4096,
            "{property}"
        );
    }
    let used = "awk '/MemTotal/ { total = $2 } /MemAvailable/ { print int((total - $2) / 1024) }' /proc/meminfo";
    let used: u64 = guest.says(used).trim().parse().unwrap();
    println!("{used} MiB of memory in use with twelve regions");
    assert!(used <= MEMORY_MIB, "{used} MiB in use");
}

/// The screen shows how it is, and whether it is a demonstration.
fn shows_itself(guest: &Guest<'_>) {
    let screen = guest.says("sledctl console --once");
    for word in ["Storage sled, image 1.0", "proper-raptor", "http://192.168.4.189:3800/"] {
        assert!(screen.contains(word), "{word} is not on the screen: {screen}");
    }
    let stand_in = std::env::var_os("CRUCIBLE_BIN").is_none();
    assert_eq!(screen.contains("DEMONSTRATION"), stand_in, "{screen}");
    assert!(
        guest.console().contains("Storage sled, image 1.0"),
        "the console shows something else: {}",
        guest.console()
    );
    assert_eq!(guest.sled().unwrap().checks.iter().any(|check| check.code == Code::Demonstration), stand_in);
    let status: serde_json::Value = serde_json::from_str(&guest.says("sledctl --json update status")).unwrap();
    assert_eq!(status["running"]["version"], "1.0");
}
