//! Wishes of the sleds towards whoever has a volume: that it be detached (`sledctl volume drain`), or that it is
//! another host's now. A relay that serves hears of it by the answer that each sled holds for it, at the cost of a
//! question in half a minute. What is to be done for a wish is more than its sandbox lets it do, and systemd begins
//! it.

use super::client::{self, Look};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::servers::lost;
use super::show::note;
use super::sleds::{Aim, Sleds};
use super::wait;
use crate::names::{SledName, VolumeName};
use crate::relay::log::Shared;
use crate::systemd::job::spoken;
use crate::systemd::proxy::ManagerProxy;
use crate::wire::{DrainState, Drained};
use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The pause after which a server is told that the sleds are all ready again, and how often: it may notice late that
/// it was cut off, and after ten seconds it has looked for them by itself.
const READY_PAUSE: Duration = Duration::from_millis(300);
const READY_TIMES: u32 = 33;
/// How long systemd may take to begin it.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(10);

/// The readiness of the sleds, and what is still to be told of it.
struct Readiness {
    ready: bool,
    due: Option<Instant>,
    left: u32,
}

impl Readiness {
    /// Note that the sleds are ready, or not.
    fn sees(&mut self, ready: bool) {
        if ready && !self.ready {
            (self.due, self.left) = (Some(Instant::now() + READY_PAUSE), READY_TIMES);
        }
        self.ready = ready;
    }

    /// Return when it is to be told that they are back. Cancel-safe: the clock is absolute.
    async fn comes(&self) {
        match self.due {
            Some(at) if self.ready => sleep_until(at).await,
            _ => pending().await,
        }
    }

    /// Note that it is told.
    fn told(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.due = (self.left > 0).then(|| Instant::now() + READY_PAUSE);
    }
}

/// Do what the sleds wish, until they say that the volume is another host's; `own` tells with which generation the
/// last server began. A server that is cut off need not notice, and whoever asks for something would wait for ever.
/// `back` is told when the sleds are ready again.
pub(super) async fn heed(volume: &VolumeName, given: Vec<Endpoint>, own: &Shared, back: &watch::Sender<()>) -> Failure {
    let mut sleds = Sleds::new(volume, given, Aim::Win);
    let (sender, mut news) = mpsc::channel(16);
    let mut pollers = JoinSet::new();
    let mut heeded: BTreeMap<SledName, u64> = BTreeMap::new();
    let start = |pollers: &mut JoinSet<()>, sleds: &Sleds, index: usize| {
        pollers.spawn(wait::ask(index, sleds.all[index].endpoint.clone(), volume.clone(), sender.clone()));
    };
    (0..sleds.all.len()).for_each(|index| start(&mut pollers, &sleds, index));
    let mut readiness = Readiness { ready: true, due: None, left: 0 };
    loop {
        // Cancel-safe: a channel loses nothing.
        let (index, heard) = tokio::select! {
            Some(news) = news.recv() => news,
            () = readiness.comes() => {
                readiness.told();
                back.send_replace(());
                continue;
            }
        };
        let wish = heard.as_ref().ok().and_then(|look| Some((look.volume.sled.clone(), open_wish(look)?)));
        sleds.hears(index, heard).into_iter().for_each(|index| start(&mut pollers, &sleds, index));
        readiness.sees(sleds.ready());
        // A generation that cannot be read is not known; the next server's ticket is looked at all the same.
        if let Some(why) = own.generation().ok().and_then(|last| lost(&sleds, last)) {
            return why;
        }
        if let Some((sled, id)) = wish.filter(|(sled, id)| heeded.get(sled) != Some(id)) {
            note(&format!("{sled} asks for {volume} to be detached"));
            heeded.insert(sled, id);
            if let Err(why) = begin(volume).await {
                note(&format!("it cannot be begun to be detached: {why}"));
                let at = &sleds.all[index].endpoint;
                let message = Some(format!("crucible-detach@{volume}.service cannot be started: {why}"));
                let said = Drained { id, state: DrainState::Failed, users: Vec::new(), message };
                if let Err(why) = client::drained(at, volume, &said).await {
                    note(&format!("{at} was not told so: {}", why.error().message));
                }
            }
        }
    }
}

/// The wish of a sled that nobody has answered, or only begun to.
fn open_wish(look: &Look) -> Option<u64> {
    let drain = look.volume.drain.as_ref()?;
    let open = drain.said.as_ref().is_none_or(|said| said.state == DrainState::Detaching);
    open.then_some(drain.id)
}

/// Have systemd begin to detach it.
async fn begin(volume: &VolumeName) -> Result<(), String> {
    let unit = format!("crucible-detach@{volume}.service");
    let asked = async {
        let bus = zbus::connection::Builder::system().method_timeout(SYSTEMD_LIMIT).build().await?;
        ManagerProxy::new(&bus).await?.start_unit(&unit, "replace").await
    };
    match timeout(SYSTEMD_LIMIT, asked).await {
        Ok(asked) => asked.map(drop).map_err(spoken),
        Err(_) => Err(format!("systemd has not answered for {} s", SYSTEMD_LIMIT.as_secs())),
    }
}
