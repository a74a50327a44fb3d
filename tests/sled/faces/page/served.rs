//! A page, served as a sled does, with its policy; and events, when the test says so.

use crucible_sled::page::{POLICY, explanations};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use support::hosts::EVENT_LIMIT;

/// What is served, and to whom events are told.
#[derive(Default)]
struct Shown {
    status: u16,
    page: String,
    /// Streams of events that are open.
    streams: Vec<TcpStream>,
    /// Whether nobody answers.
    away: bool,
}

/// A server of one page.
pub struct Served {
    /// Where it is.
    pub url: String,
    shown: Arc<Mutex<Shown>>,
    /// Each time that the page was asked for.
    asked: Receiver<()>,
}

impl Served {
    /// Serves nothing yet.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (shown, (told, asked)) = (Arc::new(Mutex::new(Shown::default())), mpsc::channel());
        let shared = shown.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, told) = (shared.clone(), told.clone());
                // One that hangs up is answered no more.
                thread::spawn(move || _ = answer(stream, &shared, &told));
            }
        });
        Self { url, shown, asked }
    }

    /// Serves this page from now on.
    pub fn show(&self, status: u16, page: String) {
        let mut shown = self.shown.lock().unwrap();
        (shown.status, shown.page) = (status, page);
    }

    /// Tells everybody who follows that something has happened.
    pub fn tell(&self) {
        while self.asked.try_recv().is_ok() {}
        let mut shown = self.shown.lock().unwrap();
        shown.streams.retain_mut(|stream| stream.write_all(b"id: 1\ndata: {}\n\n").is_ok());
    }

    /// Waits until the page is asked for that was told of.
    pub fn wait_until_asked(&self) {
        self.asked.recv_timeout(EVENT_LIMIT).unwrap();
    }

    /// Hangs up on everybody, and answers nobody; or does again.
    pub fn go_away(&self, away: bool) {
        let mut shown = self.shown.lock().unwrap();
        shown.away = away;
        shown.streams.drain(..).for_each(|stream| _ = stream.shutdown(Shutdown::Both));
    }
}

/// Answers one request.
fn answer(mut stream: TcpStream, shown: &Mutex<Shown>, told: &Sender<()>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut shown = shown.lock().unwrap();
    if shown.away {
        return stream.shutdown(Shutdown::Both);
    }
    let end = "Cache-Control: no-store\r\nConnection: close\r\n\r\n";
    match first.split(' ').nth(1) {
        Some("/v1/events") => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{end}: hello\n\n")?;
            shown.streams.push(stream);
        }
        path => {
            let page = if path == Some("/checks") { &explanations() } else { &shown.page };
            let policy = POLICY.as_str();
            let head = "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy:";
            write!(stream, "HTTP/1.1 {} X\r\n{head} {policy}\r\n{end}{page}", shown.status)?;
            _ = told.send(());
        }
    }
    Ok(())
}
