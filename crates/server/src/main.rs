//! The `fanfare` program.

fn main() -> std::process::ExitCode {
    fanfare_server::cli::main()
}
