//! Version of the stand-in, as it tells it.
//!
//! The lines have the real program's shape, but say that this is a stand-in;
//! they never name a commit of Crucible.

/// The version of the messages between upstairs and downstairs.
pub const MESSAGE_VERSION: u32 = 13;

/// The lines on how the program was built.
pub fn build() -> String {
    let debug = cfg!(debug_assertions);
    let architecture = std::env::consts::ARCH;
    [
        "Crucible Version: Crucible Version: 0.0.1 stand-in for tests, keeps no data",
        "Commit SHA: none (stand-in)",
        "Commit timestamp: none (stand-in)  branch: none (stand-in)",
        &format!("rustc: unknown {architecture}-unknown-linux-gnu"),
        &format!("Cargo: {architecture}-unknown-linux-gnu  Debug: {debug} Opt level: unknown"),
    ]
    .join("\n")
}

/// The line on the message version.
pub fn message() -> String {
    format!("Upstairs <-> Downstairs Message Version: {MESSAGE_VERSION}")
}
