//! Columns for a terminal: as wide as their widest cell, coloured by meaning. Where they have no room beside each
//! other, identities are shortened, then columns are left out, the least important first, and then texts are wrapped
//! or cut within their column. Pure.

use crate::clean;
use crate::screen::{self, Screen};
use anstyle::{AnsiColor, Style};
use std::cmp::Reverse;

/// The meaning of a cell, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    Plain,
    /// A thing is as it should be.
    Well,
    /// Somebody should look.
    Warning,
    /// A thing does not work.
    Bad,
    /// A thing is less important than what is beside it.
    Faint,
    /// A heading.
    Heading,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Well => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Heading => Style::new().bold(),
        }
    }

    /// A text in this tone.
    pub fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// A cell.
pub type Cell = (String, Tone);

/// A plain cell.
pub fn plain(text: impl ToString) -> Cell {
    (text.to_string(), Tone::Plain)
}

/// The blanks between two columns.
const GAP: usize = 2;
/// The characters of an identity by which people tell it from others.
const SHORT_ID: usize = 8;
/// The least columns to which a cell is cut that is not to be.
const LEAST: usize = 3;

/// The treatment of cells that have no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The cell is not to be shortened.
    Whole,
    /// The beginning is enough to know it by.
    Id,
    /// The cell is cut, to no fewer columns than these.
    Cut(usize),
    /// The cell is wrapped within its column, of no fewer columns than these.
    Wrap(usize),
}

/// A column: its heading, and what becomes of it where there is no room.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    /// How soon it is left out; 0: never.
    rank: u8,
    fit: Fit,
    wide: bool,
}

/// A column that is never left out nor shortened.
pub const fn column(heading: &'static str) -> Column {
    Column { heading, rank: 0, fit: Fit::Whole, wide: false }
}

impl Column {
    /// The same, left out where there is no room: before those of lower rank.
    pub const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// The same, of identities that are known by their first characters.
    pub const fn id(self) -> Self {
        Self { fit: Fit::Id, ..self }
    }

    /// The same, cut to no fewer columns than these.
    pub const fn cut(self, least: usize) -> Self {
        Self { fit: Fit::Cut(least), ..self }
    }

    /// The same, wrapped within no fewer columns than these.
    pub const fn wrap(self, least: usize) -> Self {
        Self { fit: Fit::Wrap(least), ..self }
    }

    /// The same, shown only where everything is wanted.
    pub const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

impl From<&'static str> for Column {
    fn from(heading: &'static str) -> Self {
        column(heading)
    }
}

/// A table with a line of headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns and no row.
    pub fn new<C: Into<Column> + Copy>(columns: &[C]) -> Self {
        let columns: Vec<Column> = columns.iter().map(|column| (*column).into()).collect();
        let headings = columns.iter().map(|column| (column.heading.to_owned(), Tone::Heading)).collect();
        Self { columns, rows: vec![headings] }
    }

    /// Add a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (clean::line(&text).into_owned(), tone)).collect());
    }

    /// The table as text, whole.
    pub fn text(&self) -> String {
        self.on(Screen::NONE)
    }

    /// The table as text, fitted to a screen.
    pub fn on(&self, screen: Screen) -> String {
        let widths = self.widths(screen);
        self.rows.iter().map(|row| self.lines(row, &widths)).collect()
    }

    /// The columns that are shown, by their place, and how wide each is.
    fn widths(&self, screen: Screen) -> Vec<(usize, usize)> {
        let mut shown: Vec<_> = (0..self.columns.len()).filter(|at| screen.wide || !self.columns[*at].wide).collect();
        let natural: Vec<_> = (0..self.columns.len()).map(|at| self.natural(at)).collect();
        let Some(room) = screen.columns else { return shown.into_iter().map(|at| (at, natural[at])).collect() };
        let least: Vec<_> = (0..self.columns.len()).map(|at| self.columns[at].least(natural[at])).collect();
        let total = |shown: &[usize]| shown.iter().map(|at| least[*at] + GAP).sum::<usize>().saturating_sub(GAP);
        while total(&shown) > room {
            let droppable = shown.iter().filter(|at| self.columns[**at].rank > 0);
            let Some(&least_important) = droppable.max_by_key(|at| self.columns[**at].rank) else { break };
            shown.retain(|at| *at != least_important);
        }
        let mut widths: Vec<_> = shown.iter().map(|at| (*at, least[*at])).collect();
        self.grow(&mut widths, &natural, room.saturating_sub(total(&shown)));
        squeeze(&mut widths, room);
        widths
    }

    /// The columns that the widest cell of a column takes.
    fn natural(&self, at: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(at)).map(|cell| screen::width(&cell.0)).max().unwrap_or(0)
    }

    /// Give the columns that have less than they would take what is left: identities all of it or nothing, and the
    /// most important first.
    fn grow(&self, widths: &mut [(usize, usize)], natural: &[usize], mut left: usize) {
        let mut order: Vec<_> = (0..widths.len()).collect();
        order.sort_by_key(|place| {
            let column = self.columns[widths[*place].0];
            (column.fit == Fit::Id, column.rank, Reverse(*place))
        });
        for place in order {
            let (at, width) = widths[place];
            let wants = natural[at] - width;
            let more = if self.columns[at].fit == Fit::Id && wants > left { 0 } else { wants.min(left) };
            widths[place].1 += more;
            left -= more;
        }
    }

    /// A row, of as many lines as its cells take.
    fn lines(&self, row: &[Cell], widths: &[(usize, usize)]) -> String {
        let cells = widths.iter().map(|(at, width)| {
            let (text, tone) = row.get(*at).map_or(("", Tone::Plain), |(text, tone)| (text.as_str(), *tone));
            (self.columns[*at].lines(text, *width), tone, *width)
        });
        let cells: Vec<_> = cells.collect();
        let height = cells.iter().map(|(lines, ..)| lines.len()).max().unwrap_or(1);
        let mut out = String::new();
        for line in 0..height {
            let mut blanks = 0;
            for (lines, tone, width) in &cells {
                let text = lines.get(line).map_or("", String::as_str);
                if !text.is_empty() {
                    out += &" ".repeat(std::mem::take(&mut blanks));
                    out += &tone.paint(text);
                }
                blanks += width + GAP - screen::width(text).min(*width);
            }
            out.push('\n');
        }
        out
    }
}

impl Column {
    /// The least width of the column, of that which its widest cell takes.
    fn least(self, natural: usize) -> usize {
        let least = match self.fit {
            Fit::Whole => natural,
            Fit::Id => SHORT_ID,
            Fit::Cut(least) | Fit::Wrap(least) => least,
        };
        natural.min(least.max(screen::width(self.heading)))
    }

    /// The lines of a cell.
    fn lines(self, text: &str, columns: usize) -> Vec<String> {
        match self.fit {
            _ if screen::width(text) <= columns => vec![text.to_owned()],
            Fit::Id => vec![screen::beginning(text, columns).to_owned()],
            Fit::Wrap(_) => screen::wrap(text, columns),
            Fit::Whole => vec![screen::cut_within(text, columns).into_owned()],
            Fit::Cut(_) => vec![screen::cut(text, columns).into_owned()],
        }
    }
}

/// Take from the widest columns what there is no room for, though none of it was to be taken.
fn squeeze(widths: &mut [(usize, usize)], room: usize) {
    let gaps = widths.len().saturating_sub(1) * GAP;
    while widths.iter().map(|(_, width)| width).sum::<usize>() + gaps > room {
        let Some(widest) = widths.iter_mut().max_by_key(|(_, width)| *width).filter(|(_, width)| *width > LEAST) else {
            return;
        };
        widest.1 -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            column("REGION"),
            column("STATE"),
            column("PID").rank(3),
            column("UUID").id().rank(2),
            column("NOTE").wide(),
            column("CAUSE").wrap(12).rank(1),
        ]);
        for (region, state, cause) in
            [("still-fawn-0", "serving", ""), ("pve-1", "held", "somebody holds it: the disk is changed")]
        {
            let uuid = "b46e4c29-8f7c-4d8e-9f0a-0123456789ab";
            table.row(vec![plain(region), plain(state), plain(71_234), plain(uuid), plain("note"), plain(cause)]);
        }
        table
    }

    #[test]
    fn without_a_screen_everything_is_whole() {
        let whole = "\
REGION        STATE    PID    UUID                                  CAUSE
still-fawn-0  serving  71234  b46e4c29-8f7c-4d8e-9f0a-0123456789ab
pve-1         held     71234  b46e4c29-8f7c-4d8e-9f0a-0123456789ab  somebody holds it: the disk is changed
";
        assert_eq!(bare(&table().text()), whole);
        assert_eq!(bare(&table().on(Screen::columns(200))), whole);
        let wide = bare(&table().on(Screen { columns: None, wide: true }));
        assert!(wide.starts_with("REGION        STATE    PID    UUID                                  NOTE  CAUSE\n"));
    }

    #[test]
    fn a_narrow_screen_has_short_identities_then_fewer_columns() {
        let on = |columns| bare(&table().on(Screen::columns(columns)));
        assert_eq!(
            on(80),
            "\
REGION        STATE    PID    UUID      CAUSE
still-fawn-0  serving  71234  b46e4c29
pve-1         held     71234  b46e4c29  somebody holds it: the disk is changed
"
        );
        assert_eq!(
            on(40),
            "\
REGION        STATE    CAUSE
still-fawn-0  serving
pve-1         held     somebody holds
                       it: the disk is
                       changed
"
        );
        assert_eq!(
            on(20),
            "\
REGION       STATE
still…awn-0  serving
pve-1        held
"
        );
        assert_eq!(on(12), "RE…ON  STATE\nst…-0  se…ng\npve-1  held\n");
    }

    #[test]
    fn a_cell_is_as_wide_as_what_is_printed_of_it() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![plain("\x1b[2J"), plain("x")]);
        table.row(vec![plain("汉字"), plain("y")]);
        assert_eq!(bare(&table.text()), "A          B\n\\u{1b}[2J  x\n汉字       y\n");
    }

    fn bare(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }
}
