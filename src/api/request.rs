//! Requests for operations: the values that one brings, and one that is to be sent. Pure.

use super::parameter::Parameter;
use crate::wire::Error;
use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Values of a request: the values in its path and its query, unescaped, and its body.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// The values of the path's parameters, by name.
    pub path: Vec<(&'static str, String)>,
    /// The parameters of the query; none is there twice.
    pub query: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Values {
    pub(super) fn parameter<P: Parameter>(&self, name: &str) -> Result<P, Error> {
        let path = self.path.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let query = || self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        path.or_else(query).map_or_else(|| P::absent(name), |text| P::read(name, text))
    }
}

/// List the segments of a path.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Tell whether a parameter stands in a path.
pub(super) fn in_path(path: &str, name: &str) -> bool {
    segments(path).any(|segment| segment.strip_prefix('{').and_then(|end| end.strip_suffix('}')) == Some(name))
}

/// A request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Method of the request.
    pub method: Method,
    /// Path and query of the request.
    pub target: String,
    /// Body of the request.
    pub body: Bytes,
}

/// Characters that are escaped in a path or a query: all but what stands there as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Make a request for this path, with these values and this body.
pub(super) fn outgoing(
    method: &Method,
    path: &str,
    values: &[(&'static str, Option<String>)],
    body: Bytes,
) -> Outgoing {
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let mut target = path.to_owned();
    let mut query = Vec::new();
    for (name, value) in values {
        let Some(value) = value else { continue };
        if in_path(path, name) {
            target = target.replace(&format!("{{{name}}}"), &escaped(value).replace('/', "%2F"));
        } else {
            query.push(format!("{name}={}", escaped(value)));
        }
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    Outgoing { method: method.clone(), target, body }
}
