//! `sledctl config restore`: a configuration that was in force comes back. The supervisor may not write to /etc, so
//! the files are written here, each whole and durably; what they replace stays beside them.

use super::diff::{difference, text};
use super::history::configurations;
use super::takeover::{Takeover, operator};
use crate::api::{ConfigNumber, Operation};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::config::{FRAGMENTS, Kept};
use crate::config_dir;
use crate::files::{make_dir, replace, set_mode, sync_dir};
use crate::wire::{Difference, Error, Refusal};
use clap::Args;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Write the files of one that was in force, and take them over as `reload` does. What they replace
/// stays beside each, as NAME.replaced.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// Its number, as `config history` lists it.
    number: u64,
    /// As `reload --yes`.
    #[arg(long)]
    yes: bool,
}

impl Restore {
    /// Write the files, and have them taken over; `Ok(false)` if that needs a restart.
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<bool, Failure> {
        let (number, yes) = (self.number, self.yes);
        let all = configurations(client).await?;
        let kept: Kept = client.ask(&Operation::ShowConfiguration { number: ConfigNumber(number) }).await?;
        let found = difference(client, Some(number)).await?;
        if output.is_text() {
            print(output, &Difference { refused: None, ..found.clone() }, text)?;
        }
        if let Some(why) = found.refused.clone().filter(|_| !yes) {
            let remedy = format!("if that is meant: sledctl config restore {number} --yes");
            return Err(Failure::Refused(Error { remedy, ..why }));
        }
        write(Path::new(&all.dir), &kept.files).map_err(|why| {
            let message = format!("the files in {} are not those of number {number}: {why}", all.dir);
            let remedy = "nothing was taken over; make it writable (sudo), and say it again: what was replaced is \
                          beside each file, as NAME.replaced";
            Failure::refused(Refusal::NotWritten, message, remedy)
        })?;
        if found.needs_restart() {
            let text = "the files are written, and are taken over by: systemctl restart sledd\n";
            print(output, &found, |_| text.to_owned())?;
            return Ok(false);
        }
        let by = format!("sledctl config restore {number}, by {}", operator());
        Takeover { yes, unattended: false, by }.run(client, output).await
    }
}

/// Put files in the place of those of a configuration's directory. A fragment that is not among them is
/// one no more.
fn write(dir: &Path, files: &BTreeMap<String, String>) -> io::Result<()> {
    if let Some(odd) = files.keys().find(|name| !config_dir::is_file_name(name)) {
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

/// Keep what is there beside it, durably.
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

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".replaced");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PORT_MAP, SLED};

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
