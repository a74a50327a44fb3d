//! A version in which only the downstairs program is another: that is rolled over the regions without a
//! reboot, if they serve. And one that gets nowhere: neither to its root nor to anything that runs. On
//! trial it gives way by itself; where there is nothing to go back to it says so, and stays for its owner
//! to see. A machine whose systemd has crashed starts again.

use crate::apply::{Server, until_version};
use crate::guest::{BOOT, Disk, FIRMWARE, Guest, image, run};
use crate::parts::slots;
use crucible_sled::check::Code;
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// The words on the screen of one that has no root.
const NO_ROOT: &str = "This sled did not get to its system";
/// And of one that has nothing else.
const NO_FURTHER: &str = "This sled does not get further";
/// What both say when nothing is wrong with them but what they were told.
const TOLD: &str = "Nothing has failed: it was told to stop here";
/// A version on trial starts again sooner, on a machine that is busy with others as well.
const STAYS: Duration = Duration::from_secs(90);

#[test]
fn a_version_is_rolled_without_a_reboot_gets_nowhere_and_gives_way_and_the_last_one_stays_to_be_seen() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    its_downstairs_is_rolled(&mut guest);
    guest.switch_off();

    // Two tries end in the initrd; it starts again by itself.
    let mut guest = disk.boot_with(&["--append", "rd.systemd.unit=emergency.target"]);
    show(&mut guest, &[NO_ROOT, TOLD, "It starts again in 30 seconds"]);
    show(&mut guest, &[NO_ROOT]);
    guest.cut();

    // The third ends later; and then the version before has its turn, with the same fate.
    let mut guest = disk.boot_with(&["--append", "systemd.unit=emergency.target"]);
    show(&mut guest, &[NO_FURTHER, TOLD, "This version is on trial, and gives way"]);
    show(&mut guest, &[NO_FURTHER, TOLD, "It starts again in ten minutes, unless somebody is logged in"]);
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
    show(&mut guest, &[FIRMWARE]);
}

/// A root that was written over is told of by its partition and its disk, and it is tried again. A disk that is taken out
/// after the boot loader was read cannot be had here.
#[test]
fn a_root_that_was_written_over_is_named_on_the_console() {
    let disk = Disk::new().configured(false);
    let file = fs::File::options().write(true).open(disk.path()).unwrap();
    let (start, _) = slots(&disk.path())[0];
    file.write_all_at(&vec![0xa5; 1 << 20], start).unwrap();
    let mut guest = disk.boot();
    let what =
        ["the partition crucible-sled_1.0", "of the disk /dev/", "cannot be mounted", "is corrupted", "image/flash"];
    show(&mut guest, &[&[NO_ROOT][..], &what].concat());
    show(&mut guest, &["It starts again in 30 seconds", FIRMWARE]);
}

/// Nothing is restarted but the regions, one after the other.
fn its_downstairs_is_rolled(guest: &mut Guest<'_>) {
    // Each region is watched for so long before the next one has its turn.
    guest.says(
        "mkdir -p /etc/sled/sled.toml.d && printf '[downstairs]\nsteady_after = \"5s\"\n' >/etc/sled/sled.toml.d/50-short.toml && \
         sledctl reload",
    );
    let same = "pgrep -o sledd; cat /proc/sys/kernel/random/boot_id";
    let before = guest.says(same);
    let server = Server::of("1.3");
    is_not_rolled_while_a_region_does_not_serve(guest, &server.url);
    let said = guest.says(&format!("sledctl update apply {}", server.url));
    assert!(said.contains("differs in nothing that needs one"), "{said}");
    // Both call themselves the same: it is the file that tells.
    let other = run(Command::new("sha256sum").arg(image("other/crucible-downstairs")));
    let runs = guest.says("sha256sum $(pgrep crucible-downst | sed 's,.*,/proc/&/exe,')");
    let digest = |line: &str| line.split(' ').next().map(str::to_owned);
    assert_eq!(runs.lines().map(digest).collect::<Vec<_>>(), vec![digest(&other); 3], "{runs}");
    assert_eq!(guest.says(same), before, "nothing else was restarted");
    let pids = "systemctl show -P MainPID 'crucible-downstairs@*'";
    let before = guest.says(pids);
    let said = guest.says(&format!("sledctl update apply {}", server.url));
    assert!(said.contains("has nothing newer"), "{said}");
    assert_eq!(guest.says(pids), before, "what is rolled is not rolled again");
}

/// The version is taken all the same, and applied again when the region is well.
fn is_not_rolled_while_a_region_does_not_serve(guest: &mut Guest<'_>, url: &str) {
    let pid = "$(systemctl show -P MainPID crucible-downstairs@still-fawn-0)";
    guest.says(&format!("kill -STOP {pid}"));
    guest.until_answer("still-fawn", 503);
    let output = guest.root(&format!("sledctl update apply {url}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&output.stdout));
    for word in ["1.3 is in its slot", "the same command tries it again", "still-fawn-0 does not serve"] {
        assert!(said.contains(word), "{word:?} is not what it says: {said}");
    }
    guest.says(&format!("kill -CONT {pid}"));
    guest.until_ready("still-fawn");
}

/// Waits until all of this is on the screen, and wipes it.
fn show(guest: &mut Guest<'_>, texts: &[&str]) {
    for text in texts {
        guest.until(text, BOOT, |guest| guest.console_shows(text).then_some(()));
    }
    guest.forget_console();
}
