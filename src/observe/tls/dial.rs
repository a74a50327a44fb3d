//! Calls a region's data port over TLS, as a host does: with the sled's own certificate, and by
//! the name by which hosts call the region. Nothing is said on the connection here.

use crate::config::Tls;
use crate::names::RegionName;
use crate::observe::tls::material::{Material, shown};
use crate::observe::tls::name_of;
use jiff::Timestamp;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

/// A connection and the secrets to speak on it.
pub type Session = (TcpStream, ClientConnection);

/// Shakes hands on a connection that was just made. The files are read anew: they may have been
/// renewed since the last one.
///
/// # Errors
/// Why one does not accept the other. That the region does not accept the supervisor may also be
/// told later, in its first answer.
pub async fn shake(files: &Tls, region: &RegionName, stream: TcpStream) -> io::Result<Session> {
    let files = files.clone();
    let config = tokio::task::spawn_blocking(move || {
        let material = Material::read(&files).map_err(|_| io::Error::other("the files of [tls] cannot be used"))?;
        material.client().map_err(io::Error::other)
    });
    let config = config.await.map_err(io::Error::other)??;
    let name = ServerName::try_from(name_of(region.index())).map_err(io::Error::other)?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(shaken.map_err(|why| io::Error::new(why.kind(), format!("TLS: {why}")))?.into_inner())
}

/// End of the certificate that the region has shown: it may be an older one than lies on disk.
pub fn end((_, secrets): &Session) -> Option<Timestamp> {
    let own = secrets.peer_certificates()?.first()?;
    shown(own).ok().map(|cert| cert.not_after)
}
