//! A TCP connection as the kernel sees it (tcp(7), `TCP_INFO`): what had to be sent again. Never what it carries.

use nix::libc;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd};

/// Account of what was sent on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Segments that were sent again, since the connection began.
    pub resent_segments: u32,
    /// Bytes of data in a full segment.
    pub segment_bytes: u32,
}

/// Ask the kernel for the account of a TCP socket.
///
/// # Errors
/// The socket is none of TCP.
#[expect(unsafe_code, reason = "nix has no safe way to ask for TCP_INFO")]
pub fn sent(socket: impl AsFd) -> io::Result<Sent> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(mem::size_of::<libc::tcp_info>()).unwrap_or_default();
    // SAFETY: the kernel writes no more than `length` bytes to `info`, which has as many, and the descriptor is
    // borrowed for as long as this takes.
    let done = unsafe {
        let to = info.as_mut_ptr().cast();
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, and numbers are all that it has: whatever the kernel did not write is 0.
    let info = unsafe { info.assume_init() };
    Ok(Sent { resent_segments: info.tcpi_total_retrans, segment_bytes: info.tcpi_snd_mss })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_has_an_account_and_another_socket_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let sent = sent(&client).unwrap();
        assert!(sent.segment_bytes > 500 && sent.resent_segments == 0, "{sent:?}");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(super::sent(&one).is_err());
    }
}
