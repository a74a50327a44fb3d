//! Drop-ins of the shipped units, as text, by which the configuration adds to them: where the HTTP socket listens,
//! what the supervisor's sockets reach, and what each region's unit runs. Pure.
//!
//! The supervisor does not write these. systemd asks for them (`sledd --generator`, a
//! systemd.generator(7)) at boot and at every `daemon-reload`, so that `systemctl cat` shows
//! each region's values and the supervisor needs no right to write unit files.

use super::{fence, names};
use crate::config::{Configuration, Tls};
use crate::port_map::{Fence, LocalRegion};
use crate::programs::Programs;
use std::fmt::{Display, Write};
use std::path::Path;

/// The name of every drop-in below its unit's `.d` directory. Drop-ins are read in the order of
/// their names, and what is set while a unit runs lies in `50-PROPERTY.conf`: that has to count.
pub const FILE: &str = "10-sled.conf";

/// The words between a region's program and its directory.
const RUN: &str = " run --data ";

/// Compose the drop-ins of a configuration: each unit's name and the text of its drop-in.
pub fn all(config: &Configuration, programs: &Programs) -> Vec<(String, String)> {
    let regions = config.local_regions();
    let program = |local: &LocalRegion| programs.of(&local.name, &config.sled.downstairs.program);
    let each = regions.iter().map(|local| (names::unit(&local.name), region(config, program(local), local)));
    [socket("http.listen of sled.toml", &config.listen), broker(config)].into_iter().chain(each).collect()
}

/// Compose the drop-in of a configuration that cannot be used: hosts are told so at every address. Of a port alone
/// systemd makes one of IPv4 where the kernel has no IPv6 (`socket_address_parse()`; its manual does not say so);
/// `[::]` would fail there, and the operator's socket with it.
pub fn broken(port: u16) -> (String, String) {
    socket("everywhere, to be told that the configuration is faulty (sledctl config check)", &[port])
}

fn socket(place: &str, listen: &[impl Display]) -> (String, String) {
    let mut text = format!("# Where hosts poll: {place}.\n[Socket]\n");
    for address in listen {
        _ = writeln!(text, "ListenStream={address}");
    }
    (names::SOCKET.into(), text)
}

/// The addresses that the supervisor can connect to: this sled's, at which its regions are.
fn broker(config: &Configuration) -> (String, String) {
    let address = config.address;
    let text = format!("# The sled's own address, from the port map.\n[Service]\nIPAddressAllow={address}\n");
    (names::BROKER.into(), text)
}

/// Compose the values of one region that runs this program. The lock is taken on the directory itself and is held by
/// the downstairs as long as it lives: flock(1) becomes the downstairs and hands it over.
pub fn region(config: &Configuration, program: &Path, local: &LocalRegion) -> String {
    let dir = config.region_dir(&local.name).display().to_string();
    let root = config.sled.storage.root.display();
    let mounted = if config.sled.storage.require_mount {
        format!("RequiresMountsFor={root}\nAssertPathIsMountPoint={root}\n")
    } else {
        String::new()
    };
    format!(
        "# Region {name}, from sled.toml and port-map.toml: data on {port}, repair on {repair}.\n\
         [Unit]\n\
         Description=Crucible region {name}\n\
         {mounted}\
         [Service]\n\
         User={user}\n\
         ReadWritePaths={dir}\n\
         LimitNOFILE={descriptors}\n\
         SocketBindDeny=any\n\
         SocketBindAllow=tcp:{port}\n\
         SocketBindAllow=tcp:{repair}\n\
         {fence}\
         ExecStart=\n\
         ExecStart=/usr/bin/flock --exclusive --nonblock --no-fork --conflict-exit-code 75 {dir} \
         {program}{RUN}{dir} --port {port} --address {address}{tls}\n",
        program = program.display(),
        name = local.name,
        port = local.port,
        repair = local.repair_port(),
        user = config.sled.downstairs.user,
        descriptors = local.geometry.descriptors(),
        address = config.address,
        fence = fence::lines(&Fence::around(&config.map, local.name.volume(), None)),
        tls = config.sled.tls.as_ref().map(tls).unwrap_or_default(),
    )
}

/// Read the program that a region runs by these values of it.
pub fn program(region: &str) -> Option<&Path> {
    let (before, _) = region.split_once(RUN)?;
    before.rsplit_once(' ').map(|(_, program)| Path::new(program))
}

/// The arguments that make the data port speak TLS.
fn tls(files: &Tls) -> String {
    let Tls { cert, key, root_cert, .. } = files;
    format!(" --cert-pem {} --key-pem {} --root-cert-pem {}", cert.display(), key.display(), root_cert.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn with_tls_a_region_gets_its_files() {
        let tls = "[tls]\ncert = \"/etc/c\"\nkey = \"/etc/k\"\nroot_cert = \"/etc/r\"\n";
        let all = all(&config::shipped(tls), &Programs::default());
        let end = "--address 192.168.4.189 --cert-pem /etc/c --key-pem /etc/k --root-cert-pem /etc/r\n";
        assert!(all[2..].iter().all(|(_, text)| text.ends_with(end)), "{:?}", all[2]);
    }

    #[test]
    fn the_runbooks_sled_has_sockets_and_twelve_regions() {
        let all = all(&config::shipped(""), &Programs::default());
        assert_eq!(all.len(), 14);
        assert!(all[0].1.contains("ListenStream=192.168.4.189:3800\n"));
        assert!(all[1].1.contains("IPAddressAllow=192.168.4.189\n"));
        let (unit, text) = &all[2];
        assert_eq!(unit, "crucible-downstairs@chief-horse-0.service");
        for wanted in [
            "--port 3850 --address 192.168.4.189\n",
            "LimitNOFILE=429\n",
            "AssertPathIsMountPoint=/crucible\n",
            "SocketBindDeny=any\nSocketBindAllow=tcp:3850\nSocketBindAllow=tcp:7850\n",
            "IPAddressDeny=0.0.0.0/0 ::/0\nIPAddressAllow=127.0.0.0/8 192.168.4.19/32 192.168.4.189/32 ::1/128\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in {text}");
        }
        assert_eq!(program(text), Some(Path::new("/usr/lib/crucible/crucible-downstairs")));
        let open = all.iter().find(|(unit, _)| unit == "crucible-downstairs@pve-0.service");
        let (_, text) = open.unwrap();
        assert!(text.contains("SocketBindDeny=any") && !text.contains("IPAddress"), "{text}");
    }
}
