//! Several volumes of one host at once: the first server in the host's network, each other one in a network of its own.
//! What is said of one is true of each of them: their data, a server or a relay that is killed, a sled that is away.

use crate::store::Store;
use crate::{at, block};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use support::fleet::VOLUME;
use support::relay::{BLOCK, Host, until};

/// The network that a process is in, as the kernel names it.
fn network(process: u32) -> String {
    fs::read_link(format!("/proc/{process}/ns/net")).map(|name| name.display().to_string()).unwrap_or_default()
}

/// The process of a server that is there.
fn server(host: &Host) -> u32 {
    let mut server = None;
    until(|| {
        server = host.server();
        server.is_some_and(|server| !network(server).is_empty())
    });
    server.unwrap()
}

/// The network of the server that a volume has.
fn servers_network(host: &Host) -> String {
    network(server(host))
}

/// Whether anything of a host's, which has this directory, is still in a network, or keeps it. Of anybody else's network
/// the name says nothing: the kernel gives it again as soon as its first bearer has gone.
fn is_kept(network: &str, dir: &Path) -> bool {
    let links = |dir: &Path| {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        names.filter_map(|name| fs::read_link(name.path()).ok()).any(|name| name.as_os_str() == network)
    };
    let threads = |process: &Path| {
        let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path()).any(|thread| links(&thread.join("ns")) || links(&thread.join("fd")))
    };
    let words = |process: &Path| ["cmdline", "environ"].map(|file| fs::read(process.join(file)).unwrap_or_default());
    let dir = dir.as_os_str().as_bytes();
    let has = |process: &Path| words(process).concat().windows(dir.len()).any(|part| part == dir);
    fs::read_dir("/proc").unwrap().flatten().any(|process| has(&process.path()) && threads(&process.path()))
}

/// A host with several volumes that are served.
fn several(others: &[(&'static str, u8)]) -> Vec<Host> {
    let mut hosts = vec![Host::serving()];
    for (volume, net) in others {
        let mut other = hosts[0].beside(volume, *net);
        other.serve();
        hosts.push(other);
    }
    hosts
}

#[test]
fn several_volumes_of_a_host_have_each_its_own_data_whatever_ends() {
    let hosts = several(&[("pve", 8), ("chief-horse", 9)]);
    let networks: Vec<_> = hosts.iter().map(servers_network).collect();
    assert_eq!(networks[0], network(hosts[0].relay().unwrap()));
    assert!(networks[0] != networks[1] && networks[1] != networks[2] && networks[0] != networks[2], "{networks:?}");
    // All at once, to the same places, and all of their servers are killed meanwhile.
    std::thread::scope(|scope| {
        for (index, host) in hosts.iter().enumerate() {
            scope.spawn(move || {
                let mut client = host.client();
                for number in 0..300 {
                    client.write(at(number), &block(number, index as u8 * 2)).unwrap();
                    if number % 100 == 50 {
                        host.kill_server();
                    }
                }
            });
        }
    });
    for (index, host) in hosts.iter().enumerate() {
        let mut client = host.client();
        for number in 0..300 {
            let expected = block(number, index as u8 * 2);
            assert!(client.read(at(number), BLOCK).unwrap() == expected, "{}: block {number}", host.sled.volume);
        }
        client.flush().unwrap();
        // It is where it was.
        assert_eq!(servers_network(host), networks[index]);
    }
    let dirs: Vec<_> = hosts.iter().map(|host| host.dir.path().to_owned()).collect();
    let kept = || networks[1..].iter().zip(&dirs[1..]).any(|(network, dir)| is_kept(network, dir));
    assert!(kept());
    drop(hosts);
    until(|| !kept());
}

/// A block that nobody wrote, longer requests, and QEMU's client, through a way to a sled.
#[test]
fn a_volume_apart_is_no_different() {
    let hosts = several(&[("pve", 8)]);
    let mut client = hosts[1].client();
    let long: Vec<u8> = (0..3_000_001_u32).map(|at| (at / 5) as u8 | 1).collect();
    client.write(at(7) + 13, &long).unwrap();
    client.flush().unwrap();
    assert!(client.read(at(7) + 13, long.len()).unwrap() == long);
    assert_eq!(client.read(at(1000), BLOCK).unwrap(), vec![0; BLOCK]);
    let said = crate::qemu(&hosts[1], &["write -P 0x5a 12M 64k", "flush", "read -P 0x5a 12M 64k", "read -P 0 13M 64k"]);
    assert!(!said.contains("failed"), "{said}");
}

#[test]
fn a_relay_apart_that_is_killed_leaves_nothing_and_loses_nothing() {
    let first = Host::serving();
    let mut host = first.beside("pve", 8);
    let store = Store::open(host.dir.path());
    host.begin_as(store.with(host.command()));
    let mut client = host.client();
    for number in 0..100 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    let (server, network) = (server(&host), servers_network(&host));
    assert_ne!(network, self::network(first.relay().unwrap()));
    assert!(is_kept(&network, host.dir.path()));
    assert_eq!(host.end("KILL").signal(), Some(9));
    until(|| !Path::new(&format!("/proc/{server}/exe")).exists());
    until(|| !is_kept(&network, host.dir.path()));
    host.begin_as(store.with(host.command()));
    let mut client = host.client();
    for number in 0..100 {
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, 1), "block {number}");
    }
    assert!(host.said().contains("gets a network of its own"), "{}", host.said());
}

/// Requests from while it was away are done when it is back.
#[test]
fn a_sled_that_is_away_from_a_volume_apart_is_a_pause() {
    let mut hosts = several(&[("pve", 8)]);
    let mut other = hosts[0].client();
    let host = &mut hosts[1];
    let mut client = host.client();
    for number in 0..50 {
        client.write(at(number), &block(number, 1)).unwrap();
    }
    let kept = servers_network(host);
    host.sled.tell(|mind| mind.ready = false);
    (0..3).for_each(|index| host.kill(index));
    // A flush waits for them; nobody else does.
    let asked = client.send(crucible_sled::nbd::transmission::Command::Flush, 0, 0, &[]).unwrap();
    for number in 0..50 {
        other.write(at(number), &block(number, 7)).unwrap();
        other.flush().unwrap();
    }
    (0..3).for_each(|index| host.start(index));
    host.sled.tell(|mind| mind.ready = true);
    assert_eq!(client.answer().unwrap(), (asked, Ok(())));
    for number in 0..50 {
        assert_eq!(client.read(at(number), BLOCK).unwrap(), block(number, 1), "block {number}");
    }
    assert_eq!(servers_network(host), kept);
}

#[test]
fn a_volume_is_attached_once_and_the_hosts_place_is_whoevers_comes_first() {
    let mut hosts = several(&[("pve", 8)]);
    let mut again = hosts[1].command();
    let refused = again.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let holder = format!("process {} has it, for the volume pve", hosts[1].relay().unwrap());
    assert!(refused.status.code() == Some(1) && said.contains(&holder), "{said}");
    assert!(said.contains("pve is attached to this host already"), "{said}");
    // To become a server takes the host's place.
    let mut run = Command::new(env!("CARGO_BIN_EXE_crucible-attach"));
    run.args(["run", "moon", "--sled", "127.8.0.1", "--program", "/bin/true", "--lock"]).arg(hosts[0].lock());
    let said = String::from_utf8_lossy(&run.output().unwrap().stderr).into_owned();
    assert!(said.contains("for the volume still-fawn") && said.contains("crucible-attach serve"), "{said}");
    // The first one leaves; another one comes, and the one apart stays where it is.
    let mut client = hosts[1].client();
    client.write(0, &block(0, 1)).unwrap();
    let apart = servers_network(&hosts[1]);
    assert_eq!(hosts[0].end("TERM").code(), Some(0));
    let mut third = hosts[0].beside("chief-horse", 9);
    third.serve();
    let mut thirds = third.client();
    thirds.write(0, &block(0, 2)).unwrap();
    assert_eq!((client.read(0, BLOCK).unwrap(), thirds.read(0, BLOCK).unwrap()), (block(0, 1), block(0, 2)));
    assert_eq!(servers_network(&third), network(third.relay().unwrap()));
    assert_eq!(servers_network(&hosts[1]), apart);
    // And the one that was first is now beside it.
    hosts[0].serve();
    hosts[0].client().read(0, BLOCK).unwrap();
    assert_ne!(servers_network(&hosts[0]), network(hosts[0].relay().unwrap()));
}

#[test]
fn whoever_may_make_no_network_is_told_what_that_takes() {
    let host = Host::serving();
    let other = host.beside("pve", 8);
    for lacks in ["-sys_admin", "-net_admin"] {
        let command = other.command();
        let mut without = Command::new("setpriv");
        without.args(["--bounding-set", lacks, "--"]).arg(command.get_program()).args(command.get_args());
        let output = without.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("CAP_SYS_ADMIN and CAP_NET_ADMIN"), "{lacks}: {said}");
        assert!(said.contains(&format!("for the volume {VOLUME}")), "{said}");
    }
    assert!(other.sled.mind.lock().unwrap().asked.is_empty());
}
