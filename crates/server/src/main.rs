//! The `fanfare` program.

use fanfare_server::cli::Io;
use fanfare_server::{Config, serve};

fn main() -> std::process::ExitCode {
    let mut io = Io::process();
    let result = match std::env::args().nth(1).as_deref() {
        Some("dev") => {
            let mut config = Config::dev();
            if let Some(address) = std::env::args().nth(3) {
                config.listen.address = address.parse().expect("address");
            }
            serve::dev(config, &mut io)
        }
        _ => Ok(()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut io).into(),
    }
}
