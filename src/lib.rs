//! The supervisor of a storage sled: a cheap machine that serves Oxide Crucible regions to
//! virtualisation hosts.
//!
//! **systemd owns the processes; the supervisor owns the intent.** `sledd` holds no child. It
//! compares what the port map wants with what it sees, and asks systemd for the difference.
//! Kill it, upgrade it, start it again: no downstairs notices, and it picks up where it was.
//!
//! ```text
//! observe (facts)  ──►  decide (pure)  ──►  act
//!                          │
//!                          └──►  verdict ──► faces (HTTP, CLI, journal)
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`names`], [`region`], [`source`], [`port_map`], [`config`], [`programs`], [`check`], [`clean`], [`size`], [`span`], [`lived`], [`times`], [`screen`], [`table`], [`wire`], [`protocol`] | the nouns: what things are called and what they look like. Pure |
//! | [`api`] | the table of operations, which routing, the supervisor and its clients read. Pure |
//! | [`decide`] | from intent and facts to actions and a verdict. Pure |
//! | [`page`] | what a sled says of itself, as a document for people. Pure |
//! | [`metrics`] | what Prometheus reads: of the last verdict, and what is counted. Pure |
//! | [`systemd`] | unit names, drop-ins, D-Bus proxies |
//! | [`kernel`] | questions to the kernel: sockets, connections, processes, ports |
//! | [`store`] | the files of the data disk and of the machine's memory |
//! | [`notify`] | how a notification leaves the sled: by a process of its own |
//! | [`events`] | what happened, on its way to the disk and to those who read it |
//! | [`observe`] | each module watches one thing and publishes facts |
//! | [`act`] | each module does one kind of action |
//! | [`net_test`] | what goes through between a host and a sled, measured by both |
//! | [`device`] | the kernel's network block device, on the host |
//! | [`desk`] | between the faces and the loop: what is asked and answered, and what was last published |
//! | [`supervisor`] | the loop: facts in, plan, actions out, verdict published |
//! | [`http`], [`cli`] | the faces: they render the last verdict, and ask at the desk |
//! | [`nbd`], [`relay`] | the host's disk: the protocol, and the server that outlives its servers |
//! | [`attach`] | the face on the host: it waits for sleds, wins a volume, and becomes its server |
//! | [`appliance`] | what the image does beside the supervisor: first boot and network |
//! | [`update`] | another version of the image, tried, and kept or given up |
//! | [`daemon`], [`config_dir`], [`files`], [`backoff`], [`progress`], [`explain`], [`completion`], [`logging`], [`terminal`] | start-up, the file system, pauses, how far work is, what a condition means, what a shell completes, the journal and the terminal |
//!
//! Imports run downwards only, and the faces know the desk and not the supervisor. What is pure imports no tokio, no zbus and no hyper; a test
//! says so.

pub mod act;
#[cfg(test)]
mod alone;
pub mod api;
pub mod appliance;
pub mod attach;
pub mod backoff;
pub mod check;
pub mod clean;
pub mod cli;
pub mod completion;
pub mod config;
pub mod config_dir;
pub mod daemon;
pub mod decide;
pub mod desk;
pub mod device;
pub mod events;
pub mod explain;
pub mod files;
pub mod http;
pub mod kernel;
pub mod lived;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod nbd;
pub mod net_test;
pub mod notify;
pub mod observe;
pub mod page;
pub mod port_map;
pub mod programs;
pub mod progress;
pub mod protocol;
pub mod region;
pub mod relay;
pub mod screen;
pub mod size;
pub mod source;
pub mod span;
pub mod store;
pub mod supervisor;
pub mod systemd;
pub mod table;
pub mod terminal;
pub mod times;
pub mod update;
pub mod wire;
