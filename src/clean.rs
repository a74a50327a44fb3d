//! Texts of strangers, made harmless: an escape sequence in a process's arguments moves the cursor of whoever reads
//! of it, and an override of the direction of writing shows him something else than there is. A character that is not
//! to be seen is written as what it is. Used twice: where such a text becomes a fact, and where anything is printed.
//! Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The sequences that colour a text, and nothing else: tables and headings are painted with them.
const PAINT: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];

/// Whether a character is shown as itself and changes nothing around it: neither a control character,
/// nor one of format, nor one that joins others.
fn is_plain(c: char) -> bool {
    if c.is_ascii() { !c.is_ascii_control() } else { c.escape_debug().eq([c]) }
}

/// Clean a text of one line.
pub fn line(text: &str) -> Cow<'_, str> {
    written_out(text, |_| None, |out, c| out.extend(c.escape_unicode()))
}

/// Clean a text of several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    let kept = |rest: &str| rest.starts_with(['\n', '\t']).then_some(1);
    written_out(text, kept, |out, c| out.extend(c.escape_unicode()))
}

/// Clean what is shown to a person: lines, painted.
pub fn page(text: &str) -> Cow<'_, str> {
    let kept = |rest: &str| {
        if rest.starts_with(['\n', '\t']) {
            Some(1)
        } else {
            PAINT.iter().find(|paint| rest.starts_with(**paint)).map(|paint| paint.len())
        }
    };
    written_out(text, kept, |out, c| out.extend(c.escape_unicode()))
}

/// Clean JSON, which means the same as before. Such characters occur in it within strings alone.
pub fn json(text: &str) -> Cow<'_, str> {
    let kept = |rest: &str| rest.starts_with(['\n', '\t', '\r']).then_some(1);
    written_out(text, kept, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// Clean YAML, which means the same as before where such a character stands between quotes.
pub fn yaml(text: &str) -> Cow<'_, str> {
    let kept = |rest: &str| rest.starts_with('\n').then_some(1);
    written_out(text, kept, |out, c| {
        let number = u32::from(c);
        _ = if number > 0xffff { write!(out, "\\U{number:08x}") } else { write!(out, "\\u{number:04x}") };
    })
}

/// Write each character of the text that is not plain in another way, but for those of which so many bytes are kept
/// as they are.
fn written_out(text: &str, kept: impl Fn(&str) -> Option<usize>, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    // Texts are like this nearly always, and a body of JSON is long: bytes are looked at sooner than characters.
    if text.bytes().all(|byte| byte == b'\n' && kept("\n").is_some() || matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut odd = text.char_indices().filter(|(at, c)| !is_plain(*c) && kept(&text[*at..]).is_none());
    let Some((first, _)) = odd.next() else { return text.into() };
    let (before, mut rest) = text.split_at(first);
    let mut out = before.to_owned();
    while let Some(c) = rest.chars().next() {
        let own = if is_plain(c) { Some(c.len_utf8()) } else { kept(rest) };
        let (now, next) = rest.split_at(own.unwrap_or(c.len_utf8()));
        match own {
            Some(_) => out.push_str(now),
            None => write(&mut out, c),
        }
        rest = next;
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Tone;
    use proptest::prelude::*;

    #[test]
    fn what_moves_or_hides_is_written_out_and_the_rest_is_left() {
        for (text, expected) in [
            ("dd of=/crucible/x \"a\\b\" 'c'", "dd of=/crucible/x \"a\\b\" 'c'"),
            ("Grüße, …: 汉字 \u{e9}", "Grüße, …: 汉字 \u{e9}"),
            ("\x1b[2J\x1b]0;title\x07x", "\\u{1b}[2J\\u{1b}]0;title\\u{7}x"),
            ("a\nb\r\tc\0", "a\\u{a}b\\u{d}\\u{9}c\\u{0}"),
            ("\u{9b}31m \u{7f}", "\\u{9b}31m \\u{7f}"),
            (
                "a\u{202e}txt.exe\u{2066}\u{200f}\u{200b}\u{feff}",
                "a\\u{202e}txt.exe\\u{2066}\\u{200f}\\u{200b}\\u{feff}",
            ),
            ("\u{2028}e\u{301}\u{e0041}", "\\u{2028}e\\u{301}\\u{e0041}"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\n\tb\x1b[0m"), "a\n\tb\\u{1b}[0m");
    }

    #[test]
    fn our_own_paint_stays_and_nothing_like_it() {
        for tone in [Tone::Plain, Tone::Well, Tone::Warning, Tone::Bad, Tone::Faint, Tone::Heading] {
            let painted = tone.paint("word\nword");
            assert_eq!(page(&painted), painted);
        }
        assert_eq!(page("\x1b[8mhidden\x1b[2J\x1b[31;8m"), "\\u{1b}[8mhidden\\u{1b}[2J\\u{1b}[31;8m");
    }

    proptest! {
        #[test]
        fn nothing_that_is_printed_is_a_control_character(text in any::<String>()) {
            prop_assert!(line(&text).chars().all(is_plain));
            prop_assert!(lines(&text).chars().all(|c| is_plain(c) || matches!(c, '\n' | '\t')));
        }

        #[test]
        fn json_means_the_same_as_before(text in any::<String>()) {
            let written = serde_json::to_string_pretty(&[&text]).unwrap();
            let cleaned = json(&written);
            prop_assert!(cleaned.chars().all(|c| is_plain(c) || c == '\n'));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&cleaned).unwrap(), [text]);
        }
    }
}
