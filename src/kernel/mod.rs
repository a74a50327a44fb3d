//! Questions to the kernel: sockets, connections, processes, ports. Decides nothing; what an answer means is known
//! elsewhere.
//!
//! | module | asks for |
//! |---|---|
//! | [`broker`] | what a supervisor without a network needs of the machine's |
//! | [`sock_diag`], [`connections`] | TCP sockets over netlink: listed, and destroyed one by one |
//! | [`tcp_info`] | what of a connection had to be sent again |
//! | [`processes`] | who is connected, and who runs on a directory |
//! | [`arp`] | who has an address, of everybody on a link |
//! | [`ethtool`] | what a network adapter's driver counts |
//! | [`itself`] | what it says of this process |
//! | [`attributes`], [`block`] | the small files of sysfs and procfs; the disks below a file system |
//! | [`clock`], [`pressure`] | whether the clock is in step, and was set; whether all wait for memory or a disk |
//! | [`priority`] | that a thread comes last at a disk |
//! | [`ports`], [`port_reservation`] | whether a port can be had, and that it is kept free |
//! | [`links`] | what rtnetlink tells of links and addresses |
//! | [`mod@line`], [`presence`] | whether the other end of a connection is still there |

pub mod arp;
pub mod attributes;
pub mod block;
pub mod broker;
pub mod clock;
pub mod connections;
pub mod ethtool;
pub mod itself;
pub mod line;
pub mod links;
pub mod port_reservation;
pub mod ports;
pub mod presence;
pub mod pressure;
pub mod priority;
pub mod processes;
mod sock_diag;
pub mod tcp_info;
