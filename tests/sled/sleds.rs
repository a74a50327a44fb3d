//! A fleet: several machines whose cables lead to one switch, with the same port map, and a volume
//! with a region on each of the first three.

use std::sync::Arc;
use support::hosts::{Host, Switch};
use support::layer::Layer;
use support::machine::Machine;

/// The addresses of the sleds; the first is the one that everybody else's tests ask.
pub const ADDRESSES: [&str; 3] = ["192.168.4.189", "192.168.4.190", "192.168.4.191"];
/// Their names.
pub const NAMES: [&str; 3] = ["proper-raptor", "quick-otter", "sly-badger"];

/// The map of a volume with a region on each sled, for three hosts.
pub const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[sleds.quick-otter]
address = "192.168.4.190"
[sleds.sly-badger]
address = "192.168.4.191"
[hosts.still-fawn]
address = "192.168.4.17"
[hosts.pumped-piglet]
address = "192.168.4.175"
[hosts.chief-horse]
address = "192.168.4.19"
[defaults]
block_size = 512
extent_size = 64
extent_count = 4
[volumes.still-fawn]
hosts = ["still-fawn", "pumped-piglet", "chief-horse"]
regions = ["proper-raptor:3830", "quick-otter:3830", "sly-badger:3830"]
"#;

/// The fleet. What it consists of is gone with it, and when the test dies.
pub struct Sleds {
    switch: Arc<Switch>,
    machines: [Option<Machine>; 3],
}

impl Sleds {
    /// Boots three sleds, creates their regions, and waits until all of them serve.
    pub fn boot() -> Self {
        let switch = Arc::new(Switch::new());
        let machines = std::thread::scope(|scope| {
            let booting = [0, 1, 2].map(|n| {
                let switch = &switch;
                scope.spawn(move || boot(switch, n))
            });
            booting.map(|machine| Some(machine.join().unwrap()))
        });
        Self { switch, machines }
    }

    /// A sled that has not been killed, by its number.
    pub fn sled(&self, n: usize) -> &Machine {
        self.machines[n].as_ref().unwrap()
    }

    /// A host of the same network.
    pub fn host(&self, address: &str) -> Host {
        self.switch.host(address)
    }

    /// Ends a sled as a power cut would.
    pub fn kill(&mut self, n: usize) {
        self.machines[n] = None;
    }

    /// Pulls the cable of a sled.
    pub fn cut(&self, n: usize) {
        self.switch.space.ok(&["ip", "link", "set", &port(n), "down"]);
    }

    /// Plugs it in again.
    pub fn plug(&self, n: usize) {
        self.switch.space.ok(&["ip", "link", "set", &port(n), "up"]);
    }
}

fn port(n: usize) -> String {
    format!("cable-{n}")
}

fn boot(switch: &Arc<Switch>, n: usize) -> Machine {
    let layer = Layer::shipped().with("etc/sled/port-map.toml", MAP).named(NAMES[n], ADDRESSES[n]);
    let layer = layer.with("etc/sled/sled.toml.d/60-steady.toml", "[downstairs]\nsteady_after = \"1s\"\n");
    let machine = layer.boot_on(switch, &port(n));
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine
}
