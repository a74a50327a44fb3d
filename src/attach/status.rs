//! `crucible-attach status`: what the sleds say of a volume, and what is to be seen of it on this host; or all volumes
//! of this host, a line each.

use super::arguments::StatusArguments;
use super::client::{Look, Trouble};
use super::conf::{self, Conf};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::findings::{self, Finding, Word};
use super::here::{Here, Places};
use super::sleds::{Aim, Sleds};
use super::{NOT_WELL, arguments, glance, show};
use crate::check::Severity;
use crate::names::VolumeName;
use crate::wire::{Error, ErrorCode, Holder, Refusal};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::timeout;

/// How long the sleds may take where several volumes are looked at, or for monitoring.
const SLEDS_LIMIT: Duration = Duration::from_secs(6);

/// A volume: what is to be seen here, what its sleds say, and what is wrong.
pub(super) struct Seen {
    pub(super) here: Here,
    pub(super) sleds: Option<Sleds>,
    pub(super) word: Option<Word>,
    pub(super) findings: Vec<Finding>,
}

impl Seen {
    /// Whether something of it does not work.
    fn is_bad(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Blocking)
    }

    /// The volume as JSON.
    fn body(&self) -> Result<Value, Failure> {
        let mut host = serde_json::to_value(&self.here).map_err(std::io::Error::from)?;
        host["findings"] = json!(self.findings);
        let ready = self.word.as_ref().map(|word| word.ready);
        Ok(json!({ "volume": self.here.volume, "ready": ready, "host": host }))
    }
}

/// Show a volume, or all of this host.
///
/// # Errors
/// If there is nothing to show, and why.
pub(super) async fn status(arguments: &StatusArguments, json: bool) -> Result<ExitCode, Failure> {
    match &arguments.volume {
        Some(volume) => one(volume, arguments, json).await,
        None => all(arguments, json).await,
    }
}

async fn one(volume: &VolumeName, arguments: &StatusArguments, json: bool) -> Result<ExitCode, Failure> {
    let given = arguments::sleds(&arguments.sleds, volume, &arguments.places.config);
    let asked = async {
        match &given {
            Ok(given) => Some(Sleds::look(volume, given.clone(), Aim::Win).await),
            Err(_) => None,
        }
    };
    let (sleds, here) = tokio::join!(asked, Here::look(volume, &arguments.places, true));
    let trouble = match (given, &sleds) {
        (Err(why), _) => Some(why),
        (Ok(_), Some(sleds)) if !json || !sleds.reached() => sleds.found().err(),
        _ => None,
    };
    let trouble = match trouble {
        // A volume that nobody knows has nothing to be shown.
        Some(why) if !here.concerns() => return Err(why),
        trouble => trouble,
    };
    let word = sleds.as_ref().map(word);
    // The sleds' own checks are shown as they are; what is found here is beside them.
    let findings =
        findings::of(&here, word.as_ref().map(|word| Word { another: word.another.clone(), ..shown() }).as_ref());
    let seen = Seen { here, word, sleds, findings };
    if json {
        let mut bodies = seen.sleds.as_ref().map_or_else(|| json!([]), show::bodies);
        if let Value::Array(bodies) = &mut bodies {
            bodies.push(seen.body()?);
        }
        show::print_json(&bodies)?;
        return Ok(trouble.map_or_else(|| code(&[seen]), |why| why.code()));
    }
    let sleds = seen.sleds.as_ref().filter(|sleds| sleds.looks().next().is_some());
    let above = sleds.map_or_else(|| format!("{volume}\n"), show::status);
    show::print(&(above + &glance::one(&seen.here, &seen.findings)))?;
    match trouble {
        Some(why) => Err(why),
        None => Ok(code(&[seen])),
    }
}

/// The exit code: 0 if all is well, of what can be told.
fn code(all: &[Seen]) -> ExitCode {
    let ready = |seen: &Seen| seen.word.as_ref().is_none_or(|word| word.ready);
    if all.iter().all(|seen| ready(seen) && !seen.is_bad()) { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) }
}

async fn all(arguments: &StatusArguments, json: bool) -> Result<ExitCode, Failure> {
    let seen = every(&arguments.places).await?;
    if json {
        let bodies = seen.iter().map(|seen| {
            let mut body = seen.body()?;
            body["sleds"] = seen.sleds.as_ref().map_or(Value::Null, show::bodies);
            Ok(body)
        });
        show::print_json(&bodies.collect::<Result<Value, Failure>>()?)?;
    } else if seen.is_empty() {
        show::print(&format!(
            "no volume is to be served by this host: {} has no VOLUME.conf\n",
            arguments.places.config.display()
        ))?;
    } else {
        let lines: Vec<_> = seen.iter().map(|seen| (&seen.here, &seen.findings[..])).collect();
        show::print(&glance::all(&lines))?;
    }
    Ok(code(&seen))
}

/// Look at all volumes of this host: those that are written of, and those that are served without.
///
/// # Errors
/// If it cannot be read which those are.
pub(super) async fn every(places: &Places) -> Result<Vec<Seen>, Failure> {
    let mut volumes: BTreeSet<_> = conf::volumes(&places.config)?.into_iter().collect();
    for entry in fs::read_dir(&places.run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        volumes.extend(name.to_str().and_then(|name| name.strip_suffix(".control")?.parse::<VolumeName>().ok()));
    }
    let all = join_all(volumes.iter().map(|volume| quickly(volume, &[], places))).await;
    Ok(all.into_iter().filter(|seen| seen.here.concerns() || seen.here.trouble.is_some()).collect())
}

/// Look at a volume within some seconds.
pub(super) async fn quickly(volume: &VolumeName, given: &[Endpoint], places: &Places) -> Seen {
    let conf = Conf::of(&places.config, volume).ok().flatten();
    let given = match given {
        // The sleds of the environment are some volume's, and not each one's.
        [] => conf.and_then(|conf| arguments::endpoints(&conf.sleds).ok()).unwrap_or_default(),
        given => given.to_vec(),
    };
    let asked = async {
        if given.is_empty() {
            return (None, None);
        }
        match timeout(SLEDS_LIMIT, Sleds::look(volume, given.clone(), Aim::Win)).await {
            Ok(sleds) => (Some(word(&sleds)), Some(sleds)),
            Err(_) => (Some(late(&given)), None),
        }
    };
    let ((word, sleds), here) = tokio::join!(asked, Here::look(volume, places, false));
    let findings = findings::of(&here, word.as_ref());
    Seen { here, sleds, word, findings }
}

/// The word of sleds that are shown already: nothing of it is found once more.
fn shown() -> Word {
    Word { ready: true, reached: true, ..Word::default() }
}

/// The word of sleds none of which has said in time how it is.
fn late(given: &[Endpoint]) -> Word {
    let why = || {
        Error::new(
            Refusal::Unreachable,
            format!("not all have answered in {} s", SLEDS_LIMIT.as_secs()),
            "are they on?",
        )
    };
    Word { silent: given.iter().map(|sled| (sled.to_string(), why())).collect(), ..Word::default() }
}

/// The sleds' word, in short.
fn word(sleds: &Sleds) -> Word {
    let silent = sleds.all.iter().filter_map(|sled| match &sled.news {
        Some(Err(trouble @ (Trouble::Unreachable(_) | Trouble::Odd(_)))) => {
            Some((sled.endpoint.to_string(), trouble.error()))
        }
        _ => None,
    });
    let silent: Vec<_> = silent.collect();
    let remedy = |code: &ErrorCode, subject: &str| {
        let checks = sleds.looks().flat_map(|look| &look.checks);
        let same = checks
            .filter(|check| (check.code.as_str(), check.subject.as_str()) == (code.as_str(), subject))
            .map(|check| check.remedy.clone())
            .next();
        same.unwrap_or_else(|| format!("see crucible-attach status {}", sleds.volume))
    };
    let reasons = sleds.reasons().into_iter().filter(|reason| !silent.iter().any(|(sled, _)| *sled == reason.sled));
    let reasons = reasons.map(|reason| {
        let remedy = remedy(&reason.code, &reason.subject);
        (reason.sled, Error::new(reason.code, reason.cause, remedy))
    });
    let another = sleds.looks().find_map(|look| granted(look, look.volume.holder.as_ref()?));
    Word { ready: sleds.ready(), reasons: reasons.collect(), reached: sleds.reached(), silent, another }
}

/// The words in which a sled has granted it to another host.
fn granted(look: &Look, holder: &Holder) -> Option<String> {
    let host =
        holder.host.as_ref().map_or_else(|| holder.address.to_string(), |name| format!("{name} ({})", holder.address));
    let how = format!("{} has granted it to {host} with generation {}", look.volume.sled, holder.generation);
    (holder.address.to_canonical() != look.from).then(|| format!("{how} since {}", holder.since))
}
