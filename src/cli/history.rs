//! `sledctl config history` and `config restore`: what was in force, and how one of these is had back. The
//! supervisor may not write to /etc, so the files are written here, each whole and durably; what they
//! replace stays beside them.

use super::client::{Client, Failure};
use super::config::{difference, short, take, who};
use super::print;
use crate::config::{FRAGMENTS, Kept, PORT_MAP, SLED};
use crate::config_dir;
use crate::files::{make_dir, replace, set_mode, sync_dir};
use crate::table::Tone;
use crate::wire::{Configurations, Difference, Error};
use http::Method;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Shows what was in force, the last one first.
pub(super) async fn history(client: &Client, json: bool) -> Result<bool, Failure> {
    let all: Configurations = client.get("/v1/config").await?;
    print(json, &all, |all| {
        let mut out: String = all.kept.iter().map(|kept| one(kept, all.in_force == Some(kept.number))).collect();
        if all.kept.is_empty() {
            out += "none was kept so far\n";
        }
        let in_force = all.kept.iter().find(|kept| all.in_force == Some(kept.number));
        if in_force.is_none_or(|kept| kept.digest != all.files.digest) {
            out += &format!("the files in {} are others: {}", all.dir, short(&all.files.digest));
            out += &all.files.changed.map(|at| format!(", changed {at}")).unwrap_or_default();
            out += &match all.files.faults.len() {
                0 => " (sledctl config diff)\n".to_owned(),
                faults => format!(", with {faults} fault(s) (sledctl config check)\n"),
            };
        }
        out
    })?;
    Ok(true)
}

fn one(kept: &Kept, in_force: bool) -> String {
    let until = match kept.until {
        _ if in_force => "now, in force".to_owned(),
        Some(until) => until.to_string(),
        None => "the sled was last up".into(),
    };
    let number = Tone::Heading.paint(&format!("{:>4}", kept.number));
    let map = short(&kept.port_map);
    format!(
        "{number}  {}  from {} until {until}\n      by {}; port map {map}\n",
        short(&kept.digest),
        kept.since,
        kept.by
    )
}

/// Writes the files of one that was in force, and has them taken over.
pub(super) async fn restore(client: &Client, number: u64, yes: bool, json: bool) -> Result<bool, Failure> {
    let all: Configurations = client.get("/v1/config").await?;
    let kept: Kept = client.get(&format!("/v1/config/{number}")).await?;
    let found: Difference = client.order(Method::POST, &format!("/v1/reload?dry_run=true&kept={number}")).await?;
    if !json {
        print(json, &Difference { refused: None, ..found.clone() }, difference)?;
    }
    if let Some(why) = found.refused.clone().filter(|_| !yes) {
        let remedy = format!("if that is meant: sledctl config restore {number} --yes");
        return Err(Failure::Refused(Error { remedy, ..why }));
    }
    write(Path::new(&all.dir), &kept.files).map_err(|why| {
        let message = format!("the files in {} are not those of number {number}: {why}", all.dir);
        let remedy = "nothing was taken over; make it writable (sudo), and say it again: what was replaced is \
                      beside each file, as NAME.replaced";
        Failure::Refused(Error::new("NOT_WRITTEN", message, remedy))
    })?;
    if found.needs_restart() {
        print(json, &found, |_| "the files are written, and are taken over by: systemctl restart sledd\n".to_owned())?;
        return Ok(false);
    }
    let by = format!("sledctl config restore {number}, by {}", who());
    take(client, &format!("yes={yes}"), &by, json).await
}

/// Puts files in the place of those of a configuration's directory. A fragment that is not among them is
/// one no more.
fn write(dir: &Path, files: &BTreeMap<String, String>) -> io::Result<()> {
    let known = |name: &str| {
        let fragment = name.strip_prefix(FRAGMENTS).and_then(|rest| rest.strip_prefix('/'));
        name == SLED || name == PORT_MAP || fragment.is_some_and(|name| !name.contains('/') && name.ends_with(".toml"))
    };
    if let Some(odd) = files.keys().find(|name| !known(name)) {
        return Err(io::Error::other(format!("{odd:?} is no file of a configuration")));
    }
    if files.keys().any(|name| name.starts_with(FRAGMENTS)) && !dir.join(FRAGMENTS).is_dir() {
        make_dir(&dir.join(FRAGMENTS), 0o755)?;
    }
    for (name, text) in files {
        let path = dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == *text) {
            continue;
        }
        let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode() & 0o777);
        keep(&path)?;
        let (parent, file) =
            name.rsplit_once('/').map_or((dir.to_owned(), name.as_str()), |(parent, file)| (dir.join(parent), file));
        replace(&parent, file, text.as_bytes())?;
        set_mode(&path, mode)?;
    }
    for path in config_dir::files(dir) {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        if !files.contains_key(&name) && fs::symlink_metadata(&path).is_ok() {
            fs::rename(&path, beside(&path))?;
            sync_dir(path.parent().unwrap_or(dir))?;
        }
    }
    Ok(())
}

/// Keeps what is there beside it, durably.
fn keep(path: &Path) -> io::Result<()> {
    match fs::read(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        text => {
            let beside = beside(path);
            let name = beside.file_name().unwrap_or_default().to_string_lossy().into_owned();
            replace(path.parent().unwrap_or(Path::new("/")), &name, &text?)
        }
    }
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".replaced");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_that_were_kept_and_what_they_replace_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at(FRAGMENTS)).unwrap();
        fs::write(at(PORT_MAP), "faulty").unwrap();
        fs::write(at("sled.toml.d/90-new.toml"), "new").unwrap();
        let files: BTreeMap<_, _> = [(SLED, "a"), (PORT_MAP, "b"), ("sled.toml.d/10.toml", "c")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        write(dir.path(), &files).unwrap();
        let texts = config_dir::texts(dir.path());
        let there: BTreeMap<_, _> = texts.0.into_iter().map(|(name, text)| (name, text.unwrap())).collect();
        assert_eq!(there, files);
        assert_eq!(fs::read_to_string(at("port-map.toml.replaced")).unwrap(), "faulty");
        assert_eq!(fs::read_to_string(at("sled.toml.d/90-new.toml.replaced")).unwrap(), "new");
        assert_eq!(fs::metadata(at(PORT_MAP)).unwrap().permissions().mode() & 0o777, 0o644);
        for odd in ["../x", "sled.toml.d/../x.toml", "passwd"] {
            assert!(write(dir.path(), &[(odd.to_owned(), String::new())].into()).is_err(), "{odd}");
        }
    }
}
