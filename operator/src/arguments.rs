//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::build::WorkerDefaults;
use crate::build::scrape::ScrapeKind;

/// Runs anomaly detection on Kubernetes: reconciles VMAnomaly, AnomalyModel and AnomalyQuery objects.
#[derive(Debug, Parser)]
#[command(name = "vmanomaly-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watches objects and runs their workers
    Run(Box<Run>),
    /// Prints the CustomResourceDefinitions
    Crd,
    /// Prints what the operator would make of objects, without a cluster
    Render(Render),
}

/// About the workers' image.
#[derive(Debug, Args)]
pub struct Worker {
    /// Image of workers whose VMAnomaly names none
    #[arg(long, env = "WORKER_IMAGE", default_value = concat!("vmanomaly:", env!("CARGO_PKG_VERSION")))]
    pub worker_image: String,
    /// When nodes pull it
    #[arg(long, env = "WORKER_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub worker_image_pull_policy: String,
    /// Secrets with credentials of its registry, which must be in the namespaces of the VMAnomalies
    #[arg(long, env = "WORKER_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub worker_image_pull_secrets: Vec<String>,
}

impl Worker {
    /// As the builders take it.
    #[must_use]
    pub fn defaults(&self) -> WorkerDefaults {
        let mut pull_secrets = self.worker_image_pull_secrets.clone();
        pull_secrets.retain(|name| !name.is_empty());
        WorkerDefaults {
            image: self.worker_image.clone(),
            pull_policy: self.worker_image_pull_policy.clone(),
            pull_secrets,
        }
    }
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Namespaces to watch, separated by commas; without it the whole cluster is watched
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// About the workers' image.
    #[command(flatten)]
    pub worker: Worker,
    /// Address of /metrics, /health and /ready; [::] is every address, of IPv4 too
    #[arg(long, env = "LISTEN", default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Objects that are reconciled at a time
    #[arg(long, env = "CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// How often workers are asked for their status, as in 5s
    #[arg(long, env = "POLL_INTERVAL", default_value = "5s", value_parser = duration)]
    pub poll_interval: Duration,
    /// How often every object is looked at even though nothing changed, as in 5m
    #[arg(long, env = "RESYNC_INTERVAL", default_value = "5m", value_parser = duration)]
    pub resync_interval: Duration,
    /// Replaces a configuration that a newer operator wrote
    #[arg(long, env = "ALLOW_DOWNGRADE")]
    pub allow_downgrade: bool,
    /// Least severe lines to log: error, warn, info, debug, trace, or a filter as in info,kube=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Form of log lines
    #[arg(long, env = "LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `render`
#[derive(Debug, Args)]
pub struct Render {
    /// File or folder with objects; may be given several times
    #[arg(short = 'f', long = "file", required = true)]
    pub files: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// About the workers' image.
    #[command(flatten)]
    pub worker: Worker,
    /// Kind of scrape objects of the cluster; without it none is printed
    #[arg(long)]
    pub scrape: Option<ScrapeKind>,
}

/// A duration longer than nothing, in the spelling of the objects.
fn duration(text: &str) -> Result<Duration, String> {
    let milliseconds = config::duration::parse(text).map_err(|error| error.to_string())?;
    u64::try_from(milliseconds).map(Duration::from_millis).map_err(|error| error.to_string())
}
