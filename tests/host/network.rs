//! A sled's machine and hosts' on one network of their own, each as it is installed: the sled with a bridge, a data
//! disk and a map of one volume, the hosts with what `image/install --host` puts there.
//!
//! The Crucible programs are the stand-ins, or with `CRUCIBLE_BIN` the real ones. The stand-in server keeps a
//! volume's data in a directory of this machine that all hosts have, as if it were with the sleds.

use crate::hub::Hub;
use crate::machine::{DISKS, Host, Machine};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use support::places::{program, programs, real, repository};
use support::scratch;
use tempfile::TempDir;

/// The volume, which both hosts may attach.
pub const VOLUME: &str = "still-fawn";
/// Its bytes.
pub const SIZE: u64 = 4096 * 1024 * 64;
/// The address of the sled.
pub const SLED: &str = "192.168.4.189";
/// The name of its adapter on the sled's machine.
const NIC: &str = "enx00e04ca81110";

const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[hosts.still-fawn]
address = "192.168.4.17"
[hosts.pumped-piglet]
address = "192.168.4.18"
[defaults]
block_size = 4096
extent_size = 1024
extent_count = 64
[volumes.still-fawn]
hosts = ["still-fawn", "pumped-piglet"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
"#;

/// The network of a sled and of two hosts.
pub struct Network {
    hub: Hub,
    dir: TempDir,
}

/// A host's address.
pub fn address(host: u8) -> String {
    format!("192.168.4.{}", 16 + host)
}

impl Network {
    /// Make one with nobody on it.
    pub fn new() -> Self {
        // The next test removes it if this one is killed.
        let dir = scratch::new(DISKS);
        fs::create_dir(dir.path().join("store")).unwrap();
        Self { hub: Hub::new(dir.path(), 3), dir }
    }

    /// The sled, which has booted never before.
    pub fn sled(&self) -> Host {
        let sled = Host::with(lay_sled);
        let data = sled.file("data");
        fs::File::create(&data).unwrap().set_len(4 << 30).unwrap();
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-L", "crucible", "-E", "lazy_itable_init=1,lazy_journal_init=1"]).arg(&data);
        assert!(make.status().unwrap().success());
        let drive = format!("file={},format=raw,if=virtio,cache=unsafe", data.display());
        self.join(sled, 0, "00:e0:4c:a8:11:10").and(["-drive", &drive])
    }

    /// The first host or the second, with the product installed, and nothing attached.
    pub fn host(&self, number: u8) -> Host {
        let mac = format!("52:54:00:04:00:{:02x}", 16 + number);
        let host = Host::with(|layer| lay_host(layer, number, &mac));
        let store =
            format!("local,path={},mount_tag=store,security_model=none", self.dir.path().join("store").display());
        self.join(host, number.into(), &mac).and(["-virtfs", &store])
    }

    fn join(&self, host: Host, end: usize, mac: &str) -> Host {
        let adapter = format!("virtio-net,netdev=cable,mac={mac},romfile=");
        host.and(["-netdev", &self.hub.netdev(end), "-device", &adapter])
    }
}

fn put(layer: &Path, file: &str, text: &str) {
    let file = layer.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// As `systemctl enable` does.
fn enable(layer: &Path, target: &str, unit: &str) {
    let wants = layer.join(format!("etc/systemd/system/{target}.wants"));
    fs::create_dir_all(&wants).unwrap();
    symlink(format!("/usr/lib/systemd/system/{unit}"), wants.join(unit)).unwrap();
}

fn install(layer: &Path, words: &[&str]) {
    let mut install = Command::new(repository("image/install"));
    install.arg(layer).arg("--programs").arg(programs()).arg("--as-built").args(words);
    assert!(install.status().unwrap().success(), "image/install failed");
}

/// Puts a Crucible program into its place.
fn crucible(layer: &Path, name: &str) {
    let from = program(name);
    let to = layer.join("usr/lib/crucible").join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(&from, &to).unwrap_or_else(|why| panic!("{}: {why}", from.display()));
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
}

fn lay_sled(layer: &Path) {
    install(layer, &[]);
    crucible(layer, "crucible-downstairs");
    put(layer, "etc/hostname", "proper-raptor\n");
    let shipped = fs::read_to_string(repository("etc/sled.toml")).unwrap();
    put(layer, "etc/sled/sled.toml", &shipped);
    // Blocks that are not written to take no room on this machine, either.
    put(layer, "etc/sled/sled.toml.d/50-test.toml", "[storage]\nprovisioning = \"thin\"\n");
    put(layer, "etc/sled/port-map.toml", MAP);
    for file in ["10-br0.netdev", "20-br0.network", "30-nic.network"] {
        let text = fs::read_to_string(repository("image/network").join(file)).unwrap();
        // Nobody else is on this network.
        let own = text.lines().filter(|line| !line.starts_with("Gateway=") && !line.starts_with("DNS="));
        put(layer, &format!("etc/systemd/network/{file}"), &own.map(|line| format!("{line}\n")).collect::<String>());
    }
    put(
        layer,
        "etc/systemd/network/10-nic.link",
        &format!("[Match]\nPermanentMACAddress=00:e0:4c:a8:11:10\n\n[Link]\nName={NIC}\n"),
    );
    put(layer, "etc/fstab", &(fstab() + "/dev/vdb /crucible ext4 noatime 0 0\n"));
    for unit in ["sledd.service", "sled-storage-init.service"] {
        enable(layer, "multi-user.target", unit);
    }
    enable(layer, "sockets.target", "sledd.socket");
}

fn lay_host(layer: &Path, number: u8, mac: &str) {
    install(layer, &["--host"]);
    crucible(layer, "crucible-nbd-server");
    put(layer, "etc/hostname", &format!("host{number}\n"));
    let network =
        format!("[Match]\nMACAddress={mac}\n\n[Network]\nAddress={}/24\nLinkLocalAddressing=no\n", address(number));
    put(layer, "etc/systemd/network/20-cable.network", &network);
    if real().is_none() {
        put(layer, "etc/fstab", &(fstab() + "store /store 9p trans=virtio,version=9p2000.L,msize=262144 0 0\n"));
        // The data is as if it were with the sleds: it is there as long as the server is.
        let stand_in = format!(
            "[Unit]\nRequiresMountsFor=/store\n\n[Service]\nReadWritePaths=/store\n\
             Environment=STAND_IN_STORE=/store/{VOLUME} STAND_IN_SIZE={SIZE}\n"
        );
        put(layer, "etc/systemd/system/crucible-attach@.service.d/stand-in.conf", &stand_in);
    }
}

/// The one that machines are installed with.
fn fstab() -> String {
    fs::read_to_string(repository("tests/host/tree/etc/fstab")).unwrap()
}

/// The steps on a sled's machine.
pub trait IsSled {
    /// Creates every region, and returns when the volume may be attached.
    fn create(&self);
    /// Waits until the volume may be attached.
    fn until_ready(&self);
}

impl IsSled for Machine<'_> {
    fn create(&self) {
        self.until_says("systemctl is-active sledd.service sled-storage-init.service", |_| {
            self.run("test -e /var/lib/sled/disk.json").code == 0
        });
        self.says("sledctl region create --all");
        self.until_ready();
    }

    fn until_ready(&self) {
        self.until_says(&format!("sledctl --json volume show {VOLUME}"), |shown| shown.contains("\"ready\": true"));
    }
}
