//! Live page on a terminal: drawn in place, until a key or a signal ends it. What was on the screen before is there
//! again afterwards, and the cursor, and the keys as they were.

use super::{columns, is_plain};
use crate::clean;
use crate::screen::{Screen, width};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Stdin, Write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// The size of a terminal that does not tell its own.
const USUAL: (usize, usize) = (80, 24);

/// Something that happens while a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A key was pressed, with this byte.
    Key(u8),
    /// The terminal has another size.
    Resized,
    /// The page is to end: by `q`, or by a signal.
    End,
}

/// The terminal, while a page is shown on it.
#[derive(Debug)]
pub struct Live {
    before: Option<Termios>,
    keys: Option<AsyncFd<Stdin>>,
    resized: Signal,
    ends: [Signal; 3],
    /// The part that is shown of a page that has no room.
    part: usize,
}

impl Live {
    /// Take the terminal over.
    ///
    /// # Errors
    /// It is none, or no signal can be heard.
    pub fn begin() -> io::Result<Self> {
        let heard = |kind| signal(kind);
        let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = ends.map(heard);
        let (resized, ends) = (heard(SignalKind::window_change())?, [interrupt?, terminate?, hangup?]);
        let before = tcgetattr(io::stdin()).ok();
        let mut live = Self { before, keys: None, resized, ends, part: 0 };
        if let Some(before) = &live.before {
            let mut modes = before.clone();
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
            live.keys = keyboard();
        }
        write(BEGIN)?;
        Ok(live)
    }

    /// Show the next part of a page that has no room, with the next drawing; after the last, the first.
    pub fn turn(&mut self) {
        self.part = self.part.wrapping_add(1);
    }

    /// Draw a page anew, not blinking where nothing has changed: as much of it as there is room for, from its first line
    /// on unless it was turned, and a line below it.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub fn draw(&mut self, page: &str, below: &str) -> io::Result<()> {
        let rows = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0);
        let size = (columns(&io::stdout()).unwrap_or(USUAL.0), rows.unwrap_or(USUAL.1));
        let drawn = frame(&clean::page(page), &clean::page(below), size, self.part);
        // What moves the cursor is written whether or not there is colour.
        let plain = is_plain();
        let bare = |line: &str| if plain { anstream::adapter::strip_str(line).to_string() } else { line.to_owned() };
        // Behind a line that is full, the rest of it would be its last character.
        let rest = |line: &str| if width(line) < size.0 { REST_OF_LINE } else { "" };
        let lines = drawn.iter().map(|line| bare(line) + rest(line));
        write(&format!("{HOME}{}{REST_OF_SCREEN}", lines.collect::<Vec<_>>().join("\r\n")))
    }

    /// Wait until something happens. Cancel-safe: a key that is not taken stays, and a signal is heard again.
    pub async fn happening(&mut self) -> Happening {
        let [interrupt, terminate, hangup] = &mut self.ends;
        tokio::select! {
            _ = self.resized.recv() => Happening::Resized,
            _ = interrupt.recv() => Happening::End,
            _ = terminate.recv() => Happening::End,
            _ = hangup.recv() => Happening::End,
            key = key(self.keys.as_ref()) => match key {
                Some(b'q' | b'Q') | None => Happening::End,
                Some(key) => Happening::Key(key),
            },
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        _ = write(END);
        if let Some(before) = &self.before {
            _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Standard input, to be told of when there is something to read; `None` where the kernel does not tell.
#[expect(unsafe_code, reason = "tokio has no safe way to be told of a descriptor that others may close")]
fn keyboard() -> Option<AsyncFd<Stdin>> {
    // SAFETY: the descriptor is standard input, which nobody in this program closes.
    unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }.ok()
}

/// Wait for a key; `None` when there will be none any more. Without a keyboard, for ever.
async fn key(keys: Option<&AsyncFd<Stdin>>) -> Option<u8> {
    let Some(keys) = keys else { return std::future::pending().await };
    loop {
        let mut ready = keys.readable().await.ok()?;
        let mut byte = [0];
        match rustix::io::read(keys.get_ref(), &mut byte) {
            Ok(0) => return None,
            Ok(_) => return Some(byte[0]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => ready.clear_ready(),
            Err(_) => return None,
        }
    }
}

/// The lines of a page on a terminal of this size: those of one of the parts for which there is room, and the line below
/// in the last row.
fn frame(page: &str, below: &str, (columns, rows): (usize, usize), part: usize) -> Vec<String> {
    let screen = Screen::columns(columns);
    let mut lines: Vec<_> = screen.fold(page).lines().map(str::to_owned).collect();
    let below = screen.fold(below).lines().next().unwrap_or_default().to_owned();
    let room = rows.saturating_sub(1);
    if lines.len() > room {
        // Whatever part it is, whose page it is stands at the top.
        let (all, fit) = (lines.len(), room.saturating_sub(1));
        let each = fit.saturating_sub(1).max(1);
        let first = part % (all - 1).div_ceil(each).max(1) * each + 1;
        let rest = lines.split_off(1);
        lines.extend(rest.into_iter().skip(first - 1).take(each));
        let mark = match first {
            1 => format!("… {} more lines", all - fit),
            first => format!("… lines {} to {} of {all}", first + 1, first + lines.len() - 1),
        };
        lines.resize(fit, String::new());
        lines.extend(screen.fold(&mark).lines().next().filter(|_| room > 0).map(str::to_owned));
    }
    lines.resize(room, String::new());
    lines.push(below);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_as_many_lines_as_the_terminal_and_says_what_is_left_out() {
        let page = "headline\n  label  a long text that has no room in one line\nlast\n";
        assert_eq!(
            frame(page, "q leaves", (80, 5), 0),
            ["headline", "  label  a long text that has no room in one line", "last", "", "q leaves"]
        );
        assert_eq!(
            frame(page, "q leaves", (30, 4), 0),
            ["headline", "  label  a long text that has", "… 2 more lines", "q leaves"]
        );
        for (columns, rows) in [(20, 5), (40, 2), (80, 24), (4, 1)] {
            for part in 0..4 {
                let lines = frame(page, "q leaves", (columns, rows), part);
                assert!(lines.len() == rows && lines.iter().all(|line| width(line) <= columns), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_page_that_has_no_room_is_shown_part_by_part() {
        let page = "one\ntwo\nthree\nfour\nfive\n";
        let shown = |part| frame(page, "q leaves", (40, 4), part);
        assert_eq!(shown(0), ["one", "two", "… 3 more lines", "q leaves"]);
        assert_eq!(shown(1), ["one", "three", "… lines 3 to 3 of 5", "q leaves"]);
        assert_eq!(shown(3), ["one", "five", "… lines 5 to 5 of 5", "q leaves"]);
        assert_eq!(shown(4), shown(0));
        assert_eq!(frame(page, "", (40, 5), 1), ["one", "four", "five", "… lines 4 to 5 of 5", ""]);
        assert_eq!(frame(page, "", (40, 6), 1), ["one", "two", "three", "four", "five", ""], "it has room");
    }
}
