//! Source of updates: a server, or a directory or a file that is served to systemd-sysupdate meanwhile.

use crate::cli::failure::Failure;
use crate::config_dir;
use crate::update::offer::Offer;
use crate::update::release::Release;
use crate::update::sysupdate;
use crate::wire::Refusal;
use std::io;
use std::path::{Path, PathBuf};

/// Tell systemd-sysupdate where updates come from, and open what has to be served to it meanwhile.
pub(super) async fn offered(source: Option<&str>, running: &Release) -> Result<(String, Option<Offer>), Failure> {
    let source = source.map(str::to_owned).or_else(configured).ok_or_else(|| {
        let remedy = "name a URL, a directory or a file, or set appliance.update in sled.toml";
        Failure::refused(Refusal::NoSource, "nobody says where updates come from", remedy)
    })?;
    let remote = source.starts_with("https://") || source.starts_with("http://");
    let offer = if remote { None } else { Some(open(&source).await?) };
    let url = offer.as_ref().map_or(Ok(source.clone()), Offer::url)?;
    sysupdate::prepare(&url, &running.version)?;
    Ok((source, offer))
}

/// Find the source that the configuration names, if it names one.
pub(super) fn configured() -> Option<String> {
    let source = config_dir::read(Path::new(config_dir::DEFAULT)).ok()?.sled.appliance.update?;
    Some(source.url().to_owned())
}

async fn open(source: &str) -> Result<Offer, Failure> {
    let path = PathBuf::from(source.strip_prefix("file://").unwrap_or(source));
    Offer::open(&path).await.map_err(|why| {
        let remedy = "name what image/build has made: the directory, or the file that ends in .update";
        Failure::refused(Refusal::NoUpdate, format!("{}: {why}", path.display()), remedy)
    })
}

/// Await something while an offer is served.
pub(super) async fn beside<T>(offer: Option<Offer>, wanted: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    let serve = async {
        match offer {
            Some(offer) => offer.serve().await,
            None => std::future::pending().await,
        }
    };
    // Cancel-safe: of whichever ends first the other has nothing to do or nothing to get any more.
    let done = tokio::select! {
        done = wanted => done,
        served = serve => Err(served.err().unwrap_or_else(|| io::Error::other("the offer has ended"))),
    };
    done.map_err(|why| {
        let remedy = "what is offered must be complete, and signed by the key that this image was built with";
        Failure::refused(Refusal::UpdateFailed, format!("systemd-sysupdate: {why}"), remedy)
    })
}
