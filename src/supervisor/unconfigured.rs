//! Time before there is a configuration to supervise by: everybody who asks is told what is wrong with the
//! files, what runs goes on, and a reload looks at them again. The first one without a fault begins the
//! supervision, in the same process: nobody has to ask twice.

use crate::api::Operation;
use crate::config::{Configuration, Texts};
use crate::config_dir;
use crate::desk::answer::Answer;
use crate::desk::body::Body;
use crate::desk::bulletin::Bulletin;
use crate::desk::request::{Request, Wish};
use crate::page;
use crate::source::Fault;
use crate::store::in_force::Choice;
use crate::supervisor::Line;
use crate::supervisor::configuration::in_force::tell_faults;
use crate::supervisor::configuration::reload::{Reload, Reloading};
use crate::wire::{self, Change, Difference};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::interval;

/// Time between feedings of the watchdog.
const WATCHDOG_POLL: Duration = Duration::from_millis(500);

/// Wait until a reload finds a configuration without a fault, and return it, and who has asked for it.
/// `None` when nobody can ask any more.
pub async fn for_a_good_one(dir: &Path, faults: &[Fault], line: &mut Line) -> Option<(Choice, String)> {
    tell_faults(faults);
    publish(line, faults);
    let (mut error, mut count) = (wire::Error::config_invalid(faults), faults.len());
    let mut turn = interval(WATCHDOG_POLL);
    loop {
        // Cancel-safe: a turn or a request that is not taken stays.
        let request = tokio::select! {
            _ = turn.tick() => {
                line.watchdog.turned(|| Some(status(count)));
                continue;
            }
            request = line.asked.recv() => request?,
        };
        match request {
            Request { wish: Wish::Leave, answer } => _ = answer.send(Ok(Answer::Left)),
            Request { wish: Wish::Do(Operation::Reload { dry_run, yes, unattended, kept, by }, _), answer } => {
                let asked = match Reloading::new(Reload::asked(dry_run, yes, unattended), kept, by) {
                    Ok(Reloading { how, by, kept: None }) => (how, by),
                    Ok(_) => {
                        _ = answer.send(Err(error.clone()));
                        continue;
                    }
                    Err(why) => {
                        _ = answer.send(Err(why));
                        continue;
                    }
                };
                let (how, by) = asked;
                match look(dir).await {
                    Ok((config, texts)) if how == Reload::Show => {
                        _ = answer.send(Ok(Answer::Difference(Box::new(beginning(&config, &texts)))));
                    }
                    Ok((config, texts)) => {
                        let done = Difference { applied: true, ..beginning(&config, &texts) };
                        _ = answer.send(Ok(Answer::Difference(Box::new(done))));
                        // Who asks from now on waits for the first verdict.
                        line.publish.send_replace(None);
                        return Some((Choice { config, texts, instead_of: None }, by));
                    }
                    Err(faults) => {
                        tell_faults(&faults);
                        publish(line, &faults);
                        (error, count) = (wire::Error::config_invalid(&faults), faults.len());
                        _ = answer.send(Err(error.clone()));
                    }
                }
            }
            Request { answer, .. } => _ = answer.send(Err(error.clone())),
        }
    }
}

/// Read the files anew, aside from the loop.
async fn look(dir: &Path) -> Result<(Configuration, Texts), Vec<Fault>> {
    let at: PathBuf = dir.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let texts = config_dir::texts(&at);
        config_dir::read_texts(&texts, &at).map(|config| (config, texts))
    });
    read.await.unwrap_or_else(|why| {
        let (file, problem) = (dir.display().to_string(), format!("cannot be read: {why}"));
        Err(vec![Fault { file, line: None, key: String::new(), problem, remedy: "ask again".into() }])
    })
}

fn publish(line: &Line, faults: &[Fault]) {
    let why = wire::Error::config_invalid(faults);
    let page = Body::of({
        let why = why.clone();
        move || page::refused(&why).into()
    });
    let bulletin = Bulletin { broken: Some(why), page, ..Bulletin::default() };
    line.publish.send_replace(Some(Arc::new(bulletin)));
}

/// Word what systemd shows meanwhile.
fn status(faults: usize) -> String {
    format!("the configuration has {faults} fault(s): sledctl config check")
}

/// Describe a beginning: everything is another than nothing.
fn beginning(config: &Configuration, texts: &Texts) -> Difference {
    let change = Change {
        subject: format!("sled {}", config.sled.name),
        what: "no configuration is in force, and this one has no fault".into(),
        effect: format!("its {} regions are supervised from then on", config.local_regions().len()),
        interrupts: false,
        needs_restart: false,
        needs_yes: false,
    };
    let (to, to_files) = (config.map.digest.clone(), texts.digest());
    Difference { to, to_files, changes: vec![change], ..Difference::default() }
}
