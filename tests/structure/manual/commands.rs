//! The commands of a program, as its manual has them: what clap knows of each, and what the prose adds.

use super::prose;
use clap::Command;
use clap_mangen::Man;
use std::collections::BTreeMap;

/// A section as clap_mangen writes it, without its heading.
fn without_heading(page: &[u8]) -> String {
    let page = String::from_utf8(page.to_vec()).unwrap();
    let kept =
        page.lines().filter(|line| !line.starts_with(".SH ") && !line.starts_with(".ie ") && !line.starts_with(".el "));
    // A help is written as the prose is, and a line is ended once.
    let mut lines: Vec<_> = kept.map(|line| bold(line.trim_end()).replace("\\*(Aq", "\\(aq")).collect();
    lines.retain(|line| !line.is_empty());
    lines.dedup_by(|line, before| line == before && line == ".br");
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What stands between backticks is bold.
fn bold(line: &str) -> String {
    let mut parts = line.split('`');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(["\\fB", "\\fR"].iter().cycle()).fold(first, |line, (part, font)| line + font + part)
}

/// How a command is called.
pub fn synopsis(command: &Command) -> String {
    let mut page = Vec::new();
    Man::new(command.clone()).render_synopsis_section(&mut page).unwrap();
    without_heading(&page)
}

/// The options of a command, but for those that every one has.
pub fn options(command: &Command) -> String {
    if command.get_arguments().all(clap::Arg::is_hide_set) {
        return String::new();
    }
    let mut page = Vec::new();
    Man::new(command.clone()).render_options_section(&mut page).unwrap();
    without_heading(&page)
}

/// The prose on commands, by their words: what stands below the place where they are written.
pub fn apart(prose: &str) -> (String, BTreeMap<String, String>) {
    const PLACE: &str = "<!-- commands -->\n";
    let Some((before, rest)) = prose.split_once(PLACE) else { return (prose.to_owned(), BTreeMap::new()) };
    let end = rest.find("\n# ").unwrap() + 1;
    let said = rest[..end].split("\n## ").skip(1).map(|part| {
        let (words, text) = part.split_once('\n').unwrap();
        (words.to_owned(), text.to_owned())
    });
    (format!("{before}{PLACE}\n{}", &rest[end..]), said.collect())
}

/// Every command of a program, each in a part of its own; prose of it is taken out of `said`.
pub fn all(program: &Command, said: &mut BTreeMap<String, String>) -> String {
    let mut program = program.clone();
    program.build();
    below(program.get_name(), &program, said)
}

/// The commands below one, each followed by those below it.
fn below(program: &str, command: &Command, said: &mut BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let words = words(program, command);
        // A noun by itself does nothing.
        if !command.is_subcommand_required_set() || said.contains_key(&words) {
            out += &one(&words, command, said.remove(&words).unwrap_or_default());
        }
        out += &below(program, command, said);
    }
    out
}

/// The words that lead to a command.
fn words(program: &str, command: &Command) -> String {
    let called = command.get_bin_name().unwrap_or_default();
    called.strip_prefix(program).unwrap_or_default().trim().to_owned()
}

fn one(words: &str, command: &Command, more: String) -> String {
    let own = own_options(command);
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let text = format!("{}\n\n{more}", prose::shielded(&ended(&about)));
    let text = prose::roff(&text, |place| panic!("{place} in {words}"));
    let mut out = format!(".SS \"{}\"\n{}.PP\n{text}{}", prose::escaped(words), synopsis(&own), options(&own));
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        out += ".PP\n";
        out += &prose::roff(&apart_where_set_in(&prose::shielded(&after.to_string())), |place| {
            panic!("{place} in {words}")
        });
    }
    out
}

/// A command with its own options alone; what is said of each is a whole sentence.
pub fn own_options(command: &Command) -> Command {
    command.clone().mut_args(|arg| {
        let help = arg.get_long_help().or_else(|| arg.get_help()).map(|help| ended(&help.to_string()));
        let hidden = arg.is_hide_set() || arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        let arg = arg.hide(hidden);
        if let Some(help) = help { arg.help(help.clone()).long_help(help) } else { arg }
    })
}

/// The same with those that every command has, and no others.
pub fn shared_options(command: &Command) -> Command {
    own_options(&command.clone().mut_args(|arg| {
        let (global, hidden) = (arg.is_global_set(), arg.is_hide_set());
        arg.global(false).hide(hidden || !global)
    }))
}

/// A text with the full stop that clap takes from it.
fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', ':', '?', '!']) || text.is_empty() { text.to_owned() } else { format!("{text}.") }
}

/// A help's lines that are set in, apart from those that are not.
fn apart_where_set_in(text: &str) -> String {
    let (mut out, mut before) = (String::new(), false);
    for line in text.lines() {
        let set_in = line.starts_with("  ");
        if set_in != before {
            out += "\n";
        }
        out += &if set_in { format!("    {}\n", line.trim()) } else { format!("{line}\n") };
        before = set_in;
    }
    out
}
