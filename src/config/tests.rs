//! The reader against the shipped files, and against every fault that they could have.

use super::*;
use proptest::prelude::*;

const SLED: &str = include_str!("../../etc/sled.toml");
const MAP: &str = include_str!("../../etc/port-map.toml");

fn sources(sled: &str, map: &str) -> Sources {
    let source = |file: &str, text: &str| Source { file: file.into(), text: Ok(text.into()) };
    Sources { sled: vec![source("sled.toml", sled)], port_map: source("port-map.toml", map), ephemeral: 32768..=60999 }
}

fn faults(sled: &str, map: &str) -> Vec<Fault> {
    read(&sources(sled, map)).err().unwrap_or_default()
}

/// The last line of `needle` in `text`, counted from 1.
fn line(text: &str, needle: &str) -> Option<usize> {
    text.lines().collect::<Vec<_>>().iter().rposition(|line| line.contains(needle)).map(|at| at + 1)
}

#[test]
fn the_shipped_files_are_the_runbooks_sled() {
    let config = read(&sources(SLED, MAP)).unwrap();
    assert_eq!(config.listen, ["192.168.4.189:3800".parse().unwrap()]);
    let regions = config.local_regions();
    assert_eq!(regions.len(), 12);
    let names: Vec<_> = regions.iter().map(|r| (r.name.to_string(), r.port)).collect();
    assert!(names.contains(&("still-fawn-2".into(), 3832)));
    assert!(config.map.volumes.values().all(|v| v.fault_tolerance() == 0));
}

#[test]
fn commented_keys_of_the_shipped_file_are_their_defaults() {
    let uncommented: String = SLED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(uncommented, SLED);
    let (with, without) = (read(&sources(&uncommented, MAP)).unwrap(), read(&sources(SLED, MAP)).unwrap());
    assert_eq!((with.sled, with.listen), (without.sled, without.listen));
}

/// Changes one line of a shipped file; the fault must be the only one, stand at that line,
/// and say both texts.
fn one_fault(file: &str, from: &str, to: &str, problem: &str, remedy: &str) {
    let (sled, map) = match file {
        "sled.toml" => (SLED.replacen(from, to, 1), MAP.to_owned()),
        _ => (SLED.to_owned(), MAP.replacen(from, to, 1)),
    };
    let text = if file == "sled.toml" { &sled } else { &map };
    assert!(text.contains(to), "{from:?} is not in {file}");
    let found = faults(&sled, &map);
    assert_eq!(found.len(), 1, "{to:?}: {found:#?}");
    assert_eq!((found[0].file.as_str(), found[0].line), (file, line(text, to.trim_end())), "{found:#?}");
    assert!(found[0].problem.contains(problem), "{problem:?} not in {:#?}", found[0]);
    assert!(found[0].remedy.contains(remedy), "{remedy:?} not in {:#?}", found[0]);
}

#[test]
fn every_fault_of_sled_toml_is_named_with_its_line() {
    for (from, to, problem, remedy) in [
        ("reserve = \"5%\"", "resreve = \"5%\"", "no key", "reserve"),
        ("[http]", "[htpt]", "no key", "write http"),
        ("\"thick\"\n", "\"thik\"\n", "neither thick nor thin", "\"thick\" or \"thin\""),
        ("\"5%\"", "\"lots\"", "neither a percentage", "\"5%\""),
        ("\"5%\"", "\"500%\"", "neither a percentage", "\"5%\""),
        ("min_link_mbps = 2500", "min_link_mbps = \"fast\"", "is a string", "an integer"),
        ("min_usb_mbps = 5000", "min_usb_mbps = -1", "-1 is not from", "from 1"),
        ("#hung_after = \"5s\"", "hung_after = \"soon\"", "no length of time", "\"5s\""),
        ("#steady_after = \"1m\"", "steady_after = \"0s\"", "no time at all", "\"1s\""),
        ("#crashes = 5", "crashes = 1", "1 is not from 2", "from 2"),
        ("user = \"crucible\"", "user = \"a b\"", "no name of a user", "31 letters"),
        ("bridge = \"br0\"", "bridge = \"a-bridge-of-sixteen\"", "no name of an interface", "15 letters"),
        ("root = \"/crucible\"", "root = \"crucible\"", "no plain absolute path", "/crucible"),
        ("root = \"/crucible\"", "root = \"/srv/../crucible\"", "no plain absolute path", "/crucible"),
        ("#listen = [\"192.168.4.189:3800\"]", "listen = [\"192.168.4.189\"]", "no address with a port", "3800"),
        ("#names = []", "names = [\"a.example:3800\"]", "no name of a machine", "without a port"),
        ("#names = []", "names = [\"10.0.0.1\"]", "no name of a machine", "without a port"),
        ("name = \"proper-raptor\"", "name = \"proper-rapter\"", "has no sled", "\"proper-raptor\""),
        ("name = \"proper-raptor\"", "name = \"../x\"", "a-z, 0-9 and -", "proper-raptor"),
        ("root = \"/crucible\"", "root = 3", "is an integer", "a string"),
        // A number alone is no size, with or without quotes, and a remedy leads to no other meaning.
        ("reserve = \"5%\"", "reserve = 5", "is an integer", "\"5%\" or a size such as \"20GiB\""),
        ("reserve = \"5%\"", "reserve = \"5\"", "\"5%\" or as \"5GiB\"", "\"5%\""),
        ("reserve = \"5%\"", "reserve = \"20GB\"", "write \"20GiB\"", "\"20GiB\""),
        ("reserve = \"5%\"", "reserve = \"20g\"", "neither a percentage", "\"20GiB\""),
        ("#keep_deleted = \"7d\"", "keep_deleted = \"1m\"", "write \"1min\" or \"30d\"", "days or hours"),
        ("#keep_deleted = \"7d\"", "keep_deleted = \"2M\"", "write \"2min\" or \"60d\"", "days or hours"),
        ("#keep_deleted = \"7d\"", "keep_deleted = 7", "is an integer", "\"7d\""),
        ("#hung_after = \"5s\"", "hung_after = 5", "is an integer", "\"5s\""),
        ("nic = \"enx00e04ca81110\"", "nic = \"br0\"", "is the bridge itself", "ip link"),
        ("nic = \"enx00e04ca81110\"", "nic = \"lo\"", "reaches no host", "ip link"),
        ("bridge = \"br0\"", "bridge = \"lo\"", "no bridge", "br0"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.5.1\"", "not in the network of the sled", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.189\"", "is the sled itself", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.255\"", "broadcast address of 192.168.4.0/24", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.0\"", "the network 192.168.4.0/24 itself", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"0.0.0.0\"", "no address of a router", "router's"),
        ("dns = [\"192.168.4.53\"]", "dns = [\"0.0.0.0\"]", "no server's address", "each once"),
        ("dns = [\"192.168.4.53\"]", "dns = [\"192.168.4.53\", \"192.168.4.53\"]", "listed twice", "each once"),
    ] {
        one_fault("sled.toml", from, to, problem, remedy);
    }
}

/// Where the endpoint is to listen: each socket is opened by itself, and none if one cannot be.
#[test]
fn of_two_sockets_in_one_place_the_second_is_a_fault() {
    for (first, second, problem) in [
        ("0.0.0.0:3800", "192.168.4.189:3800", "taken by \"0.0.0.0:3800\" already (sled.toml, line"),
        ("192.168.4.189:3800", "0.0.0.0:3800", "taken by \"192.168.4.189:3800\""),
        ("192.168.4.189:3800", "192.168.4.189:3800", "taken by"),
        ("192.168.4.189:3800", "[::ffff:192.168.4.189]:3800", "taken by"),
        ("[::]:3800", "192.168.4.189:3800", "taken by \"[::]:3800\""),
        ("[::]:3800", "0.0.0.0:3800", "taken by"),
        ("[fd00::1]:3800", "[::]:3800", "taken by"),
        ("192.168.4.189:3800", "224.0.0.1:3800", "a group"),
        ("192.168.4.189:3800", "[ff02::1]:3800", "a group"),
        ("192.168.4.189:3800", "255.255.255.255:3800", "everybody's"),
        ("192.168.4.189:3800", "[fe80::1]:3800", "does not say on which"),
        ("192.168.4.189:3800", "", ""),
        ("192.168.4.189:3800", "192.168.4.189:3801", ""),
        ("0.0.0.0:3800", "[fd00::1]:3800", ""),
        ("192.168.4.189:3800", "127.0.0.1:3800", ""),
        ("192.168.4.189:3800", "[fe80::1%2]:3800", ""),
    ] {
        let list: Vec<_> =
            [first, second].into_iter().filter(|one| !one.is_empty()).map(|one| format!("{one:?}")).collect();
        let sled =
            SLED.replacen("#listen = [\"192.168.4.189:3800\"]", &format!("listen = [\n{}\n]", list.join(",\n")), 1);
        let found = faults(&sled, MAP);
        match problem {
            "" => assert_eq!(found, [], "{first} {second}"),
            problem => {
                assert_eq!(found.len(), 1, "{first} {second}: {found:#?}");
                assert_eq!((found[0].key.as_str(), found[0].line), ("http.listen", line(&sled, list[1].as_str())));
                assert!(found[0].problem.contains(problem), "{found:#?}");
            }
        }
    }
}

/// The same words in another order, with other comments and line ends, are the same map.
#[test]
fn the_digest_of_a_map_is_of_what_it_means() {
    let digest = |map: &str| read(&sources(SLED, map)).unwrap().map.digest;
    let (own, bare): (String, String) =
        (digest(MAP), MAP.lines().map(|line| line.split('#').next().unwrap().trim_end().to_owned() + "\r\n").collect());
    assert_ne!(bare, MAP);
    assert_eq!(digest(&bare), own);
    let (head, rest) = MAP.split_once("[volumes.pve]").unwrap();
    let (pve, others) = rest.split_once("[volumes.still-fawn]").unwrap();
    assert_eq!(digest(&format!("{head}[volumes.still-fawn]{others}\n[volumes.pve]{pve}")), own);
    assert_eq!(digest(&MAP.replace("hosts = [\"192.168.4.17\"]", "hosts = [\"still-fawn\"]")), own);
    let two = |hosts: &str| digest(&MAP.replace("hosts = []", &format!("hosts = [{hosts}]")));
    assert_eq!(two("\"10.0.0.1\", \"10.0.0.2\""), two("\"10.0.0.2\", \"::ffff:10.0.0.1\""));
    for (from, to) in [
        ("hosts = []", "hosts = [\"10.0.0.1\"]"),
        ("3822", "3823"),
        ("extent_count = 100", "extent_count = 101"),
        ("\"proper-raptor:3820\", \"proper-raptor:3821\"", "\"proper-raptor:3821\", \"proper-raptor:3820\""),
        ("192.168.4.189", "192.168.4.188"),
        ("[hosts.still-fawn]", "[hosts.fawn]"),
        ("[volumes.pve]", "[volumes.other]"),
    ] {
        assert_ne!(digest(&MAP.replacen(from, to, 1)), own, "{from}");
    }
    // Sleds of other versions have this one for the map that is shipped.
    assert_eq!(own, SHIPPED);
}

/// The digest of `etc/port-map.toml` in every version that has one of meaning.
const SHIPPED: &str = "sha256:df23cdcab206ad15d21b37b6bb7f0a98fd681cab6af4d179dc1af1e403ad1278";

/// The shipped file with its example of TLS in force.
#[test]
fn the_network_of_an_appliance_suits_its_address() {
    let found = |from: &str, to: &str| faults(&SLED.replacen(from, to, 1), MAP);
    let prefix = found("prefix = 24", "prefix = 64");
    assert!(prefix.len() == 1 && prefix[0].key == "appliance.prefix" && prefix[0].line.is_some(), "{prefix:?}");
    let gateway = found("gateway = \"192.168.4.1\"", "gateway = \"fd00::1\"");
    assert!(gateway.len() == 1 && gateway[0].key == "appliance.gateway", "{gateway:?}");
    let update = found("# update = \"https://updates.example/sled\"", "update = \"ftp://x\"");
    assert!(update.len() == 1 && update[0].key == "appliance.update", "{update:?}");
}

fn with_tls() -> String {
    ["cert", "key", "root_cert"].iter().fold(SLED.to_owned(), |text, key| {
        let shown = format!("# {key} = ");
        assert!(text.contains(&shown), "{key} is not shown");
        text.replacen(&shown, &format!("{key} = "), 1)
    })
}

#[test]
fn tls_is_three_files_or_none() {
    assert_eq!(read(&sources(SLED, MAP)).unwrap().sled.tls, None);
    let tls = read(&sources(&with_tls(), MAP)).unwrap().sled.tls.unwrap();
    assert_eq!(tls.cert, std::path::Path::new("/etc/sled/tls/cert.pem"));
    assert_eq!(tls.expires_warning, Tls::EXPIRES_WARNING);
    let text = with_tls().replace("#expires_warning = \"30d\"", "expires_warning = \"7d\"");
    assert_eq!(read(&sources(&text, MAP)).unwrap().sled.tls.unwrap().expires_warning.to_string(), "7 d");
    for (from, to, at, problem, remedy) in [
        ("key = \"/etc/sled/tls/key.pem\"", "", "[tls]", "is missing", "all three: cert, key and root_cert"),
        ("root_cert = \"/etc/sled/tls/root.pem\"", "", "[tls]", "is missing", "/etc/sled/tls/root.pem"),
        ("\"/etc/sled/tls/cert.pem\"", "\"tls/cert.pem\"", "tls/cert.pem", "no plain absolute path", "begins with /"),
        ("\"/etc/sled/tls/key.pem\"", "\"/root/key.pem\"", "/root/key.pem", "below /root", "move it"),
        ("\"/etc/sled/tls/key.pem\"", "3", "key = 3", "is an integer", "a string"),
        ("#expires_warning = \"30d\"", "expires_warning = \"0d\"", "\"0d\"", "no time at all", "\"30d\""),
        ("#expires_warning = ", "expire_warning = ", "expire_warning", "no key", "write expires_warning"),
    ] {
        let text = with_tls().replacen(from, to, 1);
        let found = faults(&text, MAP);
        assert_eq!(found.len(), 1, "{to:?}: {found:#?}");
        assert_eq!(found[0].line, line(&text, at), "{found:#?}");
        assert!(found[0].problem.contains(problem) && found[0].remedy.contains(remedy), "{found:#?}");
    }
}

#[test]
fn a_volume_may_name_its_hosts() {
    let map = MAP.replacen("hosts = []", "hosts = [\"chief-horse\"]", 1);
    let config = read(&sources(SLED, &map)).unwrap();
    let address = "192.168.4.19".parse().unwrap();
    assert_eq!(config.map.volumes[&"pve".parse().unwrap()].hosts, [address]);
    assert_eq!(config.map.name_of(address), Some("chief-horse"));
    assert_eq!(config.map.name_of("192.168.4.189".parse().unwrap()), Some("proper-raptor"));
    assert_eq!(config.map.name_of("192.168.4.1".parse().unwrap()), None);
}

#[test]
fn an_address_is_the_same_in_either_of_its_forms() {
    let mut map = MAP.replacen("hosts = []", "hosts = [\"::ffff:192.168.4.7\"]", 1);
    for address in ["192.168.4.189", "192.168.4.19"] {
        map = map.replacen(&format!("address = \"{address}\""), &format!("address = \"::ffff:{address}\""), 1);
    }
    let config = read(&sources(SLED, &map)).unwrap();
    assert_eq!(config.map.volumes[&"pve".parse().unwrap()].hosts, ["192.168.4.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.map.name_of("192.168.4.19".parse().unwrap()), Some("chief-horse"));
    assert_eq!(config.address, "192.168.4.189".parse::<IpAddr>().unwrap());
}

/// The volumes that call it by its name are not to blame.
#[test]
fn a_named_host_that_is_a_sled_is_one_fault() {
    let map = MAP.replacen("hosts = []", "hosts = [\"chief-horse\"]", 1);
    let map = map.replacen("address = \"192.168.4.19\"", "address = \"192.168.4.189\" # no host", 1);
    let found = faults(SLED, &map);
    assert_eq!((found.len(), found[0].line), (1, line(&map, "# no host")), "{found:#?}");
}

#[test]
fn every_fault_of_the_port_map_is_named_with_its_line() {
    let second = "\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]";
    let pve = "[\"proper-raptor:3820\", \"proper-raptor:3821\", \"proper-raptor:3822\"]";
    for (from, to, problem, remedy) in [
        ("hosts = []", "host = []", "no key", "write hosts"),
        ("hosts = []", "hosts = \"192.168.4.17\"", "is a string", "list of strings"),
        ("hosts = []", "hosts = [\"192.168.4.256\"]", "no IP address", "192.168.4.17"),
        ("hosts = []", "hosts = [\"still-faun\"]", "no host \"still-faun\"", "write \"still-fawn\""),
        ("hosts = []", "hosts = [\"still-fawn\", \"192.168.4.17\"]", "listed twice", "remove"),
        ("[hosts.chief-horse]", "[hosts.\"chief horse\"]", "no name for a host", "rename"),
        ("address = \"192.168.4.17\"", "address = \"192.168.4.19\" # twice", "is the address of", "its own address"),
        ("address = \"192.168.4.19\"", "address = \"224.0.0.1\"", "no address of a host", "192.168.4.17"),
        ("hosts = []", "hosts = [\"0.0.0.0\"]", "no address of a host", "leave hosts empty"),
        ("hosts = []", "hosts = [\"127.0.0.5\"]", "no address of a host", "leave hosts empty"),
        ("hosts = []", "hosts = [\"::1\"]", "no address of a host", "leave hosts empty"),
        ("hosts = []", "hosts = [\"::ffff:127.0.0.1\"]", "no address of a host", "leave hosts empty"),
        ("hosts = []", "hosts = [\"192.168.4.189\"]", "of the sled proper-raptor", "cannot be a host"),
        ("hosts = []", "hosts = [\"::ffff:192.168.4.189\"]", "of the sled proper-raptor", "cannot be a host"),
        ("hosts = []", "hosts = [\"192.168.4.17\", \"::ffff:192.168.4.17\"]", "listed twice", "remove"),
        ("address = \"192.168.4.19\"", "address = \"127.0.0.1\"", "no address of a host", "192.168.4.17"),
        ("\"192.168.4.19\"", "\"192.168.4.189\" # no host", "of the sled proper-raptor", "cannot be a host"),
        ("address = \"192.168.4.17\"", "address = \"::ffff:192.168.4.19\"", "is the address of", "its own address"),
        ("extent_count = 100", "extent_cont = 100", "no key", "write extent_count"),
        ("address = \"192.168.4.189\"", "address = \"192.168.4.300\"", "invalid IP address", "192.168.4.189"),
        ("hosts = []", "hosts = [\"10.0.0.1\", \"10.0.0.1\"]", "listed twice", "remove"),
        ("proper-raptor:3832", "proper-raptor:7820", "repair port of pve-0", "write another port"),
        ("proper-raptor:3832", "proper-raptor:3830", "data port of still-fawn-0", "write another port"),
        ("proper-raptor:3832", "proper-raptor:3800", "HTTP port", "write another port"),
        ("proper-raptor:3832", "proper-raptor:61536", "not from 1024", "3830"),
        ("proper-raptor:3832", "proper-raptor:99999", "not from 1024", "3830"),
        ("proper-raptor:3832", "proper-raptor:1023", "not from 1024", "3830"),
        ("proper-raptor:3832", "proper-raptor:30000", "ephemeral range", "61000"),
        ("proper-raptor:3832", "proper-rapter:3832", "no sled", "proper-raptor"),
        ("proper-raptor:3832", "3832", "not SLED:PORT", "proper-raptor:3830"),
        (second, "\"proper-raptor:3830\"]", "has 1 regions", "SLED:PORT"),
        (pve, "[\"proper-raptor:1\", 2, 3, 4]", "", ""),
        ("[volumes.pve]", "[volumes.pvE]", "no name for a volume", "rename"),
        ("[sleds.proper-raptor]", "[sleds.\"proper raptor\"]", "", ""),
        ("[volumes.still-fawn]", "[volumes.pve]", "pve is there a second time", "keep one"),
        ("block_size = 4096  ", "block_size = 4608  ", "4608 bytes is not a power", "4096"),
        ("extent_size = 32768", "extent_size = 131073", "512 MiB", "131072"),
        ("extent_count = 100", "extent_count = 0", "0 extents", "100"),
        ("address = \"192.168.4.189\"", "address = \"0.0.0.0\"", "no address that a host can reach", "own address"),
        ("address = \"192.168.4.189\"", "address = \"127.0.0.1\"", "no address that a host can reach", "own address"),
        ("[defaults]", "[default]", "no key", "write defaults"),
        ("address = \"192.168.4.189\"", "address = \"192.168.4.255\"", "broadcast address of 192.168.4.0/24", "own"),
        ("address = \"192.168.4.189\"", "address = \"192.168.4.0\"", "network 192.168.4.0/24 itself", "own address"),
        ("address = \"192.168.4.19\"", "address = \"192.168.4.255\"", "broadcast address of 192.168.4.0/24", "192.168"),
        ("address = \"192.168.4.19\"", "address = \"fe80::1\"", "on one link only", "192.168.4.17"),
        ("hosts = []", "hosts = [\"192.168.4.255\"]", "broadcast address of 192.168.4.0/24", "leave hosts empty"),
        ("hosts = []", "hosts = [\"255.255.255.255\"]", "the broadcast address", "leave hosts empty"),
        ("hosts = []", "hosts = [\"fe80::1\"]", "on one link only", "leave hosts empty"),
    ] {
        if problem.is_empty() {
            assert!(faults(SLED, &MAP.replacen(from, to, 1)).len() > 1, "{to:?}");
        } else {
            one_fault("port-map.toml", from, to, problem, remedy);
        }
    }
}

#[test]
fn a_thousand_blocks_too_many_say_how_many_would_do() {
    let map = MAP.replace("extent_size = 32768", "extent_size = 140000");
    assert!(faults(SLED, &map)[0].remedy.contains("131072"));
}

#[test]
fn all_faults_are_listed_at_once_and_in_order() {
    let sled = "[sled]\nnmae = \"x\"\n[network]\nbridge = 3\n";
    let map = "[sleds.a]\naddress = \"nowhere\"\n[volumes.b]\nhosts = 1\nregions = []\n[volumes.c]\n= broken\n";
    let found = faults(sled, map);
    let places: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.line)).collect();
    let mut sorted = places.clone();
    sorted.sort_by_key(|(file, line)| (*file == "port-map.toml", *line));
    assert_eq!(places, sorted);
    for wanted in [
        "sled.nmae",
        "sled.name",
        "network.bridge",
        "network.nic",
        "sleds.a.address",
        "volumes.b.hosts",
        "volumes.b.regions",
    ] {
        assert!(found.iter().any(|f| f.key == wanted), "{wanted} is not in {found:#?}");
    }
}

/// Whatever else is wrong with a volume or a sled, its ports and its address are looked at.
#[test]
fn a_fault_hides_no_other() {
    let found = faults(
        SLED,
        &MAP.replacen("[volumes.pve]", "[volumes.\"../x\"]", 1).replacen("proper-raptor:3822", "proper-raptor:3800", 1),
    );
    let places: Vec<_> = found.iter().map(|fault| (fault.key.as_str(), fault.problem.as_str())).collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(places[0].1.contains("no name for a volume"), "{places:?}");
    assert!(places[1].0 == "volumes.../x.regions" && places[1].1.contains("HTTP port"), "{places:?}");
    let four = MAP.replacen("\"proper-raptor:3822\"]", "\"proper-raptor:3822\", \"proper-raptor:3800\"]", 1);
    let found = faults(SLED, &four);
    assert!(found.len() == 2 && found[1].problem.contains("HTTP port"), "{found:#?}");
    let twice =
        MAP.replacen("[sleds.proper-raptor]", "[sleds.\"a b\"]\naddress = \"192.168.4.189\"\n[sleds.proper-raptor]", 1);
    let found = faults(SLED, &twice);
    assert!(found.len() == 2 && found[1].problem.contains("is the address of a b too"), "{found:#?}");
    let wrong = SLED.replacen("prefix = 24", "prefix = 64", 1).replacen("192.168.4.53", "here", 1);
    let found = faults(&wrong, &MAP.replacen("[defaults]", "[default]", 1));
    let keys: Vec<_> = found.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["appliance.prefix", "appliance.dns", "default"], "{found:#?}");
}

/// A bracket that is missing is one fault, and not everything behind it too.
#[test]
fn a_syntax_error_is_told_once() {
    let found = faults(&SLED.replace("[storage]", "[storage"), &MAP.replace("3822\"]", "3822\""));
    let places: Vec<_> = found.iter().map(|fault| (fault.file.as_str(), fault.line)).collect();
    assert_eq!(
        places,
        [("sled.toml", line(SLED, "[storage]")), ("port-map.toml", line(MAP, "[volumes.still-fawn]"))],
        "{found:#?}"
    );
}

#[test]
fn a_free_port_that_is_proposed_is_free() {
    let map = MAP.replace("proper-raptor:3832", "proper-raptor:3831");
    let remedy = faults(SLED, &map)[0].remedy.clone();
    let port: u16 = remedy.split([' ', ';']).find_map(|word| word.parse().ok()).unwrap();
    let mended = MAP.replace("proper-raptor:3832", &format!("proper-raptor:{port}"));
    assert_eq!(faults(SLED, &mended), [], "{remedy}");
}

#[test]
fn fragments_override_key_by_key_and_are_blamed_for_their_own_faults() {
    let mut all = sources(SLED, MAP);
    let fragment = |file: &str, text: &str| Source { file: file.into(), text: Ok(text.into()) };
    all.sled.push(fragment("10-a.toml", "[storage]\nprovisioning = \"thin\"\n[http]\nlisten = [\"127.0.0.1:1\"]\n"));
    all.sled.push(fragment("20-b.toml", "[http]\nlisten = [\"127.0.0.1:4\"]\n"));
    let config = read(&all).unwrap();
    assert_eq!(config.sled.storage.provisioning, Provisioning::Thin);
    assert_eq!(config.sled.storage.reserve, Reserve::Percent(5));
    assert_eq!(config.listen, ["127.0.0.1:4".parse().unwrap()]);
    all.sled.push(fragment("30-c.toml", "[storage]\n\nrot = 1\n"));
    let found = read(&all).unwrap_err();
    assert_eq!((found[0].file.as_str(), found[0].line), ("30-c.toml", Some(3)));
    assert!(found[0].remedy.contains("root"));
}

#[test]
fn three_sleds_survive_the_loss_of_one_and_two_do_not() {
    let mut map = MAP.replace(
        "[defaults]",
        "[sleds.b]\naddress = \"192.168.4.2\"\n[sleds.c]\naddress = \"192.168.4.3\"\n[defaults]",
    );
    map = map.replace("proper-raptor:3831", "b:3830").replace("proper-raptor:3832", "c:3830");
    map = map.replace("proper-raptor:3821", "b:3820");
    let config = read(&sources(SLED, &map)).unwrap();
    let tolerance = |name: &str| config.map.volumes[&name.parse().unwrap()].fault_tolerance();
    assert_eq!((tolerance("still-fawn"), tolerance("pve"), tolerance("chief-horse")), (1, 0, 0));
    assert_eq!(config.local_regions().len(), 9);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(sled in "\\PC{0,200}", map in "(\\[volumes\\.[a-z\"]{1,4}\\]\n|[a-z_]{1,8} = [0-9\"\\[\\]a-z:,]{0,12}\n){0,12}") {
        let found = faults(&sled, &map);
        prop_assert!(!found.is_empty());
    }

    #[test]
    fn a_map_that_was_written_over_is_read_or_refused(at in 0usize..3000, with in "\\PC{0,12}|[\\x00-\\x7f]{0,12}", over in 0usize..12) {
        let at = (0..=at.min(MAP.len())).rev().find(|at| MAP.is_char_boundary(*at)).unwrap();
        let end = (at + over..=MAP.len()).find(|end| MAP.is_char_boundary(*end)).unwrap_or(MAP.len());
        let map = format!("{}{with}{}", &MAP[..at], &MAP[end..]);
        match read(&sources(SLED, &map)) {
            Ok(config) => prop_assert!(config.map.volumes.values().all(|volume| volume.regions.len() == 3)),
            Err(found) => prop_assert!(!found.is_empty()),
        }
    }

    #[test]
    fn an_accepted_map_has_no_port_twice(ports in proptest::collection::vec(1000u16..20000, 6)) {
        let map = format!(
            "[sleds.proper-raptor]\naddress = \"192.168.4.189\"\n[volumes.a]\nregions = [\"proper-raptor:{}\", \"proper-raptor:{}\", \"proper-raptor:{}\"]\n[volumes.b]\nregions = [\"proper-raptor:{}\", \"proper-raptor:{}\", \"proper-raptor:{}\"]\n",
            ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
        );
        let mut all: Vec<u16> = ports.iter().flat_map(|p| [*p, *p + 4000]).chain([3800]).collect();
        all.sort_unstable();
        let clash = all.windows(2).any(|pair| pair[0] == pair[1]) || ports.iter().any(|p| *p < 1024);
        prop_assert_eq!(read(&sources(SLED, &map)).is_err(), clash);
    }
}
