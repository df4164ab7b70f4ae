//! The worker that understands the next contract; only for tests of upgrades.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    worker::service::run(std::env::args_os().collect())
}
