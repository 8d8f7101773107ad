//! A second terminal's side of the control socket.

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::place::Pointer;
use super::protocol::{Answer, Envelope, EventLine, LINE_MAX, PROTOCOL_VERSION, Request};
use crate::driver::history::StoredEvents;
use crate::driver::{History, HistoryError};
use crate::journal::RunHead;
use crate::plan::RunId;
use crate::report::RunRow;

/// How long the holder may take to answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Talks to the process that holds a state folder's journal.
#[derive(Debug, Clone)]
pub struct Client {
    pointer: Pointer,
}

/// Why the holder cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody left a pointer to a socket, or nobody listens there.
    #[error("the process that holds the journal offers no control socket")]
    NotThere,
    /// It took the question and did not answer in time.
    #[error("process {pid}, which holds the journal, does not answer")]
    Silent {
        /// Its process id.
        pid: u32,
    },
    /// It went away before it answered.
    #[error("process {pid}, which held the journal, ended before it answered")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// The connection broke or said what cannot be read.
    #[error("process {pid}, which holds the journal: {what}")]
    Broken {
        /// Its process id.
        pid: u32,
        /// What happened.
        what: String,
    },
}

/// A request's answers, one after the other.
#[derive(Debug)]
pub struct Answers {
    reader: BufReader<OwnedReadHalf>,
    /// Closing it would end the conversation.
    _writer: OwnedWriteHalf,
    pid: u32,
}

impl Client {
    /// Finds the holder of a state folder and hears it answer.
    ///
    /// # Errors
    /// [`ClientError::NotThere`] when nobody listens (any more, or not yet); [`ClientError::Silent`] when somebody
    /// does and says nothing.
    pub async fn connect(state: &Path) -> Result<Self, ClientError> {
        let pointer = Pointer::read(state).ok_or(ClientError::NotThere)?;
        let client = Self { pointer };
        match client.ask_once(Request::Hello).await {
            // Who does not know the question answers all the same.
            Ok(_) => Ok(client),
            Err(ClientError::Gone { .. }) => Err(ClientError::NotThere),
            Err(error) => Err(error),
        }
    }

    /// The holder's process id.
    pub fn pid(&self) -> u32 {
        self.pointer.pid
    }

    /// Whether it serves, and so resolves secrets itself.
    pub fn serves(&self) -> bool {
        self.pointer.serves
    }

    /// How the runs stand that have an event, or one of them, in order of creation.
    ///
    /// # Errors
    /// [`HistoryError`] when one cannot be read, or the holder does not know the question.
    pub async fn rows(&self, run: Option<&RunId>) -> Result<Vec<RunRow>, HistoryError> {
        match self.ask_once(Request::Rows { run: run.cloned() }).await? {
            Answer::Rows(rows) => Ok(rows),
            other => Err(unexpected(other)),
        }
    }

    async fn stream(&self) -> Result<UnixStream, ClientError> {
        let connect = tokio::time::timeout(ANSWER_TIMEOUT, UnixStream::connect(&self.pointer.socket));
        match connect.await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(_)) => Err(ClientError::NotThere),
            Err(_) => Err(ClientError::Silent { pid: self.pointer.pid }),
        }
    }

    /// Asks, and gives the answers one by one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, request: Request) -> Result<Answers, ClientError> {
        let pid = self.pointer.pid;
        let broken = |what: std::io::Error| broken(pid, &what);
        let mut line = serde_json::to_vec(&Envelope { v: PROTOCOL_VERSION, request })
            .map_err(|error| ClientError::Broken { pid, what: error.to_string() })?;
        line.push(b'\n');
        let (reader, mut writer) = self.stream().await?.into_split();
        writer.write_all(&line).await.map_err(broken)?;
        Ok(Answers { reader: BufReader::with_capacity(BUFFER_BYTES, reader), _writer: writer, pid })
    }

    /// Asks what has one answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_once(&self, request: Request) -> Result<Answer, ClientError> {
        let pid = self.pointer.pid;
        let answer = async { self.ask(request).await?.next().await };
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer?.ok_or(ClientError::Gone { pid }),
            Err(_) => Err(ClientError::Silent { pid }),
        }
    }
}

impl Answers {
    /// The next answer; `None` when there are no more. Not cancel-safe: a half-read answer would be lost.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        let mut line = Vec::new();
        if self.line(&mut line).await? { self.understood(&line).map(Some) } else { Ok(None) }
    }

    /// Reads the next answer's line into `line`, in place of what was in it; `false` when there are no more.
    async fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, ClientError> {
        let pid = self.pid;
        line.clear();
        let read = self.reader.read_until(b'\n', line).await;
        let count = read.map_err(|error| broken(pid, &error))?;
        if line.len() > LINE_MAX {
            return Err(ClientError::Broken { pid, what: "an answer is too long".to_owned() });
        }
        if count > 0 && line.last() != Some(&b'\n') {
            // It ended while it wrote.
            return Err(ClientError::Gone { pid });
        }
        Ok(count > 0)
    }

    fn understood(&self, line: &[u8]) -> Result<Answer, ClientError> {
        let what = |error| format!("an answer cannot be read: {error}");
        serde_json::from_slice(line).map_err(|error| ClientError::Broken { pid: self.pid, what: what(error) })
    }
}

/// What became of a connection.
fn broken(pid: u32, error: &std::io::Error) -> ClientError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof => ClientError::Gone { pid },
        _ => ClientError::Broken { pid, what: error.to_string() },
    }
}

impl From<ClientError> for HistoryError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Silent { pid } => HistoryError::HolderSilent { pid },
            ClientError::NotThere | ClientError::Gone { .. } => HistoryError::HolderGone,
            ClientError::Broken { .. } => HistoryError::Holder(error.to_string()),
        }
    }
}

impl History for Client {
    fn runs(&self) -> BoxFuture<'_, Result<Vec<RunHead>, HistoryError>> {
        Box::pin(async {
            match self.ask_once(Request::Runs).await? {
                Answer::Runs(runs) => {
                    Ok(runs.into_iter().map(|(run, last_seq)| RunHead { run, last_seq }).collect())
                }
                other => Err(unexpected(other)),
            }
        })
    }

    fn stored(&self, run: RunId, from: u64, limit: u64) -> BoxFuture<'_, Result<StoredEvents, HistoryError>> {
        Box::pin(async move {
            let mut answers = self.ask(Request::Read { run, from, limit }).await?;
            let (mut stored, mut line) = (Vec::new(), Vec::new());
            let pid = self.pointer.pid;
            loop {
                let read = tokio::time::timeout(ANSWER_TIMEOUT, answers.line(&mut line));
                if !read.await.map_err(|_| ClientError::Silent { pid })?? {
                    return Err(HistoryError::HolderGone);
                }
                // There may be thousands of these.
                if let Ok(EventLine { event: (seq, record) }) = serde_json::from_slice(&line) {
                    stored.push((seq, record.get().as_bytes().to_vec()));
                    continue;
                }
                match answers.understood(&line)? {
                    Answer::Done => return Ok(stored),
                    other => return Err(unexpected(other)),
                }
            }
        })
    }

    fn checkpoint(&self, run: RunId) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
        Box::pin(async {
            match self.ask_once(Request::Checkpoint { run }).await {
                Ok(Answer::Checkpoint(found)) => found.map(|(seq, raw)| (seq, raw.get().as_bytes().to_vec())),
                // The events say the same, only slower.
                Ok(_) | Err(_) => None,
            }
        })
    }

    fn kept(&self, run: RunId) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async {
            match self.ask_once(Request::Kept { run }).await {
                Ok(Answer::Kept(kept)) => kept.map(|raw| raw.get().as_bytes().to_vec()),
                // A count that is not up to date is no reason to show nothing.
                Ok(_) | Err(_) => None,
            }
        })
    }

    fn hash(&self, run: RunId, seq: u64) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            match self.ask_once(Request::Hash { run, seq }).await {
                Ok(Answer::Hash(hash)) => hash,
                // An older holder does not know the question.
                Ok(_) | Err(_) => None,
            }
        })
    }
}

fn unexpected(answer: Answer) -> HistoryError {
    match answer {
        Answer::Error { message } => HistoryError::Holder(message),
        other => HistoryError::Holder(format!("the holder answered {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that ends while it writes leaves half a line: it is gone, and what it said is read from the journal.
    #[tokio::test]
    async fn who_ends_in_the_middle_of_an_answer_is_gone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = ours.into_split();
        let mut answers =
            Answers { reader: BufReader::with_capacity(BUFFER_BYTES, reader), _writer: writer, pid: 7 };
        theirs.write_all(b"{\"running\":{\"run\":\"p-1\"}}\n{\"running\":{\"run\":\"p-").await.unwrap();
        drop(theirs);
        assert!(matches!(answers.next().await, Ok(Some(Answer::Running { .. }))));
        assert!(matches!(answers.next().await, Err(ClientError::Gone { pid: 7 })));
        assert!(matches!(answers.next().await, Ok(None)));
    }
}
