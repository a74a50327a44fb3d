//! Steps of a test and the time that they take, for whoever reads what it prints.

use std::time::Instant;

/// Since the last step.
pub struct Steps(Instant);

impl Steps {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Note that a step is done.
    pub fn took(&mut self, what: &str) {
        eprintln!("{what}: {:.0} s", self.0.elapsed().as_secs_f32());
        self.0 = Instant::now();
    }
}
