//! Forms of a page: OpenMetrics, and the plain text that was before it, for whoever takes nothing else. Pure.

/// Form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics, 1.0.
    OpenMetrics,
    /// Prometheus' text, 0.0.4: `promtool check metrics` reads no other.
    Plain,
}

impl Form {
    /// Choose the form by what the asker takes, in the words of his `Accept`: OpenMetrics, unless he takes plain text
    /// and nothing else of it.
    pub fn accepted(by: &str) -> Self {
        let ranges = by.split(',').map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.filter_map(|part| part.strip_prefix("q=")).any(|weight| weight.parse() == Ok(0.0));
            (name, refused)
        });
        let taken: Vec<_> = ranges.filter(|(_, refused)| !refused).map(|(name, _)| name).collect();
        let takes = |names: &[&str]| taken.iter().any(|taken| names.contains(&taken.as_str()));
        let open = takes(&["application/openmetrics-text", "application/*", "*/*"]);
        if !open && takes(&["text/plain", "text/*"]) { Self::Plain } else { Self::OpenMetrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_for_whoever_takes_nothing_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, form) in [
            ("", Form::OpenMetrics),
            ("*/*", Form::OpenMetrics),
            (prometheus, Form::OpenMetrics),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::OpenMetrics),
            ("application/json", Form::OpenMetrics),
            ("text/plain", Form::Plain),
            ("Text/Plain; version=0.0.4, text/html", Form::Plain),
            ("text/*", Form::Plain),
            ("application/openmetrics-text; q=0, text/plain", Form::Plain),
            ("text/plain, */*; q=0", Form::Plain),
            ("text/plain; q=0", Form::OpenMetrics),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }
}
