//! `node`: a one-node Kubernetes on this machine, until Ctrl-C. It needs root.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::node::Node;

/// Starts a one-node Kubernetes in namespaces of its own, says how to reach it, and takes it down at Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "node")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Archives of images for pods.
    #[arg(long = "image")]
    images: Vec<PathBuf>,
    /// End as soon as the node is ready.
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The first process inside.
    #[command(hide = true)]
    Init { settings: String },
    /// The node's own process inside.
    #[command(hide = true)]
    Inside { settings: String },
}

fn main() -> ExitCode {
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    match arguments.role {
        Some(role) => inside(role),
        None => outside(&arguments.images, arguments.once),
    }
}

#[cfg(target_os = "linux")]
fn inside(role: Role) -> ExitCode {
    let (Role::Init { settings: argument } | Role::Inside { settings: argument }) = &role;
    match (serde_json::from_str(argument), &role) {
        (Ok(settings), Role::Init { .. }) => e2e::node::init::run(&settings, argument),
        (Ok(settings), Role::Inside { .. }) => e2e::node::inside::run(&settings),
        (Err(error), _) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn inside(_: Role) -> ExitCode {
    ExitCode::FAILURE
}

#[tokio::main(flavor = "current_thread")]
async fn outside(images: &[PathBuf], once: bool) -> ExitCode {
    let started = Node::start(images, |step| println!("{:6.1} s  {:<24} {}", step.seconds, step.name, step.detail));
    let node = tokio::select! {
        started = started => started,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    match node {
        Ok(node) => {
            println!("\nkubectl --kubeconfig {} get pods --all-namespaces", node.kubeconfig().display());
            if !once {
                let _ = tokio::signal::ctrl_c().await;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}
