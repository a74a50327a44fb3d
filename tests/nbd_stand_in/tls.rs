//! TLS to the targets, as the real one has it: it ends with the first handshake that fails.
//!
//! Decrypted bytes go through a pair of sockets, so that a connection is the same to all others whether it is plain
//! or not.

use crate::command::Opt;
use stand_ins::failure::{Failure, Outcome};
use stand_ins::pem;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// The files that the options name.
pub struct Tls {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    keys: Vec<PrivatePkcs1KeyDer<'static>>,
}

impl Tls {
    /// Read what the options ask for; `None` without TLS. Panics on a certificate without the other two.
    pub fn of(opt: &Opt) -> Outcome<Option<Self>> {
        let Some(cert) = &opt.cert_pem else { return Ok(None) };
        let (Some(key), Some(root)) = (&opt.key_pem, &opt.root_cert_pem) else {
            panic!("called `Option::unwrap()` on a `None` value")
        };
        let mut roots = RootCertStore::empty();
        for root in pem::blocks::<CertificateDer>(Path::new(root))? {
            roots.add(root).map_err(|why| Failure::caused_by("rustls error", &why.to_string()))?;
        }
        let (chain, keys) = (pem::blocks(Path::new(cert))?, pem::blocks(Path::new(key))?);
        Ok(Some(Self { roots: Arc::new(roots), chain, keys }))
    }

    /// The plain end of a connection to this target. Panics if the two do not come to terms.
    pub fn decrypted(&self, replica: usize, stream: TcpStream) -> io::Result<UnixStream> {
        let config = self.config().unwrap_or_else(|why| unwrapped(&why));
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(format!("downstairs{replica}")).expect("it is a name");
        let (plain, inner) = UnixStream::pair()?;
        let (shaken, is_shaken) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
            runtime.block_on(pass(connector, name, stream, inner, shaken))
        });
        is_shaken.recv().expect("the thread tells").unwrap_or_else(|why| unwrapped(&why));
        Ok(plain)
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        let key = self.keys[0].clone_key();
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), key.into())
    }
}

/// Shakes hands, tells how that went, and passes on what comes until either end is closed, which ends both.
async fn pass(
    connector: TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
    inner: UnixStream,
    shaken: mpsc::Sender<io::Result<()>>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    inner.set_nonblocking(true)?;
    let (stream, mut inner) = (tokio::net::TcpStream::from_std(stream)?, tokio::net::UnixStream::from_std(inner)?);
    let mut stream = match connector.connect(name, stream).await {
        Ok(stream) => stream,
        Err(why) => {
            _ = shaken.send(Err(why));
            return Ok(());
        }
    };
    _ = shaken.send(Ok(()));
    tokio::io::copy_bidirectional(&mut stream, &mut inner).await.map(drop)
}

fn unwrapped(why: &dyn std::fmt::Debug) -> ! {
    panic!("called `Result::unwrap()` on an `Err` value: {why:?}")
}
