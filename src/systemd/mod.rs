//! systemd's interface: the names of its units, the text of their drop-ins, its notification socket, the short D-Bus
//! proxies, and the sandbox of what runs for a moment. A unit's purpose is known elsewhere.

pub mod dropin;
pub mod fence;
pub mod job;
pub mod machine;
pub mod names;
pub mod notify;
pub mod output;
pub mod proxy;
pub mod sandbox;
