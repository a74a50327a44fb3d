//! A network of a server's own, for a host that has several volumes: upstream's server listens on 127.0.0.1:10809 and
//! nowhere else, so that a second one needs another 127.0.0.1.
//!
//! ```text
//!  the host's network                           │ the server's own: nothing but loopback
//!                                               │
//!  relay ◄───────────── a socket of that network ─────────────► 127.0.0.1:10809   crucible-nbd-server
//!  sled 192.168.4.189:3830 ◄── socket ── forward ── listener ──► 192.168.4.189:3830 (on lo) ◄──┘
//! ```
//!
//! A socket belongs for good to the network in which it was made, whoever uses it. So a thread of this process makes
//! itself such a network, gives its loopback the addresses of the sleds, listens there where their regions
//! listen, begins the server, and carries what it says ([`forward`](super::forward)); the connections to the sleds are
//! made by the relay's thread, in the host's network, with the host's own address: the sleds see what they
//! would see without all this. There is no link between the two networks, no route, no address and no rule is added to
//! the host's, and the kernel ends it all when this process and the server have ended, however they did.
//!
//! The cost is a copy of each byte in each direction, and a wake-up of the thread each way: some 75 µs a request. The
//! first volume of a host has none of it.

use super::forward::lead;
use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The pause between two looks whether an address can be reached, and how long that may take on a machine that is
/// busy.
const ADDRESS_POLL: Duration = Duration::from_millis(1);
const ADDRESS_LIMIT: Duration = Duration::from_secs(30);

/// A network with nothing but loopback, and this process's thread in it. It ends when this is dropped, and the last
/// process in it has ended.
#[derive(Debug)]
pub(super) struct Apart {
    inside: Handle,
    outside: Handle,
    network: rtnetlink::Handle,
    /// The number of the network's loopback.
    loopback: u32,
    /// Keeps the thread alive: the network ends when this is dropped.
    _stays: oneshot::Sender<Infallible>,
}

/// Ways out of the network, to sleds. To drop them is to reset all that goes over them.
#[derive(Debug, Default)]
pub(super) struct Ways(JoinSet<()>);

impl Apart {
    /// Make a network.
    ///
    /// # Errors
    /// If this process may not (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`), or the kernel cannot.
    pub(super) async fn new() -> io::Result<Self> {
        let (tell, told) = oneshot::channel();
        let (stays, left) = oneshot::channel();
        std::thread::Builder::new().name("apart".to_owned()).spawn(move || live(tell, left))?;
        let inside = told.await.map_err(io::Error::other)??;
        // The socket is of that network, and so is all that is asked by it.
        let connected = inside.spawn(async { rtnetlink::new_connection() }).await.map_err(io::Error::other)??;
        let (connection, network, _) = connected;
        inside.spawn(connection);
        let lo = network.link().get().match_name("lo".to_owned()).execute().try_next().await;
        let loopback = lo.map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?.header.index;
        let up = network.link().set(LinkUnspec::new_with_index(loopback).up().build()).execute();
        up.await.map_err(refused)?;
        Ok(Self { inside, outside: Handle::current(), network, loopback, _stays: stays })
    }

    /// Lead from the targets' own addresses, in the network, to the targets.
    ///
    /// # Errors
    /// If an address cannot be had in the network.
    pub(super) async fn ways(&self, targets: &[SocketAddr]) -> io::Result<Ways> {
        let mut ways = Ways::default();
        let targets: BTreeSet<_> = targets.iter().copied().collect();
        for target in targets {
            self.has(target.ip()).await?;
            let listener = self.within(async move { TcpListener::bind(target).await }).await?;
            ways.0.spawn_on(lead(listener, target, self.outside.clone()), &self.inside);
        }
        Ok(ways)
    }

    /// Give the loopback an address.
    async fn has(&self, address: IpAddr) -> io::Result<()> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let mut request = self.network.address().add(self.loopback, address, length).replace();
        // Nobody else can have it, so it is there at once.
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        request.execute().await.map_err(refused)?;
        // Of IPv6 the kernel says so before there is a way to it, and nothing tells when there is.
        let reached = async {
            loop {
                let connect = async move {
                    let listener = TcpListener::bind((address, 0)).await?;
                    TcpStream::connect(listener.local_addr()?).await.map(drop)
                };
                match self.within(connect).await {
                    Err(why) if why.kind() == io::ErrorKind::NetworkUnreachable => sleep(ADDRESS_POLL).await,
                    reached => return reached,
                }
            }
        };
        timeout(ADDRESS_LIMIT, reached).await?
    }

    /// Connect to what listens in the network.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connect(&self, at: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.within(async move { TcpStream::connect(at).await?.into_std() }).await?;
        // Waited for by whoever uses it, where that is.
        TcpStream::from_std(stream)
    }

    /// Begin a program in the network. What ends it with the thread that began it ends it with the network.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.within(async move { command.spawn() }).await
    }

    /// Run a future in the network.
    ///
    /// # Errors
    /// The future's own, or that the thread has ended.
    pub(super) async fn within<T, F>(&self, what: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        self.inside.spawn(what).await.map_err(io::Error::other)?
    }
}

impl Ways {
    /// End the ways, and return when nothing goes over them any more.
    pub(super) async fn end(mut self) {
        self.0.shutdown().await;
    }
}

/// The thread's whole life in the network.
fn live(tell: oneshot::Sender<io::Result<Handle>>, left: oneshot::Receiver<Infallible>) {
    // Each thread says that for itself; if it cannot, the relay's has told so. The server inherits it.
    _ = rustix::process::configure_io_flusher_behavior(true);
    let made = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
    match made.and_then(|()| Builder::new_current_thread().enable_all().build()) {
        Ok(runtime) => {
            _ = tell.send(Ok(runtime.handle().clone()));
            _ = runtime.block_on(left);
        }
        Err(why) => _ = tell.send(Err(why)),
    }
}

/// The kernel's refusal as an I/O error.
fn refused(why: rtnetlink::Error) -> io::Error {
    match why {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Run a test in a network that has these addresses, and is not this machine's. It needs root.
    fn in_a_network(addresses: &'static [&'static str], test: impl Future<Output = ()> + Send + 'static) {
        let tested = std::thread::spawn(move || {
            if let Err(why) = unshare(CloneFlags::CLONE_NEWNET) {
                eprintln!("skipped: a network of one's own: {why}");
                return;
            }
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let (connection, network, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                network.link().set(LinkUnspec::new_with_name("lo").up().build()).execute().await.unwrap();
                for address in addresses.iter().map(|address| address.parse::<IpAddr>().unwrap()) {
                    let length = if address.is_ipv4() { 32 } else { 128 };
                    let mut add = network.address().add(1, address, length);
                    add.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
                    add.execute().await.unwrap();
                }
                test.await;
            });
        });
        tested.join().unwrap();
    }

    #[test]
    fn sleds_of_either_kind_of_address_are_reached_from_a_network_apart() {
        in_a_network(&["192.0.2.7", "fd00:7::1"], async {
            let apart = Apart::new().await.unwrap();
            let targets = ["192.0.2.7:3830", "[fd00:7::1]:3831", "127.0.0.1:3832"].map(|at| at.parse().unwrap());
            for again in [1, 2] {
                let ways = apart.ways(&targets).await.unwrap();
                for target in targets {
                    let region = TcpListener::bind(target).await.unwrap();
                    let mut here = apart.connect(target).await.unwrap();
                    here.write_all(b"ask").await.unwrap();
                    let (mut there, from) = region.accept().await.unwrap();
                    // The sled sees the host's own address.
                    assert_eq!(from.ip(), target.ip(), "{again}");
                    let mut heard = [0; 3];
                    there.read_exact(&mut heard).await.unwrap();
                    there.write_all(&heard).await.unwrap();
                    here.read_exact(&mut heard).await.unwrap();
                    assert_eq!(&heard, b"ask");
                    drop((here, there));
                }
                ways.end().await;
                assert!(apart.connect(targets[0]).await.is_err());
            }
        });
    }

    #[test]
    fn in_each_network_the_same_address_is_another_place() {
        in_a_network(&[], async {
            let at: SocketAddr = "127.0.0.1:10809".parse().unwrap();
            let here = TcpListener::bind(at).await.unwrap();
            let two = [Apart::new().await.unwrap(), Apart::new().await.unwrap()];
            for apart in &two {
                assert!(apart.connect(at).await.is_err());
            }
            let there = two[0].within(async move { TcpListener::bind(at).await?.into_std() }).await.unwrap();
            assert!(two[0].connect(at).await.is_ok() && two[1].connect(at).await.is_err());
            assert!(tokio::time::timeout(Duration::from_millis(50), here.accept()).await.is_err());
            drop(there);
        });
    }
}
