//! The operator's program: see `operator::arguments`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use operator::arguments::{Arguments, Command, LogFormat, Render, Run};
use operator::http::{self, Readiness};
use operator::kubernetes::scope::Scope;
use operator::metrics::Metrics;
use operator::operator::{Objects, Operator, Settings, Triggers};
use operator::render::{self, Input};
use operator::run::{until_stopped, work};
use operator::watch::watches;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Fails only if another provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run(*arguments),
        Command::Crd => print_definitions(),
        Command::Render(arguments) => print_rendered(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print_definitions() -> Result<(), Box<dyn std::error::Error>> {
    for (_, text) in crds::generate::files()? {
        writeln!(std::io::stdout(), "---\n{}", text.trim_end())?;
    }
    Ok(())
}

fn print_rendered(arguments: &Render) -> Result<(), Box<dyn std::error::Error>> {
    let input = Input::read(&arguments.files, &arguments.namespace)?;
    let text = render::render(&input, &arguments.worker.defaults(), arguments.scrape)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn run(arguments: Run) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&arguments.log_level)
        .map_err(|error| format!("--log-level={}: {error}", arguments.log_level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        LogFormat::Text => lines.init(),
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Run) -> Result<(), Box<dyn std::error::Error>> {
    let mut config =
        kube::Config::infer().await.map_err(|error| format!("no way to an API server is configured: {error}"))?;
    // Every refusal is handled where it happens, with what is known there.
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let settings = Settings {
        workers: arguments.worker.defaults(),
        allow_downgrade: arguments.allow_downgrade,
        resync: arguments.resync_interval,
        token: arguments.resync_interval,
        poll: arguments.poll_interval,
        concurrency: arguments.concurrency.into(),
        ..Settings::default()
    };
    let metrics = Metrics::new()?;
    let readiness = Readiness::default();
    let (objects, writers) = Objects::new(&Scope::of(arguments.watch_namespaces));
    let (triggers, triggered) = Triggers::new();
    let operator = Arc::new(Operator::new(client, settings, objects, triggers, metrics.clone())?);
    tracing::info!(version = operator::VERSION, "started");

    let server = tokio::spawn(http::serve(arguments.listen, metrics, readiness.clone()));
    let watches: Vec<_> = watches(&operator, writers).into_iter().map(tokio::spawn).collect();
    let working = async {
        // The watches do not end while this waits.
        if operator.objects.wait_until_ready().await.is_ok() {
            readiness.set();
            tracing::info!("everything is listed");
            work(Arc::clone(&operator), triggered).await;
        }
    };
    tokio::select! {
        stopped = until_stopped(working) => stopped?,
        served = server => served??,
    }
    watches.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}
