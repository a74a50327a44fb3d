//! `sledctl network test`: the sled's side of a network test with a host (`crucible-attach net-test`). It listens for
//! one host for some time, and asks the supervisor before whether somebody would be in its way.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::names::VolumeName;
use crate::net_test::talk::serve;
use crate::net_test::{Here, PORT};
use crate::span::Span;
use crate::terminal;
use crate::wire::{NetworkDetail, Refusal, Sled};
use clap::Args;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;

const EXAMPLES: &str = "Examples:
  sledctl network test                        then on the host: crucible-attach net-test ADDRESS
  sledctl network test --from 192.168.4.50    with a machine that the port map does not name";

/// Test with a host what goes through to this sled and back, and what is lost.
///
/// It waits for one host, which says for how long and how fast (crucible-attach net-test). While a host has a volume
/// of this sled attached, it is refused: the test takes the way that the volume's data takes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct TestCommand {
    /// Test although a host has a volume of this sled attached.
    #[arg(long)]
    force: bool,
    /// Another address that may test, beside the port map's hosts.
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<IpAddr>,
    /// The port, at the sled's address.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Give up when no host has come after this time.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    wait: Span,
}

impl TestCommand {
    /// Test; `Ok(false)` if something is less than it should be.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let sled = client.sled().await?;
        let network: NetworkDetail = client.ask(&Operation::ShowNetwork {}).await?;
        if let Some(why) = in_the_way(&sled).filter(|_| !self.force) {
            let remedy = "detach it first (sledctl volume drain), or, if what it writes may wait: --force";
            return Err(Failure::refused(Refusal::StillAttached, why, remedy));
        }
        let at = SocketAddr::from((sled.address, self.port));
        let listener = TcpListener::bind(at).await.map_err(|why| {
            let remedy = "sledctl network shows whether the sled has its address; --port takes another port";
            Failure::refused(Refusal::NetTestFailed, format!("it cannot listen at {at}: {why}"), remedy)
        })?;
        if output.is_text() {
            let port = if self.port == PORT { String::new() } else { format!(" --port {}", self.port) };
            terminal::note(&format!(
                "listening at {at} for {}; on the host: crucible-attach net-test {}{port}",
                self.wait, sled.address
            ));
        }
        let here = Here { sled: sled.sled.clone(), link_mbps: network.network.link_mbps };
        let admitted = admitted(&sled, &self.from);
        let served = timeout(Duration::from(self.wait), serve(&listener, &here, |host| admitted.contains(&host))).await;
        let outcome = match served {
            Ok(outcome) => outcome.map_err(|why| {
                let message = format!("the test has not come to its end: {why}");
                Failure::refused(Refusal::NetTestFailed, message, "sledctl network shows the way; then try again")
            })?,
            Err(_) => {
                let message = format!("no host has come within {}", self.wait);
                let remedy = format!("on a host: crucible-attach net-test {}; may it reach {at}?", sled.address);
                return Err(Failure::refused(Refusal::NetTestFailed, message, remedy));
            }
        };
        print(output, &outcome, |outcome| outcome.text())?;
        Ok(outcome.shortfalls.is_empty())
    }
}

/// Find whose data a test would be in the way of.
fn in_the_way(sled: &Sled) -> Option<String> {
    let attached: Vec<(&VolumeName, IpAddr)> = sled
        .volumes
        .iter()
        .flat_map(|volume| volume.attached.iter().map(|attached| (&volume.volume, attached.address)))
        .collect();
    let (volume, host) = attached.first()?;
    let more = match attached.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!("{host} has {volume} attached{more}: a test would take what its data needs"))
}

/// Collect who may test: the hosts of the volumes here, and who was named.
fn admitted(sled: &Sled, named: &[IpAddr]) -> BTreeSet<IpAddr> {
    sled.volumes.iter().flat_map(|volume| &volume.hosts).chain(named).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A volume of the sled, with those who have it attached.
    fn volume(name: &str, attached: &[&str]) -> serde_json::Value {
        let time = "2026-05-04T03:02:01.000Z";
        let attached: Vec<_> =
            attached.iter().map(|host| json!({"address": host, "since": time, "regions": []})).collect();
        json!({
            "volume": name, "ready": true, "revision": 1, "as_of": time, "sled": "proper-raptor", "port_map": "x",
            "fault_tolerance": 0, "size_bytes": 0, "hosts": ["192.168.4.17"], "regions": [], "checks": [],
            "generation": 0, "attached": attached
        })
    }

    fn sled(volumes: &[serde_json::Value]) -> Sled {
        let time = "2026-05-04T03:02:01.000Z";
        serde_json::from_value(json!({
            "sled": "proper-raptor", "version": "1", "as_of": time, "started": time, "settled_ms": null,
            "address": "192.168.4.189", "port_map": "x", "well": true, "maintenance": null,
            "network": {"nic": "n", "carrier": true, "link_mbps": 2500, "usb_mbps": 5000, "bridge": "br0", "addresses": []},
            "storage": {"root": "/crucible", "mounted": true, "capacity_bytes": 0, "free_bytes": 0, "promised_bytes": 0,
                "used_bytes": 0},
            "volumes": volumes, "checks": []
        }))
        .unwrap()
    }

    #[test]
    fn a_volume_that_is_attached_is_in_the_way_and_the_maps_hosts_may_test() {
        let free = sled(&[volume("still-fawn", &[])]);
        assert_eq!(in_the_way(&free), None);
        let taken = sled(&[volume("pve", &[]), volume("still-fawn", &["192.168.4.17", "192.168.4.18"])]);
        let why = in_the_way(&taken).unwrap();
        assert!(why.starts_with("192.168.4.17 has still-fawn attached, and 1 more"), "{why}");
        let named = "192.168.4.50".parse().unwrap();
        let admitted: Vec<_> = admitted(&free, &[named]).iter().map(ToString::to_string).collect();
        assert_eq!(admitted, ["192.168.4.17", "192.168.4.50"]);
    }
}
