//! Precedence of a region that is to come back: from the trash, or from where it was served before. What comes back never
//! wins over what is newer; who wins, when an upstairs is activated, is [`reconciliation`]'s to say. Reads only.

use crate::config::Configuration;
use crate::names::RegionName;
use crate::region::Geometry;
use crate::region::reconciliation::{self, Extent, OlderWins};
use crate::store::region_dir::extents;
use crate::supervisor::jobs::context::{Context, cut_short};
use crate::wire::{self, Refusal};
use std::path::{Path, PathBuf};

/// Make sure that a region's directory may come back: that it would not win over a sibling on this sled that is newer. Of
/// siblings on other sleds nothing is known here.
///
/// # Errors
/// Which sibling it would win over, and what to do.
pub(in crate::supervisor) async fn may_come_back(
    context: &Context,
    name: &RegionName,
    geometry: Geometry,
    dir: PathBuf,
) -> Result<(), wire::Error> {
    let (config, region) = (context.config.clone(), name.clone());
    let looked = tokio::task::spawn_blocking(move || older_wins(&config, &region, geometry, &dir)).await;
    match looked.map_err(|why| cut_short(&why))? {
        None => Ok(()),
        Some(found) => Err(refused(name, &found)),
    }
}

fn refused(name: &RegionName, found: &OlderWins) -> wire::Error {
    let volume = name.volume();
    let remedy = format!(
        "to keep the newer data, leave it where it is: sledctl region create {name} makes an empty one, which its host \
         fills; to have the older, delete {volume}'s other regions first (they are kept in the trash), and bring back \
         those that belong to it"
    );
    wire::Error::new(Refusal::OlderWouldWin, format!("{name} does not come back: {found}"), remedy)
}

/// Look whether a directory would win over a newer sibling. One that cannot be read could not serve either; a sibling that
/// cannot be read has nothing to lose that could be told.
pub(in crate::supervisor) fn older_wins(
    config: &Configuration,
    name: &RegionName,
    geometry: Geometry,
    dir: &Path,
) -> Option<OlderWins> {
    // First: whoever writes meanwhile is ahead of what was read.
    let ours = extents(dir, geometry).ok()?;
    let all = config.local_regions().into_iter();
    let siblings = all.filter(|other| other.name.volume() == name.volume() && other.name != *name);
    let read = |sibling: RegionName| {
        let found = extents(&config.region_dir(&sibling), geometry);
        found.ok().map(|extents: Vec<Extent>| (sibling, extents))
    };
    let siblings: Vec<_> = siblings.filter_map(|sibling| read(sibling.name)).collect();
    reconciliation::older_wins(&ours, &siblings)
}
