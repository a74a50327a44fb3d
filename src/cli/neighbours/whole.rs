//! Verdict on a region that would be made anew, by what the other sleds of its volume say of theirs, and by what its
//! siblings on this sled have: it is filled from both others, and what they have not is lost. What a sled does not say is
//! not taken for granted. Pure.

use super::report::{RegionReport, Reports, ScrubReport, asked_about};
use super::verdict::Verdict;
use crate::decide::rebuild::under;
use crate::wire::{Ask, Error, Flushed, Refusal, Replica, Volume};

/// Regions of the volume on this sled, and what they have, as far as that can be read.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// Replicas before the others were asked: no more than these are to have.
    pub(super) before: Vec<Replica>,
    /// Siblings' replicas afterwards: as much as the others have, if they are written to like them.
    pub(super) now: Vec<Replica>,
    /// Whether a host is connected here.
    pub(super) used: bool,
}

/// Judge whether a region may be made anew, of whose siblings on other sleds it is known that they serve.
pub(super) fn judge_whole(own: &Volume, here: &Here, ask: &Ask, all: &Reports) -> Verdict {
    let reported = |region: &crate::wire::Region| {
        let theirs = all.get(&region.sled)?.as_ref().ok()?;
        theirs.regions.iter().find(|seen| seen.name == region.name && seen.sled == region.sled)
    };
    let others: Vec<&RegionReport> = asked_about(own, ask).filter_map(reported).collect();
    if let Some(why) = others.iter().find_map(|theirs| unwhole(ask, theirs)) {
        return why;
    }
    let replicas: Vec<&Replica> = others.iter().filter_map(|theirs| theirs.replica.as_ref()?.as_ref().ok()).collect();
    let goal = goal(ask, &here.before, &replicas);
    let beside = here.now.iter().filter(|replica| replica.region != ask.region);
    let lack = replicas.into_iter().chain(beside).find_map(|theirs| Some((theirs, lacks(theirs, &goal)?)));
    let Some((theirs, extent)) = lack else { return Verdict::Well };
    let (name, sled) = (&theirs.region, &theirs.sled);
    let message = format!(
        "{} is not rebuilt: of extent {extent} {name} on {sled} has not flushed what it is to have",
        ask.region
    );
    let remedy = format!(
        "if {name} was made anew, have its host fill it first (on {sled}: sledctl region rebuild {name} watches that); see \
         sledctl region show {name} --extents there, and those of its siblings"
    );
    let why = Error::new(Refusal::SiblingNotWhole, message, remedy);
    // One that is written to may be behind the others for a moment.
    let used = here.used || others.iter().any(|theirs| !theirs.hosts.is_empty());
    if used { Verdict::Later(why) } else { Verdict::No(why) }
}

/// Find why a sibling is not known to be whole, by what its sled says of it alone; or that it has a host.
fn unwhole(ask: &Ask, theirs: &RegionReport) -> Option<Verdict> {
    let RegionReport { name, sled, .. } = theirs;
    if ask.alone && !theirs.hosts.is_empty() {
        return Some(Verdict::No(under(&ask.region, &theirs.hosts)));
    }
    let because = |code: Refusal, what: &str, remedy: String| {
        let message =
            format!("{} is not rebuilt: {name} on {sled} {what}, and it is filled from both others", ask.region);
        Error::new(code, message, remedy)
    };
    let scrub = || format!("on {sled}: sledctl region scrub {name}; repair what that finds; then ask again");
    let whole = |what: &str| Some(Verdict::No(because(Refusal::SiblingNotWhole, what, scrub())));
    let found = theirs.scrub.unwrap_or_default();
    let ScrubReport { completed, rotten, unreadable } = found;
    if rotten + unreadable > 0 {
        return whole(&format!("has {rotten} rotten block(s) and {unreadable} place(s) that cannot be read"));
    }
    let Some(completed) = completed else { return whole("was never scrubbed to its end") };
    match &theirs.replica {
        Some(Ok(replica)) if replica.counts_from.is_some_and(|from| completed < from) => {
            whole("was not held to its checksums since its machine ended without a shutdown")
        }
        Some(Ok(_)) => None,
        // Another look may be under way there.
        Some(Err(why)) => {
            let what = format!("cannot be asked what it has flushed ({why})");
            let remedy = format!("on {sled}: see sledctl region show {name} --extents");
            Some(Verdict::Later(because(Refusal::SiblingUnknown, &what, remedy)))
        }
        None => {
            let remedy = format!("have {sled} run a sledd that does: this one is {}", env!("CARGO_PKG_VERSION"));
            let what = "is of a sled that does not say what it has flushed, nor whether its scrubs are to be trusted";
            Some(Verdict::No(because(Refusal::SiblingUnknown, what, remedy)))
        }
    }
}

/// What each of the others is to have of every extent: what the region has flushed itself, or, as that cannot be read, the
/// most that any of its siblings has.
fn goal(ask: &Ask, here: &[Replica], others: &[&Replica]) -> Vec<Flushed> {
    if let Some(own) = here.iter().find(|replica| replica.region == ask.region) {
        return own.extents.clone();
    }
    let all = || here.iter().chain(others.iter().copied());
    let extents = all().map(|replica| replica.extents.len()).max().unwrap_or_default();
    let most = |number: usize| all().filter_map(|replica| replica.extents.get(number)).max().copied();
    (0..extents).map(|number| most(number).unwrap_or_default()).collect()
}

/// The first extent of which a replica has not flushed what it should have.
fn lacks(theirs: &Replica, goal: &[Flushed]) -> Option<usize> {
    let has = |(number, goal): (usize, &Flushed)| theirs.extents.get(number).is_some_and(|theirs| theirs >= goal);
    (0..).zip(goal).position(|one| !has(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::neighbours::report::Report;
    use jiff::Timestamp;
    use std::collections::BTreeSet;

    const HOST: &str = "192.168.4.17";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What a sled says of a region that was scrubbed at second 5000 and has flushed this of each extent.
    struct Scene {
        own: Volume,
        ask: Ask,
        theirs: Report,
    }

    fn replica(own: &Volume, index: usize, flushes: &[(u64, u64)]) -> Replica {
        let region = &own.regions[index];
        let extents = flushes.iter().map(|(generation, flush)| Flushed { generation: *generation, flush: *flush });
        let (name, sled) = (region.name.clone(), region.sled.clone());
        Replica {
            region: name,
            sled,
            uuid: uuid::Uuid::nil(),
            as_of: at(1),
            counts_from: None,
            extents: extents.collect(),
        }
    }

    fn scene() -> Scene {
        let mut own: Volume = serde_json::from_str(include_str!("../../attach/tests/volume.json")).unwrap();
        own.regions[1].sled = "other".parse().unwrap();
        let name = own.regions[0].name.clone();
        let moved = BTreeSet::new();
        let ask = Ask { number: 1, region: name, moved, whole: true, alone: true, stopped: false, unreadable: false };
        let mut theirs: Report = serde_json::from_value(serde_json::to_value(&own).unwrap()).unwrap();
        // A later sled may find what is not known here.
        let scrub =
            r#"{"completed": "1970-01-01T01:23:20Z", "rotten": 0, "unreadable": 0, "faults": [{"wrong": "odd"}]}"#;
        theirs.regions[1].scrub = Some(serde_json::from_str(scrub).unwrap());
        theirs.regions[1].replica = Some(Ok(replica(&own, 1, &[(7, 3), (7, 9)])));
        Scene { own, ask, theirs }
    }

    impl Scene {
        fn judged(&self, here: &[Replica]) -> Verdict {
            self.judged_of(&Here { before: here.to_vec(), now: here.to_vec(), used: false })
        }

        fn judged_of(&self, here: &Here) -> Verdict {
            judge_whole(&self.own, here, &self.ask, &[("other".parse().unwrap(), Ok(self.theirs.clone()))].into())
        }

        fn their(&mut self) -> &mut RegionReport {
            &mut self.theirs.regions[1]
        }
    }

    /// Case: what is said of it, what is otherwise, and the code and the words of the refusal, if it is one.
    type Case = (&'static str, fn(&mut Scene), Option<(Refusal, &'static str)>);

    const CASES: [Case; 13] = [
        ("whole", |_| (), None),
        ("never scrubbed", |s| s.their().scrub = None, Some((Refusal::SiblingNotWhole, "was never scrubbed"))),
        (
            "not to its end",
            |s| s.their().scrub.as_mut().unwrap().completed = None,
            Some((Refusal::SiblingNotWhole, "was never scrubbed")),
        ),
        (
            "it rots",
            |s| s.their().scrub.as_mut().unwrap().rotten = 1,
            Some((Refusal::SiblingNotWhole, "1 rotten block(s)")),
        ),
        (
            "a place of it cannot be read",
            |s| s.their().scrub.as_mut().unwrap().unreadable = 1,
            Some((Refusal::SiblingNotWhole, "1 place(s)")),
        ),
        (
            "in doubt since its machine ended",
            |s| theirs(s).counts_from = Some(at(5001)),
            Some((Refusal::SiblingNotWhole, "since its machine ended without a shutdown")),
        ),
        ("scrubbed since then", |s| theirs(s).counts_from = Some(at(5000)), None),
        (
            "a sled of before",
            |s| s.their().replica = None,
            Some((Refusal::SiblingUnknown, "does not say what it has flushed")),
        ),
        (
            "a sled that cannot look",
            |s| s.their().replica = Some(Err("odd".into())),
            Some((Refusal::SiblingUnknown, "(odd)")),
        ),
        (
            "made anew, and empty",
            |s| theirs(s).extents.fill(Flushed::default()),
            Some((Refusal::SiblingNotWhole, "of extent 0 still-fawn-1 on other has not flushed")),
        ),
        (
            "a flush behind",
            |s| theirs(s).extents[1].flush -= 1,
            Some((Refusal::SiblingNotWhole, "of extent 1 still-fawn-1 on other has not flushed")),
        ),
        (
            "a host that is there and not here",
            |s| _ = s.their().hosts.insert(HOST.parse().unwrap()),
            Some((Refusal::InUse, "192.168.4.17 is connected to the volume still-fawn")),
        ),
        (
            "the same, and that does not matter",
            |s| {
                s.ask.alone = false;
                s.their().hosts.insert(HOST.parse().unwrap());
            },
            None,
        ),
    ];

    fn theirs(scene: &mut Scene) -> &mut Replica {
        scene.their().replica.as_mut().unwrap().as_mut().unwrap()
    }

    #[test]
    fn a_region_is_made_anew_only_from_siblings_that_are_known_to_be_whole_and_to_have_what_it_has() {
        for (name, change, wanted) in CASES {
            let mut scene = scene();
            change(&mut scene);
            let here = [replica(&scene.own, 0, &[(7, 3), (7, 9)])];
            match (scene.judged(&here), wanted) {
                (Verdict::Well, None) => {}
                (Verdict::No(why) | Verdict::Later(why), Some((code, words))) => {
                    assert_eq!(why.code, code, "{name}: {why:?}");
                    assert!(why.message.contains(words) && !why.remedy.contains("--force"), "{name}: {why:?}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn of_one_that_cannot_be_read_the_others_are_to_have_the_most_that_any_has() {
        let mut scene = scene();
        let sibling = |flushes: &[(u64, u64)]| [replica(&scene.own, 2, flushes)];
        let [less, same, more] = [(6, 20), (7, 9), (8, 0)].map(|last| sibling(&[(7, 3), last]));
        assert_eq!(scene.judged(&same), Verdict::Well);
        assert!(matches!(scene.judged(&less), Verdict::No(why) if why.message.contains("of extent 1 still-fawn-2")));
        assert!(matches!(scene.judged(&more), Verdict::No(why) if why.message.contains("of extent 1 still-fawn-1")));
        // Under a host it may be behind for a moment; and a host that is attached is waited for.
        scene.ask.alone = false;
        scene.their().hosts.insert(HOST.parse().unwrap());
        assert!(matches!(scene.judged(&more), Verdict::Later(_)));
        assert_eq!(scene.judged(&[]), Verdict::Well);
    }

    /// Of a region that cannot be read, the one beside it may be the one that was made anew: what is left is elsewhere.
    #[test]
    fn the_siblings_on_this_sled_are_to_have_it_as_well() {
        let scene = scene();
        let sibling = |flushes: &[(u64, u64)]| vec![replica(&scene.own, 2, flushes)];
        let own = || replica(&scene.own, 0, &[(7, 3), (7, 9)]);
        let (empty, full) = ([(0, 0), (0, 0)], [(7, 3), (7, 9)]);
        let refused = |before: Vec<Replica>, now: Vec<Replica>| {
            let lacks = |why: &Error| {
                why.message.contains("of extent 0 still-fawn-2 on ") && why.remedy.contains("still-fawn-2")
            };
            let (before, now) = (|| before.clone(), || now.clone());
            let unused = scene.judged_of(&Here { before: before(), now: now(), used: false });
            let used = scene.judged_of(&Here { before: before(), now: now(), used: true });
            match (unused, used) {
                (Verdict::No(why), Verdict::Later(again)) => lacks(&why) && lacks(&again),
                (Verdict::Well, Verdict::Well) => false,
                other => panic!("{other:?}"),
            }
        };
        for (case, before, now, wanted) in [
            ("made anew, and empty", sibling(&empty), sibling(&empty), true),
            ("filled", sibling(&full), sibling(&full), false),
            ("behind, until it was read once more", sibling(&empty), sibling(&full), false),
            ("the same beside one that can be read", [vec![own()], sibling(&empty)].concat(), sibling(&full), false),
            ("empty beside one that can be read", [vec![own()], sibling(&empty)].concat(), sibling(&empty), true),
        ] {
            assert_eq!(refused(before, now), wanted, "{case}");
        }
    }
}
