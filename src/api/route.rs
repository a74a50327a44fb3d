//! Routing: which row of the table a request is about, by its method, its path and the door that it came in by.
//! Pure.

use super::door::Door;
use super::operation::{Row, TABLE};
use http::Method;

/// Route that is found at a path.
#[derive(Debug)]
pub enum Found {
    /// An operation, with the values of the path's parameters.
    Row(&'static Row, Vec<(&'static str, String)>),
    /// The path takes these methods, and not that one.
    NotAllowed(Vec<Method>),
    /// Nothing.
    Nothing,
}

/// Find the operation that a request is about; `admin`: it came in over the unix socket. HEAD is GET without the
/// body. An operation of hosts is found over the unix socket as well, to be refused there with the reason.
pub fn find(method: &Method, path: &[&str], admin: bool) -> Found {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let here = TABLE.iter().filter(|row| admin || row.door != Door::Admin);
    let mut methods = Vec::new();
    for (row, values) in here.filter_map(|row| Some((row, matched(row, path)?))) {
        if row.method == *method {
            return Found::Row(row, values);
        }
        methods.push(row.method.clone());
        if row.method == Method::GET {
            methods.push(Method::HEAD);
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::NotAllowed(methods) }
}

/// The values of a row's parameters in a path, if the path is the row's.
fn matched(row: &Row, path: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let mut values = Vec::new();
    let mut rest = path.iter();
    for segment in row.segments() {
        let said = rest.next()?;
        match segment.strip_prefix('{').and_then(|end| end.strip_suffix('}')) {
            Some(name) => values.push((name, (*said).to_owned())),
            None if segment != *said => return None,
            None => {}
        }
    }
    rest.next().is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::super::{Choice, Directory, JobId, Kind, Operation, Sentence, Values};
    use super::*;
    use crate::wire::{Error, Refusal};
    use std::collections::BTreeSet;

    /// Read what is asked for, as HTTP has it at the unix socket.
    fn read(method: Method, path: &str, query: &str) -> Result<Operation, Error> {
        let segments: Vec<_> = path.split('/').collect();
        let Found::Row(row, path) = find(&method, &segments, true) else { panic!("nothing is at {path}") };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned()));
        row.read(&Values { path, query: query.collect(), ..Values::default() })
    }

    #[test]
    fn each_row_is_found_by_its_own_path_and_no_two_are_the_same() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            assert!(seen.insert((row.method.to_string(), row.path)), "{}: twice", row.name);
            assert!(row.summary.trim().ends_with('.'), "{}", row.name);
            let path: Vec<_> = row.segments().map(|s| s.trim_matches(['{', '}'])).collect();
            assert!(matches!(find(&row.method, &path, true), Found::Row(found, _) if found.name == row.name));
            let anyone = matches!(find(&row.method, &path, false), Found::Row(found, _) if found.name == row.name);
            assert_eq!(anyone, row.door != Door::Admin, "{}", row.name);
            for parameter in row.parameters.iter().filter(|parameter| row.in_path(parameter.name)) {
                assert!(parameter.required, "{}: {}", row.name, parameter.name);
            }
        }
    }

    #[test]
    fn what_is_not_taken_says_what_is() {
        let allowed = |path: &[&str], admin| match find(&Method::PATCH, path, admin) {
            Found::NotAllowed(methods) => methods.iter().map(Method::to_string).collect::<Vec<_>>().join(", "),
            found => format!("{found:?}"),
        };
        assert_eq!(allowed(&["v1", "maintenance"], true), "GET, HEAD, PUT");
        assert_eq!(allowed(&["v1", "maintenance"], false), "GET, HEAD");
        assert_eq!(allowed(&["v1", "regions", "a-0"], true), "GET, HEAD, POST, DELETE");
        assert_eq!(allowed(&["v1", "regions", "a-0"], false), "GET, HEAD");
        assert_eq!(allowed(&["v1", "regions", "a-0", "hold"], true), "POST");
        assert_eq!(allowed(&[], false), "GET, HEAD");
        assert_eq!(allowed(&["v1", "jobs", "7"], true), "GET, HEAD, DELETE");
        for nothing in [&["v1", "regions", "a-0", "hold"][..], &["v1"], &["v1", "sled", "x"], &[""]] {
            assert_eq!(allowed(nothing, false), "Nothing", "{nothing:?}");
        }
    }

    #[test]
    fn an_operation_is_read_or_refused() {
        let name = "v1/regions/still-fawn-0";
        let region: crate::names::RegionName = "still-fawn-0".parse().unwrap();
        let create = Operation::CreateRegion { region: region.clone(), never_existed: None };
        assert_eq!(read(Method::POST, name, ""), Ok(create));
        let restart = Operation::RestartRegion { region: region.clone(), force: true, rolling: false };
        assert_eq!(read(Method::POST, &format!("{name}/restart"), "force=true"), Ok(restart));
        let code = |method, path: &str, query: &str| read(method, path, query).unwrap_err().code;
        assert_eq!(code(Method::POST, &format!("{name}/restart"), "force=1"), Refusal::BadQuery);
        let adopt = format!("{name}/adopt");
        for query in ["from=c", "from=/c/../d", "from=/c/./d", "from=/c//d", "from=/c d"] {
            assert_eq!(code(Method::POST, &adopt, query), Refusal::BadPath, "{query}");
        }
        for (method, path, query) in [
            (Method::POST, adopt.as_str(), "form=/c"),
            (Method::POST, "v1/regions/a-0/restore", "deleted=x"),
            (Method::DELETE, name, "yes-destroy=still-fawn-0"),
            (Method::POST, "v1/storage/init", "replace=x"),
            (Method::PUT, "v1/maintenance", ""),
            (Method::PUT, "v1/maintenance", "on=true&for=0s"),
            (Method::POST, "v1/volumes/a/allow", ""),
            (Method::POST, "v1/look", "x="),
            (Method::GET, "v1/config", "x="),
        ] {
            assert_eq!(code(method, path, query), Refusal::BadQuery, "{path}?{query}");
        }
        for bad in ["v1/regions/still-fawn", "v1/regions/still-fawn-3", "v1/regions/..-0"] {
            assert_eq!(code(Method::POST, bad, ""), Refusal::BadName, "{bad}");
        }
        assert_eq!(code(Method::DELETE, "v1/jobs/x", ""), Refusal::JobUnknown);
        assert_eq!(code(Method::GET, "v1/config/x", ""), Refusal::ConfigUnknown);
    }

    #[test]
    fn how_long_an_answer_is_held_is_read_or_refused() {
        let read = |query: &str| read(Method::GET, "v1/volumes/still-fawn", query);
        for right in ["", "wait=1.5", "revision=7&wait=60", "wait=0"] {
            assert!(read(right).is_ok(), "{right}");
        }
        for right in ["7", "2d", "90s", "2026-11-30T07:00:00Z", "2026-11-30T07:00:00.5+01:00"] {
            let since = |text: &str| super::super::Since::parse(text).unwrap();
            assert_eq!(since(&super::super::Parameter::write(&since(right)).unwrap()), since(right), "{right}");
        }
        assert!(["", "x", "-1", "2 weeks", "2026-11-30"].iter().all(|text| super::super::Since::parse(text).is_none()));
        let wrong = ["wait=61", "wait=-1", "wait=NaN", "wait=", "wait=inf", "wait=1&revision=x", "wat=1", "asks=true"];
        for wrong in wrong {
            assert_eq!(read(wrong).unwrap_err().code, Refusal::BadQuery, "{wrong}");
        }
    }

    #[test]
    fn a_request_is_read_as_what_it_was_made_of() {
        let region = || "still-fawn-0".parse().unwrap();
        let odd = Sentence("50 % off & more/less? größer #1".into());
        let directory = Directory("/crucible/vm-still-fawn-0".into());
        for operation in [
            Operation::ShowSled {},
            Operation::HoldRegion { region: region(), force: true, reason: Some(odd.clone()) },
            Operation::AdoptRegion { region: region(), from: Some(directory) },
            Operation::SetMaintenance { on: Choice(false), time: None, reason: None },
            Operation::SetMaintenance { on: Choice(true), time: Some("30m".parse().unwrap()), reason: Some(odd) },
            Operation::ShowJob { id: JobId(7), wait: None, revision: None, asks: true },
            Operation::AllowHost { volume: "v".parse().unwrap(), host: "fd00::1".into() },
        ] {
            let sent = operation.request();
            let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
            let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let path: Vec<_> = path.split('/').skip(1).map(plain).collect();
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            let Found::Row(row, path) = find(&sent.method, &path, true) else { panic!("{sent:?}") };
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let query = pairs.map(|(key, value)| (plain(key), plain(value))).collect();
            assert_eq!(row.read(&Values { path, query, body: sent.body.clone() }), Ok(operation), "{sent:?}");
        }
        assert_eq!(Kind::Region, TABLE.iter().find(|row| row.name == "CreateRegion").unwrap().parameters[0].kind);
    }
}
