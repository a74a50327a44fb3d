//! `/dev/nbdN` by netlink, against NBD servers that nobody here wrote.

use crate::machine::{Host, Machine};
use support::places::{programs, repository};

/// The file that is served: 256 MiB.
const FILE: &str = "/root/served";
const SIZE: u64 = 256 << 20;
const SOCKET: &str = "/run/served.sock";
const BACKEND: &str = "crucible/still-fawn@7f3a";
/// How often the server is killed under load.
const KILLS: usize = 3;

/// A machine with the program that does what is asked of the library.
struct Bench<'a> {
    machine: &'a Machine<'a>,
    program: String,
}

impl Bench<'_> {
    fn says(&self, command: &str) -> String {
        self.machine.says(command)
    }

    fn device(&self, words: &str) -> String {
        self.says(&format!("{} {words}", self.program))
    }

    /// Assert that it is refused with this code; returns all that is said.
    fn refused(&self, words: &str, code: &str) -> String {
        let said = self.machine.refuses(&format!("{} {words}", self.program));
        assert!(said.starts_with(&format!("{code}: ")), "{words}: {said}");
        said
    }

    /// A unit that runs until it ends or is stopped, and says itself when it is ready.
    fn unit(&self, name: &str, kind: &str, command: &str) {
        self.says(&format!("systemd-run --quiet --collect --unit={name} --service-type={kind} {command}"));
    }

    /// Serve, and return when it listens.
    fn serve(&self) {
        self.says(&format!("rm -f {SOCKET}"));
        self.unit("server", "forking", &format!("nbdkit --pidfile /run/server.pid --unix {SOCKET} file {FILE}"));
    }

    fn kill_server(&self) {
        self.says("systemctl kill --signal=KILL server; while systemctl is-active -q server; do sleep 0.1; done");
    }

    /// Kills the server, and returns when the kernel has told that the link is dead.
    fn kill_server_of(&self, index: &str) {
        self.unit("dead", "notify", &format!("{} dead {index}", self.program));
        self.kill_server();
        self.machine.until_says("systemctl is-active dead", |state| state.trim() == "inactive");
    }

    fn sysfs(&self, index: &str, file: &str) -> String {
        self.says(&format!("cat /sys/block/nbd{index}/{file}"))
    }
}

#[test]
fn a_device_outlives_its_servers() {
    let host = Host::new();
    let program = host.share(&programs().join("examples/host-device"));
    let rules = host.share(&repository("systemd/host/66-crucible.rules"));
    let machine = host.boot();
    machine.until_booted();
    let bench = Bench { machine: &machine, program };
    machine.says(&format!("cp {rules} /etc/udev/rules.d/ && truncate -s {SIZE} {FILE}"));
    before_anything_is_connected(&bench);
    let index = connected(&bench);
    data_is_kept(&bench, &index);
    servers_are_killed_under_load(&bench, &index);
    only_the_same_takes_its_place(&bench, &index);
    disconnected(&bench, &index);
    other_servers(&bench);
    nothing_waits_for_ever(&bench);
    let machine = machine.reboot();
    machine.until_booted();
    machine.says(&format!("mount -o loop,ro {FILE} /mnt && cmp /mnt/kept /root/source"));
    machine.switch_off();
}

/// Steps that cannot be done are said with their reason.
fn before_anything_is_connected(bench: &Bench<'_>) {
    // The kernel loads it when it is asked, unless that is forbidden.
    bench.says("modprobe -r nbd; echo 'install nbd /bin/false' >/etc/modprobe.d/none.conf");
    let said = bench.refused("status 0", "NBD_NO_MODULE");
    assert!(said.contains("modprobe nbd"), "{said}");
    bench.says("rm /etc/modprobe.d/none.conf");
    assert_eq!(bench.device("status 0"), "Some(false)");
    assert_eq!(bench.device("status 999"), "None");
    bench.refused("disconnect 999", "NBD_NO_DEVICE");
    bench.refused(&format!("connect {SOCKET} '' {BACKEND}"), "NBD_UNREACHABLE");
    bench.serve();
    bench.refused(&format!("reconfigure 999 {SOCKET} '' {BACKEND}"), "NBD_NO_DEVICE");
    bench.refused(&format!("reconfigure 0 {SOCKET} '' {BACKEND}"), "NBD_NOT_CONNECTED");
    let nobody = format!("setpriv --reuid=65534 --clear-groups {} disconnect 0", bench.program);
    let said = bench.machine.refuses(&nobody);
    assert!(said.starts_with("NBD_FORBIDDEN: "), "{said}");
    // A process with a network of its own asks the same kernel.
    assert_eq!(bench.says(&format!("unshare --net {} status 0", bench.program)), "Some(false)");
}

/// A device is what was asked for, and has its name.
fn connected(bench: &Bench<'_>) -> String {
    let index = bench.device(&format!("connect {SOCKET} '' {BACKEND}"));
    assert_eq!(bench.device(&format!("status {index}")), "Some(true)");
    assert_eq!(bench.device(&format!("find {BACKEND}")), format!("Some({index})"));
    assert_eq!(bench.device("find crucible/still-fawn@8"), "None");
    assert_eq!(bench.sysfs(&index, "backend"), BACKEND);
    assert_eq!(bench.sysfs(&index, "size"), (SIZE / 512).to_string());
    assert_eq!(bench.sysfs(&index, "queue/logical_block_size"), "4096");
    bench.refused(&format!("connect {SOCKET} '' crucible/other@1 --index {index}"), "NBD_IN_USE");
    bench.says("udevadm settle");
    assert_eq!(bench.says("readlink -f /dev/crucible/still-fawn"), format!("/dev/nbd{index}"));
    assert_eq!(bench.sysfs(&index, "queue/max_sectors_kb"), "64");
    index
}

fn data_is_kept(bench: &Bench<'_>, index: &str) {
    bench.says("head -c 4M /dev/urandom >/root/source");
    bench.says(&format!("mkfs.ext4 -q /dev/nbd{index} && mount /dev/crucible/still-fawn /mnt"));
    bench.says("cp /root/source /mnt/kept && sync /mnt/kept");
}

/// A load of writes and reads sees none of it.
fn servers_are_killed_under_load(bench: &Bench<'_>, index: &str) {
    let keep = format!("{} keep {index} {SOCKET} '' {BACKEND}", bench.program);
    bench.unit("keep", "notify", &keep);
    bench.says(
        "cat >/root/load <<'END'\nn=0\nwhile [ ! -e /run/enough ]; do\n\
        dd if=/root/source of=/mnt/copy bs=64k oflag=direct conv=fsync status=none || exit 1\n\
        dd if=/mnt/copy bs=64k iflag=direct status=none | cmp - /root/source || exit 2\n\
        n=$((n + 1)); echo $n >/run/rounds\ndone\nexit 0\nEND",
    );
    bench.unit("load", "exec", "--property=RemainAfterExit=yes /bin/bash /root/load");
    for kill in 1..=KILLS {
        let rounds = bench.machine.until_says("cat /run/rounds", |rounds| !rounds.is_empty());
        bench.kill_server();
        bench.machine.until_says("journalctl -u keep -o cat", |said| said.matches("dead").count() == kill);
        // The server is away, and the load waits; nothing is lost that is not there yet.
        assert_eq!(bench.device(&format!("status {index}")), "Some(true)");
        bench.serve();
        bench.machine.until_says("journalctl -u keep -o cat", |said| said.matches("another server").count() == kill);
        bench.machine.until_says("cat /run/rounds", |now| {
            now.trim().parse::<u64>().unwrap_or(0) > rounds.parse::<u64>().unwrap() + 1
        });
    }
    bench.says("touch /run/enough");
    bench.machine.until_says("systemctl show -p SubState --value load", |state| state.trim() != "running");
    assert_eq!(bench.says("systemctl show -p Result --value load"), "success");
    assert_eq!(bench.says("journalctl -k -o cat | grep -c 'I/O error' || true"), "0");
    bench.says("systemctl stop load keep");
}

/// A server of something else is not taken by the kernel, and the right one is.
fn only_the_same_takes_its_place(bench: &Bench<'_>, index: &str) {
    bench.kill_server_of(index);
    bench.serve();
    for other in ["crucible/still-fawn@8", "crucible/other@7f3a"] {
        let said = bench.refused(&format!("reconfigure {index} {SOCKET} '' {other}"), "NBD_OTHER_BACKEND");
        assert!(said.contains(&format!("is connected to {BACKEND}, and not to {other}")), "{said}");
    }
    // Requests that wait meanwhile are answered by it.
    bench.unit(
        "waits",
        "exec",
        "--property=RemainAfterExit=yes /bin/sh -c 'echo 3 >/proc/sys/vm/drop_caches; cmp /mnt/kept /root/source'",
    );
    assert_eq!(bench.says("systemctl show -p SubState --value waits"), "running");
    bench.device(&format!("reconfigure {index} {SOCKET} '' {BACKEND}"));
    bench.machine.until_says("systemctl show -p SubState --value waits", |state| state.trim() != "running");
    assert_eq!(bench.says("systemctl show -p Result --value waits"), "success");
    bench.says("systemctl stop waits");
}

fn disconnected(bench: &Bench<'_>, index: &str) {
    bench.says("umount /mnt");
    bench.device(&format!("disconnect {index}"));
    assert_eq!(bench.device(&format!("status {index}")), "Some(false)");
    assert_eq!(bench.device(&format!("find {BACKEND}")), "None");
    bench.says(&format!("test ! -e /sys/block/nbd{index}/pid && udevadm settle && test ! -e /dev/crucible/still-fawn"));
    // Once more is no error.
    bench.device(&format!("disconnect {index}"));
    bench.says("systemctl stop server");
    // The data that was written is in the file.
    bench.says(&format!(
        "mount -o loop,ro {FILE} /mnt && cmp /mnt/copy /root/source && cmp /mnt/kept /root/source && umount /mnt"
    ));
}

/// QEMU's, which knows its exports, and one by TCP; the kernel chooses another device for a second one.
fn other_servers(bench: &Bench<'_>) {
    bench.unit(
        "qemu",
        "forking",
        &format!("qemu-nbd --fork --pid-file=/run/qemu.pid --persistent -f raw -x volume -k /run/qemu.sock {FILE}"),
    );
    let said = bench.refused("connect /run/qemu.sock none crucible/a@1", "NBD_HANDSHAKE");
    assert!(said.contains("no export of this name"), "{said}");
    bench.unit("tcp", "forking", "nbdkit --pidfile /run/tcp.pid --ipaddr 127.0.0.1 --port 10809 memory 8M");
    let one = bench.device("connect /run/qemu.sock volume crucible/a@1");
    let two = bench.device("connect 127.0.0.1:10809 '' crucible/b@1");
    assert_ne!(one, two);
    bench.says(&format!(
        "udevadm settle; test -b /dev/crucible/a && test -b /dev/crucible/b && cmp -n 1048576 /dev/nbd{one} {FILE}"
    ));
    bench.says(&format!("dd if=/root/source of=/dev/nbd{two} bs=1M count=4 oflag=direct conv=fsync status=none"));
    bench.says(&format!("dd if=/dev/nbd{two} bs=1M count=4 iflag=direct status=none | cmp - /root/source"));
    for index in [one, two] {
        bench.device(&format!("disconnect {index}"));
    }
    bench.says("systemctl stop qemu tcp");
}

/// The time for which requests wait for a server is what was asked for.
fn nothing_waits_for_ever(bench: &Bench<'_>) {
    bench.serve();
    let index = bench.device(&format!("connect {SOCKET} '' {BACKEND} --dead-timeout 1"));
    bench.kill_server_of(&index);
    let said = bench.machine.refuses(&format!("dd if=/dev/nbd{index} of=/dev/null bs=4k count=1 iflag=direct"));
    assert!(said.contains("Input/output error"), "{said}");
    bench.device(&format!("disconnect {index}"));
}
