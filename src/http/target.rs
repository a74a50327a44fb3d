//! Target of a request: the segments of its path and the parameters of its query, with their
//! percent escapes resolved once, here.

use crate::wire::{Error, Refusal};
use http::Uri;

/// Path of a request, by segments; none of them is empty.
pub(super) type Path = Vec<String>;

/// Parameters of a request, in their order.
pub(super) type Query = Vec<(String, String)>;

/// Read the path of a URL. A slash at its end means nothing; `None` if a segment is empty otherwise, for there
/// is nothing of that name.
///
/// # Errors
/// An escape is none, or what it stands for is no text.
pub(super) fn path(uri: &Uri) -> Result<Option<Path>, Error> {
    let path = uri.path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let decode = |part| decoded(part).ok_or_else(|| Error::new(Refusal::BadPath, bad(part), "escape bytes as %2F"));
    let segments: Path = path.split('/').map(decode).collect::<Result<_, _>>()?;
    Ok((!segments.iter().any(String::is_empty)).then_some(segments))
}

/// Read the parameters of a URL.
///
/// # Errors
/// A parameter is named twice; an escape is none, or what it stands for is no text.
pub(super) fn query(uri: &Uri) -> Result<Query, Error> {
    let mut found = Query::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode =
            |part| decoded(part).ok_or_else(|| Error::new(Refusal::BadQuery, bad(part), "escape bytes as %26"));
        let (key, value) = (decode(key)?, decode(value)?);
        if found.iter().any(|(known, _)| *known == key) {
            return Err(Error::new(Refusal::BadQuery, format!("{key:?} is there twice"), "say it once"));
        }
        found.push((key, value));
    }
    Ok(found)
}

fn bad(part: &str) -> String {
    format!("{part:?} has an escape that is none, or is no UTF-8")
}

/// Resolve the escapes of a text; `None` if one of them is none.
fn decoded(text: &str) -> Option<String> {
    let digits = |escape: &str| escape.len() >= 2 && escape.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(digits) {
        return None;
    }
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_its_segments() {
        let read = |text: &str| path(&text.parse().unwrap()).map_err(|why| why.code);
        let is = |segments: &[&str]| Ok(Some(segments.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(read("/"), is(&[]));
        assert_eq!(read("/v1/volumes"), is(&["v1", "volumes"]));
        assert_eq!(read("/v1/volumes/"), is(&["v1", "volumes"]));
        assert_eq!(read("/v1/volumes/still%2Dfawn?x=/"), is(&["v1", "volumes", "still-fawn"]));
        assert_eq!(read("/v1/volumes/a%2fattach"), is(&["v1", "volumes", "a/attach"]));
        assert_eq!(read("http://sled:3800/v1/sled"), is(&["v1", "sled"]));
        for nothing in ["/v1//volumes", "/v1/volumes//attach", "//v1/sled", "/v1/volumes//"] {
            assert_eq!(read(nothing), Ok(None), "{nothing}");
        }
        for bad in ["/v1/%", "/v1/%z0", "/v1/%2", "/v1/%ff"] {
            assert_eq!(read(bad), Err(Refusal::BadPath.into()), "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_said_once() {
        let read = |text: &str| query(&format!("/?{text}").parse().unwrap()).map_err(|why| why.code);
        let is = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Vec<_>>())
        };
        assert_eq!(read("a=%31%202&&b"), is(&[("a", "1 2"), ("b", "")]));
        assert_eq!(read("%61=1"), is(&[("a", "1")]));
        assert_eq!(read(""), is(&[]));
        for bad in ["a=1&a=2", "a=%", "a=%ff", "%ff=1"] {
            assert_eq!(read(bad), Err(Refusal::BadQuery.into()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused_without_panic(text in "/[ -~]{0,60}") {
            if let Ok(uri) = text.parse::<Uri>() {
                _ = path(&uri);
                _ = query(&uri);
            }
        }
    }
}
