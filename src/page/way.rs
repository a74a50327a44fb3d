//! Way of a packet to the regions: cable, network adapter, bridge, address. Each stands with its state, and with the
//! conditions that sit there.

use super::parts::code;
use super::tone::Tone;
use crate::check::Code;
use crate::wire::{Check, Sled};
use maud::{Markup, html};

/// A station of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Station {
    Cable,
    Adapter,
    Bridge,
    Address,
}

/// The station at which a condition sits; none, if it is of something else.
fn station(code: Code) -> Option<Station> {
    match code {
        Code::NicNoCarrier | Code::NicSlow | Code::NicHalfDuplex | Code::NicFlapping | Code::NicErrors => {
            Some(Station::Cable)
        }
        Code::NicMissing
        | Code::NicRenamed
        | Code::NicSpareInUse
        | Code::NicSpareDown
        | Code::NicUsb2
        | Code::NicDriver
        | Code::NicAutosuspend
        | Code::NicResets
        | Code::NicKernel => Some(Station::Adapter),
        Code::BridgeMissing
        | Code::BridgePortMissing
        | Code::BridgePortBlocked
        | Code::BridgeVlan
        | Code::BridgeStp
        | Code::BridgeDelay
        | Code::BridgeMacChanged
        | Code::MtuMismatch => Some(Station::Bridge),
        Code::BridgeAddress
        | Code::AddressDuplicate
        | Code::AddressPrefix
        | Code::NoDefaultRoute
        | Code::RouteMissing
        | Code::NeighbourMissing => Some(Station::Address),
        _ => None,
    }
}

/// What is found at a station.
struct Found {
    station: Station,
    /// What kind of thing it is.
    kind: &'static str,
    /// Its name; a cable has none.
    name: String,
    tone: Tone,
    state: String,
}

/// Draw the way.
pub(super) fn render(sled: &Sled) -> Markup {
    html! { section.card aria-labelledby="way" {
        h2 #way { "The way to it" }
        ol.way {
            @for found in [cable(sled), adapter(sled), bridge(sled), address(sled)] {
                @let checks: Vec<_> = sled.checks.iter().filter(|check| station(check.code) == Some(found.station)).collect();
                @let tone = worst(found.tone, &checks);
                li class=(tone.class()) {
                    span.kind { (found.kind) }
                    @if !found.name.is_empty() { " " span.name { (found.name) } }
                    " " (tone.says(&found.state))
                    @for check in checks { " " (code(check.code.as_str())) }
                }
            }
        }
    } }
}

/// How well a station is, by what is found there and by its conditions.
fn worst(found: Tone, checks: &[&Check]) -> Tone {
    checks.iter().map(|check| Tone::from(check.severity)).fold(found, Tone::max)
}

fn cable(sled: &Sled) -> Found {
    let (tone, state) = match (sled.network.carrier, sled.network.link_mbps) {
        (None, _) => (Tone::Unknown, "not known".to_owned()),
        (Some(false), _) => (Tone::Bad, "no link".to_owned()),
        (Some(true), None) => (Tone::Well, "linked".to_owned()),
        (Some(true), Some(speed)) => (Tone::Well, format!("{speed} Mbit/s")),
    };
    Found { station: Station::Cable, kind: "cable", name: String::new(), tone, state }
}

fn adapter(sled: &Sled) -> Found {
    let (tone, state) = match (sled.network.carrier, sled.network.usb_mbps) {
        (None, _) => (Tone::Bad, "not there".to_owned()),
        (Some(_), None) => (Tone::Well, "there".to_owned()),
        (Some(_), Some(speed)) => (Tone::Well, format!("USB at {speed} Mbit/s")),
    };
    Found { station: Station::Adapter, kind: "adapter", name: sled.network.nic.clone(), tone, state }
}

fn bridge(sled: &Sled) -> Found {
    let (tone, state) = match sled.network.addresses {
        None => (Tone::Bad, "not there"),
        Some(_) => (Tone::Well, "there"),
    };
    Found { station: Station::Bridge, kind: "bridge", name: sled.network.bridge.clone(), tone, state: state.into() }
}

fn address(sled: &Sled) -> Found {
    let (tone, state) = match &sled.network.addresses {
        None => (Tone::Unknown, "not known"),
        Some(all) if all.contains(&sled.address) => (Tone::Well, "there"),
        Some(_) => (Tone::Bad, "not there"),
    };
    Found { station: Station::Address, kind: "address", name: sled.address.to_string(), tone, state: state.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new condition of the network has its place, or the way shows it nowhere.
    #[test]
    fn every_condition_of_the_network_sits_somewhere() {
        let network = ["NIC_", "BRIDGE_", "ADDRESS_", "MTU_", "ROUTE_", "NEIGHBOUR_", "NO_DEFAULT_ROUTE"];
        for code in Code::ALL {
            let of_it = network.iter().any(|prefix| code.as_str().starts_with(prefix));
            assert!(!of_it || station(*code).is_some(), "{code} sits nowhere");
        }
    }
}
