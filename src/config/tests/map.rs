//! Every fault that the port map could have, and what it means.

use super::*;

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

/// The text of the map, what is written instead, and what is said of it. More than one fault, if nothing.
type Fault<'a> = (&'a str, &'a str, &'a str, &'a str);

fn are_named_with_their_line(table: &[Fault]) {
    for &(from, to, problem, remedy) in table {
        if problem.is_empty() {
            assert!(faults(SLED, &MAP.replacen(from, to, 1)).len() > 1, "{to:?}");
        } else {
            one_fault("port-map.toml", from, to, problem, remedy);
        }
    }
}

#[test]
fn every_fault_of_a_host_is_named_with_its_line() {
    are_named_with_their_line(&[
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
        ("hosts = []", "hosts = [\"10.0.0.1\", \"10.0.0.1\"]", "listed twice", "remove"),
        ("address = \"192.168.4.19\"", "address = \"192.168.4.255\"", "broadcast address of 192.168.4.0/24", "192.168"),
        ("address = \"192.168.4.19\"", "address = \"fe80::1\"", "on one link only", "192.168.4.17"),
        ("hosts = []", "hosts = [\"192.168.4.255\"]", "broadcast address of 192.168.4.0/24", "leave hosts empty"),
        ("hosts = []", "hosts = [\"255.255.255.255\"]", "the broadcast address", "leave hosts empty"),
        ("hosts = []", "hosts = [\"fe80::1\"]", "on one link only", "leave hosts empty"),
    ]);
}

#[test]
fn every_fault_of_a_regions_place_is_named_with_its_line() {
    let second = "\"proper-raptor:3830\", \"proper-raptor:3831\", \"proper-raptor:3832\"]";
    let pve = "[\"proper-raptor:3820\", \"proper-raptor:3821\", \"proper-raptor:3822\"]";
    are_named_with_their_line(&[
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
    ]);
}

#[test]
fn every_fault_of_a_sled_or_a_volume_is_named_with_its_line() {
    are_named_with_their_line(&[
        ("extent_count = 100", "extent_cont = 100", "no key", "write extent_count"),
        ("address = \"192.168.4.189\"", "address = \"192.168.4.300\"", "invalid IP address", "192.168.4.189"),
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
    ]);
}

#[test]
fn a_thousand_blocks_too_many_say_how_many_would_do() {
    let map = MAP.replace("extent_size = 32768", "extent_size = 140000");
    assert!(faults(SLED, &map)[0].remedy.contains("131072"));
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
