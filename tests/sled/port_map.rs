//! The port map is law: who may listen at a region's ports, and who may talk to them.

use crate::calm::Calm;
use crucible_sled::wire::{Check, State};
use std::io::{Read, Write};
use std::time::Duration;
use support::hosts::{CONNECT, Host};
use support::layer::Layer;
use support::machine::{Machine, cause, has, unit};

/// Two small volumes: one of two hosts, and one of the second alone. A third host has none.
pub const MAP: &str = r#"
[sleds.proper-raptor]
address = "192.168.4.189"
[sleds.other]
address = "192.168.4.190"
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
hosts = ["still-fawn", "pumped-piglet"]
regions = ["proper-raptor:3830", "proper-raptor:3831", "proper-raptor:3832"]
[volumes.pumped-piglet]
hosts = ["pumped-piglet"]
regions = ["proper-raptor:3840", "proper-raptor:3841", "proper-raptor:3842"]
"#;

/// A host of both volumes.
pub const PUMPED_PIGLET: &str = "192.168.4.175";
/// A host of the first one.
pub const STILL_FAWN: &str = "192.168.4.17";
/// A host that the map names and lets in nowhere.
pub const CHIEF_HORSE: &str = "192.168.4.19";
/// A host that the map does not know.
pub const STRANGER: &str = "192.168.4.66";

/// A machine with [`MAP`], on which all regions of both volumes serve.
pub fn boot() -> Machine {
    boot_with(MAP)
}

/// The same with another map of the same two volumes.
pub fn boot_with(map: &str) -> Machine {
    let machine = Layer::small().with("etc/sled/port-map.toml", map).boot_and_create();
    machine.wait_for("pumped-piglet", |volume| volume.ready);
    machine
}

/// Assert that no connection comes about, and that this is known soon.
pub fn is_shut_out(host: &Host, ports: &[u16]) {
    for &port in ports {
        let began = Calm::begin();
        assert!(host.connect(port).is_err(), "{} is let in at {port}", host.address);
        assert!(began.elapsed() < 2 * CONNECT);
    }
}

/// Assert that a host is answered, no later than a second from now.
pub fn is_let_in(host: &Host, ports: &[u16]) {
    let began = Calm::begin();
    for &port in ports {
        while !host.reaches(port) {
            assert!(!began.is_over(Duration::from_secs(1) + CONNECT), "{} is not let in at {port}", host.address);
        }
    }
}

/// Ask a region's repair port who it is.
fn region_info(host: &Host, port: u16) -> String {
    let mut stream = host.connect(port).unwrap();
    stream.write_all(b"GET /region-info HTTP/1.1\r\nHost: sled\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Hosts that are let in by [`MAP`], and those that are not.
fn map_is_law(machine: &Machine) {
    let [still_fawn, pumped_piglet] = [STILL_FAWN, PUMPED_PIGLET].map(|address| machine.host(address));
    for port in [3830, 3831, 3832] {
        assert!(still_fawn.reaches(port) && pumped_piglet.reaches(port), "{port}");
    }
    for port in [3840, 3841, 3842] {
        assert!(pumped_piglet.reaches(port), "{port}");
    }
    // Hosts of a volume reach the repair ports of its regions, too: the answer is a region's.
    assert!(region_info(&pumped_piglet, 7840).contains("\"extent_count\""));
    is_shut_out(&still_fawn, &[3840, 7840]);
    for address in [CHIEF_HORSE, STRANGER] {
        is_shut_out(&machine.host(address), &[3830, 7830, 3842, 7842]);
    }
    let (status, _) = machine.host(STRANGER).ask("GET", "/v1/volumes/still-fawn", "");
    assert_eq!(status, 200, "whether a volume is ready is told to everybody");
}

#[test]
fn hosts_of_a_volume_reach_its_regions_and_nobody_else_does_also_after_a_reboot() {
    let mut machine = boot();
    map_is_law(&machine);
    machine.reboot();
    for volume in ["still-fawn", "pumped-piglet"] {
        machine.wait_for(volume, |volume| volume.ready);
    }
    map_is_law(&machine);
}

/// Each of these ends a downstairs that it reaches.
fn poison(host: &Host, port: u16) -> std::io::Result<()> {
    let mut frame = host.connect(port)?;
    frame.write_all(&[3, 0, 0, 0])?;
    _ = frame.read(&mut [0; 8]);
    let mut request = host.connect(port + 4000)?;
    request.write_all(b"GET /extent/9999/repair-ready HTTP/1.1\r\nHost: sled\r\n\r\n")?;
    _ = request.read(&mut [0; 8]);
    Ok(())
}

#[test]
fn what_would_end_a_downstairs_does_not_reach_it_from_a_foreign_host() {
    let machine = boot();
    let before = machine.pids();
    for address in [STILL_FAWN, CHIEF_HORSE, STRANGER] {
        let host = machine.host(address);
        assert!(poison(&host, 3840).is_err());
        is_shut_out(&host, &[7840]);
    }
    assert_eq!(machine.pids(), before);
    assert_eq!(machine.property("pumped-piglet-0", "NRestarts"), "0");
    let volume = machine.volume("pumped-piglet");
    assert!(volume.ready && volume.regions.iter().all(|region| region.state == Some(State::Serving)), "{volume:#?}");
    // The probe is no blunt weapon: sent by a host that is let in, it ends the region's process.
    let host = machine.host(PUMPED_PIGLET);
    assert!(host.reaches(3840));
    _ = poison(&host, 3840);
    machine.wait_for("pumped-piglet", |volume| volume.ready && volume.regions[0].pid != Some(pid(&before)));
}

/// The process of pumped-piglet's first region, of all of them.
fn pid(pids: &[String]) -> u32 {
    let line = pids.iter().find(|line| line.contains("@pumped-piglet-0.service")).unwrap();
    line.split("MainPID=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// A program under a region's settings listens at its two ports and nowhere else.
#[test]
fn a_regions_settings_let_it_listen_at_its_own_ports_only() {
    let machine = boot();
    let file = machine.ok(&["systemctl", "cat", &unit("still-fawn-0")]);
    let settings: Vec<_> = file.lines().filter(|line| line.starts_with("SocketBind")).collect();
    assert_eq!(settings.len(), 3, "{file}");
    let settings: Vec<_> = settings.iter().map(|line| format!("-p{line}")).collect();
    machine.ok(&["sledctl", "region", "hold", "--force", "still-fawn-0"]);
    machine.ok(&["sledctl", "region", "hold", "--force", "pumped-piglet-0"]);
    let listen = |port: u16| {
        let address = format!("192.168.4.189:{port}");
        let mut words = vec!["systemd-run", "--quiet", "--pipe", "--wait", "--collect"];
        words.extend(settings.iter().map(String::as_str));
        words.extend(["timeout", "1", "systemd-socket-activate", "-l", &address, "true"]);
        machine.run(&words).status.code()
    };
    // 124: it listened until its time was up.
    for (port, code) in [(3830, 124), (7830, 124), (3840, 1), (7840, 1), (3999, 1)] {
        assert_eq!(listen(port), Some(code), "{port}, with {settings:?}");
    }
}

/// The checks on a region that keep hosts from its volume.
fn blocking(machine: &Machine, region: &str) -> Vec<Check> {
    let mut checks = machine.volume(region.rsplit_once('-').unwrap().0).checks;
    checks.retain(|check| check.severity.to_string() == "blocking" && check.subject.ends_with(region));
    checks
}

/// A drop-in of somebody else's gives a region another one's port, which is free just then.
#[test]
fn a_region_that_is_told_a_wrong_port_cannot_listen_there_and_says_so() {
    let machine = boot();
    machine.ok(&["sledctl", "region", "hold", "pumped-piglet-0"]);
    let (region, dir) = ("still-fawn-0", "/run/systemd/system/crucible-downstairs@still-fawn-0.service.d");
    machine.sh(&format!(
        "mkdir -p {dir}; {{ echo '[Service]'; echo ExecStart=; systemctl cat {unit} | grep '^ExecStart=/usr/bin/flock' | \
         sed 's/--port 3830/--port 3840/'; }} >{dir}/99-wrong.conf; grep -q 'port 3840' {dir}/99-wrong.conf; \
         systemctl daemon-reload; systemctl restart {unit}",
        unit = unit(region)
    ));
    let held = machine.wait_for_check("still-fawn", "REGION_BROKEN");
    assert!(held.cause.contains("not permitted") && held.remedy.contains("SocketBindAllow="), "{held:#?}");
    // systemd may have begun to start it once more.
    machine.wait_until_stopped(region);
    let volume = machine.volume("still-fawn");
    assert_ne!(volume.regions[0].state, Some(State::Serving), "{volume:#?}");
    let listening = machine.sh("ss -Htln 'sport = :3840 or sport = :7840'");
    assert_eq!(listening, "");
    machine.sh(&format!("rm {dir}/99-wrong.conf; systemctl daemon-reload"));
    machine.ok(&["sledctl", "region", "release", region]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(blocking(&machine, region).is_empty());
    assert!(machine.host(STILL_FAWN).reaches(3830));
}

#[test]
fn a_volume_without_hosts_is_open_to_anyone_and_says_so() {
    let machine = boot_with(&MAP.replace("[\"pumped-piglet\"]", "[]"));
    let volume = machine.wait_for("pumped-piglet", |volume| has(volume, "VOLUME_OPEN"));
    assert!(volume.ready && volume.hosts.is_empty(), "{volume:#?}");
    assert!(!has(&machine.volume("still-fawn"), "VOLUME_OPEN"));
    for address in [STRANGER, CHIEF_HORSE, PUMPED_PIGLET] {
        assert!(machine.host(address).reaches(3840), "{address}");
        assert!(!region_info(&machine.host(address), 7840).is_empty());
    }
    is_shut_out(&machine.host(STRANGER), &[3830]);
}

/// The kernel counts the packets that it drops and does not say whose they were. Who asks for a
/// ticket is told by address.
#[test]
fn a_foreign_host_that_tries_is_told_of() {
    let machine = boot();
    let stranger = machine.host(STRANGER);
    assert!(!has(&machine.volume("pumped-piglet"), "CLIENT_FOREIGN"));
    let began = Calm::begin();
    while !has(&machine.volume("pumped-piglet"), "CLIENT_FOREIGN") {
        assert!(!began.is_over(Duration::from_secs(25)), "{:#?}", machine.sled().checks);
        is_shut_out(&stranger, &[3840]);
    }
    assert_eq!(stranger.ask("POST", "/v1/volumes/pumped-piglet/attach", "").0, 403);
    let volume = machine.wait_for("pumped-piglet", |volume| {
        cause(volume, "CLIENT_FOREIGN").is_some_and(|cause| cause.contains(STRANGER) && cause.contains("dropped"))
    });
    assert!(volume.ready, "somebody who is kept out is no reason to keep a host waiting");
    assert!(!has(&machine.volume("still-fawn"), "CLIENT_FOREIGN"), "nobody came there");
}

#[test]
fn a_host_that_is_connected_is_shown_by_its_name() {
    let machine = boot();
    let lines = [(STILL_FAWN, 3830), (PUMPED_PIGLET, 3831)].map(|(address, port)| {
        let stream = machine.host(address).connect(port).unwrap();
        (address, stream)
    });
    let volume = machine.wait_for("still-fawn", |volume| volume.attached.len() == 2);
    for (region, (address, stream)) in volume.regions.iter().zip(&lines) {
        let own = stream.local_addr().unwrap();
        let peer = region.connected.iter().find(|peer| peer.port == own.port()).unwrap();
        assert_eq!(peer.address, own.ip());
        let name = if *address == STILL_FAWN { "still-fawn" } else { "pumped-piglet" };
        assert_eq!(peer.host.as_deref(), Some(name), "{volume:#?}");
        let attached = volume.attached.iter().find(|attached| attached.address == own.ip()).unwrap();
        assert_eq!((attached.host.as_deref(), attached.regions.as_slice()), (Some(name), &[region.name.clone()][..]));
    }
    drop(lines);
    machine.wait_for("still-fawn", |volume| volume.attached.is_empty());
}

/// Whom a unit lets in is the supervisor's to say: what somebody sets beside it is seen at once, and put
/// right, and again when systemd has read its units anew.
#[test]
fn whom_a_unit_lets_in_is_looked_at_when_somebody_has_set_it_or_systemd_reads_its_units_again() {
    let machine = Layer::small().boot_and_create();
    let allowed = || {
        let said = machine.sh("systemctl show -P IPAddressAllow crucible-downstairs@still-fawn-1");
        said.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let right = allowed();
    assert!(right.contains("192.168.4.17/32"), "{right:?}");
    let set =
        |how: &str| format!("systemctl set-property {how} crucible-downstairs@still-fawn-1 IPAddressAllow=10.9.9.9");
    // The second one's settings are there again whenever systemd reads its units.
    for change in [set("--runtime"), set(""), "systemctl daemon-reload".into()] {
        let began = std::time::Instant::now();
        machine.sh(&change);
        machine.sh(
            "until ! systemctl show -P IPAddressAllow crucible-downstairs@still-fawn-1 | grep -q 10.9.9.9; do sleep 0.1; done",
        );
        assert_eq!(allowed(), right, "{change}");
        // The slow look comes every minute, and the last one was at the start.
        let took = began.elapsed();
        assert!(took < crucible_sled::observe::units::SLOW_LOOK / 2, "{change}: {took:?}");
    }
}
