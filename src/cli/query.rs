//! Parameters of requests, written behind a path. They are encoded here and nowhere else, whatever a caller's text
//! has in it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that stand for others in a URL: all but the unreserved ones of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parameter of a request by its key; without a value it is left out.
pub(super) type Parameter<'a> = (&'a str, Option<String>);

/// Append parameters to a path.
pub(super) fn with(path: &str, parameters: &[Parameter]) -> String {
    let given = parameters.iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(value.as_ref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Parameter that is given only if it is true.
pub(super) fn flag(key: &str, set: bool) -> Parameter<'_> {
    (key, set.then(|| "true".to_owned()))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_value_has_in_it_is_one_value() {
        assert_eq!(with("/v1/x", &[flag("a", false), ("b", None)]), "/v1/x");
        let path = with("/v1/x", &[flag("a", true), ("dir", Some("/crucible/ä b&c=1#?".into()))]);
        assert_eq!(path, "/v1/x?a=true&dir=%2Fcrucible%2F%C3%A4%20b%26c%3D1%23%3F");
        assert_eq!(with("/v1/x", &[("region", Some("still-fawn-0".into()))]), "/v1/x?region=still-fawn-0");
    }
}
