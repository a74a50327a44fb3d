//! Origin of a request: a browser tells when a page of somebody else's makes one, by a foreign origin or a foreign
//! name for the sled (DNS rebinding). Neither is answered.
//!
//! A page may send requests to any address, and does not get to read what comes back. So whatever
//! changes something is refused if a browser says that another page wants it. A page could read what
//! comes back from a name of its own, which it lets point to the sled after it was loaded; so a sled
//! answers to the address that it is asked at, and to names that nobody out in the world can have
//! registered for themselves: names without a dot, names below a domain that is nobody's
//! ([`PRIVATE`]), and those of `http.names`. What is no browser sends what it was told to, and loses
//! nothing.

use super::answer::{Answer, error};
use crate::wire::{Error, Refusal};
use http::Method;
use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Header by which a browser says where a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Domains below which nothing is sold: RFC 6762 (local, and what it lists), RFC 8375 (home.arpa), and
/// ICANN's `internal`.
const PRIVATE: [&str; 9] =
    ["lan", "local", "internal", "home", "home.arpa", "localdomain", "intranet", "private", "corp"];

/// Refuse a request that is not to be answered: `at` is the sled's end of its connection, `names`
/// are those by which it may be asked beside its address.
pub(super) fn refused(request: &Parts, at: SocketAddr, names: &BTreeSet<String>) -> Option<Answer> {
    let mut hosts = request.headers.get_all(HOST).iter().map(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let (host, more) = (hosts.next(), hosts.next());
    // The name in the request line counts as much.
    let line = request.uri.authority();
    let own = |host: &Authority| is_own(host, at, names);
    let foreign = match (&host, more) {
        (_, Some(_)) | (Some(None), _) => true,
        (Some(Some(host)), None) => !own(host),
        (None, None) => false,
    };
    if foreign || line.is_some_and(|host| !own(host)) {
        let message = "the request is for a host of another name than this sled's";
        let remedy = format!("ask for http://{at}, or write the name into http.names of sled.toml: sledctl reload");
        return Some(error(Error::new(Refusal::NameForeign, message, remedy)));
    }
    if matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    let site = request.headers.get(SEC_FETCH_SITE).is_none_or(|site| site == "none" || site == "same-origin");
    let same = |origin: &http::HeaderValue| {
        let host = host.as_ref().and_then(Option::as_ref);
        host.is_some_and(|host| origin.as_bytes() == format!("http://{host}").as_bytes())
    };
    if site && request.headers.get_all(ORIGIN).iter().all(same) {
        return None;
    }
    let message = "a page of somebody else's asks for this, in a browser";
    Some(error(Error::new(Refusal::OriginForeign, message, "ask with curl or crucible-attach")))
}

/// Decide whether a host is this sled, by an address or a name that no page elsewhere can have.
fn is_own(host: &Authority, at: SocketAddr, names: &BTreeSet<String>) -> bool {
    if host.as_str().contains('@') || host.port_u16().is_some_and(|port| port != at.port()) {
        return false;
    }
    let name = host.host().to_ascii_lowercase();
    let six = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::parse::<Ipv6Addr>);
    if let Some(address) = six.map(|six| six.ok().map(IpAddr::V6)).or_else(|| Some(Some(name.parse().ok()?))) {
        return address.is_some_and(|address| address.to_canonical() == at.ip().to_canonical());
    }
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name == "localhost" {
        return at.ip().to_canonical().is_loopback();
    }
    // A number, whatever its form, is an address, and to a browser one in another form is the same.
    let number = name.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    let below = |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
    names.contains(name) || !name.is_empty() && !number && (!name.contains('.') || PRIVATE.iter().any(|d| below(d)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn ask(at: &str, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri("/v1/sled");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let names = ["storage.example.com".to_owned()].into();
        refused(&parts, at.parse().unwrap(), &names).map_or(200, |answer| answer.status().as_u16())
    }

    const AT: &str = "192.168.4.189:3800";

    #[test]
    fn a_sled_answers_to_its_address_and_to_names_that_nobody_can_take() {
        for own in [
            "192.168.4.189:3800",
            "192.168.4.189",
            "proper-raptor:3800",
            "sled",
            "PROPER-RAPTOR.lan:3800",
            "proper-raptor.fritz.home.arpa.",
            "storage.example.com:3800",
        ] {
            assert_eq!(ask(AT, "GET", &[("host", own)]), 200, "{own}");
        }
        for foreign in [
            "evil.example",
            "proper-raptor.evil.com:3800",
            "192.168.4.190:3800",
            "192.168.4.189:80",
            "localhost:3800",
            "3232236733",
            "0xc0a804bd",
            "192.168.4.0xbd",
            ".lan",
            "lan.com",
            "a@192.168.4.189:3800",
            "fritz.box",
            "[::1]:3800",
            "",
        ] {
            assert_eq!(ask(AT, "GET", &[("host", foreign)]), 421, "{foreign}");
        }
        assert_eq!(ask(AT, "GET", &[]), 200, "HTTP/1.0 sends none");
        assert_eq!(ask(AT, "GET", &[("host", "sled"), ("host", "sled")]), 421);
        assert_eq!(ask("127.0.0.1:3800", "GET", &[("host", "localhost:3800")]), 200);
        assert_eq!(ask("[fd00::1]:3800", "GET", &[("host", "[fd00::1]:3800")]), 200);
        assert_eq!(ask("[::ffff:192.168.4.189]:3800", "GET", &[("host", AT)]), 200);
    }

    #[test]
    fn what_another_page_wants_done_is_not_done() {
        let post = |headers: &[(&str, &str)]| ask(AT, "POST", &[&[("host", AT)], headers].concat());
        assert_eq!(post(&[]), 200);
        assert_eq!(post(&[("sec-fetch-site", "none")]), 200);
        assert_eq!(post(&[("sec-fetch-site", "same-origin"), ("origin", "http://192.168.4.189:3800")]), 200);
        for origin in ["https://evil.example", "null", "http://192.168.4.189", "http://192.168.4.189:3801", ""] {
            assert_eq!(post(&[("origin", origin)]), 403, "{origin}");
        }
        for site in ["cross-site", "same-site", ""] {
            assert_eq!(post(&[("sec-fetch-site", site)]), 403, "{site}");
        }
        // A link that leads to the sled is followed, and is shown nothing that it could hand on.
        assert_eq!(ask(AT, "GET", &[("host", AT), ("sec-fetch-site", "cross-site")]), 200);
        assert_eq!(ask(AT, "PUT", &[("origin", "http://192.168.4.189:3800")]), 403);
    }
}
