//! Verdict on a region that would go away for a moment, by what the other sleds of its volume report. Pure.

use super::report::{Reports, asked_about, connected};
use crate::names::SledName;
use crate::wire::{Ask, Error, Hosts, Refusal, State, Volume};

/// Verdict on one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The region may go.
    Well,
    /// Another sled has its turn.
    Turn(SledName),
    /// The region stays, for a reason that may pass by itself.
    Later(Error),
    /// The region stays.
    No(Error),
}

/// Judge what reports mean for a region of this sled that would go away for a moment.
pub(super) fn judge(own: &Volume, looked: Option<&Hosts>, ask: &Ask, all: &Reports) -> Verdict {
    let name = &ask.region;
    let because = |code: Refusal, what: String, remedy: String| {
        if ask.whole {
            let message = format!("{name} is not rebuilt: {what}, and it is filled from both others");
            return Error::new(code, message, remedy);
        }
        let message = format!("{name} stays as it is: {what}, and a host needs two of three regions");
        Error::new(code, message, format!("{remedy}; with --force it is done all the same"))
    };
    // Of a region that is stopped already the others may be back before it is of any use to give up.
    let ends = |why: Error| if ask.stopped { Verdict::Later(why) } else { Verdict::No(why) };
    let mine = own.regions.iter().find(|region| region.name == *name);
    let hosts = mine.map(|region| connected(name, &region.connected, looked)).unwrap_or_default();
    let (mut turn, mut later) = (None, None);
    // The regions that this sled knows to be there: of one that another sled does not mention, nothing is known.
    for region in asked_about(own, ask) {
        let (name, sled) = (&region.name, &region.sled);
        let unknown = |what: String, remedy: &str| ends(because(Refusal::SiblingUnknown, what, remedy.into()));
        let theirs = match all.get(sled) {
            Some(Ok(theirs)) => theirs.regions.iter().find(|seen| seen.name == *name && seen.sled == *sled),
            silent => {
                let why = silent.and_then(|said| said.as_ref().err()).map_or("it was not asked", String::as_str);
                let what = format!("{sled} cannot be asked how its regions of {} are ({why})", own.volume);
                return unknown(what, "see whether it runs; if it answers at another port: --sled ADDRESS:PORT");
            }
        };
        let Some(theirs) = theirs else {
            let what = format!("{sled} does not know that {name} is on it");
            return unknown(what, "see whether both have the same port map (sledctl status, port_map)");
        };
        let missing = || hosts.difference(&theirs.hosts).next();
        if theirs.turn && !ask.stopped {
            turn = turn.or_else(|| Some(sled.clone()));
        } else if theirs.state != Some(State::Serving) {
            let state = theirs.state.map_or_else(|| "not known".to_owned(), |state| state.to_string());
            let what = format!("{name} on {sled} does not serve (it is {state})");
            return ends(because(Refusal::SiblingDown, what, format!("see sledctl status on {sled}")));
        } else if let Some(host) = missing() {
            let what = format!("{host} is connected to it and not to {name} on {sled}");
            later = Some(because(Refusal::HostAlone, what, "wait until its hosts have all three".into()));
        }
    }
    match (turn, later) {
        (Some(sled), _) => Verdict::Turn(sled),
        (None, Some(why)) => Verdict::Later(why),
        (None, None) => Verdict::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::neighbours::report::Report;
    use crate::wire::Peer;
    use std::collections::{BTreeMap, BTreeSet};

    /// A sled's own word, what it asks of the other, and what that one says.
    struct Scene {
        own: Volume,
        ask: Ask,
        said: serde_json::Value,
        other: SledName,
    }

    fn scene() -> Scene {
        let mut own: Volume = serde_json::from_str(include_str!("../../attach/tests/volume.json")).unwrap();
        own.regions[1].sled = "other".parse().unwrap();
        own.regions[0].connected = vec![Peer { address: "192.168.4.17".parse().unwrap(), port: 7, host: None }];
        let (region, moved) = (own.regions[0].name.clone(), BTreeSet::new());
        let ask = Ask { number: 1, region, moved, whole: false, alone: false, stopped: false, unreadable: false };
        let mut said: serde_json::Value = serde_json::to_value(&own).unwrap();
        let region = &mut said["regions"][1];
        (region["state"], region["connected"]) =
            ("serving".into(), serde_json::json!([{"address": "192.168.4.17", "port": 9, "host": null}]));
        Scene { own, ask, said, other: "other".parse().unwrap() }
    }

    impl Scene {
        fn judged(&self, said: &serde_json::Value) -> Verdict {
            let theirs: Report = serde_json::from_value(said.clone()).unwrap();
            judge(&self.own, None, &self.ask, &[(self.other.clone(), Ok(theirs.seeing(None)))].into())
        }
    }

    fn code(found: Verdict) -> crate::wire::ErrorCode {
        match found {
            Verdict::No(why) | Verdict::Later(why) => why.code,
            found => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_region_goes_only_while_those_of_other_sleds_serve_and_stay() {
        let scene = scene();
        let (said, other) = (&scene.said, &scene.other);
        assert_eq!(scene.judged(said), Verdict::Well);
        let mut going = said.clone();
        going["regions"][1]["turn"] = true.into();
        assert_eq!(scene.judged(&going), Verdict::Turn(other.clone()));
        for (key, value, wanted) in [
            ("state", "held".into(), Refusal::SiblingDown),
            ("state", serde_json::Value::Null, Refusal::SiblingDown),
            ("connected", serde_json::json!([]), Refusal::HostAlone),
        ] {
            let mut said = said.clone();
            said["regions"][1][key] = value;
            assert_eq!(code(scene.judged(&said)), wanted);
        }
        // A sled that has another map says nothing of the region.
        for (key, value) in [("name", "still-fawn-2"), ("sled", "third")] {
            let mut said = said.clone();
            said["regions"][1][key] = value.into();
            assert_eq!(code(scene.judged(&said)), Refusal::SiblingUnknown, "{key}");
        }
    }

    #[test]
    fn of_a_sled_that_says_nothing_only_a_region_that_moves_as_well_is_not_missed() {
        let Scene { own, ask, other, .. } = scene();
        let silent = judge(&own, None, &ask, &[(other.clone(), Err("no answer".into()))].into());
        assert_eq!(code(silent), Refusal::SiblingUnknown);
        assert_eq!(code(judge(&own, None, &ask, &BTreeMap::new())), Refusal::SiblingUnknown);
        // A region that has moved as well is not asked about.
        let moving = Ask { moved: [own.regions[1].name.clone()].into(), ..ask.clone() };
        assert_eq!(judge(&own, None, &moving, &BTreeMap::new()), Verdict::Well);
        let beside = Ask { moved: [own.regions[2].name.clone()].into(), ..ask.clone() };
        assert_eq!(code(judge(&own, None, &beside, &BTreeMap::new())), Refusal::SiblingUnknown);
    }

    #[test]
    fn behind_the_stop_no_turn_is_looked_at_and_a_sled_that_is_away_may_come_back() {
        let Scene { own, mut ask, said, other } = scene();
        (ask.whole, ask.stopped) = (true, true);
        let scene = Scene { own, ask, said, other };
        let saying = |key: &str, value: serde_json::Value| {
            let mut said = scene.said.clone();
            said["regions"][1][key] = value;
            scene.judged(&said)
        };
        assert_eq!(saying("turn", true.into()), Verdict::Well);
        let passing = |found: Verdict, wanted: Refusal| match found {
            Verdict::Later(why) => {
                assert_eq!(why.code, wanted);
                let Error { message, remedy, .. } = why;
                let forced = remedy.contains("--force") || message.contains("stays as it is");
                assert!(!forced && message.contains("it is filled from both others"), "{message}; {remedy}");
            }
            found => panic!("{found:?}"),
        };
        passing(saying("state", "held".into()), Refusal::SiblingDown);
        for silent in [BTreeMap::new(), [(scene.other.clone(), Err("no answer".into()))].into()] {
            passing(judge(&scene.own, None, &scene.ask, &silent), Refusal::SiblingUnknown);
        }
    }

    /// Those shown before it do not: of this sled, and of the other.
    #[test]
    fn hosts_count_that_a_look_has_found() {
        let Scene { own, ask, said, other } = scene();
        let host = |regions: &[usize]| {
            let regions: Vec<_> = regions.iter().map(|index| own.regions[*index].name.clone()).collect();
            let host = serde_json::json!({"address": "192.168.4.17", "since": own.as_of, "regions": regions});
            let attached = if regions.is_empty() { serde_json::json!([]) } else { serde_json::json!([host]) };
            serde_json::json!({"volume": own.volume, "sled": "other", "attached": attached})
        };
        let looked = |mine: &[usize], its: &[usize]| {
            let read = |body| serde_json::from_value::<Hosts>(body).unwrap();
            let theirs: Report = serde_json::from_value(said.clone()).unwrap();
            let all = [(other.clone(), Ok(theirs.seeing(Some(&read(host(its))))))].into();
            judge(&own, Some(&read(host(mine))), &ask, &all)
        };
        assert_eq!(looked(&[0], &[1]), Verdict::Well);
        assert_eq!(code(looked(&[0], &[2])), Refusal::HostAlone);
        assert_eq!(code(looked(&[0], &[])), Refusal::HostAlone);
        assert_eq!(looked(&[], &[]), Verdict::Well);
    }
}
