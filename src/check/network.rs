//! Conditions of the sled's network, from the cable to the way out: those of the adapter, of the bridge, of the address.

/// Puts the entries of the network between those before and those after them, for a table of conditions.
macro_rules! with_network {
    ($table:ident: { $($before:tt)* } { $($after:tt)* }) => { $table! {
    $($before)*
    /// The network adapter is not there. It is found by any of its names (`ip link property`).
    NicMissing = "NIC_MISSING", Blocking, Sled:
        "there is no network interface NIC"
        => "plug the USB adapter in again; if it is another adapter, write its name into network.nic of sled.toml";
    /// The adapter is there by another name than the configured one, told by its hardware address: the one that the name
    /// is made of (`enx` and the address), or the one that it had by that name. Or another adapter has the same address.
    NicRenamed = "NIC_RENAMED", Warning, Sled:
        "the adapter NIC is called NAME now: it has the same hardware address, MAC"
        => "ip link property add dev NAME altname NIC; for good: write its name into network.nic of sled.toml, and where BRIDGE is configured";
    /// The network adapter has no link, or is switched off.
    NicNoCarrier = "NIC_NO_CARRIER", Blocking, Sled:
        "NIC has no link"
        => "check the cable, and whether the switch port is on; one that is switched off: ip link set NIC up";
    /// With `network.spare`: the first adapter has no link or is gone, and the spare carries in its place; or it carries
    /// though the first has a link.
    NicSpareInUse = "NIC_SPARE_IN_USE", Warning, Sled:
        "NIC has no link: the spare SPARE carries, at N Mbit/s, and nothing would take over from that"
        => "check the first adapter's cable and the switch's port; if it is gone, plug it in again: it takes over by itself";
    /// With `network.spare`: the spare is gone, has no link, or is in no bond (active-backup) with the first adapter.
    NicSpareDown = "NIC_SPARE_DOWN", Warning, Sled:
        "the spare SPARE has no link: nothing takes over when NIC has no link"
        => "check its cable, and whether the switch port is on; one that is in no bond: with the image, reboot";
    /// The link was negotiated at less than `sled.toml` expects.
    NicSlow = "NIC_SLOW", Warning, Sled:
        "NIC runs at N Mbit/s, and N are expected"
        => "check the cable (Cat 5e or better) and the switch port's speed";
    /// The USB port of the network adapter is slower than `sled.toml` expects.
    NicUsb2 = "NIC_USB2", Warning, Sled:
        "NIC hangs on a USB port at N Mbit/s, and N are expected: PORT, and of which hub"
        => "plug the adapter into a USB 3 port (blue), without a hub or extension";
    /// The adapter and the switch send or receive, and never both at once: one of them does not negotiate.
    NicHalfDuplex = "NIC_HALF_DUPLEX", Warning, Sled:
        "NIC sends or receives, and never both at once (half duplex)"
        => "let both ends negotiate: ethtool -s NIC autoneg on, and the same at the switch's port; then the cable";
    /// The link was lost four times within an hour, or more often, by the kernel's count. A supervisor that is started
    /// anew counts anew.
    NicFlapping = "NIC_FLAPPING", Warning, Sled:
        "NIC lost its link N times within an hour"
        => "another cable, another port of the switch; ethtool --set-eee NIC eee off; if the kernel's log has more: see NIC_RESETS";
    /// Of the adapter's packets within ten minutes ten or more, and more than one of ten thousand, arrived damaged, were
    /// missed by the adapter (`rx_missed` of its driver), or could not be sent.
    NicErrors = "NIC_ERRORS", Warning, Sled:
        "of the packets of NIC within ten minutes more than 1 in N arrived damaged, were missed, or could not be sent"
        => "another cable, another port of the switch; then another port and another adapter";
    /// A Realtek adapter (USB `0bda:815x`) has a driver for any adapter, cdc_ncm for example, where r8152 is its own.
    NicDriver = "NIC_DRIVER", Warning, Sled:
        "NIC is a Realtek adapter (ID), and the driver DRIVER has it, not r8152: it is slower so, and nobody resets it when it hangs"
        => "modprobe r8152; then have it choose anew: echo 1 > /sys/bus/usb/devices/PORT/bConfigurationValue; that it stays so: install 66-sled-network.rules, or a kernel since 6.3";
    /// The kernel may suspend the USB adapter while it is idle (`power/control` is `auto`).
    NicAutosuspend = "NIC_AUTOSUSPEND", Warning, Sled:
        "the kernel may suspend NIC while it is idle: adapters get lost by that"
        => "echo on > /sys/bus/usb/devices/PORT/power/control; that it stays so: install 66-sled-network.rules, or usbcore.autosuspend=-1 on the kernel's command line";
    /// The kernel's log has had signs of the last day that the adapter fails, though its link is up: it was reset, went
    /// away, or did not send what it was given. It is read from `/dev/kmsg`, and what a device says while it is found is
    /// none. Told from the second time on; of what no working adapter ever says, from the first.
    NicResets = "NIC_RESETS", Warning, Sled:
        "NIC failed N times within a day, the last time at TIME: HOW (WORDS OF THE KERNEL)"
        => "another USB port, without a hub or an extension; autosuspend off: echo on > /sys/bus/usb/devices/PORT/power/control; no link power management: usbcore.quirks=VENDOR:PRODUCT:k on the kernel's command line; ethtool --set-eee NIC eee off; another power supply, another adapter";
    /// The kernel is older than one that mends what the adapter's driver is known for.
    NicKernel = "NIC_KERNEL", Information, Sled:
        "the kernel RELEASE is known to be bad for NIC: WHAT IT DOES"
        => "a kernel since VERSION";
    /// The bridge is not there. It is found by any of its names (`ip link property`).
    BridgeMissing = "BRIDGE_MISSING", Blocking, Sled:
        "there is no bridge BRIDGE"
        => "have it made, and see why it is not: networkctl status BRIDGE, or with ifupdown: ifup BRIDGE; network.bridge of sled.toml names the bridge that is looked for";
    /// The network adapter is no port of the bridge.
    BridgePortMissing = "BRIDGE_PORT_MISSING", Blocking, Sled:
        "NIC is not a port of BRIDGE"
        => "ip link set NIC master BRIDGE";
    /// The bridge lets nothing through the network adapter: as a port of it that is disabled, blocked or still waits.
    BridgePortBlocked = "BRIDGE_PORT_BLOCKED", Blocking, Sled:
        "NIC is blocked as a port of BRIDGE: nothing goes through it"
        => "bridge link set dev NIC state 3; one that breaks a loop: find the second cable that leads to the same network; one that waits: wait";
    /// With `network.vlan`: the bridge does not look at VLANs, its port or itself is no member of that one, or packets leave
    /// without its tag. A VLAN interface as the bridge's port does as well.
    BridgeVlan = "BRIDGE_VLAN", Blocking, Sled:
        "BRIDGE does not look at VLANs, and network.vlan of sled.toml is N: packets go without"
        => "ip link set BRIDGE type bridge vlan_default_pvid 0 && ip link set BRIDGE type bridge vlan_filtering 1 && bridge vlan add dev NIC vid N && bridge vlan add dev BRIDGE vid N pvid untagged self; and the same where BRIDGE is configured";
    /// The bridge looks for loops (STP): whenever the cable comes back, nothing goes through it for twice the forward
    /// delay, half a minute as a rule, and hosts see their regions gone.
    BridgeStp = "BRIDGE_STP", Warning, Sled:
        "BRIDGE looks for loops (STP): each time that the cable comes back, nothing goes through it for N s"
        => "if there is no second cable to the same network: ip link set BRIDGE type bridge stp_state 0, and the same where BRIDGE is configured";
    /// The bridge has a forward delay, and STP is off: the kernel waits for it only with STP.
    BridgeDelay = "BRIDGE_DELAY", Information, Sled:
        "the forward delay of BRIDGE is N s: nothing waits for it now, and twice that as soon as STP is switched on"
        => "ip link set BRIDGE type bridge forward_delay 0, and the same where BRIDGE is configured";
    /// The bridge's hardware address has changed within the last hour: it is that of a port if none is configured, and
    /// another one with another adapter. Hosts send to the old one until they ask again, for minutes.
    BridgeMacChanged = "BRIDGE_MAC_CHANGED", Warning, Sled:
        "BRIDGE has another hardware address since TIME, NEW and not OLD: hosts that remember the old one do not reach it until they ask again"
        => "fix it: ip link set BRIDGE address OLD, and the same where BRIDGE is configured";
    /// The bridge is down, or does not carry the sled's address. With `network.address = "dhcp"` also: the server has given
    /// it another address than the port map has, or none.
    BridgeAddress = "BRIDGE_ADDRESS", Blocking, Sled:
        "BRIDGE does not have the sled's address ADDRESS; or: BRIDGE has OTHER by DHCP, and the port map gives this sled ADDRESS"
        => "ip address add ADDRESS/PREFIX dev BRIDGE, and the same where BRIDGE is configured; of one that is down: ip link set BRIDGE up; the address comes from [sleds.NAME] of port-map.toml; by DHCP: give the sled ADDRESS in the DHCP server, by a reservation for the hardware address MAC, then: networkctl reconfigure BRIDGE";
    /// Another machine has the sled's address as well. Of IPv6 the kernel finds that out: it is not used here, and no
    /// region is started, until it is this machine's alone. Of IPv4 everybody on the bridge's link is asked (ARP, RFC
    /// 5227) at the start, when a cable or an address comes, and every ten minutes; the kernel goes on to use it, and hosts
    /// reach the one or the other. A router that answers for others (proxy ARP) counts as one.
    AddressDuplicate = "ADDRESS_DUPLICATE", Blocking, Sled:
        "another machine has the sled's address ADDRESS as well: the kernel does not use it here; or, with its hardware address: hosts reach the one or the other"
        => "find that machine (by its hardware address, which ip neighbour show ADDRESS tells on a third one) and take the address from it; of IPv6: then take it away here and add it again, so that it is looked at anew";
    /// The sled's address is in a network of one address, in which there is no host; with the image also: in one of
    /// another size than `appliance.prefix` says.
    AddressPrefix = "ADDRESS_PREFIX", Warning, Sled:
        "BRIDGE has ADDRESS/PREFIX, a network of one address, in which there is no host"
        => "ip address add ADDRESS/RIGHT dev BRIDGE && ip address del ADDRESS/PREFIX dev BRIDGE, and the same where the address is configured";
    /// The bridge and the adapter take packets of different lengths: long ones are lost, and connections hang as soon as
    /// much is said on them.
    MtuMismatch = "MTU_MISMATCH", Warning, Sled:
        "BRIDGE takes packets of N bytes and its port NIC of N: what is longer is lost"
        => "give both the same, as the switch and the hosts have it: ip link set BRIDGE mtu N && ip link set NIC mtu N";
    /// With the image: a gateway is configured, and there is no default route.
    NoDefaultRoute = "NO_DEFAULT_ROUTE", Warning, Sled:
        "there is no default route, and appliance.gateway of sled.toml is ADDRESS: hosts in other networks, time and updates are not reached"
        => "ip route add default via ADDRESS dev BRIDGE, and the same where BRIDGE is configured";
    /// No route leads to a host of the port map that may attach the volume, as the kernel answers for its address.
    RouteMissing = "ROUTE_MISSING", Warning, Volume:
        "no route leads to HOST, which may attach it"
        => "ip route get ADDRESS says why; ip route add ADDRESS via GATEWAY dev BRIDGE, and the same where BRIDGE is configured";
    /// A host that is attached was asked on the bridge's link for its hardware address (ARP, or neighbour discovery of
    /// IPv6) and did not answer. It is told when the kernel has asked in vain.
    NeighbourMissing = "NEIGHBOUR_MISSING", Warning, Volume:
        "HOST is attached, and does not answer when it is asked for its hardware address on BRIDGE"
        => "see there whether the host runs, has its address and its cable; ip neighbour show ADDRESS dev BRIDGE shows what is known here";
    $($after)*
    } };
}
pub(super) use with_network;
