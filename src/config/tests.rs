//! The reader against the shipped files, and against every fault that they could have.

mod keys;
mod map;
mod sled;

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

/// Ports and addresses are looked at, whatever else is wrong with a volume or a sled.
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
