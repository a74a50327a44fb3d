//! Texts of `sledctl install`, and its questions on the screen.

use super::look::{Candidate, Found};
use super::{InstallCommand, Installed, reboot};
use crate::appliance::install::plan::{Configuration, Wish};
use crate::cli::failure::Failure;
use crate::cli::print::{Output, or_dash};
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::{Table, Tone, column, plain};
use crate::terminal;
use crate::wire::Refusal;
use std::io;
use std::path::PathBuf;

/// Write the disks as a table, and why some are none to install on.
pub(super) fn list(found: &Found, screen: Screen) -> String {
    let mut table = Table::new(&[
        column("DISK"),
        column("MODEL").cut(8),
        column("SERIAL"),
        column("SIZE"),
        column("WHAT IS ON IT").wrap(20),
        column("INSTALL").wrap(16),
    ]);
    for Candidate { disk, hindrances } in &found.disks {
        let block = &disk.block;
        let may = match hindrances.as_slice() {
            [] if disk.holds.has_regions() => ("with --keep-regions or --erase-regions".into(), Tone::Warning),
            [] => ("yes".into(), Tone::Well),
            why => (format!("no: {}", why.join("; ")), Tone::Faint),
        };
        let (model, serial) = (or_dash(block.model.as_ref()), or_dash(block.serial.as_ref()));
        let (path, size) = (block.path.clone(), spoken(block.size));
        let holds = disk.holds.said();
        table.row(vec![plain(path), plain(model), plain(serial), plain(size), plain(holds), may]);
    }
    let from = match &found.no_source {
        Some(why) => Tone::Warning.paint(why),
        None => format!("Installed from {}; next: sledctl install DISK", found.path.display()),
    };
    format!("{}\n{from}\n", table.on(screen))
}

/// Say which disk it is, and what is on it.
pub(super) fn about(candidate: &Candidate) -> String {
    let disk = &candidate.disk;
    let (block, serial) = (&disk.block, or_dash(disk.block.serial.as_ref()));
    let model = block.model.as_deref().unwrap_or("no model told");
    format!("{}: {model}, serial {serial}, {}\non it: {}", block.path, spoken(block.size), disk.holds.said())
}

/// Write what was done, and what comes next.
pub(super) fn done(installed: &Installed) -> String {
    let configuration = match installed.configuration {
        Configuration::Stick => "with the configuration of the stick",
        Configuration::Disk => "with the configuration that was there",
        Configuration::None => "without a configuration: its screen asks for one",
    };
    let kept = match (installed.regions_kept, installed.memory_kept) {
        (true, true) => "\nThe regions and what the sled remembers are kept.",
        (true, false) => "\nThe regions are kept; what the sled remembered is forgotten.",
        _ => "",
    };
    let first = match &installed.firmware {
        None => "The firmware starts this disk first from now on, also if the stick is left in.".into(),
        Some(why) => {
            format!("The firmware decides which disk it starts ({why}): with the stick left in it may be that one.")
        }
    };
    format!(
        "Installed on {}, written and compared, {configuration}.{kept}\n{first}\nPull the stick, then: systemctl reboot\n",
        installed.disk
    )
}

/// Ask on the screen for a disk, and for what becomes of the regions on it; install, and reboot.
pub(super) fn on_screen(command: &InstallCommand, found: &Found, output: Output) -> Result<bool, Failure> {
    output.say(&list(found, output.screen))?;
    let path = answer("Install on which disk? Type its path; nothing goes back:")?;
    if path.is_empty() {
        return Ok(true);
    }
    let path = PathBuf::from(path);
    let has_regions = found.named(&path).is_some_and(|one| one.disk.holds.has_regions() && one.hindrances.is_empty());
    let wish = if has_regions { regions()? } else { Wish::Unsaid };
    match command.install(found, &path, wish, output) {
        Ok(_) => reboot().map(|()| true),
        Err(failure) => {
            let error = failure.error();
            output.say(&format!("{}\n    {}\n", Tone::Bad.paint(&error.message), error.remedy))?;
            answer("Press Enter to go back.").map(|_| false)
        }
    }
}

/// Ask what becomes of regions.
fn regions() -> Result<Wish, Failure> {
    Ok(match answer("Regions lie on it. Type keep or erase; nothing goes on without:")?.as_str() {
        "keep" => Wish::Keep,
        "erase" => Wish::Erase,
        _ => Wish::Unsaid,
    })
}

fn answer(question: &str) -> Result<String, Failure> {
    terminal::out(&format!("{question} "))?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Err(Failure::refused(Refusal::Incomplete, "the answers ended", "answer every question"));
    }
    Ok(line.trim().to_owned())
}
