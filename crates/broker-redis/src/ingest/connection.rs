//! The connection that waits for entries: a read blocks it, so it is one of its own.
//!
//! What is read has bounds, whatever the server says: fields and entries beyond them are skipped as they come in, and
//! never held in memory.

use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::PayloadLimits;
use redis::Cmd;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use super::entry::{Entry, Id};
use crate::dial::{Socket, dial};
use crate::fault::Fault;
use crate::limits::{ENTRY_FIELDS_MAX, ENTRY_OVERHEAD_BYTES, READ_BLOCK, READ_BYTES_MAX, READ_ENTRIES, READ_TIMEOUT};
use crate::link::Link;
use crate::options::Options;

/// The longest line: an error's text.
const LINE_BYTES_MAX: u64 = 4096;
/// The longest id: two numbers of twenty digits.
const ID_BYTES_MAX: usize = 41;

/// A connection that was logged in.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Socket>>,
    entry_bytes_max: usize,
}

impl Connection {
    /// A connection to where a link goes.
    pub(super) async fn open(options: &Options, link: &Link) -> Result<Self, Fault> {
        let address = link.address().await;
        let socket = dial(&address, options).await.map_err(|_| Fault::Disconnected)?;
        let mut connection = Self::over(socket, &options.payload);
        let opening = connection.log_in(options);
        timeout(options.connect_timeout, opening).await.unwrap_or(Err(Fault::Timeout))?;
        Ok(connection)
    }

    fn over(socket: Box<dyn Socket>, payload: &PayloadLimits) -> Self {
        // In base64 four bytes stand for three.
        let entry_bytes_max = payload.bytes_max.saturating_mul(2).saturating_add(ENTRY_OVERHEAD_BYTES);
        Self { stream: BufReader::new(socket), entry_bytes_max }
    }

    async fn log_in(&mut self, options: &Options) -> Result<(), Fault> {
        let settings = options.server.login();
        if let Some(password) = settings.password() {
            let mut login = redis::cmd("AUTH");
            settings.username().into_iter().for_each(|user| {
                login.arg(user);
            });
            self.do_plainly(login.arg(password)).await?;
        }
        match settings.db() {
            0 => Ok(()),
            database => self.do_plainly(redis::cmd("SELECT").arg(database)).await,
        }
    }

    /// Sends a command that answers with a status.
    async fn do_plainly(&mut self, command: &Cmd) -> Result<(), Fault> {
        self.send(command).await?;
        match self.line().await?.strip_prefix('+') {
            Some(_) => Ok(()),
            None => Err(Fault::Nonsense),
        }
    }

    /// Waits for entries after this one, for a second at most. If it is dropped, so has the connection to be.
    pub(super) async fn read(&mut self, key: &str, after: Id) -> Result<Vec<Entry>, Fault> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(READ_ENTRIES).arg("BLOCK").arg(whole_millis(READ_BLOCK));
        command.arg("STREAMS").arg(key).arg(after.to_string());
        let exchange = async {
            self.send(&command).await?;
            self.streams().await
        };
        timeout(READ_TIMEOUT, exchange).await.unwrap_or(Err(Fault::Timeout))
    }

    async fn send(&mut self, command: &Cmd) -> Result<(), Fault> {
        self.stream.write_all(&command.get_packed_command()).await.map_err(|_| Fault::Cut)
    }

    /// The one stream that was asked for, if anything came.
    async fn streams(&mut self) -> Result<Vec<Entry>, Fault> {
        match self.array().await? {
            None => return Ok(Vec::new()),
            Some(1) => expect(self.array().await? == Some(2))?,
            Some(_) => return Err(Fault::Nonsense),
        }
        self.bulk(0).await?;
        let count = self.array().await?.unwrap_or(0);
        self.entries(count).await
    }

    /// As many of the entries as memory is there for, but one at least; the others are read again later.
    async fn entries(&mut self, count: usize) -> Result<Vec<Entry>, Fault> {
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        for _ in 0..count {
            let entry = self.entry().await?;
            bytes = bytes.saturating_add(entry.bytes);
            if bytes <= READ_BYTES_MAX || entries.is_empty() {
                entries.push(entry);
            } else {
                bytes = usize::MAX;
            }
        }
        Ok(entries)
    }

    async fn entry(&mut self) -> Result<Entry, Fault> {
        expect(self.array().await? == Some(2))?;
        let id = self.bulk(ID_BYTES_MAX).await?.ok_or(Fault::Nonsense)?;
        let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok()).ok_or(Fault::Nonsense)?;
        // An entry that was deleted meanwhile has none.
        let count = self.array().await?.unwrap_or(0);
        let mut entry =
            Entry { id, fields: Vec::new(), bytes: 0, too_large: count > 2 * ENTRY_FIELDS_MAX, poison: None };
        for _ in 0..count / 2 {
            self.field(&mut entry).await?;
        }
        Ok(entry)
    }

    async fn field(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        let rest = if entry.too_large { 0 } else { self.entry_bytes_max - entry.bytes };
        let name = self.bulk(rest).await?;
        let rest = rest - name.as_ref().map_or(0, Bytes::len);
        let value = self.bulk(rest).await?;
        match (name, value) {
            (Some(name), Some(value)) if !entry.too_large => {
                entry.bytes += name.len() + value.len();
                entry.fields.push((name, value));
            }
            _ => {
                entry.too_large = true;
                entry.fields.clear();
            }
        }
        Ok(())
    }

    /// The length of an array; `None` for the null that says that nothing came in time.
    async fn array(&mut self) -> Result<Option<usize>, Fault> {
        self.length('*').await
    }

    /// A text, unless it has more than `bytes_max`: then it is skipped.
    async fn bulk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Fault> {
        let length = self.length('$').await?.ok_or(Fault::Nonsense)?;
        let text = if length <= bytes_max {
            let mut text = vec![0; length];
            self.stream.read_exact(&mut text).await.map_err(|_| Fault::Cut)?;
            Some(text.into())
        } else {
            let mut skipped = (&mut self.stream).take(length as u64);
            tokio::io::copy(&mut skipped, &mut tokio::io::sink()).await.map_err(|_| Fault::Cut)?;
            None
        };
        expect(self.line().await?.is_empty())?;
        Ok(text)
    }

    async fn length(&mut self, kind: char) -> Result<Option<usize>, Fault> {
        let line = self.line().await?;
        match line.strip_prefix(kind) {
            Some("-1") => Ok(None),
            Some(length) => length.parse().map(Some).map_err(|_| Fault::Nonsense),
            None => Err(Fault::Nonsense),
        }
    }

    /// A line without its end. One that is an error is told as such.
    async fn line(&mut self) -> Result<String, Fault> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(|_| Fault::Cut)?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(if line.len() as u64 == LINE_BYTES_MAX { Fault::Nonsense } else { Fault::Cut });
        };
        let text = std::str::from_utf8(text).map_err(|_| Fault::Nonsense)?;
        match text.strip_prefix('-') {
            Some(error) => Err(Fault::of_text(error)),
            None => Ok(text.to_owned()),
        }
    }
}

fn expect(is_so: bool) -> Result<(), Fault> {
    if is_so { Ok(()) } else { Err(Fault::Nonsense) }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read makes of what the server says.
    async fn read(said: &[u8]) -> Result<Vec<Entry>, Fault> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let said = said.to_vec();
        let payload = PayloadLimits { bytes_max: 100, ..PayloadLimits::default() };
        let mut connection = Connection::over(Box::new(ours), &payload);
        let server = async {
            let mut command = [0; 4096];
            let _ = theirs.read(&mut command).await;
            // The client may have hung up.
            let _ = theirs.write_all(&said).await;
            drop(theirs);
        };
        tokio::join!(connection.read("k", Id::default()), server).0
    }

    fn reply(entries: &[&[(&str, &str)]]) -> Vec<u8> {
        let mut reply = format!("*1\r\n*2\r\n$1\r\nk\r\n*{}\r\n", entries.len());
        for (at, fields) in entries.iter().enumerate() {
            let id = format!("{}-0", at + 1);
            reply += &format!("*2\r\n${}\r\n{id}\r\n*{}\r\n", id.len(), fields.len() * 2);
            for text in fields.iter().flat_map(|(name, value)| [name, value]) {
                reply += &format!("${}\r\n{text}\r\n", text.len());
            }
        }
        reply.into_bytes()
    }

    #[tokio::test]
    async fn entries_are_read() {
        let entries = read(&reply(&[&[("channel", "a"), ("data", "1\r\n2")], &[]])).await.unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].fields[1].1, "1\r\n2");
        assert_eq!((entries[0].bytes, entries[1].id.to_string()), (16, "2-0".to_owned()));
        assert_eq!(read(b"*-1\r\n").await, Ok(Vec::new()));
        let deleted = read(b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*-1\r\n").await.unwrap();
        assert!(deleted[0].fields.is_empty());
    }

    #[tokio::test]
    async fn what_is_too_large_is_skipped_and_the_next_one_read() {
        let large = "x".repeat(ENTRY_OVERHEAD_BYTES + 201);
        let many = vec![("n", "v"); ENTRY_FIELDS_MAX + 1];
        let entries = read(&reply(&[&[("data", &large)], &many, &[("a", "b")]])).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.too_large).collect::<Vec<_>>(), [true, true, false]);
        assert!(entries[0].fields.is_empty() && entries[1].fields.is_empty());
        assert_eq!(entries[2].fields.len(), 1);
    }

    #[tokio::test]
    async fn what_is_more_than_fits_into_memory_is_left_for_later() {
        let large = "x".repeat(ENTRY_OVERHEAD_BYTES);
        let one = [("data", large.as_str())];
        let many = vec![&one[..]; READ_BYTES_MAX / ENTRY_OVERHEAD_BYTES + 10];
        let entries = read(&reply(&many)).await.unwrap();
        assert!(entries.len() < many.len() && !entries.is_empty(), "{}", entries.len());
        assert!(entries.iter().all(|entry| !entry.too_large));
        assert!(entries.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        assert_eq!(read(b"-WRONGTYPE Operation against a key\r\n").await, Err(Fault::WrongType));
        assert_eq!(read(b"").await, Err(Fault::Cut));
        assert_eq!(read(b"*1\r\n*2\r\n$1\r\nk").await, Err(Fault::Cut));
        for nonsense in ["+OK\r\n", "*2\r\n", "*x\r\n", "*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$1\r\nx\r\n*0\r\n"] {
            assert_eq!(read(nonsense.as_bytes()).await, Err(Fault::Nonsense), "{nonsense}");
        }
        assert_eq!(read(&[b'*'; 5000]).await, Err(Fault::Nonsense));
    }
}
