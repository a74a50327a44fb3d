//! What the image makes of the network that is configured: with the real systemd-networkd, and on trial.

use crate::network::{is_told, well};
use crucible_sled::config::{self, Sources};
use crucible_sled::source::Source;
use support::layer::Layer;
use support::machine::Machine;

/// The files that the image makes of the configuration, with a real client and a real server: of its own choice that gives
/// another address than the map's; as the remedy says, by a reservation, the right one.
#[test]
fn an_address_by_dhcp_is_held_to_the_map() {
    let machine = Layer::small().boot_and_create();
    machine.sh("sed -i '/^gateway\\|^prefix/d' /etc/sled/sled.toml; \
         printf '[network]\\naddress = \"dhcp\"\\n' >/etc/sled/sled.toml.d/60-dhcp.toml; sledctl reload");
    let write =
        |file: &str, text: &str| machine.sh(&format!("cat >/etc/systemd/network/{file} <<'end'\n{text}\nend\n"));
    write("20-br0.network", &client(&machine));
    let server = "[Match]\nName=server\n[Network]\nAddress=192.168.4.2/24\nDHCPServer=yes\n[DHCPServer]\nPoolOffset=100\nPoolSize=100\n";
    write("40-server.network", server);
    machine.sh("ip link add server type veth peer name client; ip link set client master br0 up; networkctl reload");
    is_told(&machine, "BRIDGE_ADDRESS");
    machine.sh("until sledctl checks | grep -q 'by DHCP, and the port map gives'; do sleep 0.1; done");
    let shown = machine.run(&["sledctl", "volume", "show", "still-fawn"]);
    assert_eq!(shown.status.code(), Some(3), "it does not block");
    let mac = machine.ok(&["cat", "/sys/class/net/br0/address"]);
    let told = machine.run(&["sledctl", "checks"]);
    let told = String::from_utf8_lossy(&told.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&format!("for the hardware address {}", mac.trim())), "{told}");
    write("40-server.network", &server.replace("PoolOffset=100\nPoolSize=100", "PoolOffset=189\nPoolSize=1"));
    // A server that is started again has that address for it, and no lease of before in its way.
    machine.sh("systemctl restart systemd-networkd");
    well(&machine);
    let drawn = machine.ok(&["sledctl", "network"]);
    assert!(drawn.contains("192.168.4.189/24, the sled's"), "{drawn}");
}

/// With the image, real files and the real networkd: by what nobody is heard is taken back, and by what somebody is stays.
#[test]
fn a_network_by_which_nobody_reaches_the_sled_is_taken_back() {
    let image = r#"{"version": "1", "commit": "c", "base": "b", "downstairs": "d", "demonstration": false}"#;
    let trial = "[Service]\nExecStart=\nExecStart=/usr/bin/sledd --network 8\n";
    let machine = Layer::small()
        .with("usr/lib/sled/image.json", image)
        .with("etc/systemd/system/sled-network.service.d/50-test.conf", trial)
        .boot_and_create();
    machine.sh("mkdir -p /var/etc/network; rm -rf /etc/systemd/network; ln -s /var/etc/network /etc/systemd/network");
    let record = "/var/lib/sled/network-trial.json";
    let over = "until [ \"$(systemctl is-active sled-network)\" = inactive ]; do sleep 0.1; done";
    // Its files were made by nobody yet: that is another network, and the one that there is to be. It is kept by word.
    machine.sh(&format!(
        "sledctl reload; until grep -q applied.*[0-9] {record}; do sleep 0.1; done; sledctl reload --confirm; {over}; \
         test ! -e {record}; ip -br address show br0 | grep -q 192.168.4.189/24"
    ));
    assert_eq!(machine.run(&["sledctl", "reload", "--confirm"]).status.code(), Some(3), "nothing is on trial");

    // Nobody gets an answer in a network of one address.
    machine.sh(
        "sed -i '/^gateway/d' /etc/sled/sled.toml; printf '[appliance]\\nprefix = 32\\n' >/etc/sled/sled.toml.d/60-net.toml",
    );
    let told = machine.ok(&["sledctl", "reload", "--yes"]);
    assert!(told.contains("taken back after 60 s"), "{told}");
    // What tries it is killed meanwhile, and goes on.
    machine.sh(&format!(
        "until ip -br address show br0 | grep -q 192.168.4.189/32 && grep -q applied.*[0-9] {record}; do sleep 0.1; done; \
         systemctl kill -s KILL sled-network; until systemctl is-active sled-network; do sleep 0.1; done; {over}; grep -q '\"taken_back\": true' {record}; ip -br address show br0 | grep -q 192.168.4.189/24; \
         grep -q 189/24 /var/etc/network/20-bridge.network"
    ));
    // A change of something else does not try it again, nor does who cannot be asked.
    machine.sh(
        "printf '[events]\\nage = \"9d\"\\n' >/etc/sled/sled.toml.d/61-events.toml; sledctl reload; systemctl reload sledd",
    );
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    is_told(&machine, "NETWORK_TAKEN_BACK");

    // In a network in which a host is heard it stays.
    machine.sh("printf '[appliance]\\nprefix = 23\\n' >/etc/sled/sled.toml.d/60-net.toml");
    machine.ok(&["sledctl", "reload", "--yes"]);
    machine.sh("until ip -br address show br0 | grep -q 192.168.4.189/23; do sleep 0.1; done");
    let host = machine.host("192.168.4.19");
    let mut lines = Vec::new();
    while !machine.sh("systemctl is-active sled-network || true").starts_with("inactive") {
        lines.extend(host.connect(3800));
        machine.sh("sleep 0.2");
    }
    machine.sh(&format!("test ! -e {record}; ip -br address show br0 | grep -q 192.168.4.189/23"));
    is_told_no_more(&machine, "NETWORK_TAKEN_BACK");
    let began = machine.sh("journalctl -u sled-network -o cat | grep -c 'another network is on trial'");
    assert_eq!(began.trim(), "3", "only what was asked for was tried");
}

fn is_told_no_more(machine: &Machine, code: &str) {
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    machine.sh(&format!("until sledctl status >/dev/null; do sleep 0.1; done; ! sledctl --json checks | grep {code}"));
}

/// What the image makes of a configuration for the bridge.
fn client(machine: &Machine) -> String {
    let source =
        |file: &str| Source { file: file.into(), text: Ok(machine.ok(&["cat", &format!("/etc/sled/{file}")])) };
    let sources = Sources {
        sled: vec![source("sled.toml"), source("sled.toml.d/60-dhcp.toml")],
        port_map: source("port-map.toml"),
        ephemeral: 32768..=60999,
    };
    let files = crucible_sled::appliance::network::files(&config::read(&sources).unwrap());
    files.into_iter().find(|(file, _)| file.ends_with("20-bridge.network")).unwrap().1.unwrap()
}
