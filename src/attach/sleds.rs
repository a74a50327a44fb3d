//! Sleds that carry a volume: those that were named, those that they name, and what is known of each. A sled is
//! believed about itself, and about others only where they are.

use super::client::{self, Look, Trouble};
use super::endpoint::Endpoint;
use super::failure::Failure;
use crate::check::Severity;
use crate::names::{SledName, VolumeName};
use crate::wire::{ErrorCode, Refusal};
use futures_util::future::join_all;
use http::StatusCode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// The most sleds that are asked for one volume, whatever they say.
const SLED_LIMIT: usize = 16;

/// The aim of a question about a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Attaching the volume as things are.
    Attach,
    /// Winning a ticket for it, by a takeover if that is said, which lets in a host that was cut off, too.
    Win,
}

/// A sled, and what it last said.
#[derive(Debug)]
pub(super) struct Sled {
    pub(super) endpoint: Endpoint,
    pub(super) news: Option<Result<Look, Trouble>>,
}

/// The sleds of a volume.
#[derive(Debug)]
pub(super) struct Sleds {
    pub(super) volume: VolumeName,
    pub(super) aim: Aim,
    pub(super) all: Vec<Sled>,
    /// The number of them that were named by the caller; they come first.
    given: usize,
}

/// A reason why a volume may not be attached yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reason {
    pub(super) sled: String,
    pub(super) code: ErrorCode,
    pub(super) subject: String,
    pub(super) cause: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = if self.subject.is_empty() { String::new() } else { format!(" {}", self.subject) };
        write!(to, "{}: {}{subject}: {}", self.sled, self.code, self.cause)
    }
}

impl Sleds {
    pub(super) fn new(volume: &VolumeName, given: Vec<Endpoint>, aim: Aim) -> Self {
        let all: Vec<_> = given.into_iter().map(|endpoint| Sled { endpoint, news: None }).collect();
        Self { volume: volume.clone(), aim, given: all.len(), all }
    }

    /// Look once at each of them.
    pub(super) async fn look(volume: &VolumeName, given: Vec<Endpoint>, aim: Aim) -> Self {
        let mut sleds = Self::new(volume, given, aim);
        let mut open: Vec<_> = (0..sleds.all.len()).collect();
        while !open.is_empty() {
            let asked = open.iter().map(|index| client::look(&sleds.all[*index].endpoint, volume, None));
            let news = join_all(asked).await;
            open = open.into_iter().zip(news).flat_map(|(index, news)| sleds.hears(index, news)).collect();
        }
        sleds
    }

    /// Take what a sled says, and tell which others are known since.
    pub(super) fn hears(&mut self, index: usize, news: Result<Look, Trouble>) -> Vec<usize> {
        let before = self.all.len();
        if let Ok(look) = &news {
            for region in look.volume.regions.iter().filter(|region| region.sled != look.volume.sled) {
                let known = self.all.iter().any(|sled| {
                    let name = sled.news.as_ref().and_then(|news| Some(&news.as_ref().ok()?.volume.sled));
                    sled.endpoint.address() == Some(region.address) || name == Some(&region.sled)
                });
                if !known && self.all.len() < SLED_LIMIT {
                    self.all.push(Sled { endpoint: Endpoint::usual(region.address), news: None });
                }
            }
        }
        self.all[index].news = Some(news);
        (before..self.all.len()).collect()
    }

    /// The answers that are looks at the volume.
    pub(super) fn looks(&self) -> impl Iterator<Item = &Look> {
        self.all.iter().filter_map(|sled| sled.news.as_ref()?.as_ref().ok())
    }

    /// Whether any of them answers at all.
    pub(super) fn reached(&self) -> bool {
        self.all.iter().any(|sled| !matches!(sled.news, None | Some(Err(Trouble::Unreachable(_)))))
    }

    /// The sleds that carry regions of the volume, as those say that answer, and where they are.
    pub(super) fn carriers(&self) -> BTreeMap<SledName, IpAddr> {
        let regions = self.looks().flat_map(|look| &look.volume.regions);
        regions.map(|region| (region.sled.clone(), region.address)).collect()
    }

    /// The endpoint of a sled that carries the volume.
    pub(super) fn endpoint_of(&self, name: &SledName, address: IpAddr) -> Endpoint {
        let itself = |sled: &&Sled| matches!(&sled.news, Some(Ok(look)) if look.volume.sled == *name);
        let there = |sled: &&Sled| sled.endpoint.address() == Some(address);
        let found = self.all.iter().find(itself).or_else(|| self.all.iter().find(there));
        found.map_or_else(|| Endpoint::usual(address), |sled| sled.endpoint.clone())
    }

    /// Whether every sled that carries the volume says that it may be attached, and by this host.
    pub(super) fn ready(&self) -> bool {
        let open = |look: &&Look| look.is_ready() && self.shut(look).is_none();
        let ready: BTreeSet<_> = self.looks().filter(open).map(|look| &look.volume.sled).collect();
        let carriers = self.carriers();
        !carriers.is_empty() && carriers.keys().all(|sled| ready.contains(sled))
    }

    /// The reason why a sled does not let this host attach the volume.
    fn shut(&self, look: &Look) -> Option<(Refusal, String)> {
        let refused = look.refused().map(|why| (Refusal::HostNotAllowed, why));
        refused.or_else(|| match self.aim {
            Aim::Attach => look.denied().map(|why| (Refusal::HostDenied, why)).or_else(|| look.taken()),
            Aim::Win => None,
        })
    }

    /// Find that not every sled that says anything of the volume refuses this host: to wait for that would be of no
    /// use.
    ///
    /// # Errors
    /// Why the first of them does.
    pub(super) fn admitted(&self) -> Result<(), Failure> {
        if self.all.iter().any(|sled| sled.news.is_none()) {
            return Ok(());
        }
        let refused: Option<Vec<_>> = self.looks().map(Look::refused).collect();
        match refused.and_then(|all| all.into_iter().next()) {
            None => Ok(()),
            Some(why) => {
                let remedy = format!("if it is to: add it to hosts of [volumes.{}] in port-map.toml", self.volume);
                Err(Failure::refused(Refusal::HostNotAllowed, why, remedy))
            }
        }
    }

    /// The answers whether the data ports want TLS.
    pub(super) fn tls(&self) -> BTreeSet<bool> {
        self.looks().filter_map(|look| look.volume.tls).collect()
    }

    /// The highest generation that any of them says was granted.
    pub(super) fn highest(&self) -> u64 {
        self.looks().map(|look| look.volume.generation).max().unwrap_or_default()
    }

    /// Find that somebody knows the volume.
    ///
    /// # Errors
    /// Why nobody does.
    pub(super) fn found(&self) -> Result<(), Failure> {
        if self.looks().next().is_some() {
            return Ok(());
        }
        let troubles: Vec<_> =
            self.all.iter().filter_map(|sled| Some((sled, sled.news.as_ref()?.as_ref().err()?))).collect();
        let reached = troubles.iter().find(|(_, trouble)| !matches!(trouble, Trouble::Unreachable(_)));
        let told = |(sled, trouble): &(&Sled, &Trouble)| {
            let mut error = trouble.error();
            error.message = format!("{}: {}", sled.endpoint, error.message);
            error
        };
        match (reached, troubles.first()) {
            (Some(trouble), _) => Err(Failure::Refused(told(trouble))),
            (None, Some(trouble)) => Err(Failure::Unreachable(told(trouble))),
            (None, None) => Err(Failure::refused(Refusal::Failed, "no sled was asked", "name one with --sled")),
        }
    }

    /// Find that not every sled that was named says that it does not carry the volume: to wait for that would be of
    /// no use.
    ///
    /// # Errors
    /// The words of the first of them.
    pub(super) fn carried(&self) -> Result<(), Failure> {
        let nowhere = |sled: &Sled| matches!(&sled.news, Some(Err(Trouble::Refused(StatusCode::NOT_FOUND, _))));
        if self.all.iter().take(self.given).all(nowhere) { self.found() } else { Ok(()) }
    }

    /// The reasons why the volume may not be attached, as far as anybody has said anything.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        let carriers = self.carriers();
        let mut reasons = Vec::new();
        for sled in &self.all {
            match &sled.news {
                None => {}
                // A sled that does not carry it does not matter, if another does.
                Some(Err(Trouble::Refused(StatusCode::NOT_FOUND, _))) if !carriers.is_empty() => {}
                Some(Err(trouble)) => {
                    let (error, subject) = (trouble.error(), String::new());
                    reasons.push(Reason {
                        sled: sled.endpoint.to_string(),
                        code: error.code,
                        subject,
                        cause: error.message,
                    });
                }
                Some(Ok(look)) => {
                    let shut = self.shut(look).map(|(code, cause)| Reason {
                        sled: look.volume.sled.to_string(),
                        code: code.into(),
                        subject: String::new(),
                        cause,
                    });
                    reasons.extend(shut);
                    reasons.extend(blocking(look));
                }
            }
        }
        let silent = carriers.iter().filter(|(name, address)| {
            let answers = self.looks().any(|look| look.volume.sled == **name);
            let known = self.all.iter().find(|sled| sled.endpoint.address() == Some(**address));
            !answers && known.is_none_or(|sled| matches!(sled.news, Some(Ok(_))))
        });
        reasons.extend(silent.map(|(name, address)| Reason {
            sled: name.to_string(),
            code: Refusal::SledMissing.into(),
            subject: String::new(),
            cause: format!("whatever answers at {address} is not this sled"),
        }));
        reasons
    }

    /// The sleds that have another port map than the first, if any.
    pub(super) fn disagreement(&self) -> Option<String> {
        let first = &self.looks().next()?.volume;
        let others = self.looks().filter(|look| look.volume.port_map != first.port_map);
        let others: BTreeSet<_> = others.map(|look| look.volume.sled.to_string()).collect();
        let others = others.into_iter().collect::<Vec<_>>().join(", ");
        (!others.is_empty()).then(|| format!("the port map of {} is not that of {others}", first.sled))
    }
}

fn blocking(look: &Look) -> Vec<Reason> {
    let volume = &look.volume;
    if look.is_ready() {
        return Vec::new();
    }
    let reason = |code: ErrorCode, subject: &str, cause: &str| Reason {
        sled: volume.sled.to_string(),
        code,
        subject: subject.into(),
        cause: cause.into(),
    };
    let checks = look.checks.iter().filter(|check| check.severity == Severity::Blocking.to_string());
    let reasons: Vec<_> =
        checks.map(|check| reason(check.code.as_str().into(), &check.subject, &check.cause)).collect();
    if reasons.is_empty() { vec![reason(Refusal::NotReady.into(), "", "it does not say why")] } else { reasons }
}
