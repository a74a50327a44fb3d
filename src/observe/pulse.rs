//! Whether a region's downstairs answers, and who it says it is.
//!
//! One persistent connection to the data port, on which `Ruok` is asked every two seconds: it
//! passes the downstairs' main loop, leaves no log line, and cannot disturb an upstairs. The
//! identity comes from `/region-info` on the repair port, once a connection. Nothing else is
//! ever sent to a downstairs.

use super::backoff::Backoff;
use super::{NobodyListens, Observation, Publisher, publish};
use crate::decide::facts::{Beat, Pulse};
use crate::port_map::LocalRegion;
use crate::protocol::{IMOK, RUOK};
use crate::region::RegionJson;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// How often an idle downstairs is asked. Far below the 45 s after which it would drop the
/// connection, and often enough that "within the last few seconds" is true.
pub const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long it may take to answer. 449 ms was the worst seen under full write load; ten times
/// that is no slowness any more.
pub const ALLOWANCE: Duration = Duration::from_secs(5);
/// The most bytes of `/region-info` that are read; a real one has under 300.
const MOST_INFO: usize = 64 * 1024;

/// Watches one region for as long as somebody listens. `pid` tells the main process of its
/// unit; while there is none, nobody is asked.
///
/// # Errors
/// [`NobodyListens`], in the end.
pub async fn watch(
    local: LocalRegion,
    address: IpAddr,
    mut pid: watch::Receiver<Option<u32>>,
    to: Publisher,
) -> Result<(), NobodyListens> {
    loop {
        let asked = *pid.borrow_and_update();
        let asking = async {
            match asked {
                Some(pid) => Patient { local: &local, address, pid, to: &to, told: None }.attend().await,
                None => {
                    publish(&to, Observation::Pulse(local.name.clone(), None)).await?;
                    std::future::pending().await
                }
            }
        };
        // Cancel-safe: a connection that is dropped with the old process is of no use.
        tokio::select! {
            gone = asking => return gone,
            changed = pid.changed() => changed.map_err(|_| NobodyListens)?,
        }
    }
}

/// One main process under observation.
struct Patient<'a> {
    local: &'a LocalRegion,
    address: IpAddr,
    pid: u32,
    to: &'a Publisher,
    told: Option<Pulse>,
}

impl Patient<'_> {
    /// Connects, again and again, and asks. Nothing tells when a downstairs begins to listen
    /// (typically 0.1 s after it starts), so the first tries come fast.
    async fn attend(mut self) -> Result<(), NobodyListens> {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
        loop {
            let data = SocketAddr::new(self.address, self.local.port);
            match timeout(ALLOWANCE, TcpStream::connect(data)).await {
                Ok(Ok(stream)) => {
                    backoff.reset();
                    self.tell(Beat::Asked, None).await?;
                    let why = self.converse(stream).await?;
                    self.tell(Beat::Lost(why.to_string()), None).await?;
                }
                Ok(Err(_)) => self.tell(Beat::Refused, None).await?,
                Err(_) => self.tell(Beat::Silent, None).await?,
            }
            backoff.pause().await;
        }
    }

    /// Asks on one connection until it breaks, and returns why it did.
    async fn converse(&mut self, mut stream: TcpStream) -> Result<io::Error, NobodyListens> {
        let mut identity = None;
        loop {
            if !matches!(identity, Some(Ok(_))) {
                identity = Some(self.identity().await);
            }
            let asked = Instant::now();
            if let Err(why) = stream.write_all(&RUOK).await {
                return Ok(why);
            }
            let mut answer = [0; IMOK.len()];
            let mut reading = std::pin::pin!(stream.read_exact(&mut answer));
            let read = match timeout(ALLOWANCE, &mut reading).await {
                Ok(read) => read,
                Err(_) => {
                    self.tell(Beat::Silent, identity.clone()).await?;
                    reading.await
                }
            };
            if let Err(why) = read {
                return Ok(why);
            }
            if answer != IMOK {
                return Ok(io::Error::other(format!("it answered {answer:02x?} to Ruok")));
            }
            self.tell(Beat::Answering, identity.clone()).await?;
            if let Err(why) = idle(&stream, asked + ASK_EVERY).await {
                return Ok(why);
            }
        }
    }

    async fn tell(&mut self, beat: Beat, identity: Option<Result<Uuid, String>>) -> Result<(), NobodyListens> {
        let pulse = Pulse { pid: self.pid, beat, identity };
        // An answer is told each time, so that a pulse that stops is noticed.
        if self.told.as_ref() == Some(&pulse) && pulse.beat != Beat::Answering {
            return Ok(());
        }
        self.told = Some(pulse.clone());
        publish(self.to, Observation::Pulse(self.local.name.clone(), Some(pulse))).await
    }

    async fn identity(&self) -> Result<Uuid, String> {
        let repair = SocketAddr::new(self.address, self.local.repair_port());
        match timeout(ALLOWANCE, region_info(repair)).await {
            Ok(Ok(region)) => Ok(region.uuid),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err(format!("no answer within {} s", ALLOWANCE.as_secs())),
        }
    }
}

/// Waits until it is time to ask again, or the peer closes or speaks unasked. Cancel-safe:
/// `peek` takes nothing from the stream.
async fn idle(stream: &TcpStream, until: Instant) -> io::Result<()> {
    let mut byte = [0];
    tokio::select! {
        () = sleep_until(until) => Ok(()),
        peeked = stream.peek(&mut byte) => Err(match peeked {
            Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
            Ok(_) => io::Error::other("it spoke unasked"),
            Err(why) => why,
        }),
    }
}

/// What the repair port says of the region that it serves.
async fn region_info(repair: SocketAddr) -> Result<RegionJson, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(repair).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/region-info").header(http::header::HOST, repair.to_string());
    let request = request.body(Empty::<Bytes>::new())?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MOST_INFO).collect().await?;
        Ok(RegionJson::parse(&body.to_bytes())?)
    };
    // The connection is driven only while the answer is awaited, and is closed after it.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}
