//! The cable, the adapter and the bridge.

use crucible_sled::kernel::ethtool::Drivers;
use support::hosts::SLED;
use support::layer::{Layer, SMALL};
use support::machine::{Machine, cause, has};

const NIC: &str = "enx00e04ca81110";

#[test]
fn no_carrier_blocks_every_volume_until_it_is_back() {
    let machine = Layer::small().boot_and_create();
    machine.outside(&["ip", "link", "set", "outside", "down"]);
    // With the cable pulled only the machine itself can ask.
    let poll = |until: &str| {
        let script = format!(
            "until sledctl --json volume show still-fawn | grep -q '{until}'; do sleep 0.1; done; sledctl volume show still-fawn || echo $?"
        );
        machine.sh(&script)
    };
    let shown = poll("NIC_NO_CARRIER");
    assert!(
        shown.contains("not ready") && shown.contains(&format!("{NIC} has no link")) && shown.ends_with("3\n"),
        "{shown}"
    );
    let (status, body) = machine.get_inside("/v1/volumes/still-fawn");
    assert_eq!((status, &body["checks"][0]["code"]), (503, &"NIC_NO_CARRIER".into()), "{body}");
    machine.outside(&["ip", "link", "set", "outside", "up"]);
    assert!(poll("\"ready\": true").contains("ready"));
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=10").0, 200);
    // Again and again: that is more than somebody's hand.
    for _ in 0..3 {
        machine.outside(&["ip", "link", "set", "outside", "down"]);
        poll("NIC_NO_CARRIER");
        machine.outside(&["ip", "link", "set", "outside", "up"]);
        poll("\"ready\": true");
    }
    let told = machine.wait_for_check("still-fawn", "NIC_FLAPPING");
    assert!(told.cause.contains("lost its link 4 times within an hour"), "{told:#?}");
    let drawn = machine.ok(&["sledctl", "network"]);
    assert!(drawn.lines().nth(1).unwrap().contains("warning NIC_FLAPPING"), "{drawn}");
}

/// What is done to the adapter or the bridge, the code under which it is told, and what mends it.
type Fault = (&'static str, &'static str, &'static str);

/// Those with which no host reaches the sled.
const BLOCKING: [Fault; 6] = [
    ("ip link set enx00e04ca81110 nomaster", "BRIDGE_PORT_MISSING", "ip link set enx00e04ca81110 master br0"),
    ("ip address flush dev br0", "BRIDGE_ADDRESS", "ip address add 192.168.4.189/24 dev br0"),
    ("ip link set br0 down", "BRIDGE_ADDRESS", "ip link set br0 up"),
    (
        // By its hardware address it would be found.
        "ip link set enx00e04ca81110 down; ip link set enx00e04ca81110 name gone address 02:00:00:00:00:99",
        "NIC_MISSING",
        "ip link set gone name enx00e04ca81110; ip link set enx00e04ca81110 up",
    ),
    ("ip link set br0 name gone", "BRIDGE_MISSING", "ip link set gone name br0"),
    (
        "bridge link set dev enx00e04ca81110 state 0",
        "BRIDGE_PORT_BLOCKED",
        "bridge link set dev enx00e04ca81110 state 3",
    ),
];

/// Those with which some do.
const WARNINGS: [Fault; 6] = [
    ("ip link set br0 mtu 1400", "MTU_MISMATCH", "ip link set br0 mtu 1500"),
    (
        "ip address flush dev br0; ip address add 192.168.4.189/32 dev br0",
        "ADDRESS_PREFIX",
        "ip address flush dev br0; ip address add 192.168.4.189/24 dev br0",
    ),
    (
        "ip link set br0 type bridge stp_state 1",
        "BRIDGE_STP",
        "ip link set br0 type bridge stp_state 0; ip link set br0 type bridge forward_delay 0; \
         bridge link set dev enx00e04ca81110 state 3",
    ),
    ("ip link set br0 type bridge forward_delay 1500", "BRIDGE_DELAY", "ip link set br0 type bridge forward_delay 0"),
    (
        "cat /sys/class/net/br0/address >/run/mac; ip link set br0 address 02:00:00:00:00:77",
        "BRIDGE_MAC_CHANGED",
        "ip link set br0 address $(cat /run/mac)",
    ),
    (
        "ip link add name twin address $(cat /sys/class/net/enx00e04ca81110/address) type veth peer name other",
        "NIC_RENAMED",
        "ip link del twin",
    ),
];

pub fn is_told(machine: &Machine, code: &str) {
    machine.sh(&format!("until sledctl --json checks | grep -q {code}; do sleep 0.1; done"));
}

pub fn well(machine: &Machine) {
    machine.sh("until sledctl checks | grep -q 'nothing is wrong'; do sleep 0.1; done");
}

/// Seen from inside: each fault of the bridge, and that it ends with its cause.
#[test]
fn faults_of_the_adapter_and_the_bridge_are_named() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"]);
    for (fault, code, mend) in BLOCKING {
        machine.sh(fault);
        is_told(&machine, code);
        let shown = machine.run(&["sledctl", "volume", "show", "still-fawn"]);
        assert_eq!(shown.status.code(), Some(3), "{code} does not block");
        let drawn = machine.run(&["sledctl", "network"]);
        let said = String::from_utf8_lossy(&drawn.stdout);
        assert!(drawn.status.code() == Some(3) && said.contains(&format!("blocking {code}")), "{said}");
        machine.sh(mend);
        well(&machine);
    }
    for (fault, code, mend) in WARNINGS {
        machine.sh(fault);
        is_told(&machine, code);
        machine.sh(mend);
        well(&machine);
    }
    // By another of its names it is the same adapter.
    machine.sh("ip link set enx00e04ca81110 down; ip link set enx00e04ca81110 name sled0");
    is_told(&machine, "NIC_RENAMED");
    let told = machine.run(&["sledctl", "checks"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("enx00e04ca81110 is called sled0 now") && !told.contains("NIC_MISSING"), "{told}");
    machine.sh("ip link property add dev sled0 altname enx00e04ca81110; ip link set sled0 up");
    well(&machine);
    assert_eq!(machine.get("/v1/volumes/still-fawn?wait=10").0, 200);
    another_machine_has_the_address(&machine);
}

/// Plugged in again, nobody else puts it there: networkd is stopped, as it is where ifupdown configures the network.
#[test]
fn an_adapter_that_is_back_is_put_into_its_bridge_once() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"]);
    let replug = || {
        machine.sh(&format!("ip link del {NIC}"));
        is_told(&machine, "NIC_MISSING");
        let inside = machine.leader().to_string();
        machine.outside(&["ip", "link", "add", "outside", "type", "veth", "peer", "name", NIC, "netns", &inside]);
        machine.outside(&["ip", "link", "set", "outside", "master", "switch", "up"]);
    };
    let rejoins = || {
        let page = machine.get_inside("/metrics").1;
        page.as_str()
            .unwrap()
            .lines()
            .find_map(|line| line.strip_prefix("sled_nic_rejoins_total ")?.parse::<u32>().ok())
    };
    assert_eq!(rejoins(), Some(0));
    for times in 1..=2 {
        replug();
        well(&machine);
        assert_eq!(machine.get("/v1/volumes/still-fawn?wait=10").0, 200);
        // It is seen in the bridge before the end of the job that has put it there is told.
        machine
            .sh(&format!("until sledctl events | grep -c 'nic {NIC} put back' | grep -qx {times}; do sleep 0.1; done"));
        assert_eq!(rejoins(), Some(times));
    }
    let told = machine.ok(&["sledctl", "events"]);
    assert_eq!(told.matches(&format!("nic {NIC} put back")).count(), 2, "{told}");
    // Somebody who takes it out means that; and who wants to do it himself says so.
    let stays_out = || {
        machine.sh("end=$(($(date +%s) + 8)); until sledctl --json checks | grep -q BRIDGE_PORT_MISSING; do :; done; \
             while [ $(date +%s) -lt $end ]; do sledctl --json checks | grep -q BRIDGE_PORT_MISSING; done");
        assert_eq!(rejoins(), Some(2));
    };
    machine.sh(&format!("ip link set {NIC} nomaster"));
    stays_out();
    machine.sh(&format!("ip link set {NIC} master br0"));
    well(&machine);
    machine.sh("printf '[network]\\nrejoin = false\\n' >/etc/sled/sled.toml.d/60-rejoin.toml; sledctl reload");
    replug();
    stays_out();
}

/// A host in another network to which no route leads, and one on the same link that is attached and has gone silent.
#[test]
fn a_host_that_cannot_be_reached_is_named() {
    let far = SMALL.replace("[\"192.168.4.17\"]", "[\"192.168.4.17\", \"192.168.4.19\", \"10.9.9.9\"]");
    let machine = Layer::small().with("etc/sled/port-map.toml", &far).boot_and_create();
    assert!(machine.volume("still-fawn").checks.is_empty(), "{:#?}", machine.volume("still-fawn"));
    machine.sh("ip route del default");
    let told = machine.wait_for_check("still-fawn", "ROUTE_MISSING");
    assert!(told.cause.contains("no route leads to 10.9.9.9") && !told.cause.contains("4.17"), "{told:#?}");
    let drawn = machine.ok(&["sledctl", "network"]);
    assert!(drawn.contains("warning ROUTE_MISSING"), "{drawn}");
    machine.sh("ip route add default via 192.168.4.1 dev br0");
    machine.wait_for("still-fawn", |volume| volume.checks.is_empty());

    let host = machine.host("192.168.4.19");
    let _line = host.connect(3830).unwrap();
    // It is asked by whoever sends to it, and does not answer any more.
    host.ok(&["ip", "link", "set", "eth0", "arp", "off"]);
    machine.sh("ip neighbour flush to 192.168.4.19; bash -c 'echo x >/dev/udp/192.168.4.19/9' || true");
    let told = machine.wait_for_check("still-fawn", "NEIGHBOUR_MISSING");
    assert!(told.cause.contains("192.168.4.19") && told.cause.contains("is attached"), "{told:#?}");
    host.ok(&["ip", "link", "set", "eth0", "arp", "on"]);
    machine.sh("ip neighbour flush to 192.168.4.19");
    machine.wait_for("still-fawn", |volume| !has(volume, "NEIGHBOUR_MISSING"));
}

/// Another machine on the link has the sled's IPv4 address: that is found out when the cable comes, and that it is over
/// without anybody's doing.
#[test]
fn another_machine_with_the_address_is_named_and_keeps_hosts_out() {
    let machine = Layer::small().boot_and_create();
    let other = machine.host(SLED);
    let link: serde_json::Value = serde_json::from_str(&other.ok(&["ip", "-json", "link", "show", "eth0"])).unwrap();
    let mac = link[0]["address"].as_str().unwrap();
    machine.sh("ip link set enx00e04ca81110 down; ip link set enx00e04ca81110 up");
    is_told(&machine, "ADDRESS_DUPLICATE");
    let shown = machine.run(&["sledctl", "volume", "show", "still-fawn"]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.code() == Some(3) && said.contains(mac), "{mac} is not named:\n{said}");
    assert!(machine.pids().iter().all(|unit| !unit.contains("MainPID=0")), "the regions go on: {:?}", machine.pids());
    other.ok(&["ip", "address", "flush", "dev", "eth0"]);
    well(&machine);
}

/// Which the kernel finds out for IPv6.
fn another_machine_has_the_address(machine: &Machine) {
    machine.outside(&["ip", "address", "add", "fd00::189/64", "dev", "switch", "nodad"]);
    machine.sh("ip address add fd00::189/64 dev br0; \
         sed -i 's/192.168.4.189/fd00::189/; s/\"192.168.4.1\"/\"fd00::1\"/' /etc/sled/*.toml; \
         until ip -6 address show dev br0 | grep -q dadfailed; do sleep 0.1; done");
    let told = machine.run(&["sledctl", "config", "diff"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("would come: blocking ADDRESS_DUPLICATE") && !told.contains("REGION_DOWN"), "{told}");

    // A machine that is started so: the regions wait, and are silent about it.
    machine.sh("systemctl stop sledd.socket sledd.service 'crucible-downstairs@*'; systemctl start sledd.service");
    is_told(machine, "ADDRESS_DUPLICATE");
    // Everything was looked at, and what a region waits for is none of its faults.
    machine
        .sh("until sledctl --json volume show still-fawn | grep -c '\"state\": \"stopped\"' | grep -qx 3; do sleep 0.1; done");
    let told = machine.run(&["sledctl", "checks"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("ADDRESS_DUPLICATE") && told.contains("another machine has"), "{told}");
    for silent in ["REGION_DOWN", "REGION_STARTING", "BRIDGE_ADDRESS", "PORT_TAKEN"] {
        assert!(!told.contains(silent), "{silent} is told beside it:\n{told}");
    }
    assert!(machine.pids().iter().all(|unit| unit.contains("MainPID=0")), "{:?}", machine.pids());
    // The other one goes, and the address is looked at anew, as the remedy says: everything is well by itself.
    machine.outside(&["ip", "address", "del", "fd00::189/64", "dev", "switch"]);
    machine.sh("ip address del fd00::189/64 dev br0 && ip address add fd00::189/64 dev br0");
    well(machine);
}

/// What a machine's kernel tells of its adapter: a tree of the test's own, in place of sysfs.
struct Tree(Layer);

impl Tree {
    /// An adapter at a USB hub's third port, as it should be but for these files of its device.
    fn with(device: &[(&str, &str)], driver: &str) -> Self {
        let at = "fake/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3";
        let net = format!("{at}/1-2.3:1.0/net/{NIC}");
        let mut layer = Layer::small()
            .with("fake/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/product", "USB2.0 Hub\n")
            .with(&format!("{at}/idVendor"), "0bda\n")
            .with(&format!("{at}/idProduct"), "8156\n")
            .with(&format!("{net}/speed"), "2500\n")
            .with("fake/sys/bus/usb/uevent", "")
            .with("fake/proc/sys/kernel/osrelease", "6.12.57+deb13-amd64\n")
            .with(
                "etc/systemd/system/sledd.service.d/kernel.conf",
                "[Service]\nExecStart=\nExecStart=/usr/bin/sledd --sysfs /fake/sys --proc /fake/proc\n\
                 OpenFile=\nOpenFile=/fake/kmsg:kmsg:read-only\n",
            )
            // Somebody who may say something holds the log open, as the kernel does.
            .with("etc/systemd/system/sledd.service.d/kmsg.conf", "[Unit]\nWants=kmsg.service\nAfter=kmsg.service\n")
            .with(
                "etc/systemd/system/kmsg.service",
                "[Service]\nType=exec\nExecStartPre=mkfifo /fake/kmsg\n\
                 ExecStart=/bin/sh -c 'exec 3<>/fake/kmsg; touch /fake/open; exec sleep infinity'\n\
                 ExecStartPost=/bin/sh -c 'until [ -e /fake/open ]; do sleep 0.01; done'\n",
            );
        for (file, text) in device {
            layer = layer.with(&format!("{at}/{file}"), text);
        }
        let root = layer.path().join("fake/sys");
        let link = |to: &str, from: String| std::os::unix::fs::symlink(to, root.join(from)).unwrap();
        std::fs::create_dir_all(root.join("class/net")).unwrap();
        let (at, net) = (at.trim_start_matches("fake/sys/"), net.trim_start_matches("fake/sys/"));
        link("/fake/sys/bus/usb", format!("{at}/1-2.3:1.0/subsystem"));
        link(&format!("/fake/sys/bus/usb/drivers/{driver}"), format!("{at}/1-2.3:1.0/driver"));
        link("../..", format!("{net}/device"));
        link(&format!("/fake/sys/{net}"), format!("class/net/{NIC}"));
        Self(layer)
    }
}

/// An adapter on a USB 2 port, at a lower speed than expected, with a driver that is not its own, and so on.
#[test]
fn a_bad_adapter_is_a_warning_and_blocks_nothing() {
    let device = [("speed", "480\n"), (&*format!("1-2.3:1.0/net/{NIC}/speed"), "100\n"), ("power/control", "auto\n")];
    let duplex = format!("1-2.3:1.0/net/{NIC}/duplex");
    let device = [&device[..], &[(&*duplex, "half\n")]].concat();
    let machine = Tree::with(&device, "cdc_ncm").0.boot_and_create();
    let volume = machine.volume("still-fawn");
    for code in ["NIC_SLOW", "NIC_USB2", "NIC_HALF_DUPLEX", "NIC_DRIVER", "NIC_AUTOSUSPEND"] {
        assert!(volume.ready && has(&volume, code), "{code}: {volume:#?}");
    }
    let place = cause(&volume, "NIC_USB2").unwrap();
    assert!(place.contains("1-2.3, port 3 of the hub at 1-2 (USB2.0 Hub)"), "{place}");
    let sled = machine.sled();
    assert_eq!((sled.network.link_mbps, sled.network.usb_mbps), (Some(100), Some(480)));
    assert_eq!(machine.run(&["sledctl", "status"]).status.code(), Some(0));
    let (status, body) = machine.get("/v1/network");
    assert_eq!(
        (status, &body["adapter"]["usb_path"], &body["checks"][0]["code"]),
        (200, &"1-2.3".into(), &"NIC_SLOW".into())
    );
    let drawn = machine.ok(&["sledctl", "network"]);
    for part in [
        "link at 100 Mbit/s (expected: 2500 or more)",
        "USB 480 Mbit/s at 1-2.3",
        "the adapter's port is forwarding",
        "192.168.4.189/24, the sled's",
    ] {
        assert!(drawn.contains(part), "{part:?} is not in\n{drawn}");
    }
}

/// Faults are told by how many there are of late, and a driver's own counters are read.
#[test]
fn packets_that_are_damaged_are_told_by_their_share() {
    let net = format!("1-2.3:1.0/net/{NIC}");
    let count = |file: &str| format!("{net}/statistics/{file}");
    let (received, faulty) = (count("rx_packets"), count("rx_errors"));
    let device = [("speed", "5000\n"), (&*received, "1000\n"), (&*faulty, "900\n")];
    let machine = Tree::with(&device, "r8152").0.boot_and_create();
    assert!(machine.volume("still-fawn").checks.is_empty(), "what was before is none of it");
    let place = format!("/fake/sys/class/net/{NIC}/statistics");
    machine.sh(&format!(
        "echo 51000 >{place}/rx_packets; echo 1000 >{place}/rx_errors; ip address add 10.0.0.1/32 dev lo"
    ));
    let told = machine.wait_for_check("still-fawn", "NIC_ERRORS");
    assert!(told.cause.contains("more than 1 in 1000 arrived damaged"), "{told:#?}");

    // The end of a cable has none of that adapter's, but has its own.
    let counted = machine.in_outside(|| {
        let drivers = Drivers::open().unwrap();
        ["peer_ifindex", "rx_missed"].map(|counter| drivers.counter("outside", counter).unwrap())
    });
    assert!(counted[0].is_some_and(|index| index > 0) && counted[1].is_none(), "{counted:?}");
}

/// What the kernel's log says of the adapter, through the descriptor that systemd has opened.
#[test]
fn an_adapter_that_the_kernel_complains_of_is_told() {
    let machine = Tree::with(&[("speed", "5000\n")], "r8152").0.boot_and_create();
    assert!(machine.volume("still-fawn").checks.is_empty(), "{:#?}", machine.volume("still-fawn"));
    let say = |at: &str, text: &str| {
        machine.sh(&format!("printf '4,1,{at}000000,-;{text}\\n SUBSYSTEM=usb\\n DEVICE=c189:7\\n' >/fake/kmsg"));
    };
    let uptime = machine.sh("cut -d. -f1 /proc/uptime");
    let now: u64 = uptime.trim().parse().unwrap();
    let reset = "usb 1-2.3: reset SuperSpeed USB device number 3 using xhci_hcd";
    // What it says when it is plugged in is well, and what another one says is its own.
    say(&now.to_string(), "usb 1-2.3: new SuperSpeed USB device number 3 using xhci_hcd");
    say(&now.to_string(), reset);
    say(&now.to_string(), "usb 4-4: device descriptor read/8, error -110");
    say(&(now + 60).to_string(), reset);
    say(&(now + 120).to_string(), reset);
    let told = machine.wait_for_check("still-fawn", "NIC_RESETS");
    assert!(told.cause.contains("failed 2 times within a day") && told.cause.contains(reset), "{told:#?}");
    assert!(told.remedy.contains("usbcore.quirks=0bda:8156:k"), "{told:#?}");
    assert!(machine.volume("still-fawn").ready);
    let drawn = machine.ok(&["sledctl", "network"]);
    assert!(drawn.contains("warning NIC_RESETS"), "{drawn}");
    // One that is started anew reads it from what the kernel has kept; here nothing is.
    machine.sh("systemctl restart sledd.service");
    machine.sh("until sledctl checks | grep -q 'nothing is wrong'; do sleep 0.05; done");
    let held = machine.sh("ls -l /proc/$(systemctl show -P MainPID sledd.service)/fd");
    assert_eq!(held.matches("/fake/kmsg").count(), 2, "the log, and what waits for it: {held}");
}
