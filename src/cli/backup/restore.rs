//! `sledctl restore`: what a backup holds is put back. Everything is looked at before anything is touched; what is
//! replaced stays beside it; after a crash the same command does the rest.

use super::manifest::{Files, Manifest};
use super::places::{LEDGERS, Places, is_supervised};
use super::plan::{CONFIGURATION, Here, LEDGER, MARK, Objection, REMEMBERED, Step, Steps, TICKETS, TLS, Wish, plan};
use crate::cli::archive;
use crate::cli::consent::consents;
use crate::cli::failure::Failure;
use crate::cli::print::{Output, print};
use crate::config::{Configuration, Texts};
use crate::config_dir;
use crate::files::{make_dir, replace, set_mode};
use crate::region::Mark;
use crate::store::in_force;
use crate::store::mark::{MEMORY_MODE, memory};
use crate::table::{Table, Tone};
use crate::wire::{Error, Refusal};
use clap::Args;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, chown};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes that a backup holds.
const BACKUP_LIMIT_BYTES: u64 = 256 << 20;

/// Put back what a backup holds, with the supervisor stopped: configuration, keys, and the records that are lost here. What
/// changes is shown first. Records that are newer here are never put back, and another sled's are not either.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreCommand {
    /// The backup.
    file: PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Show what would be done, and do nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Even if the backup is another sled's: this machine becomes that sled.
    #[arg(long)]
    yes_other_sled: bool,
    /// Put back the configuration and its keys, and none of the records.
    #[arg(long)]
    configuration_only: bool,
    /// The directory of the configuration.
    #[arg(long, hide = true, value_name = "DIR", default_value = config_dir::DEFAULT)]
    dir: PathBuf,
    /// Where the kernel tells of processes.
    #[arg(long, hide = true, value_name = "DIR", default_value = "/proc")]
    proc: PathBuf,
}

impl RestoreCommand {
    /// Show what changes, and put it back.
    pub(in crate::cli) fn run(&self, output: Output) -> Result<bool, Failure> {
        // The keys are nobody else's to read, at no moment.
        umask(Mode::from_bits_truncate(0o077));
        let (manifest, files) = self.open()?;
        let config = configuration(&files, &self.dir)?;
        let places = Places::of(&config, &self.dir, &memory());
        let steps = self.planned(&manifest, &files, &places)?;
        if steps.iter().all(|(_, step)| matches!(step, Step::Same | Step::Keep(_))) {
            print(output, &told(&steps), |_| format!("{}everything is as the backup has it\n", text(&steps)))?;
            return Ok(true);
        }
        let made = format!("of {}, made {:.0}\n\n{}", manifest.sled, manifest.made, text(&steps));
        if self.dry_run {
            print(output, &told(&steps), |_| made)?;
            return Ok(true);
        }
        if !consents(self.yes, output, &made, "put this back?")? {
            return Ok(true);
        }
        // Time has passed since it was looked at.
        if self.planned(&manifest, &files, &places)? != steps {
            let remedy = "see what has changed: sledctl restore FILE --dry-run";
            return Err(Failure::refused(Refusal::BackupUnsettled, "what is here has changed meanwhile", remedy));
        }
        for (name, step) in &steps {
            carry_out(&places, &config, name, step).map_err(|why| {
                let remedy = "mend that, and say it again: what is done stays done, and the rest follows";
                Failure::refused(Refusal::NotWritten, format!("{name} is not put back: {why}"), remedy)
            })?;
        }
        print(output, &told(&steps), |_| {
            "it is put back; now: systemctl start sledd.socket sledd.service\n".to_owned()
        })?;
        Ok(true)
    }

    fn open(&self) -> Result<(Manifest, Files), Failure> {
        let unusable = |why: String| {
            let remedy = "name a file that sledctl backup has made";
            Failure::refused(Refusal::BackupUnusable, format!("{}: {why}", self.file.display()), remedy)
        };
        let files = archive::read(&self.file, BACKUP_LIMIT_BYTES).map_err(|why| unusable(why.to_string()))?;
        Manifest::check(files).map_err(unusable)
    }

    fn planned(&self, manifest: &Manifest, files: &Files, places: &Places) -> Result<Steps, Failure> {
        if let Some(odd) = files.keys().find(|name| places.path(name).is_none()) {
            let remedy = "name a backup that this version of sledctl has made";
            return Err(Failure::refused(Refusal::BackupUnusable, format!("no sled has a file {odd:?}"), remedy));
        }
        let found = places.read()?;
        let marked = [MARK, REMEMBERED].into_iter().find_map(|name| Mark::parse(found.get(name)?).ok());
        let named = || in_force::now(&self.dir).ok().map(|choice| choice.config.sled.name);
        let here = Here {
            sled: marked.map(|mark| mark.sled).or_else(named),
            files: found,
            mounted: places.mounted,
            supervised: is_supervised(&self.proc)?,
        };
        let (other_sled, configuration_only) = (self.yes_other_sled, self.configuration_only);
        plan(manifest, files, &here, Wish { other_sled, configuration_only }).map_err(|why| refused(&why))
    }
}

/// Say every reason against it, under the code of the first.
fn refused(objections: &[Objection]) -> Failure {
    let code = objections.first().map_or(Refusal::Failed, |first| first.code);
    let messages: Vec<_> = objections.iter().map(|why| why.message.as_str()).collect();
    let mut remedies: Vec<_> = objections.iter().map(|why| why.remedy).collect();
    remedies.dedup();
    Failure::Refused(Error::new(code, messages.join("; "), remedies.join("; ")))
}

/// Read the backup's own configuration: it says where the rest goes.
fn configuration(files: &Files, dir: &Path) -> Result<Configuration, Failure> {
    let text = |text: &Vec<u8>| String::from_utf8(text.clone()).map_err(|_| "is no text".to_owned());
    let own = files.iter().filter_map(|(name, file)| Some((name.strip_prefix(CONFIGURATION)?.to_owned(), text(file))));
    config_dir::read_texts(&Texts(own.collect()), dir)
        .map_err(|faults| Failure::Refused(Error::config_invalid(&faults)))
}

/// Put one file where it belongs, durably; what is there stays beside it.
fn carry_out(places: &Places, config: &Configuration, name: &str, step: &Step) -> io::Result<()> {
    let (Step::New(text) | Step::Replace(text)) = step else { return Ok(()) };
    let path = places.path(name).ok_or(io::ErrorKind::NotFound)?;
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    folder(&parent, name)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if matches!(step, Step::Replace(_)) && path.exists() {
        replace(&parent, &format!("{file}.replaced"), &fs::read(&path)?)?;
    }
    if name == LEDGER {
        return LEDGERS.iter().try_for_each(|file| replace(&parent, file, text));
    }
    replace(&parent, &file, text)?;
    if name.starts_with(CONFIGURATION) {
        set_mode(&path, 0o644)?;
    }
    if name.starts_with(TLS) {
        set_mode(&path, 0o400)?;
        let user = User::from_name(&config.sled.downstairs.user).ok().flatten();
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
    }
    Ok(())
}

/// Make the directory of a file, if there is none.
fn folder(parent: &Path, name: &str) -> io::Result<()> {
    if parent.is_dir() {
        return Ok(());
    }
    match name {
        _ if name.starts_with(TICKETS) => {
            parent.parent().filter(|own| !own.is_dir()).map_or(Ok(()), |own| make_dir(own, 0o700))?;
            make_dir(parent, 0o700)
        }
        _ if name.starts_with("memory/") => make_dir(parent, MEMORY_MODE),
        _ if name.starts_with("disk/") => make_dir(parent, 0o700),
        _ => fs::create_dir_all(parent).and_then(|()| set_mode(parent, 0o755)),
    }
}

/// Describe the steps as they are told.
fn told(steps: &Steps) -> Vec<serde_json::Value> {
    let one = |(name, step): &(String, Step)| {
        let (what, why) = words(step);
        serde_json::json!({ "file": name, "step": what, "why": why })
    };
    steps.iter().map(one).collect()
}

fn words(step: &Step) -> (&'static str, Option<&'static str>) {
    match step {
        Step::Same => ("same", None),
        Step::New(_) => ("new", None),
        Step::Replace(_) => ("replaced", None),
        Step::Keep(why) => ("kept", Some(why)),
    }
}

fn text(steps: &Steps) -> String {
    let mut table = Table::new(&["FILE", "WHAT", ""]);
    for (name, step) in steps {
        let (what, why) = words(step);
        let tone = if matches!(step, Step::New(_) | Step::Replace(_)) { Tone::Warning } else { Tone::Faint };
        let lost = name.starts_with(TICKETS) && tone == Tone::Warning;
        let lets_in = "nobody is let in before he has a ticket, or: sledctl volume allow";
        let why = why.unwrap_or(if lost { lets_in } else { "" });
        table.row(vec![crate::table::plain(name), (what.to_owned(), tone), crate::table::plain(why)]);
    }
    table.text()
}
