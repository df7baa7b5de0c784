//! The program `fanfare`, for tests that need it as a process of its own: built whenever they are.

fn main() -> std::process::ExitCode {
    fanfare_server::cli::main()
}
