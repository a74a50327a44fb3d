//! Replica: a connection to one target for as long as it answers, and a new one after that.

use crate::replicas::Replicas;
use crate::tls::Tls;
use stand_ins::stream::Stream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const RUOK: [u8; 8] = [8, 0, 0, 0, 9, 0, 0, 0];
const IMOK: [u8; 8] = [8, 0, 0, 0, 10, 0, 0, 0];
/// A connection on which nothing comes for so long is given up.
const SILENT: Duration = Duration::from_secs(45);
/// How often it is asked if nobody else wants to know, lest the target gives it up.
const ASK: Duration = Duration::from_secs(10);

/// A connection to a target, and what was asked by it.
pub struct Link {
    stream: Stream,
    /// Which connection to this target it is.
    number: u64,
    asked: u64,
    answered: u64,
}

/// A question: by which connection, and which one there.
pub type Question = (u64, u64);

impl Link {
    /// Asks the target whether it is there.
    pub fn ask(&mut self) -> Question {
        // A stream that is broken is found by who reads from it.
        _ = self.stream.write_all(&RUOK);
        self.asked += 1;
        (self.number, self.asked)
    }

    /// Whether this was asked by this connection.
    pub fn is(&self, question: Question) -> bool {
        question.0 == self.number
    }

    /// Whether this has been answered.
    pub fn has_answered(&self, question: Question) -> bool {
        self.is(question) && self.answered >= question.1
    }
}

/// Connects to a target for as long as the process lives.
pub fn stay_connected(all: &Replicas, replica: usize, target: SocketAddr, tls: &Option<Tls>, retry: Duration) -> ! {
    for number in 0.. {
        if let Ok(mut stream) = connect(replica, target, tls) {
            let ended = listen(all, replica, number, &mut stream);
            all.change(replica, |replica| replica.link = None);
            stream.close();
            println!("target {target}: {}", ended.expect_err("it listens until something is wrong"));
        }
        std::thread::sleep(retry);
    }
    unreachable!("there are more numbers than seconds")
}

fn connect(replica: usize, target: SocketAddr, tls: &Option<Tls>) -> io::Result<Stream> {
    let stream = TcpStream::connect_timeout(&target, ASK)?;
    let stream = match tls {
        Some(tls) => Stream::Decrypted(tls.decrypted(replica, stream)?),
        None => Stream::Plain(stream),
    };
    stream.limit(ASK, ASK)?;
    Ok(stream)
}

/// Counts answers until the connection ends. The target is there from the first one on.
fn listen(all: &Replicas, replica: usize, number: u64, stream: &mut Stream) -> io::Result<std::convert::Infallible> {
    let mut link = Some(Link { stream: stream.try_clone()?, number, asked: 0, answered: 0 });
    link.iter_mut().for_each(|link| _ = link.ask());
    let mut heard = Instant::now();
    loop {
        let mut answer = [0; 8];
        match stream.read_exact(&mut answer) {
            Ok(()) if answer == IMOK => {
                heard = Instant::now();
                all.change(replica, |replica| {
                    if let Some(link) = link.take() {
                        replica.link = Some(link);
                    }
                    replica.link.iter_mut().for_each(|link| link.answered += 1);
                });
            }
            Ok(()) => return Err(io::Error::new(ErrorKind::InvalidData, format!("it says {answer:?}"))),
            Err(error) if error.kind() == ErrorKind::WouldBlock && heard.elapsed() < SILENT => {
                all.change(replica, |replica| replica.link.iter_mut().for_each(|link| _ = link.ask()));
            }
            Err(error) => return Err(error),
        }
    }
}
