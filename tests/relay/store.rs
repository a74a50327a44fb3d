//! systemd's descriptor store, as far as a relay sees it: a notification socket to which descriptors are sent, and
//! the same descriptors handed to the next process, by their names.

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The descriptors stay open as long as the test lives: nobody owns their numbers.
#[derive(Clone)]
pub struct Store {
    place: PathBuf,
    stored: Arc<Mutex<BTreeMap<String, RawFd>>>,
    /// The names under which anything was sent, each time.
    sent: Arc<Mutex<Vec<String>>>,
}

impl Store {
    pub fn open(dir: &Path) -> Self {
        let place = dir.join("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        let store = Self { place, stored: Arc::default(), sent: Arc::default() };
        let listens = store.clone();
        std::thread::spawn(move || listens.listen(&socket));
        store
    }

    fn listen(&self, socket: &UnixDatagram) {
        loop {
            let mut text = [0; 4096];
            let mut space = nix::cmsg_space!([RawFd; 4]);
            let mut parts = [IoSliceMut::new(&mut text)];
            let Ok(message) = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()) else {
                return;
            };
            let descriptors: Vec<RawFd> = message.cmsgs().unwrap().fold(Vec::new(), |mut all, part| {
                if let ControlMessageOwned::ScmRights(more) = part {
                    all.extend(more);
                }
                all
            });
            let length = message.bytes;
            let said = String::from_utf8_lossy(&text[..length]).into_owned();
            let name = said.lines().find_map(|line| line.strip_prefix("FDNAME="));
            let mut stored = self.stored.lock().unwrap();
            match name {
                Some(name) if said.contains("FDSTOREREMOVE=1") => _ = stored.remove(name),
                Some(name) if said.contains("FDSTORE=1") => {
                    self.sent.lock().unwrap().push(name.to_owned());
                    stored.insert(name.to_owned(), descriptors[0]);
                }
                _ => {}
            }
        }
    }

    /// Under which names anything was sent, each time.
    pub fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    /// The command, run with what is stored: as 3, 4 and on, by its names.
    pub fn with(&self, command: Command) -> Command {
        let stored = self.stored.lock().unwrap();
        let mut shell = String::new();
        for (index, descriptor) in stored.values().enumerate() {
            // Those that hold them do not close them when they become another program.
            shell += &format!("exec {}<&{descriptor} {descriptor}<&-; ", index + 3);
        }
        let names: Vec<_> = stored.keys().cloned().collect();
        let mut with = Command::new("bash");
        shell += "LISTEN_PID=$$ exec \"$@\"";
        with.args(["-c", &shell, "bash"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => with.env(name, value),
                None => with.env_remove(name),
            };
        }
        with.env("NOTIFY_SOCKET", &self.place);
        if !names.is_empty() {
            with.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        with
    }
}
