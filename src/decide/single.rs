//! What dies with one sled, or with one disk: the regions of a volume that are lost together. It follows from the port map
//! and from what lies below the data; nothing is wrong with either.

use super::facts::Facts;
use super::finding::Finding;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::VolumeName;
use crate::port_map::Volume;

/// The regions of a volume that lose data when they are lost together, and without which no host can write: Crucible
/// acknowledges what two have taken.
const QUORUM: usize = 2;

/// The findings: one for each volume at most. Nothing before the devices below the data were looked at.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(block) = &facts.block else { return Vec::new() };
    let disk = match &block.disks[..] {
        [only] => Some(only.name.as_str()),
        _ => None,
    };
    config.map.volumes.iter().filter_map(|(name, volume)| of(config, name, volume, disk)).collect()
}

/// The finding about a volume; `disk`: the only one on which its regions here lie.
fn of(config: &Configuration, name: &VolumeName, volume: &Volume, disk: Option<&str>) -> Option<Finding> {
    let here = config.local_regions().iter().filter(|local| local.name.volume() == name).count();
    let all = volume.regions.len();
    if here < QUORUM {
        return None;
    }
    let (which, lost) = if here == all {
        (format!("all {all} regions of it"), "all its data is lost")
    } else {
        let lost = "what the other had not taken yet is lost, and no host can write to it";
        (format!("{here} of its {all} regions"), lost)
    };
    let (code, cause) = match disk {
        Some(disk) => {
            (Code::SingleDisk, format!("{which} lie on {disk} of this sled: with the disk, or the sled, {lost}"))
        }
        None => (Code::SingleSled, format!("{which} are on this sled: with it {lost}")),
    };
    let root = config.sled.storage.root.display().to_string();
    let remedy = code.remedy().replace("VOLUME", name.as_str()).replace("ROOT", &root);
    Some(Finding::new(code, format!("volume {name}"), cause, remedy))
}
