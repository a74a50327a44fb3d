//! Columns for a terminal: as wide as their widest cell, coloured by meaning, never wrapped. Pure.

use anstyle::{AnsiColor, Style};
use std::fmt::Write;

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

/// A table with a line of headings.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings and no row.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|text| ((*text).to_owned(), Tone::Heading)).collect()] }
    }

    /// Add a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row: &Vec<Cell>| row.get(column));
            cells.map(|cell: &Cell| cell.0.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            for (column, (text, tone)) in row.iter().enumerate() {
                let last = column + 1 == row.len();
                let room = if last { 0 } else { widths[column] + 2 - text.chars().count() };
                _ = write!(out, "{}{:room$}", tone.paint(text), "");
            }
            out.push('\n');
        }
        out
    }
}
