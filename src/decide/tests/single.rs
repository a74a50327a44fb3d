//! What is lost with one sled or one disk: said once for each volume, as information for the operator.

use super::*;
use crate::check::{Code, Severity};
use crate::decide::facts::{Block, Drive};
use crate::decide::finding::{Finding, Scope};
use crate::decide::verdict::{judge, judge_with_remarks};

/// What is remarked of the first volume, with these disks below the data and so many of its regions elsewhere.
fn remarked(disks: Option<&[&str]>, elsewhere: usize) -> Option<Finding> {
    let (mut config, mut facts) = (config(), well(&config()));
    let volume = config.map.volumes.get_mut(&volume()).unwrap();
    for placement in volume.regions.iter_mut().rev().take(elsewhere) {
        placement.sled = "other-sled".parse().unwrap();
    }
    facts.block = disks.map(|names| {
        let drive = |name: &&str| Drive { name: (*name).into(), rotational: true, ..Drive::default() };
        Block { disks: names.iter().map(drive).collect(), ..Block::default() }
    });
    let subject = format!("volume {}", super::volume());
    let is_remark = |one: &Finding| matches!(one.code, Code::SingleSled | Code::SingleDisk) && one.subject == subject;
    assert!(!judge(&config, &facts).findings.iter().any(is_remark), "it is no fault");
    let mut all: Vec<_> = judge_with_remarks(&config, &facts).findings.into_iter().filter(is_remark).collect();
    assert!(all.len() < 2, "{all:#?}");
    all.pop()
}

#[test]
fn what_dies_with_a_sled_or_a_disk_is_said_once_and_is_no_fault() {
    for (disks, elsewhere, wanted) in [
        (None, 0, None),
        (
            Some(&[][..]),
            0,
            Some((Code::SingleSled, "all 3 regions of it are on this sled: with it all its data is lost")),
        ),
        (Some(&["sda", "sdb"]), 0, Some((Code::SingleSled, "all its data is lost"))),
        (Some(&["sda"]), 0, Some((Code::SingleDisk, "all 3 regions of it lie on sda of this sled"))),
        (Some(&["sda"]), 1, Some((Code::SingleDisk, "2 of its 3 regions lie on sda of this sled"))),
        (Some(&["sda", "sdb"]), 1, Some((Code::SingleSled, "what the other had not taken yet is lost"))),
        (Some(&["sda"]), 2, None),
    ] {
        let found = remarked(disks, elsewhere);
        assert_eq!(found.as_ref().map(|one| one.code), wanted.map(|(code, _)| code), "{disks:?} {elsewhere}");
        let Some((one, (_, cause))) = found.zip(wanted) else { continue };
        assert!(one.cause.contains(cause), "{one:?}");
        assert_eq!((one.code.severity(), one.scope), (Severity::Information, Scope::Operator));
        assert!(one.remedy.contains("[volumes.still-fawn]") && !one.remedy.contains("ROOT"), "{}", one.remedy);
    }
}
