//! `sledctl region adopt`: what it would do, and doing it.

use super::client::{Client, Failure};
use super::show::{self, print};
use super::work::{Order, carry_out};
use crate::names::RegionName;
use crate::wire::{Error, Proposal, State};
use http::Method;
use std::path::Path;

/// Adopts regions, or shows what that would come to.
pub(super) async fn adopt(
    client: &Client,
    regions: Vec<RegionName>,
    from: Option<&Path>,
    dry_run: bool,
    json: bool,
) -> Result<bool, Failure> {
    if regions.is_empty() && !dry_run && !json {
        crate::terminal::out("nothing waits to be adopted\n")?;
    }
    let query =
        from.map(|dir| format!("?from={}", dir.display().to_string().trim_end_matches('/'))).unwrap_or_default();
    let path = |region: &RegionName| format!("/v1/regions/{region}/adopt{query}");
    if !dry_run {
        let order = |region: RegionName| Order::new(region.clone(), Method::POST, path(&region));
        return carry_out(client, regions.into_iter().map(order).collect(), json).await;
    }
    let mut proposals = Vec::new();
    for region in regions {
        proposals.push(match client.order::<Proposal>(Method::GET, &path(&region)).await {
            Err(Failure::Refused(error)) => refused(region, &error),
            proposal => proposal?,
        });
    }
    print(json, &proposals, |proposals| show::proposals(proposals))?;
    Ok(proposals.iter().all(|proposal| proposal.problem.is_none()))
}

fn refused(region: RegionName, error: &Error) -> Proposal {
    let problem = Some(error.message.clone());
    Proposal { region, from: None, uuid: None, unit: None, connected: Vec::new(), problem }
}

/// The regions that `--all` means: every one of the map on this sled that is not on record.
pub(super) async fn all(client: &Client) -> Result<Vec<RegionName>, Failure> {
    // What lies there now, not what was seen a while ago.
    let () = client.order(Method::POST, "/v1/look").await?;
    let sled = client.sled().await?;
    let lost = sled.checks.iter().any(|check| check.code.as_str() == "LEDGER_UNREADABLE");
    let waits = |region: &crate::wire::Region| {
        let codes = ["REGION_UNADOPTED", "REGION_UNRECORDED"];
        let subject = format!("region {}", region.name);
        let found = sled.checks.iter().any(|check| check.subject == subject && codes.contains(&check.code.as_str()));
        found || (lost && region.state != Some(State::Missing))
    };
    let regions = sled.volumes.iter().flat_map(|volume| &volume.regions).filter(|region| region.sled == sled.sled);
    Ok(regions.filter(|region| waits(region)).map(|region| region.name.clone()).collect())
}
