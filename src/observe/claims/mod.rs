//! Claims of others to the sled's address: whether another machine on the link says that it has it. For IPv4, which the
//! kernel does not look for as it does for IPv6: everybody is asked at the start, when a cable or an address comes, and now
//! and then; and soon again while another has it. Asks by a unit of systemd's that takes a bounded time ([`probe`]); claims
//! nothing, and takes the address from nobody. An answer that could not be had says nothing.

pub mod probe;

use crate::config::Configuration;
use crate::decide::facts::Facts;
use crate::observe::observer::{Begin, Ground, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::systemd::output::Output;
use crate::systemd::{job, sandbox};
use futures_util::FutureExt;
use probe::Report;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::process;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use zbus::{Connection, Variant};

/// Time between two questions.
const SLOW_LOOK: Duration = Duration::from_secs(600);
/// Time until it is asked again while another has the address.
const AGAIN: Duration = Duration::from_secs(15);
/// Time until the first: what hosts wait for comes first.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Time that a question may take: it takes three seconds.
const UNIT_LIMIT: Duration = Duration::from_secs(20);
/// Time until a unit is given up that systemd says nothing of, and that systemd may take to answer a call.
const GIVEN_UP: Duration = Duration::from_secs(40);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// `CAP_NET_RAW` of capabilities(7): to ask on a link.
const CAPABILITY: u64 = 1 << 13;

/// Observer of the claims.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "claims";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| Some(Asking::new(ground)?.watch(to).boxed()));
    type Fact = Option<String>;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.claimed_by = seen)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        let place = |config: &Configuration| (config.address, config.sled.network.bridge.clone());
        if place(by.old) != place(by.new) {
            facts.claimed_by = None;
        }
    }
}

/// The question, and when it is asked.
struct Asking {
    bridge: String,
    address: Ipv4Addr,
    rhythm: Rhythm,
    settled: watch::Receiver<bool>,
    /// The bell that is rung when a cable or an address has come.
    came: Arc<Notify>,
}

impl Asking {
    fn new(ground: &Ground) -> Option<Self> {
        let IpAddr::V4(address) = ground.config.address else { return None };
        Some(Self {
            bridge: ground.config.sled.network.bridge.clone(),
            address,
            rhythm: ground.rhythm.clone(),
            settled: ground.settled.subscribe(),
            came: ground.looks.heard_by::<Watch>(),
        })
    }

    /// Watch until nobody listens any more.
    async fn watch(mut self, to: Publisher) -> Result<(), NobodyListens> {
        _ = timeout(FIRST_PAUSE, self.settled.wait_for(|settled| *settled)).await;
        let mut slow = self.rhythm.every(SLOW_LOOK);
        let mut known: Option<String> = None;
        loop {
            // Cancel-safe: a beat or a bell that is not taken stays, and a pause that is begun anew is short.
            tokio::select! {
                _ = slow.next() => {}
                () = self.came.notified() => {}
                () = pause(known.is_some()) => {}
            }
            match self.ask().await {
                Ok(seen) if seen != known => {
                    known.clone_from(&seen);
                    publish::<Watch>(&to, seen).await?;
                }
                Ok(_) => {}
                Err(why) => tracing::debug!("who else has {} is not known: {why}", self.address),
            }
        }
    }

    async fn ask(&self) -> Result<Option<String>, String> {
        let bus = zbus::connection::Builder::system().method_timeout(ANSWER_LIMIT).build().await;
        let bus = bus.map_err(job::spoken)?;
        let unit = format!("sled-claims-{}.service", process::id());
        let (said, complained) = (Output::new()?, Output::new()?);
        let ended = timeout(GIVEN_UP, self.run(&bus, &unit, &said, &complained)).await;
        let ended = ended.unwrap_or_else(|_| Err(format!("systemd has not told its end for {} s", GIVEN_UP.as_secs())));
        ended.map_err(|why| complained.text().filter(|text| !text.is_empty()).unwrap_or(why))?;
        let said = said.text().unwrap_or_default();
        let report: Report = serde_json::from_str(&said).map_err(|_| format!("it said {said:?}"))?;
        Ok(report.other)
    }

    async fn run(&self, bus: &Connection, unit: &str, said: &Output, complained: &Output) -> Result<(), String> {
        const FAMILIES: &[&str] = &["AF_UNIX", "AF_NETLINK", "AF_PACKET"];
        let program = job::this_program()?;
        let words = [program.as_str(), "--probe", &self.bridge, &self.address.to_string()].map(str::to_owned).to_vec();
        let own: Vec<(&str, Variant<'_>)> = vec![
            ("Description", format!("Ask on {} who else has {}", self.bridge, self.address).into()),
            ("Type", "oneshot".into()),
            ("CollectMode", "inactive-or-failed".into()),
            ("ExecStart", vec![(program, words, false)].into()),
            ("TimeoutStartUSec", u64::try_from(UNIT_LIMIT.as_micros()).unwrap_or(u64::MAX).into()),
            ("StandardOutputFileDescriptor", said.fd().into()),
            ("StandardErrorFileDescriptor", complained.fd().into()),
            ("CapabilityBoundingSet", CAPABILITY.into()),
            ("RestrictAddressFamilies", (true, FAMILIES).into()),
        ];
        let known: Vec<_> = own.iter().map(|(name, _)| *name).collect();
        let others = sandbox::confined().into_iter().filter(|(name, _)| !known.contains(name));
        let properties: Vec<_> = own.into_iter().chain(others).collect();
        job::run_transient(bus, unit, &properties).await
    }
}

/// Wait until it is asked again, if another has the address; else for ever. Cancel-safe.
async fn pause(claimed: bool) {
    if claimed { sleep(AGAIN).await } else { pending().await }
}
