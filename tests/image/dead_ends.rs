//! A version that gets nowhere: neither to its root nor to anything that runs. On trial it gives way
//! by itself; where there is nothing to go back to it says so, and stays for its owner to see. A
//! machine whose systemd has crashed starts again.

use crate::apply::{Server, take, until_version};
use crate::guest::{BOOT, Disk, FIRMWARE, Guest};
use crucible_sled::check::Code;
use std::time::{Duration, Instant};

/// What is on the screen of one that has no root.
const NO_ROOT: &str = "This sled did not find its root or /var";
/// And of one that has nothing else.
const NO_FURTHER: &str = "This sled does not get further";
/// A version on trial starts again sooner, on a machine that is busy with others as well.
const STAYS: Duration = Duration::from_secs(90);

#[test]
fn a_version_that_gets_nowhere_gives_way_and_the_last_one_stays_to_be_seen() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    let server = Server::of("1.1");
    take(&guest, &server.url);
    drop(server);
    guest.switch_off();

    // Two tries end in the initrd; it starts again by itself.
    let mut guest = disk.boot_with(&["--append", "rd.systemd.unit=emergency.target"]);
    shows(&mut guest, NO_ROOT);
    shows(&mut guest, NO_ROOT);
    guest.cut();

    // The third ends later; and then the version before has its turn, with the same fate.
    let mut guest = disk.boot_with(&["--append", "systemd.unit=emergency.target"]);
    shows(&mut guest, NO_FURTHER);
    shows(&mut guest, NO_FURTHER);
    let since = Instant::now();
    guest.until("a sled that waits", STAYS * 2, |guest| {
        assert!(!guest.console_shows(FIRMWARE), "it has started again: {}", guest.console());
        (since.elapsed() > STAYS).then_some(())
    });
    guest.cut();

    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    until_version(&mut guest, "1.0", "rolled_back", BOOT);
    guest.until("UPDATE_GIVEN_UP", BOOT, |guest| {
        guest.sled()?.checks.iter().any(|check| check.code == Code::UpdateGivenUp).then_some(())
    });

    // Not even systemd stays when it has crashed.
    guest.forget_console();
    _ = guest.root("kill -SEGV 1");
    shows(&mut guest, FIRMWARE);
}

/// Waits until this is on the screen, and wipes it.
fn shows(guest: &mut Guest<'_>, text: &str) {
    guest.until(text, BOOT, |guest| guest.console_shows(text).then_some(()));
    guest.forget_console();
}
