//! From the manuals' prose, in a little of Markdown, to roff.
//!
//! | written | meaning |
//! |---|---|
//! | `# X`, `## X` | a section, a part of it |
//! | `` `x` ``, `*x*` | bold, italic |
//! | a line, and below it `: text` | what is explained, and its explanation |
//! | four blanks before a line | as it stands |
//! | `<!-- x -->` | what is written from a table goes here |

/// Texts as a page has them: no character of theirs is a command to roff.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    let (mut bold, mut italic, mut chars) = (false, false, text.chars());
    let font = |now: &mut bool, letter: char| {
        *now = !*now;
        format!("\\f{}", if *now { letter } else { 'R' })
    };
    while let Some(c) = chars.next() {
        match c {
            '`' => out += &font(&mut bold, 'B'),
            // In what is bold a star is one.
            '*' if !bold => out += &font(&mut italic, 'I'),
            '\\' => out.extend(chars.next()),
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '"' => out += "\\(dq",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            c => out.push(c),
        }
    }
    assert!(!bold && !italic, "{text}");
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

/// A text as a paragraph of a page: no line is longer than others.
pub fn paragraph(text: &str) -> String {
    let (mut lines, escaped) = (vec![String::new()], escaped(text));
    for word in escaped.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            *last = word.to_owned();
        } else if last.len() + word.len() < 116 || word.starts_with('.') {
            *last += &format!(" {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// A text of a table or of a help, in which a star and a backslash are what they are.
pub fn shielded(text: &str) -> String {
    text.replace('\\', "\\\\").replace('*', "\\*")
}

/// What a block of lines becomes, and whether the one after it is a paragraph with space before it.
fn block(lines: &[&str], after_text: bool) -> (String, bool) {
    let first = lines[0];
    if let Some(heading) = first.strip_prefix("## ") {
        (format!(".SS {}\n", quoted(heading)), false)
    } else if let Some(heading) = first.strip_prefix("# ") {
        (format!(".SH {}\n", quoted(heading)), false)
    } else if first.starts_with("    ") {
        let code: String = lines.iter().map(|line| literal(line.trim_start_matches("    ")) + "\n").collect();
        (format!(".PP\n.RS 4\n.nf\n{code}.fi\n.RE\n"), true)
    } else if lines.get(1).is_some_and(|line| line.starts_with(": ")) {
        let text: Vec<_> = lines[1..].iter().map(|line| line.trim_start_matches(':').trim()).collect();
        (format!(".TP\n{}\n{}", escaped(first), paragraph(&text.join(" "))), true)
    } else {
        let space = if after_text { ".PP\n" } else { "" };
        (format!("{space}{}", paragraph(&lines.join(" "))), true)
    }
}

fn quoted(heading: &str) -> String {
    if heading.contains(' ') { format!("\"{}\"", escaped(heading)) } else { escaped(heading) }
}

/// A line of a program, as it stands.
fn literal(line: &str) -> String {
    let shielded: String =
        line.chars().flat_map(|c| if "`*\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
    escaped(&shielded).replace("\\(dq", "\"")
}

/// Prose as roff; what is to be written in its places is asked for by its name.
pub fn roff(text: &str, mut written: impl FnMut(&str) -> String) -> String {
    let (mut out, mut after_text) = (String::new(), false);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let place = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(name) = place {
            out += &written(name);
            after_text = true;
            continue;
        }
        let mut all = vec![line];
        let heading = line.starts_with('#');
        while let Some(next) = lines.next_if(|next| !heading && !next.trim().is_empty()) {
            all.push(next);
        }
        let (more, text) = block(&all, after_text);
        out += &more;
        after_text = text;
    }
    out
}
