//! TLS on the data port, as the real one has it: who connects must show a certificate of the same
//! root, and shakes hands before the next one is accepted. One that says nothing holds up all that
//! come after it.
//!
//! Decrypted bytes go through a pair of sockets, so that a connection is the same to all others whether it is plain
//! or not.

use crate::command::RunOptions;
use crate::log;
use serde_json::json;
use stand_ins::failure::{Failure, Outcome};
use stand_ins::pem::blocks;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::io::copy;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

/// Make the acceptor that the options ask for; `None` without TLS.
pub fn acceptor(options: &RunOptions) -> Outcome<Option<TlsAcceptor>> {
    let (Some(cert), Some(key), Some(root)) = (&options.cert_pem, &options.key_pem, &options.root_cert_pem) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for root in blocks::<CertificateDer>(root)? {
        roots.add(root).map_err(refused)?;
    }
    let (chain, keys) = (blocks(cert)?, blocks::<PrivatePkcs1KeyDer>(key)?);
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|why| Failure::caused_by("client cert verifier builder error", &why.to_string()))?;
    let Some(key) = keys.into_iter().next() else { panic_without_a_key() };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key.into())
        .map_err(refused)?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// With a key of another kind there is none, and the real one panics: in these words, and at this
/// place of its own.
fn panic_without_a_key() -> ! {
    let words = "index out of bounds: the len is 0 but the index is 0";
    eprintln!("\nthread 'main' ({}) panicked at common/src/x509.rs:79:26:\n{words}", std::process::id());
    eprintln!("note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace");
    std::process::abort()
}

fn refused(why: Error) -> Failure {
    Failure::caused_by("rustls error", &why.to_string())
}

/// Accepts connections for as long as the process lives, and hands on what is decrypted.
pub fn serve(listener: &TcpListener, acceptor: &TlsAcceptor, mut accepted: impl FnMut(SocketAddr, UnixStream)) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let listener = listener.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let listener = listener.expect("a listener that can be waited for");
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(next) => next,
                Err(error) => {
                    log::warn(&format!("cannot accept: {error}"), &json!({"task": "main"}));
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    continue;
                }
            };
            match acceptor.accept(stream).await {
                Ok(stream) => match decrypted(stream) {
                    Ok(plain) => accepted(peer, plain),
                    Err(error) => log::warn(&format!("cannot accept: {error}"), &json!({"task": "main"})),
                },
                Err(error) => {
                    log::warn(&format!("rejecting connection from {peer}: {error:?}"), &json!({"task": "main"}));
                }
            }
        }
    })
}

/// The plain end of a connection. Each way ends both.
fn decrypted(stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> io::Result<UnixStream> {
    let (plain, inner) = UnixStream::pair()?;
    inner.set_nonblocking(true)?;
    let inner = tokio::net::UnixStream::from_std(inner)?;
    tokio::spawn(async move {
        let (mut from_peer, mut to_peer) = tokio::io::split(stream);
        let (mut from_us, mut to_us) = inner.into_split();
        tokio::select! {
            _ = copy(&mut from_peer, &mut to_us) => {}
            _ = copy(&mut from_us, &mut to_peer) => {}
        }
    });
    Ok(plain)
}
