//! Offer of an update that lies in a directory or in one file, over HTTP on the loopback for as long as it is taken:
//! `systemd-sysupdate` checks signatures of what it fetches, and of nothing else.

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;

/// The bytes that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The place of a file: in another one, from an offset on, so many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extent {
    path: PathBuf,
    offset: u64,
    length: u64,
}

/// The files that are offered.
#[derive(Debug)]
pub struct Offer {
    files: Arc<BTreeMap<String, Extent>>,
    listener: TcpListener,
}

impl Offer {
    /// Offer a directory, or an archive in which image/build has put one.
    ///
    /// # Errors
    /// The path cannot be read, or holds no update.
    pub async fn open(path: &Path) -> io::Result<Self> {
        let files = if path.is_dir() { directory(path)? } else { archive(path)? };
        if !files.contains_key("SHA256SUMS") {
            return Err(io::Error::other("it holds no SHA256SUMS, and so no update"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { files: Arc::new(files), listener })
    }

    /// The URL at which it is offered.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn url(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Serve the offer for ever; dropped, it ends.
    pub async fn serve(self) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let files = Arc::clone(&self.files);
            let service = service_fn(move |request| answer(Arc::clone(&files), request));
            // A peer that has gone is no concern of anybody's.
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

fn directory(dir: &Path) -> io::Result<BTreeMap<String, Extent>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let (path, length) = entry.and_then(|entry| Ok((entry.path(), entry.path().metadata()?.len())))?;
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
            files.insert(name.to_owned(), Extent { path: path.clone(), offset: 0, length });
        }
    }
    Ok(files)
}

fn archive(path: &Path) -> io::Result<BTreeMap<String, Extent>> {
    let mut archive = tar::Archive::new(std::fs::File::open(path)?);
    let mut files = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let extent = Extent { path: path.to_owned(), offset: entry.raw_file_position(), length: entry.size() };
        let name = entry.path()?.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| entry.header().entry_type().is_file()) {
            files.insert(name, extent);
        }
    }
    Ok(files)
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn answer(files: Arc<BTreeMap<String, Extent>>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let found = files.get(request.uri().path().trim_start_matches('/'));
    let (status, body) = match found {
        Some(extent) => (StatusCode::OK, body(extent).await?),
        None => (StatusCode::NOT_FOUND, Empty::new().map_err(|never| match never {}).boxed_unsync()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(extent) = found {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, extent.length.into());
    }
    Ok(response)
}

async fn body(extent: &Extent) -> io::Result<Body> {
    let mut file = File::open(&extent.path).await?;
    file.seek(SeekFrom::Start(extent.offset)).await?;
    let chunks = stream::try_unfold(file.take(extent.length), |mut rest| async {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut rest).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
        Ok((read > 0).then(|| (Frame::data(Bytes::from(chunk)), rest)))
    });
    Ok(StreamBody::new(chunks).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    async fn get(url: &str, file: &str) -> String {
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /{file} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_directory_and_an_archive_are_offered_alike() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(CHUNK_BYTES + 7);
        std::fs::write(dir.path().join("SHA256SUMS"), "sums\n").unwrap();
        std::fs::write(dir.path().join("long"), &long).unwrap();
        let bundle = dir.path().join("bundle");
        let mut archive = tar::Builder::new(std::fs::File::create(&bundle).unwrap());
        for file in ["SHA256SUMS", "long"] {
            archive.append_path_with_name(dir.path().join(file), file).unwrap();
        }
        archive.finish().unwrap();
        for path in [dir.path(), &bundle] {
            let offer = Offer::open(path).await.unwrap();
            let url = offer.url().unwrap();
            let serving = tokio::spawn(offer.serve());
            assert!(get(&url, "SHA256SUMS").await.ends_with("\r\n\r\nsums\n"), "{}", path.display());
            assert!(get(&url, "long").await.ends_with(&format!("\r\n\r\n{long}")));
            assert!(get(&url, "../long").await.starts_with("HTTP/1.1 404"));
            serving.abort();
        }
    }

    #[tokio::test]
    async fn what_is_no_update_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Offer::open(dir.path()).await.unwrap_err().to_string().contains("no SHA256SUMS"));
        assert!(Offer::open(&dir.path().join("none")).await.is_err());
        std::fs::write(dir.path().join("text"), "no archive".repeat(100)).unwrap();
        assert!(Offer::open(&dir.path().join("text")).await.is_err());
    }
}
