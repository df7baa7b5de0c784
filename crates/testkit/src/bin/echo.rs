//! The echo node as a program, for a suite that is one too.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use fanfare_testkit::echo;

const HELP: &str = "\
Sends back what it gets over WebSockets.

  echo --listen ADDRESS    address and port; with port 0 any that is free

Prints its URL when it listens, and runs until it is ended.
";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["--listen", address] = words[..] else { return refuse(HELP) };
    let Ok(address) = address.parse::<SocketAddr>() else { return refuse(HELP) };
    match echo::start(address).await {
        Ok(node) => {
            say(&format!("ws://{}{}", node.address(), echo::PATH));
            std::future::pending().await
        }
        Err(error) => refuse(&error.to_string()),
    }
}

fn refuse(why: &str) -> ExitCode {
    say(why);
    ExitCode::from(2)
}

/// Writes to standard output; nobody reads on when that fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
