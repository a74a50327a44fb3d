//! Targets of Prometheus: the sleds of the port map and the ports at which they are asked. Pure.

use crate::config::Configuration;
use crate::names::SledName;
use crate::port_map::{HTTP_PORT, Sled};
use crate::wire::TargetGroup;
use std::net::SocketAddr;

/// List every sled of the port map, each with where it answers.
pub(super) fn targets(config: &Configuration) -> Vec<TargetGroup> {
    let own = own(config);
    // The map has no ports of the others: a fleet is configured alike as a rule.
    let port = own.map_or(HTTP_PORT, |own| own.port());
    let group = |(name, sled): (&SledName, &Sled)| {
        let here = own.filter(|_| *name == config.sled.name);
        TargetGroup {
            targets: vec![here.unwrap_or(SocketAddr::new(sled.address, port))],
            labels: [("sled".to_owned(), name.to_string())].into(),
        }
    };
    config.map.sleds.iter().map(group).collect()
}

/// Find where this sled answers others: at its address in the map, or else where it can be reached.
fn own(config: &Configuration) -> Option<SocketAddr> {
    let mapped = |at: &&SocketAddr| at.ip().is_unspecified() || at.ip() == config.address;
    let at_its_address = config.listen.iter().find(mapped).map(|at| SocketAddr::new(config.address, at.port()));
    at_its_address.or_else(|| config.listen.iter().find(|at| !at.ip().is_loopback()).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shipped;
    use std::collections::BTreeSet;

    fn listed(more: &str) -> Vec<String> {
        let mut config = shipped(more);
        let other = ("quick-otter".parse().unwrap(), Sled { address: "fd00::7".parse().unwrap() });
        config.map.sleds.extend([other]);
        let groups = targets(&config);
        let names: BTreeSet<_> = groups.iter().map(|group| group.labels["sled"].as_str()).collect();
        assert_eq!(names, ["proper-raptor", "quick-otter"].into());
        groups.iter().map(|group| group.targets[0].to_string()).collect()
    }

    #[test]
    fn every_sled_of_the_map_is_listed_where_it_answers() {
        let listen = |list: &str| listed(&format!("[http]\nlisten = [{list}]"));
        assert_eq!(listed(""), ["192.168.4.189:3800", "[fd00::7]:3800"]);
        assert_eq!(listen("\"127.0.0.1:3900\", \"0.0.0.0:3801\""), ["192.168.4.189:3801", "[fd00::7]:3801"]);
        assert_eq!(listen("\"127.0.0.1:3900\", \"10.0.0.7:3802\""), ["10.0.0.7:3802", "[fd00::7]:3802"]);
        assert_eq!(listen("\"127.0.0.1:3900\""), ["192.168.4.189:3800", "[fd00::7]:3800"]);
    }
}
