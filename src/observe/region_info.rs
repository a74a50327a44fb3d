//! Words of a repair port on the region that it serves (`GET /region-info`): asked once a
//! connection, and believed by nobody before it is compared with the record.

use crate::kernel::broker::{Dialer, NoConnection};
use crate::region::RegionJson;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;

/// The most bytes of `/region-info` that are read; a real one has under 300.
const MOST_INFO: usize = 64 * 1024;

/// Asks the repair port.
///
/// # Errors
/// Nobody answers there, or nothing that can be understood.
pub(super) async fn ask(repair: SocketAddr) -> Result<RegionJson, Box<dyn std::error::Error + Send + Sync>> {
    let stream = Dialer::default().connect(repair).await.map_err(NoConnection::into_inner)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/region-info").header(http::header::HOST, repair.to_string());
    let request = request.body(Empty::<Bytes>::new())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MOST_INFO).collect().await?;
        Ok(RegionJson::parse(&body.to_bytes())?)
    };
    // The connection is driven only while the answer is awaited, and is closed after it.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
