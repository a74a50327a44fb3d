//! What only the unix socket takes: requests for something to be done.

use super::answer::{Answer, error, json, not_allowed};
use super::route::bulletin;
use crate::names::RegionName;
use crate::supervisor::{self, Handle, Request, Wish};
use crate::wire::{Error, Granted};
use http::{Method, StatusCode};
use std::path::PathBuf;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Whether a path is one of these.
pub(super) fn knows(path: &[&str]) -> bool {
    allowed(path).is_some()
}

/// The methods that a path takes.
fn allowed(path: &[&str]) -> Option<&'static str> {
    match path {
        ["v1", "regions", _] => Some("POST, DELETE"),
        ["v1", "regions", _, "adopt"] => Some("GET, POST"),
        ["v1", "regions", _, "restore" | "purge"] | ["v1", "storage", "init"] => Some("POST"),
        ["v1", "jobs", _] => Some("GET, HEAD, DELETE"),
        _ => None,
    }
}

/// Answers a request.
pub(super) async fn answer(handle: &Handle, method: &Method, path: &[&str], query: &str) -> Answer {
    let wish = match wish(method, path, query) {
        Ok(Some(wish)) => wish,
        Ok(None) => return not_allowed(allowed(path).unwrap_or_default()),
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    if let Err(why) = bulletin(handle) {
        return *why;
    }
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(granted))) => render(granted),
        (Ok(()), Ok(Err(why))) => error(status(&why), why),
        _ => error(
            StatusCode::SERVICE_UNAVAILABLE,
            Error::new("STOPPING", "the supervisor is ending", "ask again in a moment"),
        ),
    }
}

fn render(granted: supervisor::Answer) -> Answer {
    match granted {
        supervisor::Answer::Granted(done @ Granted::AlreadyThere(_)) => json(StatusCode::OK, &done),
        supervisor::Answer::Granted(job @ Granted::Job(_)) => json(StatusCode::ACCEPTED, &job),
        supervisor::Answer::Proposal(proposal) => json(StatusCode::OK, &proposal),
        supervisor::Answer::Marked(marked) => json(StatusCode::OK, &marked),
    }
}

/// What is wished; `None` for a method that the path does not take.
fn wish(method: &Method, path: &[&str], query: &str) -> Result<Option<Wish>, Error> {
    let wish = match (method, path) {
        (&Method::POST, ["v1", "regions", name]) => {
            parameter(query, None)?;
            Wish::Create(region(name)?)
        }
        (&Method::DELETE, ["v1", "regions", name]) => {
            Wish::Delete(region(name)?, parameter(query, Some("yes_destroy"))?)
        }
        (&Method::POST, ["v1", "regions", name, "adopt"]) => Wish::Adopt(region(name)?, from(query)?),
        (&Method::GET, ["v1", "regions", name, "adopt"]) => Wish::ProposeAdoption(region(name)?, from(query)?),
        (&Method::POST, ["v1", "regions", name, "restore"]) => {
            parameter(query, None)?;
            Wish::Restore(region(name)?)
        }
        (&Method::POST, ["v1", "regions", name, "purge"]) => {
            Wish::Purge(region(name)?, parameter(query, Some("yes_destroy"))?)
        }
        (&Method::DELETE, ["v1", "jobs", id]) => Wish::Cancel(id.parse().map_err(|_| {
            Error::new("JOB_UNKNOWN", format!("there is no job {id}"), "sledctl jobs lists those that there are")
        })?),
        (&Method::POST, ["v1", "storage", "init"]) => Wish::InitStorage(replace(query)?),
        _ => return Ok(None),
    };
    Ok(Some(wish))
}

fn region(name: &str) -> Result<RegionName, Error> {
    name.parse().map_err(|why| Error::new("BAD_NAME", format!("{name:?}: {why}"), "for example still-fawn-0"))
}

/// The value of the only parameter that is known. Anything else is refused: what a mistyped one
/// was to say must not be overlooked.
fn parameter(query: &str, known: Option<&str>) -> Result<Option<String>, Error> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if Some(key) != known {
            let remedy = known.map_or_else(|| "none is known here".to_owned(), |known| format!("known is {known}"));
            return Err(Error::new("BAD_QUERY", format!("there is no parameter {key:?}"), remedy));
        }
        found = Some(value.to_owned());
    }
    Ok(found)
}

/// A directory, as it stands in unit files: nothing in it needs quoting.
fn from(query: &str) -> Result<Option<PathBuf>, Error> {
    let Some(text) = parameter(query, Some("from"))? else { return Ok(None) };
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    let whole = text.starts_with('/') && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    match plain && whole {
        true => Ok(Some(text.into())),
        false => {
            let remedy = "an absolute path of letters, digits and ._-+, for example /crucible/vm-still-fawn-0";
            Err(Error::new("BAD_PATH", format!("{text:?} is no plain absolute path"), remedy))
        }
    }
}

fn replace(query: &str) -> Result<Option<Uuid>, Error> {
    let text = parameter(query, Some("replace"))?;
    text.map(|text| text.parse()).transpose().map_err(|_| {
        Error::new("BAD_QUERY", "replace is no UUID", "write the one that sledctl storage init or status shows")
    })
}

/// What a refused request is in HTTP's terms.
fn status(why: &Error) -> StatusCode {
    match why.code.as_str() {
        "REGION_UNKNOWN" | "REGION_ELSEWHERE" | "JOB_UNKNOWN" => StatusCode::NOT_FOUND,
        "DATA_NOT_MOUNTED" | "DATA_FOREIGN" | "LEDGER_UNREADABLE" | "SYSTEMD_UNREACHABLE" | "STARTING" | "NOT_SEEN" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |method: Method, path: &str, query: &str| {
            wish(&method, &path.split('/').collect::<Vec<_>>(), query).map_err(|why| why.code)
        };
        let name = "v1/regions/still-fawn-0";
        assert!(matches!(read(Method::POST, name, ""), Ok(Some(Wish::Create(_)))));
        let delete = read(Method::DELETE, name, "yes_destroy=still-fawn-0");
        assert!(matches!(delete, Ok(Some(Wish::Delete(_, Some(yes)))) if yes == "still-fawn-0"));
        assert!(matches!(read(Method::PUT, name, ""), Ok(None)));
        let adopt = "v1/regions/still-fawn-0/adopt";
        assert!(matches!(read(Method::POST, adopt, "from=/c/vm-a"), Ok(Some(Wish::Adopt(_, Some(_))))));
        for (query, code) in [("from=c", "BAD_PATH"), ("from=/c/../d", "BAD_PATH"), ("form=/c", "BAD_QUERY")] {
            assert_eq!(read(Method::POST, adopt, query).unwrap_err(), code);
        }
        assert_eq!(read(Method::DELETE, name, "yes-destroy=still-fawn-0").unwrap_err(), "BAD_QUERY");
        let long = format!("v1/regions/{}-0", "x".repeat(200));
        for bad in ["v1/regions/..%2Fx", "v1/regions/", "v1/regions/ä-0", long.as_str()] {
            assert_eq!(read(Method::POST, bad, "").unwrap_err(), "BAD_NAME", "{bad}");
        }
        assert_eq!(read(Method::POST, "v1/storage/init", "replace=x").unwrap_err(), "BAD_QUERY");
    }
}
