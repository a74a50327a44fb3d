//! Notifications that go out by TLS, as `sledctl notify deliver` sends them: to a server that this machine trusts, and to
//! none else.

use super::text;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use support::certificates::Authority;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Serves one client with this certificate: the port, and the request that was heard, if the client made one.
fn server(authority: &Authority, name: &str) -> (u16, JoinHandle<String>) {
    let certificate = CertificateDer::from_pem_file(authority.path(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
        let (mut heard, mut part) = (String::new(), [0; 4096]);
        // The body ends so, and the head does not.
        while !heard.trim_end().ends_with('}') {
            match stream.read(&mut part) {
                Ok(size @ 1..) => heard.push_str(std::str::from_utf8(&part[..size]).unwrap()),
                _ => return heard,
            }
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        heard
    });
    (port, heard)
}

/// Sends a notification to this port by TLS, from a machine that trusts whom this file has.
fn deliver(port: u16, trusted: &Path) -> Output {
    let notification = json!({
        "sled": "proper-raptor", "occasion": "test", "check": null, "time": "2026-11-30T12:00:00.000Z", "left_out": 0
    });
    let url = format!("https://localhost:{port}/sled");
    let order = json!({ "way": "webhook", "url": url, "notification": notification });
    let mut sledctl = Command::new(env!("CARGO_BIN_EXE_sledctl"));
    sledctl.args(["notify", "deliver"]).env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
    let mut child = sledctl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_webhook_by_tls_is_sent_to_whom_this_machine_trusts_and_to_nobody_else() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, other) = (Authority::new(own.path(), 30), Authority::new(other.path(), 30));
    own.issue("server", 30, "subjectAltName=DNS:localhost").issue("stranger", 30, "subjectAltName=DNS:elsewhere");
    let sent = |name: &str, trusted: &Authority| {
        let (port, heard) = server(&own, name);
        let output = deliver(port, &trusted.path("root.pem"));
        (text(&output.stdout) + &text(&output.stderr), heard.join().unwrap())
    };
    let (said, heard) = sent("server", &own);
    assert!(said.contains("204 No Content"), "{said}");
    assert!(heard.starts_with("POST /sled HTTP/1.1\r\nhost: localhost:") && heard.contains("proper-raptor"), "{heard}");
    for (name, trusted, why) in [("server", &other, "invalid peer certificate"), ("stranger", &own, "not valid for")] {
        let (said, heard) = sent(name, trusted);
        assert!(said.contains("TLS: ") && said.contains(why), "{said}");
        assert_eq!(heard, "", "nothing is told to a server that is not trusted");
    }
}
