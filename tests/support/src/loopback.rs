//! A network of a test's own: a loopback interface on which nobody else listens, for programs that take
//! the same port everywhere. Needs root.

use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;

/// Takes this thread, and all that it starts from now on, to such a network. It ends with the last of
/// them.
///
/// # Panics
/// It cannot be made.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network of one's own needs root");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle.link().set(LinkUnspec::new_with_name("lo").up().build()).execute().await.unwrap();
    });
}
