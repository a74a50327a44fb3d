//! `sledctl region show --extents`: a map of a region's extents, a character each.

use crate::api::Operation;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::view::View;
use crate::names::RegionName;
use crate::screen::Screen;
use crate::size::spoken;
use crate::table::Tone;
use crate::wire::{ExtentDetail, ExtentState, Extents};
use serde::Serialize;
use std::fmt::Write as _;

/// Extents of a line, where the screen does not say otherwise.
const LINE: usize = 64;
/// Columns before the first of a line.
const MARGIN: usize = 8;

/// Map of a region's extents.
pub(super) struct Map<'a>(pub(super) &'a RegionName);

impl View for Map<'_> {
    type Answer = Extents;

    async fn ask(&self, client: &Client) -> Result<Extents, Failure> {
        client.ask(&Operation::ShowExtents { region: self.0.clone() }).await
    }

    fn body<'a>(&self, extents: &'a Extents) -> impl Serialize + 'a {
        extents
    }

    fn names(&self, extents: &Extents) -> Vec<String> {
        vec![extents.region.to_string()]
    }

    fn text(&self, extents: &Extents, screen: Screen) -> String {
        text(extents, screen)
    }

    fn is_well(&self, extents: &Extents) -> bool {
        !extents.extents.iter().any(|one| matches!(one.state, ExtentState::Unreadable | ExtentState::Rotten))
    }
}

fn text(told: &Extents, screen: Screen) -> String {
    let name = Tone::Heading.paint(&told.region.to_string());
    let (count, size) = (told.extents.len(), spoken(told.extent_bytes));
    let mut out = format!("{name}: {count} extents of {size}, which take {}\n\n", spoken(told.allocated_bytes));
    _ = writeln!(out, "  highest    generation {}, flush {}", told.generation, told.flush);
    _ = writeln!(out, "  counted    {} bonus syncs, {} defragmentations", told.bonus_syncs, told.defragmentations);
    let hot = told.extents.iter().filter(|one| one.hot).count();
    _ = writeln!(out, "  hot        {hot} written within the last minute, in capitals");
    for state in ExtentState::ALL.into_iter().rev() {
        let count = told.extents.iter().filter(|one| one.state == state).count();
        let (mark, tone, means) = sign(state);
        _ = writeln!(out, "  {}          {count} {means}", tone.paint(&mark.to_string()));
    }
    out.push('\n');
    let line = screen.columns.map_or(LINE, |columns| (columns.saturating_sub(MARGIN) / 8 * 8).clamp(8, LINE));
    for (index, extents) in told.extents.chunks(line).enumerate() {
        let marks: String = extents.iter().map(painted).collect();
        _ = writeln!(out, "{:>6}  {marks}", index * line);
    }
    out + &troubles(told)
}

/// What is wrong with each extent of which that can be told.
fn troubles(told: &Extents) -> String {
    let mut out = String::new();
    for (number, one) in told.extents.iter().enumerate() {
        let rotten = (one.rotten > 0).then(|| format!("{} block(s) are not what their checksums say", one.rotten));
        let what: Vec<_> = rotten.into_iter().chain(one.unreadable.clone()).collect();
        if !what.is_empty() {
            _ = writeln!(out, "\n  extent {number}: {}", crate::clean::line(&what.join("; ")));
        }
    }
    out
}

fn painted(one: &ExtentDetail) -> String {
    let (mark, tone, _) = sign(one.state);
    tone.paint(&if one.hot { mark.to_ascii_uppercase() } else { mark }.to_string())
}

/// The character of a state, and what it means.
fn sign(state: ExtentState) -> (char, Tone, &'static str) {
    match state {
        ExtentState::Untouched => ('.', Tone::Faint, "never written"),
        ExtentState::Clean => ('c', Tone::Well, "clean"),
        ExtentState::Dirty => ('d', Tone::Warning, "dirty: written since the last flush"),
        ExtentState::Rotten => ('r', Tone::Bad, "rotten: not what their checksums say, by the last scrub"),
        ExtentState::Unreadable => ('u', Tone::Bad, "unreadable, now or when they were last scrubbed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// What is left where nothing is coloured.
    fn unpainted(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let plain = parts.next().unwrap_or_default().to_owned();
        parts.fold(plain, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn a_map_has_a_character_for_each_extent_and_says_what_is_wrong() {
        let one = |state, hot| ExtentDetail {
            state,
            hot,
            modified: None,
            generation: 3,
            flush: 9,
            allocated_bytes: 4096,
            rotten: u64::from(state == ExtentState::Rotten) * 2,
            unreadable: (state == ExtentState::Unreadable).then(|| "EIO".into()),
        };
        let mut extents = vec![one(ExtentState::Untouched, false); 70];
        extents[1] = one(ExtentState::Clean, false);
        extents[2] = one(ExtentState::Clean, true);
        extents[3] = one(ExtentState::Dirty, true);
        extents[65] = one(ExtentState::Rotten, false);
        extents[66] = one(ExtentState::Unreadable, false);
        let told = Extents {
            region: "a-0".parse().unwrap(),
            uuid: uuid::Uuid::nil(),
            as_of: Timestamp::UNIX_EPOCH,
            extent_bytes: 128 << 20,
            allocated_bytes: 3 << 30,
            generation: 3,
            flush: 9,
            bonus_syncs: 5,
            defragmentations: 1,
            extents,
        };
        let text = unpainted(&text(&told, Screen::NONE));
        for line in [
            "a-0: 70 extents of 128 MiB, which take 3 GiB",
            "  highest    generation 3, flush 9",
            "  counted    5 bonus syncs, 1 defragmentations",
            "  hot        2 written within the last minute, in capitals",
            "  c          2 clean",
            &format!("     0  .cCD{}", ".".repeat(60)),
            "    64  .ru...",
            "  extent 65: 2 block(s) are not what their checksums say",
            "  extent 66: EIO",
        ] {
            assert!(text.lines().any(|told| told == line), "{line:?} is not in\n{text}");
        }
        let narrow = unpainted(&super::text(&told, Screen::columns(30)));
        assert!(narrow.contains("\n    16  ................\n"), "{narrow}");
        assert!(!Map(&told.region).is_well(&told));
    }
}
