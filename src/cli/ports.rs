//! `sledctl ports`: what the port map puts at each port of a sled, who listens there, and who is connected.

use super::client::Client;
use super::failure::Failure;
use super::print::{Output, named};
use super::view::{View, Watch, show};
use crate::api::Operation;
use crate::screen::Screen;
use crate::table::{Cell, Table, Tone, column, plain};
use crate::wire::{Listener, Ports, RegionPorts, State, Who};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;

const EXAMPLES: &str = "Examples:
  sledctl ports                a region a line, and who listens at its ports
  sledctl ports -o wide        with the packets that were dropped there
  sledctl ports -o name        the numbers alone";

/// Show the ports of this sled: which region each is for, who listens there, and who is connected.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct PortsCommand {
    #[command(flatten)]
    watch: Watch,
}

impl PortsCommand {
    /// Show the ports; `Ok(false)` if a stranger listens at one, or nobody does where a region serves.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        show(self, client, output, self.watch).await
    }
}

impl View for PortsCommand {
    type Answer = Ports;

    async fn ask(&self, client: &Client) -> Result<Ports, Failure> {
        client.ask(&Operation::ShowPorts {}).await
    }

    fn body<'a>(&self, ports: &'a Ports) -> impl Serialize + 'a {
        ports
    }

    fn names(&self, ports: &Ports) -> Vec<String> {
        ports.regions.iter().flat_map(|one| [one.port, one.repair_port]).map(|port| port.to_string()).collect()
    }

    fn text(&self, ports: &Ports, screen: Screen) -> String {
        text(ports, screen)
    }

    fn is_well(&self, ports: &Ports) -> bool {
        ports.regions.iter().all(is_well)
    }
}

/// Decide whether the ports of a region are its own, as far as it runs.
fn is_well(ports: &RegionPorts) -> bool {
    let serves = ports.state == Some(State::Serving);
    [&ports.listens, &ports.repair_listens].into_iter().flatten().all(|listener| match listener.who {
        Who::Region => true,
        Who::Nobody => !serves,
        Who::Stranger => false,
    })
}

fn text(ports: &Ports, screen: Screen) -> String {
    let mut table = Table::new(&[
        column("PORT"),
        column("REPAIR").rank(3),
        column("REGION"),
        column("LISTENS").wrap(10),
        column("ON REPAIR").wrap(10).rank(4),
        column("DROPPED").wide(),
        column("CONNECTED").wrap(15).rank(2),
    ]);
    for one in &ports.regions {
        let hosts: Vec<_> = one.connected.iter().map(|peer| named(&peer.address, peer.host.as_ref())).collect();
        table.row(vec![
            plain(one.port),
            plain(one.repair_port),
            plain(&one.region),
            listens(one.listens.as_ref(), one),
            listens(one.repair_listens.as_ref(), one),
            plain(one.dropped),
            plain(counted(&hosts)),
        ]);
    }
    let http = ports.http.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut out = format!("{}; the supervisor answers at {http}\n\n", Tone::Heading.paint(&ports.address.to_string()));
    out += &table.on(screen);
    for one in ports.regions.iter().filter(|one| !one.elsewhere.is_empty()) {
        let places = one.elsewhere.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        _ = writeln!(out, "\n{} listens elsewhere as well: {}", one.region, Tone::Bad.paint(&places));
    }
    out
}

/// Write who listens at a port.
fn listens(listener: Option<&Listener>, ports: &RegionPorts) -> Cell {
    let Some(listener) = listener else { return ("-".into(), Tone::Faint) };
    let pid = listener.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    match listener.who {
        Who::Region => (format!("ours{pid}"), Tone::Well),
        Who::Nobody if ports.state == Some(State::Serving) => ("nobody".into(), Tone::Bad),
        Who::Nobody => ("nobody".into(), Tone::Faint),
        Who::Stranger => {
            let what = listener.unit.as_ref().or(listener.command.as_ref());
            (format!("stranger{pid}{}", what.map(|what| format!(": {what}")).unwrap_or_default()), Tone::Bad)
        }
    }
}

/// Write hosts, each once, and how many connections it has.
fn counted(hosts: &[String]) -> String {
    let mut rest = hosts;
    let mut parts = Vec::new();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|host| *host == first).count();
        parts.push(if same == 1 { first.clone() } else { format!("{first} x{same}") });
        rest = &rest[same..];
    }
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ports() -> Ports {
        let nobody = json!({"who": "nobody", "pid": null, "command": null, "unit": null});
        let ours = json!({"who": "region", "pid": 712, "command": null, "unit": null});
        let stranger = json!({"who": "stranger", "pid": 4711, "command": "nc -l 3831", "unit": null});
        let one = |index: u16, state: &str, listens: &serde_json::Value, repair: &serde_json::Value, hosts: usize| {
            let peer = |port: usize| json!({"address": "192.168.4.17", "port": 50_000 + port, "host": "still-fawn"});
            json!({"region": format!("still-fawn-{index}"), "state": state, "port": 3830 + index, "listens": listens,
                "repair_port": 7830 + index, "repair_listens": repair, "elsewhere": [],
                "connected": (0..hosts).map(peer).collect::<Vec<_>>(), "dropped": 2})
        };
        let regions = [
            one(0, "serving", &ours, &ours, 2),
            one(1, "failed", &stranger, &nobody, 0),
            one(2, "held", &nobody, &nobody, 0),
        ];
        let (at, http) = ("2026-01-01T00:00:00Z", "192.168.4.189:3800");
        let body = json!({"sled": "proper-raptor", "as_of": at, "address": "192.168.4.189", "http": [http],
            "regions": regions});
        serde_json::from_value(body).unwrap()
    }

    fn table(columns: Option<usize>) -> String {
        let page = text(&ports(), Screen { columns, wide: false });
        anstream::adapter::strip_str(&page).to_string().split_once("\n\n").unwrap().1.to_owned()
    }

    #[test]
    fn each_port_says_whose_it_is() {
        let whole = "\
PORT  REPAIR  REGION        LISTENS                    ON REPAIR  CONNECTED
3830  7830    still-fawn-0  ours 712                   ours 712   192.168.4.17 (still-fawn) x2
3831  7831    still-fawn-1  stranger 4711: nc -l 3831  nobody     -
3832  7832    still-fawn-2  nobody                     nobody     -
";
        assert_eq!((table(None).as_str(), table(Some(200)).as_str()), (whole, whole));
        assert_eq!(
            table(Some(80)),
            "\
PORT  REPAIR  REGION        LISTENS                   ON REPAIR  CONNECTED
3830  7830    still-fawn-0  ours 712                  ours 712   192.168.4.17
                                                                 (still-fawn) x2
3831  7831    still-fawn-1  stranger 4711: nc -l      nobody     -
                            3831
3832  7832    still-fawn-2  nobody                    nobody     -
"
        );
        assert_eq!(
            table(Some(40)),
            "\
PORT  REGION        LISTENS
3830  still-fawn-0  ours 712
3831  still-fawn-1  stranger 4711: nc -l
                    3831
3832  still-fawn-2  nobody
"
        );
    }

    #[test]
    fn a_stranger_or_nobody_where_a_region_serves_is_not_well() {
        let all: Vec<_> = ports().regions.iter().map(is_well).collect();
        assert_eq!(all, [true, false, true]);
        let mut deaf = ports().regions.remove(0);
        deaf.listens = ports().regions[2].listens.clone();
        assert!(!is_well(&deaf));
    }
}
