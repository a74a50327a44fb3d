//! The structure of the code, held against the sources: what is pure stays pure, and imports
//! run downwards only.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod catalog;
mod circles;
mod manual;
mod openapi;
mod operations;
mod pure;

use clap::{Command, CommandFactory};
use crucible_sled::wire::Refusal;
use crucible_sled::{attach, cli};
use pure::PURE;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a file has.
const MOST_LINES: usize = 450;
/// The modules from the bottom up: each may use those before it in the list, and itself.
const LAYERS: [&[&str]; 16] = [
    &["clean"],
    &["screen"],
    &[
        "backoff",
        "check",
        "completion",
        "logging",
        "names",
        "nbd",
        "protocol",
        "files",
        "lived",
        "size",
        "source",
        "span",
        "table",
        "terminal",
        "times",
    ],
    &["region"],
    &["port_map"],
    &["config", "programs"],
    &["wire", "systemd"],
    &["api", "decide", "explain", "page", "update", "progress"],
    &["kernel", "metrics"],
    &["config_dir"],
    &["store"],
    &["appliance", "net_test", "notify"],
    &["observe", "act", "device", "events"],
    &["desk", "relay"],
    // Beside each other: the faces know the desk, and none of them the supervisor.
    &["supervisor", "http", "cli", "attach"],
    &["daemon"],
];
/// What does I/O.
const IMPURE: [&str; 9] =
    ["tokio::", "zbus::", "hyper::", "std::fs", "std::net::Tcp", "nix::", "procfs::", "std::process", "std::env::"];

/// The sources of a module of `src`, tests left out.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut dirs = vec![src.join(module)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path() {
                dir if dir.ends_with("tests") => {}
                dir if dir.is_dir() => dirs.push(dir),
                file if file.file_name().is_some_and(|name| name == "tests.rs") => {}
                file => files.push(file),
            }
        }
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).ok()?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        Some((file, code.collect::<Vec<_>>().join("\n")))
    };
    let read: Vec<_> = files.into_iter().filter_map(read).collect();
    assert!(!read.is_empty(), "there is no module {module}");
    read
}

#[test]
fn what_is_pure_does_no_io() {
    for (file, code) in PURE.iter().flat_map(|module| sources(module)) {
        for word in IMPURE {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
    }
}

/// The module that a file of `src` is.
fn module_of(file: &Path) -> Vec<String> {
    let within = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().with_extension("");
    let mut parts: Vec<_> = within.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// What a file names of this crate, from its root, whether by `crate::` or by `super::`, in a list or not.
fn named(file: &Path, code: &str) -> Vec<Vec<String>> {
    let (module, mut all) = (module_of(file), Vec::new());
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| begins(*at)) {
        follow(Vec::new(), &code[at + "crate::".len()..], &mut all);
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| begins(*at)) {
        let (mut rest, mut up) = (&code[at..], module.clone());
        while let Some(next) = rest.strip_prefix("super::") {
            up.pop();
            rest = next;
        }
        follow(up, rest, &mut all);
    }
    all
}

/// Follows a path to its end, or each of a list of them.
fn follow(mut path: Vec<String>, rest: &str, all: &mut Vec<Vec<String>>) {
    let rest = rest.trim_start();
    if let Some(list) = rest.strip_prefix('{') {
        let (mut depth, mut begins) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    follow(path.clone(), &list[begins..at], all);
                    begins = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    path.push(rest[..end].to_owned());
    match rest[end..].strip_prefix("::") {
        Some(more) => follow(path, more, all),
        None => all.push(path),
    }
}

#[test]
fn names_are_followed_in_each_of_their_forms() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/attach/install/act.rs");
    let code =
        "use crate::{a::b, c::{self, D}}; use super::super::units::Units; super::{plan, undo::x}; my_crate::no();";
    let names: Vec<_> = named(&file, code).iter().map(|path| path.join("::")).collect();
    let wanted =
        ["a::b", "c::self", "c::D", "attach::units::Units", "attach::install::plan", "attach::install::undo::x"];
    assert_eq!(names, wanted);
}

#[test]
fn imports_run_downwards_only() {
    for (height, layer) in LAYERS.iter().enumerate() {
        for module in *layer {
            for (file, code) in sources(module) {
                for other in named(&file, &code) {
                    let Some(at) = LAYERS.iter().position(|layer| layer.contains(&other[0].as_str())) else { continue };
                    let beside = at == height && other[0] != *module;
                    assert!(at <= height && !beside, "{} looks up or aside at {}", file.display(), other.join("::"));
                }
            }
        }
    }
}

/// The faces get channels and what goes through them, and never the supervisor; and it knows none of them.
#[test]
fn the_faces_know_the_desk_and_not_the_supervisor() {
    let faces = ["http", "cli", "attach"];
    let aside = faces.map(|face| (face, "supervisor")).into_iter().chain(faces.map(|face| ("supervisor", face)));
    for (side, other) in aside {
        for (file, code) in sources(side) {
            let found = named(&file, &code).into_iter().find(|path| path[0] == other);
            assert_eq!(found, None, "in {}", file.display());
        }
    }
}

/// What the loop has done aside is begun in one place: there its end is heard of, even if it panics.
/// And a report goes to the loop by that place alone.
#[test]
fn what_is_done_aside_is_begun_in_one_place() {
    for (file, code) in sources("supervisor") {
        let here = file.file_name().is_some_and(|name| name == "tasks.rs");
        for word in ["tokio::spawn(", "reports.send(", "reports.try_send("] {
            assert!(here || !code.contains(word), "{} has {word}", file.display());
        }
        // As long as a disk hangs, every one of these is a thread: they go by the scanner.
        assert!(!code.contains(".scan("), "{} looks at the disk itself", file.display());
    }
}

/// A file that is read in one go, of the product and of its tests. How long a function may be says clippy.toml.
#[test]
fn no_file_is_longer_than_can_be_read_in_one_go() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut dirs, mut seen, mut long) = (vec![root.join("src"), root.join("tests")], 0, Vec::new());
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                seen += 1;
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                long.extend((lines > MOST_LINES).then(|| format!("{}: {lines}", path.display())));
            }
        }
    }
    assert!(long.is_empty() && seen > 400, "of {seen} files more than {MOST_LINES} lines have {long:#?}");
}

/// Every module of the library has its place in the picture above.
#[test]
fn every_module_has_its_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(LAYERS.iter().any(|layer| layer.contains(&module)), "{module} has no layer");
    }
}

/// What programs print is made harmless in one place; so nothing is printed in another.
#[test]
fn programs_print_in_one_place() {
    for (file, code) in ["cli", "attach", "update", "appliance", "daemon"].iter().flat_map(|module| sources(module)) {
        for word in ["print!", "println!", "anstream", "stdout().lock", "stderr().lock", "io::stderr(),"] {
            assert!(!code.contains(word), "{} prints by itself: {word}", file.display());
        }
    }
}

/// A file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The commands that people call, by their names.
fn programs() -> [(&'static str, Command); 2] {
    [("sledctl", cli::Arguments::command()), ("crucible-attach", attach::Arguments::command())]
}

/// Below a command: the others, each with the words that lead to it.
fn below(command: &Command, words: &[String]) -> Vec<(Vec<String>, Command)> {
    let mut all = Vec::new();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let words = [words, &[command.get_name().to_owned()]].concat();
        all.extend(below(command, &words));
        all.push((words, command.clone()));
    }
    all
}

/// The long options that a command shows.
fn options(command: &Command) -> impl Iterator<Item = String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown.filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
}

/// The long options in a text.
fn dashed(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c: char| !word(c)).filter(|word| word.len() > 2 && word.starts_with("--"));
    words.map(str::to_owned).collect()
}

/// The codes of what is refused in this code.
fn refusals(code: &str) -> BTreeSet<&'static str> {
    let named = |rest: &str| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    let named: BTreeSet<_> = code.split("Refusal::").skip(1).map(named).collect();
    Refusal::ALL
        .iter()
        .filter(|refusal| named.contains(&format!("{refusal:?}")))
        .map(|refusal| refusal.as_str())
        .collect()
}

/// Whoever meets a code finds it in the manual of who gave it.
#[test]
fn the_manual_has_the_codes_of_what_hosts_are_refused() {
    let modules = [
        ("man/crucible-attach.1", &["attach"][..], 10),
        ("man/sledctl.1", &["supervisor/fencing", "decide/attach"], 8),
    ];
    for (page, modules, least) in modules {
        let text = read(page);
        let codes: BTreeSet<_> =
            modules.iter().flat_map(|module| sources(module)).flat_map(|it| refusals(&it.1)).collect();
        assert!(codes.len() >= least, "{codes:?}");
        let missing: Vec<_> = codes.iter().filter(|code| !text.contains(**code)).collect();
        assert_eq!(missing, Vec::<&&str>::new(), "in {page}");
    }
}

/// A page has every option that there is, and its prose speaks of no others.
#[test]
fn the_manual_has_every_option_and_no_other() {
    // Options of the programs that are spoken of.
    let others = ["--target", "--gen", "--key", "--host", "--generator", "--server"];
    let mut wrong = Vec::new();
    for (name, program) in programs() {
        let said = dashed(&read(&format!("man/{name}.1")).replace("\\fB", "").replace("\\-", "-"));
        let commands = below(&program, &[]);
        assert!(commands.len() > 4, "{name} has no commands");
        let all = commands.iter().map(|(_, command)| command).chain([&program]);
        let known: BTreeSet<_> = all.flat_map(options).collect();
        wrong.extend(known.difference(&said).map(|option| format!("{name} {option} is missing")));
        let invented = dashed(&manual::spoken_of(name));
        let invented = invented.difference(&known).filter(|option| !others.contains(&option.as_str()));
        wrong.extend(invented.map(|option| format!("{name} has no {option}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What a text names behind a program's name: each call, to its end.
fn calls<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let ends = |c: char| ";,\"()`.:\n\\".contains(c);
    let name = format!("{name} ");
    text.split(&name).skip(1).map(|rest| rest.split(ends).next().unwrap()).collect()
}

/// Whether there is such a call: its commands, and their options.
fn is_there(program: &Command, call: &str) -> bool {
    // What is filled in right behind a word is none of it.
    let cut = |word: &'_ str| word.find('{').filter(|at| *at > 0).map_or(word.len(), |at| at);
    let (mut command, mut words) = (program, call.split_whitespace().map(|word| &word[..cut(word)]).peekable());
    while let Some(next) = words.peek().and_then(|word| command.find_subcommand(word)) {
        command = next;
        words.next();
    }
    let whole = !command.is_subcommand_required_set();
    let known: Vec<String> = [program, command]
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect();
    whole && words.filter(|word| word.starts_with("--")).all(|word| known.iter().any(|known| known == word))
}

/// A remedy is of use only if what it says to call can be called.
#[test]
fn every_call_that_is_named_exists() {
    let (mut found, mut wrong) = (0, Vec::new());
    let mut texts: Vec<_> = LAYERS.iter().flat_map(|layer| layer.iter()).flat_map(|module| sources(module)).collect();
    texts.extend(["README.md", "systemd/sled/sledd.service"].map(|file| (file.into(), read(file))));
    for (file, text) in texts {
        // One that goes on in the next line.
        let mut parts = text.split("\\\n");
        let first = parts.next().unwrap().to_owned();
        let text = parts.fold(first, |text, part| text + part.trim_start());
        for (name, program) in programs() {
            for call in calls(&text, name) {
                // Of the program itself.
                let of_itself = ["asks", "shows", "says", "is", "and", "(", "does", "has"];
                if call.split_whitespace().next().is_none_or(|word| of_itself.contains(&word)) {
                    continue;
                }
                found += 1;
                if !is_there(&program, call) {
                    wrong.push(format!("{} says: {name} {call}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty() && found > 100, "{found} calls; {wrong:#?}");
}

/// How data goes away is said where a remedy has named what is milder first, and to whoever asked for
/// it: in no other text.
#[test]
fn no_other_text_offers_to_destroy() {
    let words = ["region delete", "region purge", "mkfs", "wipefs", "rm -r", "blkdiscard"];
    let may = [
        // The words of the last resort.
        "decide/remedy.rs",
        // Answers to one who asks to delete, and what a reload leaves behind for that.
        "decide/permits.rs",
        "decide/difference.rs",
        // Of regions that the map does not have any more, after how to have them back.
        "decide/storage.rs",
        "supervisor/relocations.rs",
        // Where nothing at all is, and the plan says so.
        "install/act.rs",
        // What is run when the disk was named, and what lies on it was shown and given up.
        "appliance/install/write.rs",
    ];
    let modules = LAYERS.iter().flat_map(|layer| layer.iter()).filter(|module| !["cli"].contains(module));
    for (file, code) in modules.flat_map(|module| sources(module)) {
        for word in words {
            let allowed = may.iter().any(|may| file.ends_with(may));
            assert!(allowed || !code.contains(word), "{} says {word:?}", file.display());
        }
    }
}
