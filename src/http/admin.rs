//! Administration of a sled: requests for something to be done, which the unix socket alone takes.

use super::answer::{Answer, bulletin, error, json, not_allowed};
use super::target::Query;
use crate::names::{RegionName, VolumeName};
use crate::span::Span;
use crate::supervisor::{self, Asked, Asks, Handle, Manner, Reload, Reloading, Request, Wish};
use crate::wire::{Error, Granted, Refusal};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use std::path::PathBuf;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Largest program that is taken; the real one has some 40 MB.
const PROGRAM_LIMIT_BYTES: usize = 512 << 20;

/// Decide whether a path is one of these.
pub(super) fn knows(path: &[&str]) -> bool {
    allowed(path).is_some()
}

/// List the methods that a path takes.
fn allowed(path: &[&str]) -> Option<&'static str> {
    match path {
        ["v1", "regions", _] => Some("POST, DELETE"),
        ["v1", "regions", _, "adopt"] => Some("GET, POST"),
        ["v1", "volumes", _, "drain"] => Some("POST, DELETE"),
        ["v1", "downstairs", "upgrade"]
        | ["v1", "regions", _, "restore" | "purge" | "restart" | "hold" | "release"]
        | ["v1", "volumes", _, "allow" | "deny"]
        | ["v1", "reload" | "look"]
        | ["v1", "storage", "init"] => Some("POST"),
        ["v1", "config"] | ["v1", "config", _] => Some("GET"),
        ["v1", "maintenance"] => Some("GET, HEAD, PUT"),
        ["v1", "jobs", _, "word"] => Some("POST"),
        ["v1", "jobs", _] => Some("GET, HEAD, DELETE"),
        _ => None,
    }
}

/// Read a request's body: a program or a word, where one is wanted. Elsewhere it is not read.
///
/// # Errors
/// The body is larger than any program, or the connection broke.
pub(super) async fn brought<B>(path: &[&str], body: B) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if !matches!(path, ["v1", "downstairs", "upgrade"] | ["v1", "jobs", _, "word"]) {
        return Ok(Bytes::new());
    }
    let read = Limited::new(body, PROGRAM_LIMIT_BYTES).collect().await;
    let wrong = |why| {
        Error::new(Refusal::BadBody, format!("the body was not taken: {why}"), "send the program or the word itself")
    };
    read.map(http_body_util::Collected::to_bytes).map_err(wrong)
}

/// Answer a request for something to be done.
pub(super) async fn answer(handle: &Handle, method: &Method, path: &[&str], query: &Query, brought: Bytes) -> Answer {
    let wish = match wish(method, path, query, brought) {
        Ok(Some(wish)) => wish,
        Ok(None) => return not_allowed(allowed(path).unwrap_or_default()),
        Err(why) => return error(why),
    };
    // With a faulty configuration nothing can be done but this, by which it is mended.
    if !matches!(wish, Wish::Reload(_))
        && let Err(why) = bulletin(handle)
    {
        return *why;
    }
    let (answer, answered) = oneshot::channel();
    let sent = handle.requests.send(Request { wish, answer }).await;
    match (sent, answered.await) {
        (Ok(()), Ok(Ok(granted))) => render(granted),
        (Ok(()), Ok(Err(why))) => error(why),
        _ => error(Error::new(Refusal::Stopping, "the supervisor is ending", "ask again in a moment")),
    }
}

fn render(granted: supervisor::Answer) -> Answer {
    match granted {
        supervisor::Answer::Granted(done @ Granted::AlreadyThere(_)) => json(StatusCode::OK, &done),
        supervisor::Answer::Granted(job @ Granted::Job(_)) => json(StatusCode::ACCEPTED, &job),
        supervisor::Answer::Proposal(proposal) => json(StatusCode::OK, &proposal),
        supervisor::Answer::Marked(marked) => json(StatusCode::OK, &marked),
        supervisor::Answer::Maintenance(maintenance) => json(StatusCode::OK, &maintenance),
        supervisor::Answer::Permitted | supervisor::Answer::Left | supervisor::Answer::Looked => {
            json(StatusCode::OK, &())
        }
        supervisor::Answer::Drain(drain) => json(StatusCode::OK, &drain),
        supervisor::Answer::Difference(difference) => json(StatusCode::OK, &difference),
        supervisor::Answer::Configurations(all) => json(StatusCode::OK, &all),
        supervisor::Answer::Kept(kept) => json(StatusCode::OK, &kept),
        supervisor::Answer::Hosts(hosts) => json(StatusCode::OK, &hosts),
        supervisor::Answer::Ticket(ticket) => json(StatusCode::OK, &ticket),
        supervisor::Answer::Released(released) => json(StatusCode::OK, &released),
        supervisor::Answer::Refused(refusal) => json(StatusCode::CONFLICT, &refusal),
    }
}

/// Read what a request wishes; `None` for a method that the path does not take.
fn wish(method: &Method, path: &[&str], query: &Query, brought: Bytes) -> Result<Option<Wish>, Error> {
    let wish = match (method, path) {
        (&Method::POST, ["v1", "regions", name]) => {
            Wish::Create(region(name)?, one(query, "never_existed")?.map(|name| region(&name)).transpose()?)
        }
        (&Method::DELETE, ["v1", "regions", name]) => Wish::Delete(region(name)?, one(query, "yes_destroy")?),
        (&Method::POST, ["v1", "regions", name, "adopt"]) => Wish::Adopt(region(name)?, from(query)?),
        (&Method::GET, ["v1", "regions", name, "adopt"]) => Wish::ProposeAdoption(region(name)?, from(query)?),
        (&Method::POST, ["v1", "regions", name, "restore"]) => {
            Wish::Restore(region(name)?, one(query, "deleted")?.map(second).transpose()?)
        }
        (&Method::POST, ["v1", "regions", name, "purge"]) => {
            let [time, yes] = parameters(query, ["deleted", "yes_destroy"])?;
            Wish::Purge(region(name)?, time.map(second).transpose()?, yes)
        }
        (&Method::POST, ["v1", "regions", name, "restart"]) => {
            let [force, rolling] = parameters(query, ["force", "rolling"])?;
            let force = truth("force", force)?;
            let manner = Manner {
                force,
                unrepaired: force,
                asks: Asks::unless(force),
                rolling: truth("rolling", rolling)?,
                starts: true,
            };
            Wish::Restart(region(name)?, manner)
        }
        (&Method::POST, ["v1", "regions", name, "hold"]) => {
            let [force, reason] = parameters(query, ["force", "reason"])?;
            let force = truth("force", force)?;
            let manner = Manner { force, unrepaired: force, asks: Asks::unless(force), rolling: false, starts: false };
            Wish::Hold(region(name)?, reason.map(spoken).transpose()?.unwrap_or_default(), manner)
        }
        (&Method::POST, ["v1", "regions", name, "release"]) => {
            parameters(query, [])?;
            Wish::Release(region(name)?)
        }
        (&Method::POST, ["v1", "downstairs", "upgrade"]) => {
            let [force, from] = parameters(query, ["force", "from"])?;
            let from = from.unwrap_or_default();
            let program = (!brought.is_empty()).then(|| (brought, PathBuf::from(from)));
            Wish::Upgrade(program, truth("force", force)?)
        }
        (&Method::POST, ["v1", "volumes", name, verb @ ("allow" | "deny")]) => {
            Wish::Permit(volume(name)?, host(query)?, *verb == "allow")
        }
        (&Method::POST, ["v1", "volumes", name, "drain"]) => {
            Wish::Drain(volume(name)?, Some(one(query, "reason")?.map(spoken).transpose()?))
        }
        (&Method::DELETE, ["v1", "volumes", name, "drain"]) => {
            parameters(query, [])?;
            Wish::Drain(volume(name)?, None)
        }
        (&Method::POST, ["v1", "look"]) => {
            parameters(query, [])?;
            Wish::Look
        }
        (&Method::POST, ["v1", "reload"]) => Wish::Reload(reload(query)?),
        (&Method::GET, ["v1", "config"]) => {
            parameters(query, [])?;
            Wish::Configurations(None)
        }
        (&Method::GET, ["v1", "config", number]) => {
            parameters(query, [])?;
            Wish::Configurations(Some(kept(number)?))
        }
        (&Method::PUT, ["v1", "maintenance"]) => Wish::Maintain(maintenance(query)?),
        (&Method::POST, ["v1", "jobs", id, "word"]) => {
            let wrong = |what: &str| Error::new(Refusal::BadQuery, what, "answer the question as the job has it");
            let number = one(query, "number")?.and_then(|number| number.parse().ok());
            let word = serde_json::from_slice(&brought).map_err(|why| wrong(&format!("the body is no word: {why}")))?;
            let id = id.parse().map_err(|_| wrong("there is no such job"))?;
            Wish::Word(id, number.ok_or_else(|| wrong("number is missing"))?, word)
        }
        (&Method::DELETE, ["v1", "jobs", id]) => Wish::Cancel(id.parse().map_err(|_| {
            Error::new(Refusal::JobUnknown, format!("there is no job {id}"), "sledctl jobs lists those that there are")
        })?),
        (&Method::POST, ["v1", "storage", "init"]) => Wish::InitStorage(replace(query)?),
        _ => return Ok(None),
    };
    Ok(Some(wish))
}

fn region(name: &str) -> Result<RegionName, Error> {
    name.parse().map_err(|why| Error::new(Refusal::BadName, format!("{name:?}: {why}"), "for example still-fawn-0"))
}

fn volume(name: &str) -> Result<VolumeName, Error> {
    name.parse().map_err(|why| Error::new(Refusal::BadName, format!("{name:?}: {why}"), "for example still-fawn"))
}

/// Read which host is meant: by its address, or its name in the map.
fn host(query: &Query) -> Result<String, Error> {
    let missing = || Error::new(Refusal::BadQuery, "host is missing", "for example host=192.168.4.17");
    one(query, "host")?.ok_or_else(missing)
}

/// Take the values of the parameters that are known.
fn parameters<const N: usize>(query: &Query, known: [&str; N]) -> Result<[Option<String>; N], Error> {
    query.only(known)
}

/// Take the value of the only parameter that is known.
fn one(query: &Query, known: &str) -> Result<Option<String>, Error> {
    parameters(query, [known]).map(|[value]| value)
}

/// Read `true` or `false`; absent is false.
pub(super) fn truth(key: &str, value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::new(Refusal::BadQuery, format!("{key} is {other:?}"), "write true or false")),
    }
}

/// Read a sentence: one line, and not too long to be shown everywhere.
fn spoken(text: String) -> Result<String, Error> {
    const LENGTH_LIMIT: usize = 200;
    let wrong =
        |what: &str| Error::new(Refusal::BadQuery, format!("reason {what}"), "one line of up to 200 characters");
    let text = text.trim();
    if text.chars().any(char::is_control) || text.chars().count() > LENGTH_LIMIT {
        return Err(wrong("is too long, or has control characters in it"));
    }
    Ok(text.to_owned())
}

/// Read whether hosts are to wait, for how long, and why.
fn maintenance(query: &Query) -> Result<Option<Asked>, Error> {
    let [on, time, reason] = parameters(query, ["on", "for", "reason"])?;
    let remedy = "write a length of time such as 30m";
    let time = time.map(|text| text.parse().map_err(|why| Error::new(Refusal::BadQuery, format!("for {why}"), remedy)));
    let (time, reason): (Option<Span>, _) = (time.transpose()?, reason.map(spoken).transpose()?);
    if time.is_some_and(|time| time.seconds == 0) {
        return Err(Error::new(Refusal::BadQuery, "for is zero", "to end it: on=false"));
    }
    match on {
        None => Err(Error::new(Refusal::BadQuery, "on is missing", "write on=true or on=false")),
        on => Ok(truth("on", on)?.then_some(Asked { time, reason })),
    }
}

/// Read whether the configuration is only shown, what it may do, and who asks.
fn reload(query: &Query) -> Result<Reloading, Error> {
    let [show, yes, unattended, number, by] = parameters(query, ["dry_run", "yes", "unattended", "kept", "by"])?;
    let how = match (truth("dry_run", show)?, truth("yes", yes)?, truth("unattended", unattended)?) {
        (true, ..) => Reload::Show,
        (false, true, _) => Reload::Apply,
        (false, false, true) => Reload::Unattended,
        (false, false, false) => Reload::Gently,
    };
    let kept = number.as_deref().map(kept).transpose()?;
    if kept.is_some() && how != Reload::Show {
        let remedy = "write its files first: sledctl config restore";
        return Err(Error::new(Refusal::BadQuery, "a configuration that is kept is only shown", remedy));
    }
    let by = by.map(spoken).transpose()?.filter(|by| !by.is_empty());
    Ok(Reloading { how, kept, by: by.unwrap_or_else(|| "POST /v1/reload".into()) })
}

/// Read the number of a configuration that is kept.
fn kept(text: &str) -> Result<u64, Error> {
    let message = || format!("no configuration {text:?} is kept");
    text.parse()
        .map_err(|_| Error::new(Refusal::ConfigUnknown, message(), "sledctl config history lists those that are"))
}

/// Read the second at which a region was deleted, as its name in the trash has it.
fn second(text: String) -> Result<i64, Error> {
    let remedy = "write what follows the region's name in the trash: sledctl storage";
    text.parse().map_err(|_| Error::new(Refusal::BadQuery, format!("deleted is no time: {text:?}"), remedy))
}

/// Read a directory as it stands in unit files: nothing in it needs quoting.
fn from(query: &Query) -> Result<Option<PathBuf>, Error> {
    let Some(text) = one(query, "from")? else { return Ok(None) };
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    let whole = text.starts_with('/') && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if !(plain && whole) {
        let remedy = "an absolute path of letters, digits and ._-+, for example /crucible/vm-still-fawn-0";
        return Err(Error::new(Refusal::BadPath, format!("{text:?} is no plain absolute path"), remedy));
    }
    Ok(Some(text.into()))
}

fn replace(query: &Query) -> Result<Option<Uuid>, Error> {
    let text = one(query, "replace")?;
    text.map(|text| text.parse()).transpose().map_err(|_| {
        Error::new(Refusal::BadQuery, "replace is no UUID", "write the one that sledctl storage init or status shows")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |method: Method, path: &str, query: &str| {
            let query = super::super::target::read_query(query);
            wish(&method, &path.split('/').collect::<Vec<_>>(), &query, Bytes::new()).map_err(|why| why.code)
        };
        let name = "v1/regions/still-fawn-0";
        assert!(matches!(read(Method::POST, name, ""), Ok(Some(Wish::Create(_, None)))));
        let delete = read(Method::DELETE, name, "yes_destroy=still-fawn-0");
        assert!(matches!(delete, Ok(Some(Wish::Delete(_, Some(yes)))) if yes == "still-fawn-0"));
        assert!(matches!(read(Method::PUT, name, ""), Ok(None)));
        let adopt = "v1/regions/still-fawn-0/adopt";
        assert!(matches!(read(Method::POST, adopt, "from=/c/vm-a"), Ok(Some(Wish::Adopt(_, Some(_))))));
        for (query, code) in
            [("from=c", Refusal::BadPath), ("from=/c/../d", Refusal::BadPath), ("form=/c", Refusal::BadQuery)]
        {
            assert_eq!(read(Method::POST, adopt, query).unwrap_err(), code);
        }
        let purge = read(Method::POST, "v1/regions/a-0/purge", "deleted=17&yes_destroy=a-0.17");
        assert!(matches!(purge, Ok(Some(Wish::Purge(_, Some(17), Some(_))))));
        assert_eq!(read(Method::POST, "v1/regions/a-0/restore", "deleted=x").unwrap_err(), Refusal::BadQuery);
        assert_eq!(read(Method::DELETE, name, "yes-destroy=still-fawn-0").unwrap_err(), Refusal::BadQuery);
        let long = format!("v1/regions/{}-0", "x".repeat(200));
        for bad in ["v1/regions/..%2Fx", "v1/regions/", "v1/regions/ä-0", long.as_str()] {
            assert_eq!(read(Method::POST, bad, "").unwrap_err(), Refusal::BadName, "{bad}");
        }
        for (query, well) in [("on=true&for=1s", true), ("on=true&for=0s", false), ("on=true&for=0h", false)] {
            assert_eq!(read(Method::PUT, "v1/maintenance", query).is_ok(), well, "{query}");
        }
        assert_eq!(read(Method::POST, "v1/storage/init", "replace=x").unwrap_err(), Refusal::BadQuery);
    }
}
