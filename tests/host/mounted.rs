//! Mounted volume on a host's machine: it is served, mounted, and under a load that verifies.

use crate::machine::{Host, Machine};
use crate::network::{SLED, VOLUME};
use support::places::programs;

/// The path at which it is mounted.
pub const AT: &str = "/mnt/volume";
/// Rounds of the load that are enough to see that it goes on.
const ROUNDS: u64 = 8;

/// The load, in a host's machine.
pub fn share_load(host: &Host) {
    host.share(&programs().join("examples/host-load"));
}

/// The steps on a host's machine.
pub trait IsHost {
    /// Has systemd serve the volume, now and at each boot, with these options for `crucible-attach serve`.
    fn serves(&self, options: &str);
    /// Waits until the relay says that it serves.
    fn until_served(&self);
    /// Has the volume mounted now and whenever it is there, as an installation does; and waits until it is.
    fn mounts(&self);
    /// Waits until it is mounted by itself.
    fn until_mounted(&self);
    /// Assert that its file system is in order, which it is mounted again after.
    fn is_in_order(&self);
    /// Assert that it is mounted, and can be written to.
    fn is_mounted(&self);
    /// Starts the load.
    fn loads(&self);
    /// How many rounds the load has done.
    fn rounds(&self) -> u64;
    /// Waits until the load has done some rounds more.
    fn goes_on(&self);
    /// Ends the load, which must have had no error.
    fn ends_load(&self);
    /// Assert that everything that the load had flushed is there.
    fn verifies(&self);
    /// Assert that nothing that was asked of the device has failed since the boot.
    fn has_no_errors(&self);
    /// Systemd's word on a property of the relay's unit.
    fn relay(&self, property: &str) -> String;
}

impl IsHost for Machine<'_> {
    fn serves(&self, options: &str) {
        self.says(&format!(
            "printf 'CRUCIBLE_SLEDS={SLED}\\nCRUCIBLE_OPTIONS={options}\\n' >/etc/crucible-attach/{VOLUME}.conf && \
             systemctl enable --now --no-block crucible-attach@{VOLUME}.service"
        ));
    }

    fn until_served(&self) {
        self.until_says(&format!("systemctl is-active crucible-attach@{VOLUME}"), |state| state.trim() == "active");
    }

    fn mounts(&self) {
        self.says(&format!("crucible-attach install {VOLUME} --sled {SLED} --mount {AT}"));
        self.is_mounted();
    }

    fn until_mounted(&self) {
        self.until_says(&format!("findmnt -no FSTYPE {AT}"), |mounted| mounted.trim() == "ext4");
        self.is_mounted();
    }

    fn is_in_order(&self) {
        self.says(&format!("systemctl stop mnt-volume.mount && e2fsck -fn /dev/crucible/{VOLUME}"));
        self.says("systemctl start mnt-volume.mount");
        self.is_mounted();
    }

    fn is_mounted(&self) {
        let options = self.says(&format!("findmnt -no OPTIONS {AT}"));
        assert!(options.split(',').any(|option| option == "rw"), "{options}");
        self.says(&format!("touch {AT}/touched"));
    }

    fn loads(&self) {
        self.says("rm -f /run/enough /run/rounds");
        self.says(&format!(
            "systemd-run --quiet --collect --unit=load --property=RemainAfterExit=yes \
             /shared/host-load write {AT}/load /root/record /run/rounds /run/enough"
        ));
        self.goes_on();
    }

    fn rounds(&self) -> u64 {
        let rounds = self.run("cat /run/rounds").printed;
        rounds.parse().unwrap_or_default()
    }

    fn goes_on(&self) {
        let enough = self.rounds() + ROUNDS;
        self.until("the load's next round", || {
            let state = self.says("systemctl show -P SubState load");
            assert_eq!(state, "running", "{}", self.says("journalctl -o cat -u load; journalctl -k -n 20"));
            (self.rounds() >= enough).then_some(())
        });
    }

    fn ends_load(&self) {
        self.goes_on();
        self.says("touch /run/enough");
        self.until_says("systemctl show -P SubState load", |state| state.trim() != "running");
        assert_eq!(self.says("systemctl show -P Result load"), "success", "{}", self.says("journalctl -o cat -u load"));
        self.says("systemctl stop load");
        self.is_mounted();
        self.has_no_errors();
    }

    fn verifies(&self) {
        let said = self.says(&format!("/shared/host-load verify {AT}/load /root/record"));
        let compared: u64 = said.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap();
        assert!(compared > 100, "{said}");
    }

    fn has_no_errors(&self) {
        let said =
            self.says("journalctl -q -b -k -o cat --grep 'I/O error|EXT4-fs error|Remounting filesystem' || true");
        assert_eq!(said, "");
    }

    fn relay(&self, property: &str) -> String {
        self.says(&format!("systemctl show -P {property} crucible-attach@{VOLUME}"))
    }
}
