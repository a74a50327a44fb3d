//! Sandbox of what is run for a moment as the service user, as settings of a transient unit (systemd.exec(5)). Pure.

use zbus::Variant;

/// The settings that confine it: it reads, and writes nowhere that is not named beside; opens no socket but a local
/// one; and may become nobody else.
pub fn confined() -> Vec<(&'static str, Variant<'static>)> {
    // An empty list would restrict nothing.
    const LOCAL: &[&str] = &["AF_UNIX"];
    const CALLS: &[&str] = &["@system-service"];
    const NATIVE: &[&str] = &["native"];
    vec![
        ("ProtectSystem", "strict".into()),
        ("NoNewPrivileges", true.into()),
        ("CapabilityBoundingSet", 0u64.into()),
        ("RestrictNamespaces", 0u64.into()),
        ("RestrictSUIDSGID", true.into()),
        ("RestrictRealtime", true.into()),
        ("LockPersonality", true.into()),
        ("MemoryDenyWriteExecute", true.into()),
        ("RestrictAddressFamilies", (true, LOCAL).into()),
        ("SystemCallArchitectures", NATIVE.into()),
        ("SystemCallFilter", (true, CALLS).into()),
        ("SystemCallErrorNumber", 1i32.into()),
    ]
}
