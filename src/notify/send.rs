//! Sending of a notification: one request of HTTP on a connection of its own, by TLS if the URL says so. Nothing is
//! followed, kept alive or tried again here.

use super::Order;
use super::message::Message;
use crate::clean;
use crate::config::Url;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Time that all of it may take, from the name's address to the answer.
pub const SEND_LIMIT: Duration = Duration::from_secs(10);
/// The most of an answer that is read, in bytes, and shown of it, in characters.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;
const SHOWN_LIMIT_CHARS: usize = 200;

/// Deliver what is ordered: the status that came back.
///
/// # Errors
/// Why it is not known to have arrived: the server cannot be reached, takes too long, or does not answer 2xx.
pub async fn send(order: &Order) -> Result<String, String> {
    let url: Url = order.url.parse().map_err(str::to_owned)?;
    let message = Message::of(order.way, &order.notification).map_err(|why| why.to_string())?;
    let late = || format!("it has not answered for {} s", SEND_LIMIT.as_secs());
    timeout(SEND_LIMIT, post(&url, message)).await.unwrap_or_else(|_| Err(late()))
}

async fn post(url: &Url, message: Message) -> Result<String, String> {
    let (uri, tls) = (url.uri(), url.uri().scheme_str() == Some("https"));
    // An address of IPv6 stands in brackets there, and nowhere else.
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|why| format!("it cannot be reached: {why}"))?;
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(target)
        .header(header::HOST, url.shown())
        .header(header::USER_AGENT, concat!("crucible-sled/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(message.body)).map_err(|why| why.to_string())?;
    if !tls {
        return ask(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|why| why.to_string())?;
    let trust = tokio::task::spawn_blocking(trust).await.map_err(|why| why.to_string())??;
    let stream =
        TlsConnector::from(Arc::new(trust)).connect(name, stream).await.map_err(|why| format!("TLS: {why}"))?;
    ask(stream, request).await
}

/// Trust those whom this machine trusts.
fn trust() -> Result<ClientConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|why| format!(": {why}")).unwrap_or_default();
        return Err(format!("this machine trusts nobody to vouch for a server (apt install ca-certificates){why}"));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |why: hyper::Error| format!("it does not answer: {}", io::Error::other(why));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES).collect().await;
    driver.abort();
    if status.is_success() {
        return Ok(status.to_string());
    }
    let said = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    let said: String = clean::line(said.trim()).chars().take(SHOWN_LIMIT_CHARS).collect();
    Err(if said.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {said}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Code;
    use crate::notify::message::tests::told;
    use crate::wire::{Notification, Occasion, Way};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Serve one request with this answer: its URL, and what was heard.
    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a/topic?auth=x", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut heard, mut part) = (Vec::new(), [0; 4096]);
            loop {
                let size = stream.read(&mut part).await.unwrap();
                heard.extend_from_slice(&part[..size]);
                let text = String::from_utf8_lossy(&heard).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                    if body.len() >= length.parse().unwrap() {
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        return text;
                    }
                }
                assert!(size > 0, "{text}");
            }
        });
        (url, heard)
    }

    fn order(way: Way, url: String) -> Order {
        Order { way, url, notification: told(Occasion::Raised, Some(Code::DiskFull)) }
    }

    #[tokio::test]
    async fn a_webhook_is_posted_to_and_its_status_is_told() {
        let (url, heard) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
        let order = order(Way::Webhook, url);
        assert_eq!(send(&order).await, Ok("204 No Content".into()));
        let heard = heard.await.unwrap();
        assert!(heard.starts_with("POST /a/topic?auth=x HTTP/1.1\r\nhost: 127.0.0.1:"), "{heard}");
        let body = heard.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(serde_json::from_str::<Notification>(body).unwrap(), order.notification);
    }

    #[tokio::test]
    async fn ntfy_hears_a_title_a_priority_and_tags() {
        let (url, heard) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(send(&order(Way::Ntfy, url)).await, Ok("200 OK".into()));
        let heard = heard.await.unwrap();
        for line in ["title: proper-raptor: DISK_FULL", "priority: high", "tags: rotating_light,DISK_FULL"] {
            assert!(heard.lines().any(|heard| heard == line), "{heard}");
        }
    }

    #[tokio::test]
    async fn what_came_back_is_told_if_it_is_no_success() {
        let (url, _heard) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nno\x1b[1m you").await;
        let why = send(&order(Way::Webhook, url)).await.unwrap_err();
        assert!(why.starts_with("it answers 403 Forbidden: no") && !why.contains('\x1b'), "{why}");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let why = send(&order(Way::Webhook, format!("http://{free}/"))).await.unwrap_err();
        assert!(why.contains("cannot be reached"), "{why}");
    }
}
