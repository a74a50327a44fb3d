//! The failures that end the program with exit code 1, and their text, which follows the real one's.
//! A panic is not one of these and never passes through here.

/// What a step of the program comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why the program gives up.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with a text of its own.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Prints the failure to stderr.
    pub fn print(&self) {
        eprintln!("Error: {}", self.0);
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
