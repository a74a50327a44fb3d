//! The files of `[tls]`: whether they are there, whether the regions' user may read them, how long
//! they are good for, and whether a downstairs and a host would accept each other by them. Reads
//! only; nothing of what the key file holds leaves this module but a connection made with it
//! ([`dial`]).
//!
//! Nothing tells of a change: now and then it is asked whether the files are still the same ones.
//! They are looked at when they are not, when somebody asks, when a certificate begins or ends to
//! be valid, every few seconds while something is wrong with them, and once an hour.

mod access;
pub mod dial;
mod material;

use crate::config::{self, Configuration};
use crate::decide::facts::{Certificate, Facts, Tls};
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::{ROUND, Rhythm};
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use access::Reader;
use futures_util::FutureExt;
use jiff::Timestamp;
use material::Material;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time between looks when nobody knows of a reason.
const SLOW_LOOK: Duration = Duration::from_secs(3600);

/// Time between questions whether they are still the same.
const SAME: Duration = Duration::from_secs(15);

/// The name by which a host calls region `index` of a volume, and which the certificate is for.
pub fn name_of(index: u8) -> String {
    format!("downstairs{index}")
}

/// The files of `[tls]`, if there are any.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "tls";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEFORE_A_START: bool = true;
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let (wanted, look) = (ground.config.sled.tls.clone()?, ground.looks.heard_by::<Self>());
        Some(watch(wanted, ground.config.clone(), ground.rhythm.clone(), look, to).boxed())
    });
    type Fact = Tls;

    fn tell(tls: Self::Fact) -> Observation {
        Observation::known(|facts| facts.tls = Some(tls))
    }

    fn is_known(config: &Configuration, facts: &Facts) -> bool {
        facts.tls.is_some() || config.sled.tls.is_none()
    }

    fn forget(by: &TakenOver, facts: &mut Facts) {
        if by.old.sled.tls != by.new.sled.tls {
            facts.tls.clone_from(&by.fresh.tls);
        }
    }
}

/// Watches until nobody listens any more. `look` asks for a look at once.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    wanted: config::Tls,
    config: Arc<Configuration>,
    rhythm: Rhythm,
    look: Arc<Notify>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    let names: BTreeSet<_> = config.local_regions().iter().map(|local| name_of(local.name.index())).collect();
    let user = config.sled.downstairs.user.clone();
    let [mut slow, mut same, mut soon] = [SLOW_LOOK, SAME, ROUND].map(|time| rhythm.every(time));
    let (mut seen, mut known): (Option<Tls>, _) = (None, None);
    loop {
        // Cancel-safe: a beat or a permit that is not taken stays, and the pause is made anew.
        let only_if_changed = tokio::select! {
            _ = slow.next() => false,
            _ = same.next() => true,
            // Somebody may be putting it right.
            _ = soon.next(), if seen.as_ref().is_some_and(is_wrong) => false,
            () = look.notified() => false,
            () = turn(seen.as_ref(), &wanted) => false,
        };
        let before = known.clone().filter(|_| only_if_changed);
        let (files, user, names) = (wanted.clone(), user.clone(), names.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let marks = Marks::of(&files);
            let same = before.is_some_and(|before| before == marks);
            (!same).then(|| (look_at(&files, &user, &names, Timestamp::now()), marks))
        });
        match looking.await {
            Ok(Some((found, marks))) => {
                (seen, known) = (Some(found.clone()), Some(marks));
                publish::<Watch>(&to, found).await?;
            }
            Ok(None) => {}
            Err(why) => tracing::error!("the look at the files of [tls] ended early: {why}"),
        }
        soon.skip_past();
    }
}

/// Marks by which each of the files is told from another that takes its place, or from itself
/// before it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marks([Option<[i64; 4]>; 3]);

impl Marks {
    fn of(files: &config::Tls) -> Self {
        Self([&files.cert, &files.key, &files.root_cert].map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some([found.dev().cast_signed(), found.ino().cast_signed(), found.ctime(), found.ctime_nsec()])
        }))
    }
}

/// Look once, for who asks about other files than those that are watched.
pub fn look_once(wanted: &config::Tls, config: &Configuration) -> Tls {
    let names = config.local_regions().iter().map(|local| name_of(local.name.index())).collect();
    look_at(wanted, &config.sled.downstairs.user, &names, Timestamp::now())
}

/// Look once. `user` runs the regions, which are called by `names`.
fn look_at(wanted: &config::Tls, user: &str, names: &BTreeSet<String>, at: Timestamp) -> Tls {
    let reader = Reader::of(user);
    let cert = material::certificates(&wanted.cert, &reader);
    let key = material::key(&wanted.key, &reader);
    let root = material::roots(&wanted.root_cert, &reader);
    let refused = match (&cert, &key, &root) {
        (Ok((_, chain)), Ok(key), Ok((_, roots))) => {
            Material { chain: chain.clone(), key: key.clone_key(), roots: roots.clone() }.refused(names, at)
        }
        _ => None,
    };
    Tls {
        at,
        cert: cert.map(|(shown, _)| shown),
        key: key.map(|_| ()),
        root_cert: root.map(|(shown, _)| shown),
        refused,
    }
}

/// Tell whether something about them cannot be used as it is.
fn is_wrong(seen: &Tls) -> bool {
    let flawed = seen.cert.is_err() || seen.key.is_err() || seen.root_cert.is_err();
    let outside = |cert: &Certificate| seen.at < cert.not_before || seen.at >= cert.not_after;
    flawed || seen.refused.is_some() || seen.cert.iter().flatten().any(outside)
}

/// Waits for the next moment in which a certificate's time makes a difference. Cancel-safe.
async fn turn(seen: Option<&Tls>, wanted: &config::Tls) {
    let now = Timestamp::now();
    let next = seen.and_then(|seen| next_turn(seen, wanted, now));
    match next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default()) {
        // A later one is waited for after the next slow look.
        Some(pause) if pause < SLOW_LOOK => sleep(pause).await,
        _ => std::future::pending().await,
    }
}

/// The first moment after `now` in which a certificate begins or ends to be valid, or is to be
/// warned of.
fn next_turn(seen: &Tls, wanted: &config::Tls, now: Timestamp) -> Option<Timestamp> {
    let all = seen.cert.iter().chain(&seen.root_cert).flatten();
    let turns = all.flat_map(|cert| {
        let warned = Timestamp::from_second(cert.not_after.as_second() - wanted.expires_warning.seconds.cast_signed());
        [Some(cert.not_before), warned.ok(), Some(cert.not_after)]
    });
    turns.flatten().filter(|turn| *turn > now).min()
}

#[cfg(test)]
mod tests;
