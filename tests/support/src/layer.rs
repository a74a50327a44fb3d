//! Layer of a machine over Debian: the product as `tests/machine/layer` lays it out, and what a test changes of it.

use crate::hosts::{SLED, Switch};
use crate::machine::Machine;
use crate::places::{crucible, programs, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// The map of one volume of three small regions: all that most tests need.
pub const SMALL: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[sleds.other]
address = "192.168.4.190"
[defaults]
block_size = 512
extent_size = 64
extent_count = 4
[volumes.still-fawn]
hosts = ["192.168.4.17"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
[volumes.far]
hosts = ["192.168.4.17"]
regions = ["other:3830", "other:3831", "other:3832"]
"#;

/// The layer of a machine over Debian: the product, laid out and not booted yet.
pub struct Layer {
    pub(crate) dir: TempDir,
    /// The size of the data disk.
    pub(crate) disk: &'static str,
    /// The file that the data disk is, if it is one of the test's.
    pub(crate) on: Option<PathBuf>,
    /// The address at which the sled answers.
    pub(crate) address: String,
    /// Whether the machine may load BPF programs.
    pub(crate) bpf: bool,
}

impl Layer {
    /// The product as it is shipped, but for thin provisioning.
    pub fn shipped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = repository("tests/machine/layer");
        let made = Command::new(script).arg(dir.path()).arg(programs()).arg(crucible()).status().unwrap();
        assert!(made.success(), "tests/machine/layer failed");
        let layer = Self { dir, disk: "24G", on: None, address: SLED.to_owned(), bpf: true };
        layer.with("etc/sled/sled.toml.d/50-test.toml", "[storage]\nprovisioning = \"thin\"\n")
    }

    /// The product with one small volume.
    pub fn small() -> Self {
        Self::shipped().with("etc/sled/port-map.toml", SMALL)
    }

    /// Adds or replaces a file.
    pub fn with(self, file: &str, text: &str) -> Self {
        let file = self.dir.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    /// Adds an executable script.
    pub fn with_script(self, file: &str, text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let layer = self.with(file, text);
        fs::set_permissions(layer.dir.path().join(file), fs::Permissions::from_mode(0o755)).unwrap();
        layer
    }

    /// A supervisor that takes the container for a machine, and looks after it: its pressure, clock, heat and watchdog.
    pub fn as_a_machine(self) -> Self {
        self.with("etc/systemd/system/kernel-proc.mount", "[Mount]\nWhat=proc\nWhere=/kernel/proc\nType=proc\n").with(
            "etc/systemd/system/sledd.service.d/machine.conf",
            "[Unit]\nRequiresMountsFor=/kernel/proc\n[Service]\nExecStart=\n\
             ExecStart=/usr/bin/sledd --sysfs /run/sled/sys --proc /kernel/proc\n",
        )
    }

    /// The path of the layer before it is booted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A data disk of another size.
    pub fn with_disk(self, disk: &'static str) -> Self {
        Self { disk, ..self }
    }

    /// A data disk that is this file.
    pub fn on(self, file: &Path) -> Self {
        Self { on: Some(file.to_owned()), ..self }
    }

    /// A machine that may not load BPF programs.
    pub fn without_bpf(self) -> Self {
        Self { bpf: false, ..self }
    }

    /// Another sled than the shipped configuration's.
    pub fn named(self, name: &str, address: &str) -> Self {
        let network = fs::read_to_string(self.dir.path().join("etc/systemd/network/20-br0.network")).unwrap();
        // From the machine's id systemd derives the bridge's hardware address.
        let id = format!("{:032x}", u32::from(address.parse::<std::net::Ipv4Addr>().unwrap()));
        let layer = self
            .with("etc/sled/sled.toml.d/40-name.toml", &format!("[sled]\nname = \"{name}\"\n"))
            .with("etc/systemd/network/20-br0.network", &network.replace(SLED, address))
            .with("etc/hostname", name)
            .with("etc/machine-id", &id);
        Self { address: address.to_owned(), ..layer }
    }

    /// Boots on a switch of its own.
    pub fn boot(self) -> Machine {
        Machine::start(self, None)
    }

    /// Boots on this switch, to which the cable's port `NAME` leads.
    pub fn boot_on(self, switch: &Arc<Switch>, port: &str) -> Machine {
        Machine::start(self, Some((switch.clone(), port)))
    }

    /// Boots and creates every region; returns when `still-fawn` may be attached.
    pub fn boot_and_create(self) -> Machine {
        let machine = self.boot();
        machine.ok(&["sledctl", "region", "create", "--all"]);
        machine.wait_for("still-fawn", |volume| volume.ready);
        machine
    }
}
