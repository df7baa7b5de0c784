//! The yardstick: a loop that does nothing but write the same frames to as many sockets.

pub(crate) mod paced;

use std::io::{self, BufRead as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, RATE};

/// The loop in a process of its own.
pub(crate) struct BareLoop {
    child: Child,
    input: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

/// Starts the loop; it waits for its sockets and then for each [`BareLoop::go`].
pub(crate) fn start(sockets: usize, rounds: usize, frame_bytes: usize) -> Result<BareLoop, Box<dyn std::error::Error>> {
    let arguments = ["bare-loop".to_owned(), sockets.to_string(), rounds.to_string(), frame_bytes.to_string()];
    let mut child =
        Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take();
    let output = child.stdout.take().ok_or("the loop has no output")?;
    let mut line = String::new();
    io::BufReader::new(output).read_line(&mut line)?;
    Ok(BareLoop { child, input, address: line.trim().parse()? })
}

impl BareLoop {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run one turn.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), |input| input.write_all(b"go\n"))
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> io::Result<()> {
        drop(self.input.take());
        self.child.wait().map(|_| ())
    }
}

/// What the process runs.
pub(crate) fn run(sockets: usize, rounds: usize, frame_bytes: usize) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut streams = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let frame = vec![b'x'; frame_bytes];
    let mut told = String::new();
    // One turn for each line, until the input ends: the other side reads our CPU time in between.
    while io::stdin().read_line(&mut told)? > 0 {
        let mut next = Instant::now();
        for _ in 0..rounds {
            for stream in &mut streams {
                stream.write_all(&frame)?;
            }
            next += Duration::from_secs(1) / RATE;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}
