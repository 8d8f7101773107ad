//! A way to a server that can be cut: it counts the messages that a client sends, and halts at one of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::engine::{Cutter, How, Side};

/// How long the answer to the message before a cut is waited for: not every message has one.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What a server says that is in trouble.
const FAILS: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A listener in front of a server of this machine.
pub struct Wire {
    pub port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    server: u16,
    counts: fn(&[u8]) -> bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    armed: Option<(usize, Side)>,
    seen: usize,
    halted: bool,
    reached: bool,
    down: bool,
    gone: bool,
    open: Vec<TcpStream>,
    /// Whoever waits for the answer to what is halted.
    waits: Option<TcpStream>,
}

enum Pass {
    On,
    /// On, and nothing after it.
    Last,
    Never,
}

impl Wire {
    /// Stands in front of that port and counts the messages of which `counts` says so.
    pub fn to(server: u16, counts: fn(&[u8]) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner { server, counts, state: Mutex::default() });
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = accepting.state.lock().unwrap();
                if state.gone {
                    return;
                }
                if state.down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", accepting.server)) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                    state.open.push(stream.try_clone().unwrap());
                }
                drop(state);
                let (inner, swallow, answered) = (
                    Arc::clone(&accepting),
                    Arc::new(AtomicBool::new(false)),
                    Arc::new(AtomicBool::new(false)),
                );
                let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                {
                    let (swallow, answered) = (Arc::clone(&swallow), Arc::clone(&answered));
                    std::thread::spawn(move || answers(back_from, back_to, &swallow, &answered));
                }
                std::thread::spawn(move || messages(client, server, &inner, &swallow, &answered));
            }
        });
        Self { port, inner }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Inner {
    fn pass(&self, message: &[u8], client: &TcpStream) -> Pass {
        let mut state = self.state.lock().unwrap();
        if state.halted {
            return Pass::Never;
        }
        if !(self.counts)(message) {
            return Pass::On;
        }
        let number = state.seen;
        state.seen += 1;
        match state.armed {
            Some((point, Side::Before)) if point == number => {
                (state.halted, state.reached) = (true, true);
                state.waits = client.try_clone().ok();
                Pass::Never
            }
            Some((point, Side::After)) if point == number => {
                state.halted = true;
                state.waits = client.try_clone().ok();
                Pass::Last
            }
            _ => Pass::On,
        }
    }
}

fn messages(
    mut client: TcpStream,
    mut server: TcpStream,
    inner: &Inner,
    swallow: &AtomicBool,
    answered: &AtomicBool,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match client.read(&mut buffer) {
            Ok(read) if read > 0 => read,
            _ => break,
        };
        match inner.pass(&buffer[..read], &client) {
            Pass::On => {
                if server.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Pass::Last => {
                swallow.store(true, Ordering::SeqCst);
                drop(server.write_all(&buffer[..read]));
                let until = Instant::now() + ANSWER_MAX;
                while !answered.load(Ordering::SeqCst) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let mut state = inner.state.lock().unwrap();
                // Healed meanwhile, because nobody waited for that answer: it is not the next point's.
                state.reached |= state.halted && state.waits.is_some();
                return;
            }
            // What is cut says nothing any more, and does not end by itself.
            Pass::Never => return,
        }
    }
    drop(server.shutdown(Shutdown::Write));
}

fn answers(mut server: TcpStream, mut client: TcpStream, swallow: &AtomicBool, answered: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read) = server.read(&mut buffer) {
        if read == 0 {
            break;
        }
        if swallow.load(Ordering::SeqCst) {
            answered.store(true, Ordering::SeqCst);
        } else if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Write));
}

impl Cutter for Wire {
    fn arm(&self, point: usize, side: Side) {
        let mut state = self.inner.state.lock().unwrap();
        (state.armed, state.seen) = (Some((point, side)), 0);
    }

    fn reached(&self) -> bool {
        self.inner.state.lock().unwrap().reached
    }

    fn cut(&self, how: How) {
        let mut state = self.inner.state.lock().unwrap();
        if how == How::Fails {
            // To who speaks something else it is nonsense, at which he hangs up.
            let mut client = state.waits.take().unwrap();
            drop(client.write_all(FAILS));
            drop(client.shutdown(Shutdown::Both));
            (state.armed, state.halted) = (None, false);
            return;
        }
        state.down = true;
        for stream in state.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn heal(&self) {
        let mut state = self.inner.state.lock().unwrap();
        (state.armed, state.halted, state.reached, state.down) = (None, false, false, false);
        state.waits = None;
    }

    fn ways(&self) -> &'static [How] {
        &[How::Killed, How::Connection, How::Fails]
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.inner.state.lock().unwrap().gone = true;
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// The requests of HTTP that change something; in a full run all of them.
pub fn changes(message: &[u8]) -> bool {
    let line = message.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let begins = |methods: &[&str]| methods.iter().any(|method| line.starts_with(method));
    match super::support::lab::full() {
        true => line.ends_with("HTTP/1.1"),
        false => begins(&["POST ", "PUT ", "PATCH ", "DELETE "]) && !line.contains("dryRun"),
    }
}
