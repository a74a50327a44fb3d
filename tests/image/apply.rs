//! Updates, applied: to a good image, also after a power cut took the contents of its kernel's file; to one whose
//! supervisor exits, which goes back by itself; to one with a pulled adapter, which stays, with all that the boot before
//! had. What is not signed is refused, and a boot that is not judged in time is given up.

use crate::guest::{BOOT, Disk, FIRMWARE, Guest, die_with_parent, image};
use crate::reboot;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::places::repository;

/// A try in vain, and the boot after it.
pub const ROLLBACK: Duration = Duration::from_secs(1200);
/// The words of a boot on the screen that is well.
const GOOD: &str = "this boot is a good one";

#[test]
fn a_good_version_stays_and_a_bad_one_goes_back() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    let file = "/var/good.update";
    guest.copy(&image("good.update"), file);
    refuses_what_is_not_signed(&guest, file);
    take(&guest, file);
    guest = loses_its_kernel(guest, &disk);
    take(&guest, file);
    guest.says(&format!("rm {file}"));
    guest.reboot();
    until_version(&mut guest, "1.1", "good", BOOT);
    guest.until_ready("still-fawn");

    let server = Server::of("1.2");
    take(&guest, &server.url);
    // Its last try: `dead_ends::` counts to three.
    guest.says("cd /boot/EFI/Linux && mv crucible-sled_1.2+3-0.efi crucible-sled_1.2+1-2.efi");
    starts_again_if_it_is_not_judged_in_time(&mut guest);
    until_version(&mut guest, "1.1", "rolled_back", ROLLBACK);
    let sled = guest.until_up();
    let told = sled.checks.iter().any(|check| check.code == crucible_sled::check::Code::UpdateGivenUp);
    assert!(told || guest.until_says("sledctl checks", BOOT, |said| said.contains("UPDATE_GIVEN_UP")).contains("1.2"));
    assert_eq!(guest.root("sledctl update status").status.code(), Some(3), "done, but not well");
    guest.until_ready("still-fawn");
}

#[test]
fn a_pulled_cable_is_no_reason_to_go_back_and_a_hang_one_to_start_again() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    let regions = reboot::identities(&guest.sled().unwrap());
    let server = Server::of("1.1");
    take(&guest, &server.url);
    // This boot was a good one as well, and said so.
    guest.forget_console();
    // The regions that serve are remembered when the machine goes down; after that the adapter is pulled.
    _ = guest.root("systemctl reboot");
    guest.until("another boot", BOOT, |guest| guest.console_shows(FIRMWARE).then_some(()));
    guest.unplug();
    // The machine comes up without, is found to be well enough, and then gets its adapter back.
    guest.until("a boot without adapter", ROLLBACK, |guest| guest.console_shows("image 1.1").then_some(()));
    guest.until("a verdict", ROLLBACK, |guest| guest.console_shows(GOOD).then_some(()));
    let excused = "would not with any version";
    guest.until(excused, BOOT, |guest| guest.console_shows(excused).then_some(()));
    guest.plug();
    until_version(&mut guest, "1.1", "good", BOOT);
    guest.until_ready("still-fawn");
    assert_eq!(reboot::identities(&guest.sled().unwrap()), regions, "an update keeps the regions");
    reboot::keeps_its_journal(&guest);
    reboot::lets_in_nobody_without_keys(&guest);
    reboot::is_watched_over(&mut guest);
}

/// What a power cut just behind the renaming of a file may leave on FAT: its name, and nothing in it. The version is not
/// there then, and can be taken again.
fn loses_its_kernel<'a>(guest: Guest<'a>, disk: &'a Disk) -> Guest<'a> {
    let kernel = "/boot/EFI/Linux/crucible-sled_1.1+3-0.efi";
    guest.says(&format!("systemctl start boot.mount && test -s {kernel} && : > {kernel} && sync"));
    guest.cut();
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    until_cut_short(&mut guest, BOOT);
    guest.says(&format!("systemctl start boot.mount && test ! -e {kernel}"));
    guest
}

/// Waits until a boot of the version before knows that the last update was cut short, if one was put on record, and that
/// nothing of it is there that could start.
pub fn until_cut_short(guest: &mut Guest<'_>, patience: Duration) {
    guest.until_says("sledctl --json update status", patience, |said| {
        let Ok(status) = serde_json::from_str::<Value>(said) else { return false };
        let cut_short = status["last"].is_null() || status["last"]["outcome"]["result"] == "cut_short";
        cut_short && status["installed"].as_array().is_some_and(|installed| installed.len() == 1)
    });
}

/// A list that is not as it was signed offers no update.
fn refuses_what_is_not_signed(guest: &Guest<'_>, update: &str) {
    let signed = "mkdir /var/forged && cd /var/forged && tar --occurrence=1 -xf";
    let files = "SHA256SUMS SHA256SUMS.gpg crucible-sled_1.1.json";
    let offered = guest.says(&format!("{signed} {update} {files} && sledctl update check ."));
    assert!(offered.contains("1.1 can be had, released"), "{offered}");
    // Nothing but the signature speaks against this one.
    let output = guest.root("cd /var/forged && sed -i s/_1.1/_1.9/ SHA256SUMS && sledctl update check .");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stderr).contains("signed by the key"), "{output:?}");
    let after = "cd /var/forged && sledctl update apply . 2>/dev/null; rm -r /var/forged; sledctl --json update status";
    let status: Value = serde_json::from_str(&guest.says(after)).unwrap();
    assert_eq!(status["installed"].as_array().unwrap().len(), 1, "{status}");
}

/// A version on trial has so long to be judged; one that was is left alone.
fn starts_again_if_it_is_not_judged_in_time(guest: &mut Guest<'_>) {
    let deadline = "systemctl start sled-boot-deadline.service; systemctl show -P Result sled-boot-deadline.service";
    assert_eq!(guest.says("systemctl is-active sled-boot-deadline.timer"), "active\n");
    assert_eq!(guest.says(deadline), "exec-condition\n");
    guest.reboots_after(
        "systemctl stop sled-boot-check.service; dir=/run/systemd/system/sled-boot-deadline.timer.d; mkdir -p $dir; \
         printf '[Timer]\nOnBootSec=\nOnBootSec=1s\n' >$dir/now.conf; systemctl daemon-reload; \
         systemctl restart sled-boot-deadline.timer",
    );
}

/// A web server of this machine that offers a version; gone when it is dropped.
pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    pub fn of(version: &str) -> Self {
        let mut serve = Command::new(repository("image/tools"));
        serve.env("TOOLS_BIND", image("")).args(["python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
        serve.arg("--directory").arg(image(version)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = die_with_parent(&mut serve).spawn().unwrap();
        // "Serving HTTP on 127.0.0.1 port 40123 (...": from then on it answers.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next());
        // The machine reaches this one by the address of its network's host.
        let url = format!("http://192.168.4.2:{}/", port.unwrap_or_else(|| panic!("it does not serve: {line}")));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Looks for a version there, and takes it.
pub fn take(guest: &Guest<'_>, source: &str) -> String {
    guest.says(&format!("sledctl update check {source} && sledctl update apply {source}"))
}

/// Waits until a version runs, is found to be good, and the last update has come to this.
pub fn until_version(guest: &mut Guest<'_>, version: &str, result: &str, patience: Duration) {
    // The verdict is on the screen, unless other words have torn it: asking a machine that starts
    // makes it slower.
    let since = Instant::now();
    guest.until("a verdict", patience, |guest| {
        (guest.console_shows(GOOD) || since.elapsed() > patience / 2).then_some(())
    });
    guest.until_says("sledctl --json update status", patience, |said| {
        let Ok(status) = serde_json::from_str::<Value>(said) else { return false };
        status["running"]["version"] == version && status["last"]["outcome"]["result"] == result
    });
}
