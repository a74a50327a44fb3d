//! Reach of a machine with the image: whether its ssh answers, and whether its gateway does. Asked at the machine itself;
//! nothing is changed by it.

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::time::timeout;

/// The port of ssh.
const SSH: u16 = 22;
/// The first bytes that a server of ssh says (RFC 4253, 4.2).
const BANNER: &[u8] = b"SSH-";
/// The time within which sshd says them: it is a program of this machine.
const ANSWER: Duration = Duration::from_secs(5);
/// A port that nobody listens on (RFC 863): what is sent there only has the kernel look for the machine.
const DISCARD: u16 = 9;

/// Ask ssh of this machine; `None` if nobody may log in, as there are no `keys`, so that it is off.
pub async fn ssh(keys: &Path) -> Option<bool> {
    keys.exists().then_some(())?;
    Some(greets(SSH).await)
}

async fn greets(port: u16) -> bool {
    let hear = async {
        let mut said = [0; BANNER.len()];
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.read_exact(&mut said).await.ok()?;
        Some(said == BANNER)
    };
    timeout(ANSWER, hear).await.ok().flatten() == Some(true)
}

/// Ask the kernel whether a gateway answers, and have it asked anew; `None` if that cannot be told: there is none, or it
/// is named by its address on a link.
pub async fn gateway(gateway: Option<IpAddr>) -> Option<bool> {
    let gateway = gateway.filter(|ip| !matches!(ip, IpAddr::V6(six) if six.is_unicast_link_local()))?;
    let any: IpAddr =
        if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    if let Ok(socket) = UdpSocket::bind((any, 0)).await {
        // Without a route it cannot be sent: then nobody answers either.
        _ = socket.send_to(&[0], (gateway, DISCARD)).await;
    }
    let arguments = ["-json", "neighbour", "show", "to", &gateway.to_string()];
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    output.status.success().then(|| answered(&output.stdout)).flatten()
}

/// A neighbour, as `ip -json` tells of it.
#[derive(Debug, Deserialize)]
struct Neighbour {
    lladdr: Option<String>,
    #[serde(default)]
    state: Vec<String>,
}

/// Whether one of the neighbours has told its hardware address, and was not asked in vain since.
fn answered(told: &[u8]) -> Option<bool> {
    // None at all, and ip says nothing.
    let told = if told.trim_ascii().is_empty() { b"[]" } else { told };
    let all: Vec<Neighbour> = serde_json::from_slice(told).ok()?;
    let silent = |state: &String| state == "FAILED" || state == "INCOMPLETE";
    Some(all.iter().any(|one| one.lladdr.is_some() && !one.state.iter().any(silent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn ssh_is_who_says_so() {
        for (said, is_ssh) in [("SSH-2.0-OpenSSH_10.0\r\n", true), ("HTTP/1.1 400\r\n", false), ("", false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
            };
            assert_eq!(tokio::join!(greets(port), serve).0, is_ssh, "{said:?}");
        }
    }

    #[test]
    fn a_gateway_answers_if_its_hardware_address_is_known() {
        let of = |state: &str| {
            format!(
                "[{{\"dst\":\"10.0.0.1\",\"dev\":\"br0\",\"lladdr\":\"00:00:00:00:00:02\",\"state\":[\"{state}\"]}}]"
            )
        };
        for state in ["REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"] {
            assert_eq!(answered(of(state).as_bytes()), Some(true), "{state}");
        }
        assert_eq!(answered(of("FAILED").as_bytes()), Some(false));
        assert_eq!(answered(b"[{\"dst\":\"10.0.0.1\",\"dev\":\"br0\",\"state\":[\"INCOMPLETE\"]}]"), Some(false));
        assert_eq!((answered(b"[]"), answered(b"\n"), answered(b"{")), (Some(false), Some(false), None));
    }

    #[tokio::test]
    async fn without_a_gateway_nobody_is_asked() {
        assert_eq!((gateway(None).await, gateway("fe80::1".parse().ok()).await), (None, None));
    }
}
