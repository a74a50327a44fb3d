//! The failures that end the program with exit code 1, and their text.
//!
//! Only the text on stderr tells them apart, so it follows the real program's.
//! A panic is not one of these and never passes through here.

/// The outcome of a step of the program.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why the program gives up.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with a text of its own.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A failure with what caused it, in the paragraph the real one makes of it.
    pub fn caused_by(text: &str, cause: &str) -> Self {
        Self(format!("{text}\n\nCaused by:\n    {cause}"))
    }

    /// Prints the failure to stderr.
    pub fn print(&self) {
        eprintln!("Error: {}", self.0);
        if backtraces_wanted() {
            // The real one is stripped and prints frames just as empty: whoever
            // reads stderr has to cope with what follows the first line.
            eprintln!("\nStack backtrace:\n   0: <unknown>\n   1: <unknown>");
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

fn backtraces_wanted() -> bool {
    std::env::var("RUST_LIB_BACKTRACE").or_else(|_| std::env::var("RUST_BACKTRACE")).is_ok_and(|value| value != "0")
}
