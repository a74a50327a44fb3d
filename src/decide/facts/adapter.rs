//! Network adapter of the sled, and where it hangs.

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nic {
    /// The kernel's number of it: one that was away and is back has another.
    pub index: u32,
    /// The name that the kernel has for it, if it is only by its hardware address that it is the configured one.
    pub renamed: Option<String>,
    /// The name that the kernel has for it, if it is not by one name that it is configured.
    pub name: Option<String>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// The other adapters that have the same hardware address.
    pub twins: Vec<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a link.
    pub carrier: bool,
    /// The interfaces by which it is a port of the bridge, if not by itself: those that lie upon it, from the cable on.
    pub through: Vec<Through>,
    /// The bridge that it, or the last of these, is a port of.
    pub master: Option<String>,
    /// The negotiated speed in Mbit/s, if the driver tells.
    pub link_mbps: Option<u32>,
    /// Whether it sends or receives, and never both at once.
    pub half_duplex: bool,
    /// The kernel's driver of it, if it has one.
    pub driver: Option<String>,
    /// The place and the kind of it on the USB, if it is there.
    pub usb: Option<Usb>,
    /// The devices that it hangs on, by the names that the kernel gives them, from the machine to the cable, and its own
    /// name.
    pub lineage: Vec<String>,
    /// The longest packet that it takes, in bytes, if the kernel tells.
    pub mtu: Option<u32>,
    /// The state in which the bridge that it is a port of has it, if it is one.
    pub port: Option<PortState>,
    /// The packets of the last ten minutes, and the faults among them.
    pub faults: Faults,
    /// The number of times that the link was lost within an hour.
    pub losses: u64,
    /// Whether it is back after another one was in the bridge in its place, and nobody has put it there for some seconds.
    pub came_back: bool,
}

/// An interface between an adapter and the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Between,
}

impl Through {
    /// The VLAN that it stands for, if for one.
    pub fn vlan(&self) -> Option<u16> {
        match self.kind {
            Between::Bond => None,
            Between::Vlan(id) => Some(id),
        }
    }
}

/// The kind of an interface between an adapter and the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// The adapter together with others (a bond).
    Bond,
    /// The adapter's packets with the tag of this VLAN.
    Vlan(u16),
}

impl Nic {
    /// The name of the bridge's port by which commands reach it: that of the adapter, or of what lies upon it last.
    pub fn port_name<'a>(&'a self, configured: &'a str) -> &'a str {
        self.through.last().map_or_else(|| self.called(configured), |last| &last.name)
    }

    /// The name by which commands reach it: the configured one, unless it has that no more, or never had.
    pub fn called<'a>(&'a self, configured: &'a str) -> &'a str {
        self.renamed.as_deref().unwrap_or(self.known_as(configured))
    }

    /// The name by which people know it: the configured one, if it is configured by its name.
    pub fn known_as<'a>(&'a self, configured: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(configured)
    }
}

/// Packets of the last minutes, and the faults among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The packets that were received.
    pub received: u64,
    /// Of these, the ones that were damaged on the way.
    pub received_faulty: u64,
    /// The packets that the adapter had no room for (`rx_missed`).
    pub missed: u64,
    /// The packets that were sent.
    pub sent: u64,
    /// The packets that could not be sent.
    pub sent_faulty: u64,
}

/// The place and the kind of an adapter on the USB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usb {
    /// The place, as the kernel writes it: the bus, and the port of each hub.
    pub path: String,
    /// The speed of its connection in Mbit/s, if the kernel tells.
    pub mbps: Option<u32>,
    /// Who made it and what it is, as four hexadecimal digits each: `0bda:8156`.
    pub id: Option<String>,
    /// Whether the kernel may suspend it while it is idle.
    pub autosuspend: bool,
    /// The hubs between the machine and it, the machine's own left out.
    pub hubs: Vec<Hub>,
}

/// A hub of the USB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hub {
    /// The place, as the kernel writes it.
    pub path: String,
    /// The name that it gives itself.
    pub name: Option<String>,
    /// The speed of its own connection in Mbit/s.
    pub mbps: Option<u32>,
}

/// The state in which a bridge has one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// The port does nothing: somebody, or its link, has it so.
    Disabled,
    /// The port does nothing, as that would be a loop.
    Blocking,
    /// The port does nothing yet: the bridge looks for loops first.
    Waiting,
    /// The port takes and gives packets.
    Forwarding,
}
