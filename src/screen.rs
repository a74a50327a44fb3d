//! Screen that a page is written for: how many columns it has, and pages fitted to it: lines folded at words, with
//! what follows hanging under what it belongs to. Where there is no screen, everything is whole. Pure.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The mark of what was cut.
const CUT: char = '…';
/// The indentation of what follows a line that has none.
const HANGING: usize = 4;
/// The introduction of a remedy, behind which what follows hangs.
const ARROW: &str = "-> ";

/// The screen that a page is written for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// Its columns; without them nothing is shortened, left out or folded.
    pub columns: Option<usize>,
    /// Whether everything is wanted that there is, also what is left out of the usual page.
    pub wide: bool,
}

impl Screen {
    /// No screen at all: a file or a pipe.
    pub const NONE: Self = Self { columns: None, wide: false };

    /// A screen of so many columns.
    pub fn columns(columns: usize) -> Self {
        Self { columns: Some(columns), wide: false }
    }

    /// Fold every line of a page that is longer than the screen is wide. What follows hangs under the line's text;
    /// behind a label and two blanks, under what stands there.
    pub fn fold<'a>(&self, page: &'a str) -> Cow<'a, str> {
        let Some(columns) = self.columns else { return page.into() };
        if page.lines().all(|line| width(line) <= columns) {
            return page.into();
        }
        page.split_inclusive('\n').map(|line| folded(line, columns)).collect::<String>().into()
    }
}

/// Measure a text as a terminal shows it: wide characters are two columns, and paint is none.
pub fn width(text: &str) -> usize {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.len();
    }
    UnicodeWidthStr::width(anstream::adapter::strip_str(text).to_string().as_str())
}

/// Cut a text that is longer than this, with a mark of that.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    let mut out: String = beginning(text, columns.saturating_sub(1)).trim_end().into();
    if columns > 0 {
        out.push(CUT);
    }
    out.into()
}

/// Cut a text that is longer than this in its middle: names that begin alike are told apart by their ends.
pub fn cut_within(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    let (before, behind) = (columns / 2, columns.saturating_sub(1) / 2);
    let mut end = text.len();
    while let Some(c) = text[..end].chars().next_back()
        && width(&text[end - c.len_utf8()..]) <= behind
    {
        end -= c.len_utf8();
    }
    let mark = if columns > 0 { CUT.to_string() } else { String::new() };
    format!("{}{mark}{}", beginning(text, before), &text[end..]).into()
}

/// The part at the beginning of a text that has room in so many columns.
pub fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// Break a text at its words, or within a word that has no room in a line of its own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let blank = if lines == [""] { "" } else { " " };
        add(&mut lines, blank, word, columns.max(1), 0);
    }
    lines
}

/// Add a word and the blanks before it: in the same line if there is room, else in the next.
fn add(lines: &mut Vec<String>, blanks: &str, word: &str, columns: usize, hanging: usize) {
    let Some(line) = lines.last_mut() else { return };
    if width(line) + blanks.len() + width(word) <= columns {
        *line += blanks;
        *line += word;
        return;
    }
    // Behind a label the word begins in the label's own line.
    let mut next = if width(line) > hanging { " ".repeat(hanging) } else { lines.pop().unwrap_or_default() + blanks };
    let mut filled = width(&next);
    for piece in pieces(word) {
        let wide = width(piece);
        if filled + wide > columns && filled > hanging {
            lines.push(std::mem::replace(&mut next, " ".repeat(hanging)));
            filled = hanging;
        }
        next += piece;
        filled += wide;
    }
    lines.push(next);
}

/// The pieces of a word that are not broken: its characters, and the sequences that paint it.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if first == '\x1b' { rest.find('m').map_or(rest.len(), |at| at + 1) } else { first.len_utf8() };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// Fold a line.
fn folded(line: &str, columns: usize) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    if width(text) <= columns {
        return line.to_owned();
    }
    let hanging = hanging(&anstream::adapter::strip_str(text).to_string(), columns);
    let indent = text.len() - text.trim_start_matches(' ').len();
    let (mut lines, mut rest) = (vec![text[..indent.min(columns / 2)].to_owned()], &text[indent..]);
    let mut blanks = "";
    loop {
        let word = rest.find(' ').unwrap_or(rest.len());
        add(&mut lines, blanks, &rest[..word], columns, hanging);
        rest = &rest[word..];
        let after = rest.trim_start_matches(' ');
        if after.is_empty() {
            return lines.join("\n") + end;
        }
        blanks = &rest[..rest.len() - after.len()];
        rest = after;
    }
}

/// The column under which the rest of a line hangs.
fn hanging(line: &str, columns: usize) -> usize {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    let value = text.find("  ").map(|at| line.len() - text[at..].trim_start().len());
    let value = value.map(|at| width(&line[..at])).filter(|at| *at <= columns / 2);
    let usual = match indent {
        _ if text.starts_with(ARROW) => indent + ARROW.len(),
        0 => HANGING,
        indent => indent,
    };
    value.unwrap_or(usual).min(columns / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Tone;
    use proptest::prelude::*;

    const PAGE: &str = "blocking PORT_TAKEN  port 3830, for 3 min\n    another process listens on port 3830, where \
                        still-fawn-0 is to: nc (4711)\n    -> systemctl stop UNIT, or kill PID\n";

    #[test]
    fn a_page_is_whole_where_there_is_no_screen_and_folded_where_it_is_narrow() {
        assert_eq!(Screen::NONE.fold(PAGE), PAGE);
        assert_eq!(Screen::columns(200).fold(PAGE), PAGE);
        assert_eq!(
            Screen::columns(40).fold(PAGE),
            "blocking PORT_TAKEN  port 3830, for 3\n    min\n    another process listens on port\n    3830, where \
             still-fawn-0 is to: nc\n    (4711)\n    -> systemctl stop UNIT, or kill PID\n"
        );
        assert_eq!(Screen::columns(20).fold("    -> systemctl stop UNIT\n"), "    -> systemctl\n       stop UNIT\n");
    }

    #[test]
    fn what_follows_hangs_under_the_value_of_its_label() {
        let line = "  network   enx00e04ca81110 up, 2500 Mbit/s, USB 5000 Mbit/s; br0 192.168.4.189\n";
        assert_eq!(
            Screen::columns(40).fold(line),
            "  network   enx00e04ca81110 up, 2500\n            Mbit/s, USB 5000 Mbit/s; br0\n            \
             192.168.4.189\n"
        );
    }

    #[test]
    fn what_is_painted_is_as_wide_as_what_it_says() {
        let painted = Tone::Bad.paint("not well: 2 blocking");
        assert_eq!(width(&painted), 20);
        assert_eq!(Screen::columns(20).fold(&painted), painted);
        assert_eq!(width("汉字é"), 5);
        assert_eq!((cut("汉字 x", 4).as_ref(), cut("abc", 3).as_ref(), cut("abcd", 0).as_ref()), ("汉…", "abc", ""));
    }

    #[test]
    fn a_word_that_has_no_room_stays_behind_its_label() {
        let line = "  port map  sha256:4a44dc15364204a80fe80e9039455cc\n";
        assert_eq!(
            Screen::columns(40).fold(line),
            "  port map  sha256:4a44dc15364204a80fe80\n            e9039455cc\n"
        );
    }

    #[test]
    fn names_are_cut_within() {
        let cut = |columns| cut_within("still-fawn-0", columns).into_owned();
        assert_eq!(
            [cut(12), cut(11), cut(10), cut(3), cut(1), cut(0)],
            ["still-fawn-0", "still…awn-0", "still…wn-0", "s…0", "…", ""]
        );
        assert_eq!(cut_within("汉字汉字", 4), "汉…");
    }

    #[test]
    fn words_are_broken_where_they_have_no_room() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("sha256:abcdef x", 6), ["sha256", ":abcde", "f x"]);
        assert_eq!(wrap("", 6), [""]);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen_and_nothing_is_lost(
            page in "( {0,9}[a-z汉 ]{0,60}\n){0,4}", columns in 4..90_usize
        ) {
            let folded = Screen::columns(columns).fold(&page).into_owned();
            prop_assert!(folded.lines().all(|line| width(line) <= columns), "{folded}");
            let said = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(said(&folded), said(&page));
        }
    }
}
