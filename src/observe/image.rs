//! State of the image, as it tells of itself and of the last update, on a machine that runs one:
//! small files, read anew once a minute, and the room for them.

use crate::appliance::{self, reset, stick, trial};
use crate::config::{Apply, Configuration, SledConfig, UpdateSource};
use crate::decide::facts::{Facts, Image, Newer, Var};
use crate::files;
use crate::observe::observer::{Begin, Observer, TakenOver};
use crate::observe::rhythm::Rhythm;
use crate::observe::{NobodyListens, Observation, Publisher, publish};
use crate::update::checked::{Checked, Held};
use crate::update::record::{Attempt, Outcome};
use crate::update::release::Release;
use futures_util::FutureExt;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time between looks at them: a boot is judged a while after the supervisor started.
const SLOW_LOOK: Duration = Duration::from_secs(60);

/// Observer of what the image says of itself.
#[derive(Debug)]
pub struct Watch;

impl Observer for Watch {
    const NAME: &'static str = "image";
    const SLOW_LOOK: Option<Duration> = Some(SLOW_LOOK);
    const MISSED: Option<&'static str> = None;
    const BEGIN: Begin = Begin::ByConfiguration(|ground, to| {
        let watching = || watch(Arc::clone(&ground.config), ground.rhythm.clone(), to).boxed();
        appliance::is_image().then(watching)
    });
    type Fact = Option<Image>;

    fn tell(seen: Self::Fact) -> Observation {
        Observation::known(|facts| facts.image = seen)
    }

    fn is_known(_: &Configuration, _: &Facts) -> bool {
        true
    }

    fn forget(_: &TakenOver, _: &mut Facts) {}
}

/// Watches until nobody listens any more.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(config: Arc<Configuration>, rhythm: Rhythm, to: Publisher) -> Result<(), NobodyListens> {
    let mut beats = rhythm.every(SLOW_LOOK);
    let mut known = None;
    loop {
        beats.next().await;
        // Small files of the machine's own disk: whoever cannot read these runs no longer.
        let seen = look(&config.sled);
        if known.as_ref() != Some(&seen) {
            known = Some(seen.clone());
            publish::<Watch>(&to, seen).await?;
        }
    }
}

fn look(config: &SledConfig) -> Option<Image> {
    let release = Release::read(Path::new("/")).ok()?;
    let given_up = Attempt::load().and_then(|attempt| match attempt.outcome {
        Some(Outcome::RolledBack { why, .. }) if attempt.from == release.version => Some((attempt.to, why)),
        _ => None,
    });
    let refused = appliance::taken().map(|taken| taken.refused).unwrap_or_default();
    let (version, demonstration) = (release.version, release.demonstration);
    let replaced = appliance::replaced().iter().map(|path| path.display().to_string()).collect();
    let newer = newer(config, &version);
    let memory = Path::new(trial::MEMORY);
    let network_taken_back = trial::load(memory).filter(|trial| trial.taken_back).map(|trial| trial.at);
    let network_unproven = trial::lost(memory);
    let (no_firmware, renewed) = (release.firmware == Some(false), appliance::renewed());
    let reset = reset::unfinished();
    let (stick, others, var) = (stick::started_from().map(|disk| format!("/dev/{disk}")), others(), var());
    Some(Image {
        version,
        demonstration,
        no_firmware,
        given_up,
        network_taken_back,
        network_unproven,
        refused,
        replaced,
        renewed,
        reset,
        stick,
        others,
        var,
        newer,
    })
}

/// The machine's other disks with the image, and the sticks.
fn others() -> (Vec<String>, Vec<String>) {
    let (sticks, disks): (Vec<_>, Vec<_>) = stick::others().into_iter().partition(|other| other.stick);
    let said = |all: Vec<stick::Other>| all.iter().map(stick::Other::said).collect();
    (said(disks), said(sticks))
}

/// The room for what the machine remembers.
fn var() -> Option<Var> {
    let files::Room { capacity, free, inodes, inodes_free, .. } = files::room(Path::new("/var")).ok()?;
    Some(Var { capacity, free, inodes, inodes_free })
}

/// The version that can be had, as far as the last look for one holds.
fn newer(config: &SledConfig, running: &str) -> Option<Newer> {
    let (now, checked) = (Timestamp::now(), Checked::load()?);
    let source = config.appliance.update.as_ref().map(UpdateSource::url);
    let newer = checked.known(source, running, &config.update, now).ok()??.clone();
    let waits = Held::load().filter(|_| config.update.apply == Apply::Window);
    let waits = waits.and_then(|held| held.holds(now).map(str::to_owned));
    Some(Newer { version: newer.version, changes: newer.changes, lacks: newer.lacks, waits })
}
