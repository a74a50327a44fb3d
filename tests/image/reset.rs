//! A sled is reset by its operator: what it remembers is forgotten and its regions are its own again; or everything is.

use crate::guest::{BOOT, Disk};
use serde_json::Value;

#[test]
fn a_sled_forgets_what_it_remembers_or_everything_as_is_said() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    let uuid = guest.until_ready("still-fawn").regions[0].uuid;
    guest.says("echo kept >/crucible/kept; echo kept >/var/kept; sync");
    let another = guest.root("sledctl --json reset --memory --yes another");
    let said = String::from_utf8_lossy(&another.stdout).into_owned();
    assert!(!another.status.success() && said.contains("NOT_CONFIRMED"), "{said}");
    let shown: Value = serde_json::from_str(&guest.says("sledctl --json reset --factory --dry-run")).unwrap();
    assert_eq!(shown["regions_lost"].as_array().map(Vec::len), Some(3), "{shown}");
    println!("{}", guest.says("sledctl reset --memory --dry-run"));

    // With another identity its bridge has another address, of which a network in QEMU never hears by itself: so it is
    // reached after another boot.
    guest.forget_console();
    _ = guest.root("sledctl reset --memory --yes proper-raptor");
    let forgets = "this sled forgets, as was asked: memory";
    guest.until(forgets, BOOT, |guest| guest.console_shows(forgets).then_some(()));
    guest.until("3 of 3", BOOT, |guest| guest.console_shows("3 of 3").then_some(()));
    guest.cut();
    let mut guest = disk.boot();
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("cat /crucible/kept; ls /var/kept /var/etc/forget 2>/dev/null; true"), "kept\n");

    guest.forget_console();
    _ = guest.root("sledctl reset --factory --yes proper-raptor");
    let bare = "This sled is not set up yet";
    guest.until(bare, BOOT, |guest| guest.console_shows(bare).then_some(()));
    guest.cut();
    // Another sled, with nothing of the one before.
    let disk = disk.configured(true);
    let mut guest = disk.boot();
    assert_ne!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("ls /crucible/kept /var/kept 2>/dev/null; true"), "");
}
