//! `crucible-attach install` and `uninstall` on a host: from nothing to a file system, over what was set up by hand,
//! and back. Proxmox' programs are stand-ins that refuse as the real ones do.

use crate::machine::Machine;
use crate::network::{IsSled, Network, SIZE, SLED, VOLUME};
use crate::steps::Steps;
use support::places::repository;

/// The path of the server before it is installed.
const SERVER: &str = "/root/crucible-nbd-server";
/// The path at which the volume is mounted unless something else is said, and that by hand.
const USUAL: &str = "/mnt/crucible-still-fawn";
const BY_HAND: &str = "/mnt/crucible-storage";

/// A host, as it is told to install.
struct Bench<'a>(&'a Machine<'a>);

impl Bench<'_> {
    fn says(&self, command: &str) -> String {
        self.0.says(command)
    }

    fn install(&self, words: &str) -> String {
        self.says(&format!("crucible-attach install {VOLUME} --sled {SLED} {words}"))
    }

    /// Assert that it is refused with this code, and nothing is changed by it; returns what is said.
    fn refused(&self, command: &str, code: &str) -> String {
        let outcome = self.0.run(&format!("crucible-attach {command} --json"));
        let said = outcome.printed;
        assert!(outcome.code != 0 && said.contains(&format!("\"code\": \"{code}\"")), "{command}: {said}");
        assert!(said.contains("\"changed\": false"), "{command}: {said}");
        said
    }

    /// Assert that there is nothing left to do.
    fn is_installed(&self, words: &str) {
        let said = self.says(&format!("crucible-attach install {VOLUME} {words} --json"));
        let other = said
            .lines()
            .filter(|line| line.contains("\"outcome\""))
            .find(|line| !["\"already\"", "\"skipped\""].iter().any(|outcome| line.contains(outcome)));
        assert!(said.contains("\"changed\": false") && other.is_none(), "{said}");
    }

    /// The commands that Proxmox was told since this was asked last, but for questions.
    fn told(&self) -> Vec<String> {
        let calls = self.says("cd /var/lib/stand-in-pve && cat calls && : >calls");
        calls.lines().filter(|call| !call.starts_with("pvesh ")).map(str::to_owned).collect()
    }

    /// The path at which the volume's device is mounted.
    fn mounted(&self) -> String {
        self.says("findmnt --noheadings --output TARGET --source $(readlink -f /dev/crucible/still-fawn) || true")
    }
}

#[test]
fn a_volume_is_installed_taken_over_kept_and_uninstalled() {
    let network = Network::new();
    let (sled, host) = (network.sled(), network.host(1));
    let pve = host.share(&repository("tests/host/pve"));
    let (sled, machine) = (sled.boot(), host.boot());
    let (bench, mut steps) = (Bench(&machine), Steps::new());
    bench.says(&format!("mv /usr/lib/crucible/crucible-nbd-server {SERVER}; touch /root/nobodys"));
    before_anything_is_there(&bench);
    steps.took("the refusals");
    from_nothing(&bench, &sled);
    steps.took("from nothing");
    bench.says(&format!("install -m 0755 {pve} /usr/bin/pvesh && install -m 0755 {pve} /usr/bin/pvesm"));
    a_storage_is_added(&bench);
    steps.took("the storage");
    undone(&bench, &sled);
    steps.took("undone");
    nothing_is_written_over(&bench);
    steps.took("nothing is written over");
    set_up_by_hand(&bench, &sled);
    steps.took("by hand");
    taken_over(&bench);
    steps.took("taken over");
    let machine = machine.reboot();
    machine.until_booted();
    steps.took("the boot");
    let bench = Bench(&machine);
    kept_over_a_boot(&bench);
    steps.took("uninstalled");
    sled.until_booted();
}

/// Missing things are said, and nothing is left of having tried.
fn before_anything_is_there(bench: &Bench<'_>) {
    let of_it = format!("install {VOLUME} --sled {SLED}");
    let asked = format!("crucible-attach wait {VOLUME} --sled {SLED} --timeout 0s");
    bench.0.until("the sled", || (bench.0.run(&asked).code != 4).then_some(()));
    let said = bench.refused(&of_it, "SERVER_MISSING");
    assert!(said.contains("--server FILE"), "{said}");
    bench.refused(&format!("{of_it} --server /root/nobodys"), "NO_SERVER");
    bench.refused(&format!("{of_it} --server /usr/bin/true"), "NO_SERVER");
    bench.refused(&format!("install nobodys --sled {SLED} --server {SERVER}"), "VOLUME_UNKNOWN");
    bench.refused(&format!("{of_it} --server {SERVER} --storage x1"), "NO_PROXMOX");
    bench.refused(&format!("{of_it} --server {SERVER} --mount /root"), "MOUNTPOINT_NOT_EMPTY");
    let said = bench.0.refuses(&format!("setpriv --reuid=65534 --clear-groups crucible-attach {of_it}"));
    assert!(said.contains("only root"), "{said}");
    let said = bench.install(&format!("--server {SERVER} --dry-run"));
    assert!(said.contains("would do") && said.contains("nothing was changed"), "{said}");
    bench.says("test ! -e /usr/lib/crucible/crucible-nbd-server && test ! -e /etc/crucible-attach/still-fawn.conf");
}

/// The installation goes as far as it can while the volume is not there, and the rest of the way later.
fn from_nothing(bench: &Bench<'_>, sled: &Machine<'_>) {
    let command = format!("crucible-attach install {VOLUME} --sled {SLED} --server {SERVER}");
    let outcome = bench.0.run(&format!("{command} --timeout 30s"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.errors.contains("goes on waiting") && outcome.errors.contains("waits for"), "{outcome:?}");
    sled.create();
    let said = bench.says(&command);
    assert!(said.contains("done        file-system") && said.contains("done        mount "), "{said}");
    assert!(said.contains("skipped     storage"), "{said}");
    assert_eq!(bench.mounted(), USUAL);
    assert_eq!(bench.says("blockdev --getsize64 /dev/crucible/still-fawn"), SIZE.to_string());
    assert_eq!(bench.says("systemctl is-enabled crucible-attach@still-fawn"), "enabled");
    bench.says(&format!("head -c 3M /dev/urandom >/root/source && cp /root/source {USUAL}/kept && sync {USUAL}/kept"));
    bench.is_installed("");
    bench.is_installed(&format!("--sled {SLED} --server {SERVER} --mount {USUAL}"));
    // Beneath the mount nothing can be written.
    bench.says("mkdir -p /run/beneath && mount --bind / /run/beneath");
    let said = bench.0.refuses(&format!("touch /run/beneath{USUAL}/x"));
    assert!(said.contains("not permitted"), "{said}");
    bench.says("umount /run/beneath");
    bench.refused(&format!("install {VOLUME} --raw"), "HAS_MOUNT");
    bench.refused(&format!("install {VOLUME} --mount /srv"), "HAS_MOUNT");
}

fn a_storage_is_added(bench: &Bench<'_>) {
    bench.install("--content images,iso");
    let added = "pvesm add dir crucible-still-fawn --path /mnt/crucible-still-fawn --content images,iso --nodes host1 \
                 --is_mountpoint yes --create-base-path 0 --create-subdirs 1 --shared 0";
    assert_eq!(bench.told(), [added]);
    bench.is_installed("");
    assert_eq!(bench.told(), Vec::<String>::new());
    // Another node had it first.
    bench.says("sed -i 's/^nodes .*/nodes other/' /var/lib/stand-in-pve/storage/crucible-still-fawn");
    bench.install("");
    assert_eq!(bench.told(), ["pvesm set crucible-still-fawn --nodes host1,other"]);
    bench.refused(&format!("install {VOLUME} --storage another"), "STORAGE_TAKEN");
    assert_eq!(bench.told(), Vec::<String>::new());
}

/// Users are named; then it is all away, and the data is not.
fn undone(bench: &Bench<'_>, sled: &Machine<'_>) {
    bench.says(&format!("systemd-run --quiet --unit=user --working-directory={USUAL} sleep infinity"));
    let said = bench.refused(&format!("uninstall {VOLUME}"), "IN_USE");
    assert!(said.contains("(sleep)"), "{said}");
    assert_eq!(bench.told(), Vec::<String>::new());
    bench.says("systemctl stop user");
    let said = bench.says(&format!("crucible-attach uninstall {VOLUME} --dry-run"));
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(bench.mounted(), USUAL);
    bench.says(&format!("crucible-attach uninstall {VOLUME}"));
    assert_eq!(bench.told(), ["pvesm set crucible-still-fawn --nodes other"]);
    bench.says(&format!(
        "test ! -e {USUAL} && test ! -e /etc/crucible-attach/{VOLUME}.conf && ! ls /etc/systemd/system/*.mount && \
         ! systemctl is-active -q crucible-attach@{VOLUME} && ! cat /sys/block/nbd*/pid"
    ));
    let said = sled.says(&format!("sledctl --json volume show {VOLUME}"));
    assert!(said.contains("\"released\": true"), "{said}");
    let said = bench.says(&format!("crucible-attach uninstall {VOLUME}"));
    assert!(said.contains("nothing was changed"), "{said}");
}

/// Data on a volume stays there, whatever it is.
fn nothing_is_written_over(bench: &Bench<'_>) {
    let device = format!("/dev/crucible/{VOLUME}");
    bench.install("--raw");
    assert_eq!(bench.mounted(), "");
    bench.says(&format!(
        "dd if={device} of=/root/head bs=64k count=1 status=none && mkswap --force {device} && sync {device}"
    ));
    let said = bench.refused(&format!("install {VOLUME}"), "CONTENT_FOREIGN");
    assert!(said.contains("swap"), "{said}");
    bench.says(&format!("swapon {device}"));
    let said = bench.refused(&format!("uninstall {VOLUME}"), "IN_USE");
    assert!(said.contains("swap"), "{said}");
    bench.says(&format!("swapoff {device} && dd if=/root/head of={device} bs=64k conv=fsync status=none"));
    let said = bench.install("--no-mount");
    assert!(said.contains("there is an ext4"), "{said}");
    bench.says(&format!("crucible-attach uninstall {VOLUME}"));
}

/// As people do, but for the pause. Nobody has a ticket for it: an operator lets it in.
fn set_up_by_hand(bench: &Bench<'_>, sled: &Machine<'_>) {
    sled.says(&format!("sledctl volume allow {VOLUME} still-fawn"));
    let targets = [3830, 3831, 3832].map(|port| format!("--target {SLED}:{port}")).join(" ");
    bench.says(&format!(
        "cat >/usr/local/bin/crucible-nbd-wrapper <<'END'\n#!/bin/sh\nexec {SERVER} --gen $(date +%s) \"$@\"\nEND\n\
         chmod +x /usr/local/bin/crucible-nbd-wrapper; cd /etc/systemd/system\n\
         cat >crucible-nbd.service <<'END'\n[Service]\nExecStart=/usr/local/bin/crucible-nbd-wrapper {targets}\nRestart=always\n\
         Environment=STAND_IN_STORE=/store/{VOLUME} STAND_IN_SIZE={SIZE}\n[Install]\nWantedBy=multi-user.target\nEND\n\
         cat >crucible-nbd-connect.service <<'END'\n[Unit]\nRequires=crucible-nbd.service\nAfter=crucible-nbd.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStartPre=/bin/sh -c 'until ss -tln | grep -q 127.0.0.1:10809; do sleep 0.2; done'\n\
         ExecStart=nbd-client 127.0.0.1 10809 /dev/nbd0\nExecStop=nbd-client -d /dev/nbd0\n[Install]\nWantedBy=multi-user.target\nEND\n\
         cat >'mnt-crucible\\x2dstorage.mount' <<'END'\n[Unit]\nRequires=crucible-nbd-connect.service\n\
         After=crucible-nbd-connect.service\n[Mount]\nWhat=/dev/nbd0\nWhere={BY_HAND}\nType=ext4\nOptions=noatime\n\
         [Install]\nWantedBy=multi-user.target\nEND\n\
         systemctl daemon-reload && systemctl enable --now crucible-nbd crucible-nbd-connect && \
         systemctl enable --now 'mnt-crucible\\x2dstorage.mount'"
    ));
    bench.says(&format!("cmp {BY_HAND}/kept /root/source && cp /root/source {BY_HAND}/by-hand"));
    bench.says(&format!("pvesm add dir crucible-storage --path {BY_HAND} --content images,vztmpl,iso,backup"));
    bench.told();
}

/// In place: the same mountpoint, the same storage, the same data.
fn taken_over(bench: &Bench<'_>) {
    bench.says(&format!("systemd-run --quiet --unit=user --working-directory={BY_HAND} sleep infinity"));
    let said = bench.refused(&format!("install {VOLUME} --sled {SLED}"), "IN_USE");
    assert!(said.contains("(sleep)"), "{said}");
    bench.says("systemctl stop user");
    bench.says("sed -i 's/3832/3842/' /etc/systemd/system/crucible-nbd.service");
    bench.refused(&format!("install {VOLUME} --sled {SLED}"), "OLD_IS_ANOTHER");
    bench.says("sed -i 's/3842/3832/' /etc/systemd/system/crucible-nbd.service; systemctl daemon-reload");
    let said = bench.install("");
    assert!(said.contains("done        takeover") && said.contains("there is an ext4"), "{said}");
    assert_eq!(bench.mounted(), BY_HAND);
    bench.says(&format!("cmp {BY_HAND}/kept /root/source && cmp {BY_HAND}/by-hand /root/source"));
    bench.says(
        "cd /etc/systemd/system && ls crucible-nbd.service.before-crucible-attach \
         'mnt-crucible\\x2dstorage.mount.before-crucible-attach' && ! systemctl is-active -q crucible-nbd",
    );
    // The other nodes have had it declared as well: they keep it.
    assert_eq!(bench.told(), ["pvesm set crucible-storage --is_mountpoint yes"]);
    bench.is_installed("");
}

/// Nobody has to do anything at a boot.
fn kept_over_a_boot(bench: &Bench<'_>) {
    bench
        .0
        .until_says(&format!("findmnt --noheadings --output SOURCE {BY_HAND}"), |source| source.contains("/dev/nbd"));
    assert_eq!(bench.mounted(), BY_HAND);
    bench.says(&format!("cmp {BY_HAND}/kept /root/source && cmp {BY_HAND}/by-hand /root/source"));
    bench.is_installed("");
    bench.told();
    bench.says(&format!("crucible-attach uninstall {VOLUME}"));
    assert_eq!(bench.told(), ["pvesm set crucible-storage --nodes other"]);
    bench.says(&format!("test -z \"$(ls -A {BY_HAND})\" && touch {BY_HAND}/x && rm {BY_HAND}/x"));
}
