//! Ticket for a volume: every sled that carries it is asked, round by round, until [`super::ballot`] says that it is
//! won or lost. All sleds are asked at once; one that is dead does not count. Nothing is attached here, and nobody is
//! waited for who says that the volume is not ready.

use super::ballot::{Answer, Decision, Loss, Round, majority};
use super::client::{self, Look, Trouble};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::release::Granted;
use super::sleds::Sleds;
use crate::decide::generation::REACH;
use crate::names::{SledName, VolumeName};
use crate::wire::{Attach, Attached, Refusal, Ticket};
use http::StatusCode;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

/// How long the others have once a majority has answered.
const MINORITY_LIMIT: Duration = Duration::from_secs(5);
/// The longest pause after the first round, doubled each round: of two hosts that disturb each other one is first
/// sooner or later.
const FIRST_ROUND_PAUSE: Duration = Duration::from_millis(25);

/// A volume that was won.
#[derive(Debug)]
pub(super) struct Won {
    /// The generation to attach it with.
    pub(super) generation: u64,
    /// A ticket with that generation; all that were granted with it agree.
    pub(super) ticket: Ticket,
    /// The highest generation that any of the sleds that answered ever granted to another host, and which sled that
    /// is. A host that won one before is among them: two majorities have a sled in common.
    pub(super) others: Option<(u64, SledName)>,
    /// The sleds that granted it.
    pub(super) granted: Vec<SledName>,
    /// The sleds that granted nothing in that round: their regions do not let this host in yet.
    pub(super) missing: Vec<SledName>,
    /// The reason why these are missing, if any are: without them nothing becomes active.
    pub(super) obstacle: Option<Lost>,
}

/// A volume that was not won, and why.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) failure: Failure,
    /// The volume may be won once it is ready.
    pub(super) passing: bool,
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        lost.failure
    }
}

type Answers = BTreeMap<SledName, Result<Ticket, Trouble>>;

/// Win the volume, or say why not, and let go of what some sleds have granted then: it would be in others' way. What
/// is granted meanwhile is `granted`, for whoever gives up before there is an end.
pub(super) async fn win(sleds: &Sleds, takeover: bool, granted: &mut Granted) -> Result<Won, Lost> {
    let won = ballot(sleds, takeover, granted).await;
    let held = std::mem::take(granted);
    if won.is_err() {
        // A sled that cannot be told finds out by itself, after a while.
        held.release(&sleds.volume).await;
    }
    won
}

async fn ballot(sleds: &Sleds, takeover: bool, granted: &mut Granted) -> Result<Won, Lost> {
    if !takeover {
        free(sleds)?;
    }
    let carriers = sleds.carriers();
    let voters: BTreeMap<_, _> =
        carriers.iter().map(|(name, address)| (name.clone(), sleds.endpoint_of(name, *address))).collect();
    let mut round = Round::first(sleds.highest());
    loop {
        let answers = ask_all(sleds, &voters, round, takeover, granted).await;
        match round.decide(&regarded(&voters, &answers)) {
            Decision::Won(generation) => return won(sleds, answers, generation, takeover),
            Decision::Lost(why) => return Err(lost(sleds, &answers, why, takeover)),
            Decision::AskAgain(next) => {
                sleep(pause(round.number())).await;
                round = next;
            }
        }
    }
}

/// Find that no sled says that another host is connected. A sled to which that host is not connected just now, for it
/// has only just restarted, would grant the volume and lock it out: so none is asked.
fn free(sleds: &Sleds) -> Result<(), Lost> {
    let others = |look: &'_ Look| {
        let from = look.from;
        look.volume.attached.clone().into_iter().filter(move |host| host.address.to_canonical() != from)
    };
    let attached: Vec<_> = sleds.looks().flat_map(others).collect();
    if attached.is_empty() {
        Ok(())
    } else {
        let attached: Vec<_> = attached.iter().collect();
        let message = format!("{} is attached elsewhere{}", sleds.volume, hosts(&attached));
        Err(Lost { failure: elsewhere(&sleds.volume, message), passing: false })
    }
}

fn elsewhere(volume: &VolumeName, message: String) -> Failure {
    let remedy = format!(
        "detach it there; or, to cut that host off and have it here: crucible-attach ticket {volume} --takeover, and \
         then the same again"
    );
    Failure::refused(Refusal::VolumeAttachedElsewhere, message, remedy)
}

/// A pause somewhere between nothing and the longest after a round.
pub(super) fn pause(round: u32) -> Duration {
    let longest = FIRST_ROUND_PAUSE * 2_u32.saturating_pow(round);
    let chance = Uuid::new_v4().as_bytes()[0];
    longest * u32::from(chance) / 255
}

/// The answers as the ballot regards them, one for each voter.
fn regarded(voters: &BTreeMap<SledName, Endpoint>, answers: &Answers) -> Vec<Answer> {
    let answer = |name| match answers.get(name) {
        None | Some(Err(Trouble::Unreachable(_))) => Answer::Silent,
        Some(Ok(ticket)) => Answer::Granted(ticket.generation),
        // To ask it once more would not make it say something else.
        Some(Err(Trouble::Odd(_))) => Answer::Refused { highest: 0, firm: true },
        Some(Err(Trouble::Refused(status, refusal))) => {
            // That it is not ready may pass, but not while a ballot lasts.
            let firm = status.is_client_error() || refusal.error.code == Refusal::NotReady;
            Answer::Refused { highest: refusal.generation, firm }
        }
    };
    voters.keys().map(answer).collect()
}

/// Run one round: what each sled answers. A sled that has not answered when the round is over is not waited for, and
/// its connection is closed.
async fn ask_all(
    sleds: &Sleds,
    voters: &BTreeMap<SledName, Endpoint>,
    round: Round,
    takeover: bool,
    granted: &mut Granted,
) -> Answers {
    let wanted = Attach { at_least: round.at_least(), takeover };
    let mut open = JoinSet::new();
    for (name, endpoint) in voters {
        let (name, endpoint, volume) = (name.clone(), endpoint.clone(), sleds.volume.clone());
        let carriers = voters.keys().cloned().collect();
        open.spawn(async move {
            let answer = client::ticket(&endpoint, &volume, wanted).await;
            let answer = answer.and_then(|ticket| {
                if ticket.sled == name && client::carriers(&ticket) == carriers {
                    Ok(ticket)
                } else {
                    Err(Trouble::Odd(format!("{endpoint} grants as {}, for other sleds", ticket.sled)))
                }
            });
            (name, answer)
        });
    }
    let mut answers = Answers::new();
    let mut end: Option<Instant> = None;
    loop {
        // Cancel-safe: a task's end is taken whole or not at all.
        tokio::select! {
            ended = open.join_next() => match ended {
                Some(Ok((name, answer))) => {
                    if let (Ok(ticket), Some(at)) = (&answer, voters.get(&name)) {
                        granted.add(name.clone(), at.clone(), ticket.generation);
                    }
                    let held = |ticket| hold(sleds, &name, round, &ticket).map(|()| ticket).map_err(Trouble::Odd);
                    let answer = answer.and_then(held);
                    answers.insert(name, answer);
                }
                Some(Err(_)) => {}
                None => return answers,
            },
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return answers,
        }
        if end.is_none() && answers.len() >= majority(voters.len()) {
            end = Some(Instant::now() + MINORITY_LIMIT);
        }
    }
}

/// Hold a ticket to what the sleds said of the volume a moment ago: a host must not connect anywhere else, nor use up
/// the numbers.
fn hold(sleds: &Sleds, name: &SledName, round: Round, ticket: &Ticket) -> Result<(), String> {
    let itself = sleds.looks().find(|look| look.volume.sled == *name);
    let Some(look) = itself.or_else(|| sleds.looks().next()) else { return Ok(()) };
    let targets = look.volume.regions.iter().map(|region| SocketAddr::new(region.address, region.port));
    if !targets.eq(ticket.targets.iter().copied()) {
        let named: Vec<_> = ticket.targets.iter().map(ToString::to_string).collect();
        return Err(format!("the ticket of {name} names {}, and its regions are elsewhere", named.join(", ")));
    }
    if itself.is_some_and(|look| look.volume.port_map != ticket.port_map) {
        return Err(format!("the port map of {name} has changed since it was asked for the volume: try again"));
    }
    let most = sleds.highest().max(round.at_least()).saturating_add(REACH);
    match ticket.generation {
        low if low < round.at_least() => {
            Err(format!("{name} grants generation {low}, which is less than was asked for"))
        }
        high if high > most => Err(format!("{name} grants generation {high}, which is absurdly high")),
        _ => Ok(()),
    }
}

fn won(sleds: &Sleds, answers: Answers, generation: u64, takeover: bool) -> Result<Won, Lost> {
    let carriers = sleds.carriers().into_keys();
    let missing: Vec<_> = carriers.filter(|name| !matches!(answers.get(name), Some(Ok(_)))).collect();
    let obstacle = (!missing.is_empty()).then(|| lost(sleds, &answers, Loss::Refused, takeover));
    let tickets: Vec<_> = answers.into_values().flatten().collect();
    let granted = tickets.iter().filter(|ticket| ticket.generation == generation);
    let granted: Vec<_> = granted.map(|ticket| ticket.sled.clone()).collect();
    // A sled that granted a lower one has to agree as well: its regions are attached like the others.
    let Some(ticket) = tickets.iter().find(|ticket| ticket.generation == generation).cloned() else {
        let failure = Failure::refused(Refusal::Failed, "nobody granted what was won", "try again");
        return Err(Lost { failure, passing: false });
    };
    match tickets.iter().find_map(|other| disagreement(&ticket, other)) {
        Some(failure) => Err(Lost { failure, passing: false }),
        None => {
            let others = tickets.iter().filter(|ticket| ticket.others > 0);
            let others = others.map(|ticket| (ticket.others, ticket.sled.clone())).max();
            Ok(Won { generation, ticket, others, granted, missing, obstacle })
        }
    }
}

fn disagreement(one: &Ticket, other: &Ticket) -> Option<Failure> {
    const MAP: &str = "give both the same /etc/sled/port-map.toml, then on each: sledctl reload";
    const TLS: &str = "give both a [tls] in sled.toml, or neither, then on each: sledctl reload";
    let (what, remedy) = if one.targets != other.targets {
        ("where the regions are", MAP)
    } else if one.port_map != other.port_map {
        ("the port map", MAP)
    } else if one.tls != other.tls {
        ("whether the data ports want TLS", TLS)
    } else {
        return None;
    };
    let message = format!("{} and {} do not agree on {what}", one.sled, other.sled);
    Some(Failure::refused(Refusal::SledsDisagree, message, remedy))
}

/// Explain why nothing was won, from what those say who refused.
fn lost(sleds: &Sleds, answers: &Answers, why: Loss, takeover: bool) -> Lost {
    let refused: Vec<_> = answers.values().filter_map(|answer| answer.as_ref().err()).collect();
    let firm = |trouble: &&Trouble| match trouble {
        Trouble::Unreachable(_) => false,
        Trouble::Odd(_) => true,
        Trouble::Refused(status, _) => status.is_client_error() && !is_held(trouble),
    };
    let passing = match why {
        Loss::Refused => !refused.iter().any(firm),
        // With everybody's answer it was another host that was in the way.
        Loss::NoMajority => !refused.is_empty() || answers.len() < sleds.carriers().len(),
        Loss::UsedUp => false,
    };
    let volume = &sleds.volume;
    let (said, remedy) = what_was_said(sleds, answers);
    let failure = match why {
        Loss::Refused if !takeover && refused.iter().any(|trouble| is_conflict(trouble)) => {
            if !refused.iter().any(|trouble| is_conflict(trouble) && !is_held(trouble)) {
                let message = format!("{volume} is held elsewhere: {said}");
                return Lost { failure: Failure::refused(HELD, message, remedy), passing };
            }
            let attached: Vec<_> = refused.iter().flat_map(|trouble| attached(trouble)).collect();
            elsewhere(volume, format!("{volume} is attached elsewhere{}: {said}", hosts(&attached)))
        }
        Loss::Refused => Failure::refused(Refusal::Refused, format!("{volume} is not to be had: {said}"), remedy),
        Loss::NoMajority if !passing => {
            let message = format!("{volume} is not won: another host wins it at the same time, again and again");
            Failure::refused(Refusal::NoMajority, message, format!("see crucible-attach status {volume}"))
        }
        Loss::NoMajority => {
            let message = format!("{volume} is not won: too few sleds have granted it. {said}");
            Failure::refused(Refusal::NoMajority, message, remedy)
        }
        Loss::UsedUp => {
            let message = format!("{volume} is not won: its sleds are at the highest generation that there is");
            Failure::refused(
                Refusal::GenerationsUsedUp,
                message,
                "see GET /v1/volumes on each sled: one of them is wrong",
            )
        }
    };
    Lost { failure, passing }
}

/// The words of those that granted nothing, and the first remedy that one of them has.
fn what_was_said(sleds: &Sleds, answers: &Answers) -> (String, String) {
    let (mut said, mut remedies) = (Vec::new(), Vec::new());
    for sled in sleds.carriers().into_keys() {
        match answers.get(&sled) {
            None => said.push(format!("{sled} has not answered in time")),
            Some(Ok(_)) => {}
            Some(Err(trouble)) => {
                let error = trouble.error();
                said.push(format!("{sled}: {}: {}", error.code, error.message));
                remedies.push(error.remedy);
            }
        }
    }
    (said.join("; "), remedies.into_iter().next().unwrap_or_default())
}

/// The holder is not connected, and may come back: that passes, one way or the other.
const HELD: Refusal = Refusal::VolumeHeldElsewhere;

fn is_held(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(_, refusal) if refusal.error.code == HELD)
}

fn is_conflict(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(StatusCode::CONFLICT, _))
}

fn attached(trouble: &Trouble) -> &[Attached] {
    match trouble {
        Trouble::Refused(_, refusal) => &refusal.attached,
        _ => &[],
    }
}

/// The hosts that are attached, and since when.
fn hosts(attached: &[&Attached]) -> String {
    let mut hosts: BTreeMap<String, _> = BTreeMap::new();
    for host in attached {
        let name =
            host.host.as_ref().map_or_else(|| host.address.to_string(), |name| format!("{name} ({})", host.address));
        let since = hosts.entry(name).or_insert(host.since);
        *since = host.since.min(*since);
    }
    let hosts: Vec<_> = hosts.into_iter().map(|(name, since)| format!("{name} since {since}")).collect();
    if hosts.is_empty() { String::new() } else { format!(", to {}", hosts.join(" and ")) }
}
