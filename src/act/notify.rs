//! Delivery of a notification: a transient unit makes it, which systemd gives a network and a user that owns nothing.
//! The supervisor has neither network nor child. It is tried once, and takes a bounded time.

use crate::config::{Notify, Url};
use crate::notify::Order;
use crate::notify::send::SEND_LIMIT;
use crate::systemd::output::Output;
use crate::systemd::{job, sandbox};
use crate::wire::{Delivery, Notification, Way};
use serde::Serialize;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use zbus::{Connection, Variant};

/// The program that posts to a URL: `sledctl notify deliver`, by the path at which the sled's units call it.
const SENDER: &str = "/usr/bin/sledctl";
/// Time that a unit may take: a little more than what it does.
const UNIT_LIMIT: Duration = SEND_LIMIT.saturating_add(Duration::from_secs(2));
/// Time until a unit is given up that systemd says nothing of.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// A way that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A program, with its arguments.
    Program(Vec<String>),
    /// A URL that is posted to.
    Webhook(Url),
    /// A topic of ntfy.
    Ntfy(Url),
}

impl Target {
    /// List the ways that are configured.
    pub fn all(notify: &Notify) -> Vec<Self> {
        let program = Some(notify.program.clone()).filter(|program| !program.is_empty()).map(Self::Program);
        let webhook = notify.webhook.clone().map(Self::Webhook);
        program.into_iter().chain(webhook).chain(notify.ntfy.clone().map(Self::Ntfy)).collect()
    }

    /// Name the way.
    pub fn way(&self) -> Way {
        match self {
            Self::Program(_) => Way::Program,
            Self::Webhook(_) => Way::Webhook,
            Self::Ntfy(_) => Way::Ntfy,
        }
    }

    /// Name where it goes, as anybody may see it.
    pub fn shown(&self) -> String {
        match self {
            Self::Program(words) => words.first().cloned().unwrap_or_default(),
            Self::Webhook(url) | Self::Ntfy(url) => url.shown(),
        }
    }
}

/// Deliver by one way, once.
pub async fn deliver(bus: &Connection, target: &Target, notification: &Notification) -> Delivery {
    let done = match target {
        Target::Program(words) => run(bus, words, notification, open()).await,
        Target::Webhook(url) | Target::Ntfy(url) => {
            let order = Order { way: target.way(), url: url.uri().to_string(), notification: notification.clone() };
            let words = [SENDER, "notify", "deliver"].map(str::to_owned);
            run(bus, &words, &order, sending()).await.and_then(|said| came_back(&said))
        }
    };
    let (answer, error) = match done {
        Ok(said) if said.is_empty() => (Some("done".into()), None),
        Ok(said) => (Some(said), None),
        Err(why) => (None, Some(why)),
    };
    Delivery { way: target.way(), to: target.shown(), answer, error }
}

/// Run a program with this on its standard input: what it said, or why it failed.
async fn run(
    bus: &Connection,
    words: &[String],
    input: &impl Serialize,
    confined: Vec<(&'static str, Variant<'static>)>,
) -> Result<String, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(program) = words.first() else { return Err("no program is named".into()) };
    let unit = format!("sled-notify-{}-{}.service", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let input = Output::holding(&serde_json::to_vec(input).map_err(|why| why.to_string())?)?;
    let (said, complained) = (Output::new()?, Output::new()?);
    let own: Vec<(&str, Variant<'_>)> = vec![
        ("Description", "Tell of a check of this sled".into()),
        ("Type", "oneshot".into()),
        ("CollectMode", "inactive-or-failed".into()),
        ("ExecStart", vec![(program.clone(), words.to_vec(), false)].into()),
        ("TimeoutStartUSec", u64::try_from(UNIT_LIMIT.as_micros()).unwrap_or(u64::MAX).into()),
        ("DynamicUser", true.into()),
        ("StandardInputFileDescriptor", input.fd().into()),
        ("StandardOutputFileDescriptor", said.fd().into()),
        ("StandardErrorFileDescriptor", complained.fd().into()),
    ];
    let properties: Vec<_> = own.into_iter().chain(confined).collect();
    let ended = timeout(GIVEN_UP, job::run_transient(bus, &unit, &properties)).await;
    let ended = ended.unwrap_or_else(|_| Err(format!("systemd has not told its end for {} s", GIVEN_UP.as_secs())));
    let last = |output: Output| output.text().and_then(|text| text.lines().last().map(str::to_owned));
    match ended {
        Ok(()) => Ok(last(said).unwrap_or_default()),
        Err(why) => Err(last(complained).filter(|text| !text.is_empty()).unwrap_or(why)),
    }
}

/// Read what came back to the sender.
fn came_back(said: &str) -> Result<String, String> {
    let odd = |why| format!("{SENDER} says what cannot be read: {why}");
    serde_json::from_str::<Result<String, String>>(said).map_err(odd)?
}

/// The settings of a program of the operator's: a user of its own, that owns nothing and becomes nobody else.
fn open() -> Vec<(&'static str, Variant<'static>)> {
    vec![("NoNewPrivileges", true.into()), ("CapabilityBoundingSet", 0u64.into())]
}

/// The settings of what posts to a URL: those of all that is run for a moment, and a network.
fn sending() -> Vec<(&'static str, Variant<'static>)> {
    const NAME: &str = "RestrictAddressFamilies";
    const FAMILIES: &[&str] = &["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];
    let others = sandbox::confined().into_iter().filter(|(name, _)| *name != NAME);
    others.chain([(NAME, (true, FAMILIES).into())]).collect()
}
