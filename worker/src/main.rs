//! The worker's program: see `worker::service`, and `worker::evaluation` for `vmanomaly evaluate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "evaluate") {
        return worker::evaluation::run(arguments.into_iter().skip(2));
    }
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    worker::service::run(arguments)
}
