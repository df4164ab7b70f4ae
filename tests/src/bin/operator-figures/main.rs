//! The figures of the operator in `docs/performance.md`: the release build of the program at a real API server without
//! pods, with many objects at a time. Prints a table.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ::tests::components::{Program, find};
use ::tests::kubernetes::KubernetesError;
use ::tests::kubernetes::audit::{AuditEvent, AuditLog};
use ::tests::kubernetes::control_plane::ControlPlane;
use ::tests::kubernetes::installation::{Installation, RELEASE, Watched};
use ::tests::kubernetes::user::User;
use ::tests::process::{POLL, Process, START, StartError, free_port};
use clap::Parser;
use crds::status::BindingStatus;
use crds::{AnomalyModel, AnomalyQuery, VMAnomaly};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use serde_json::{Value, json};

/// Measures how many objects one operator reconciles, how fast, and what that costs.
#[derive(Debug, Clone, Parser)]
#[command(name = "operator-figures")]
struct Arguments {
    /// VMAnomalies.
    #[arg(long, default_value_t = 200)]
    anomalies: usize,
    /// AnomalyModels, spread evenly over them.
    #[arg(long, default_value_t = 200)]
    models: usize,
    /// AnomalyQueries, spread evenly over them.
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// How long the converged system is watched, seconds.
    #[arg(long, default_value_t = 300)]
    watch: u64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// A program did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// `/proc` or a folder cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something did not happen.
    #[error("{0} did not happen within {1:?}")]
    Late(&'static str, Duration),
}

/// How long everything may take to converge.
const CONVERGENCE: Duration = Duration::from_secs(600);

struct Cost {
    requests: usize,
    writes: usize,
    refused: usize,
    cpu: Duration,
}

struct Measured<'a> {
    installation: &'a Installation<'a>,
    process: Process,
    audit: AuditLog,
    cpu: Duration,
}

impl<'a> Measured<'a> {
    async fn start(installation: &'a Installation<'a>) -> Result<Self, Failure> {
        let user = User::ServiceAccount { namespace: &installation.namespace, name: RELEASE };
        let kubeconfig = installation.plane.kubeconfig_as(user).await?;
        let port = free_port()?;
        let mut command = std::process::Command::new(find(Program::Operator).map_err(StartError::from)?);
        command.env("KUBECONFIG", &kubeconfig).arg("run").arg(format!("--listen=127.0.0.1:{port}"));
        command.arg(format!("--watch-namespaces={}", installation.namespace));
        let log = installation.plane.folder().join(format!("operator-{port}.log"));
        let mut process = Process::spawn("vmanomaly-operator", command, &log)?;
        let listed = |output: &str| output.contains("everything is listed").then_some(());
        process.wait_for_output("its readiness", START, listed).await?;
        let mut audit = installation.plane.audit();
        audit.skip()?;
        let cpu = process.cpu_time()?;
        Ok(Self { installation, process, audit, cpu })
    }

    /// What it cost since the last call.
    fn cost(&mut self) -> Result<Cost, Failure> {
        let user = self.installation.user();
        let events: Vec<AuditEvent> =
            self.audit.read()?.into_iter().filter(|event| event.user.username == user).collect();
        let cpu = self.process.cpu_time()?;
        let cost = Cost {
            requests: events.len(),
            writes: events.iter().filter(|event| event.is_write()).count(),
            refused: events.iter().filter(|event| event.response_status.code == 409).count(),
            cpu: cpu - self.cpu,
        };
        self.cpu = cpu;
        Ok(cost)
    }

    fn mebibytes(&self) -> Result<u64, Failure> {
        Ok(self.process.resident_bytes()?.0 >> 20)
    }
}

async fn until<T>(
    what: &'static str,
    mut holds: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let begin = Instant::now();
    while begin.elapsed() < CONVERGENCE {
        if let Some(value) = holds().await? {
            return Ok(value);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Failure::Late(what, CONVERGENCE))
}

/// How many objects of a kind do not fulfil a condition.
async fn lacking<K: Watched>(installation: &Installation<'_>, holds: impl Fn(&K) -> bool) -> Result<usize, Failure> {
    let list = installation.api::<K>().list(&ListParams::default().match_any()).await?;
    Ok(list.iter().filter(|object| !holds(object)).count())
}

fn is_used(status: Option<&BindingStatus>) -> bool {
    status.is_some_and(|status| status.conditions.iter().any(|condition| condition.reason == "Used"))
}

fn labelled(kind: &str, name: String, group: usize, spec: Value) -> Value {
    json!({
        "apiVersion": "vmanomaly.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "labels": {"group": format!("g{group}")}}, "spec": spec,
    })
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let plane = ControlPlane::start().await?;
    let installation = Installation::new(&plane).await?;
    let mut operator = Measured::start(&installation).await?;
    println!("| | |\n|---|---|");
    println!("| memory of an idle operator | {} MiB |", operator.mebibytes()?);

    let begin = Instant::now();
    for model in 0..arguments.models {
        let group = model % arguments.anomalies;
        installation.apply(labelled("AnomalyModel", format!("m{model}"), group, json!({"madOnline": {}}))).await?;
    }
    for query in 0..arguments.queries {
        let group = query % arguments.anomalies;
        let spec = json!({"expr": format!("rate(http_requests_total{{group=\"{query}\"}}[5m])")});
        installation.apply(labelled("AnomalyQuery", format!("q{query}"), group, spec)).await?;
    }
    for anomaly in 0..arguments.anomalies {
        let selector = json!({"matchLabels": {"group": format!("g{anomaly}")}});
        let spec = json!({
            "reader": {"datasourceURL": "http://tsdb:8428"}, "writer": {"datasourceURL": "http://tsdb:8428"},
            "modelSelector": selector, "querySelector": selector,
        });
        installation.apply(labelled("VMAnomaly", format!("a{anomaly}"), anomaly, spec)).await?;
    }
    let created = begin.elapsed();
    until("convergence", async || {
        let visited = |anomaly: &VMAnomaly| anomaly.status.is_some();
        let open = lacking::<VMAnomaly>(&installation, visited).await?
            + lacking::<AnomalyModel>(&installation, |model| is_used(model.status.as_ref())).await?
            + lacking::<AnomalyQuery>(&installation, |query| is_used(query.status.as_ref())).await?;
        Ok((open == 0).then_some(()))
    })
    .await?;
    let converged = begin.elapsed();
    installation.wait_until_silent(Duration::from_secs(3)).await?;
    let cost = operator.cost()?;
    println!(
        "| {} VMAnomalies, {} AnomalyModels, {} AnomalyQueries created, one after the other | {:.1} s |",
        arguments.anomalies,
        arguments.models,
        arguments.queries,
        created.as_secs_f64()
    );
    println!("| converged after the last creation | {:.1} s |", (converged - created).as_secs_f64());
    println!(
        "| requests for that, of them writes, of them refused as outdated | {}, {}, {} |",
        cost.requests, cost.writes, cost.refused
    );
    println!("| processor time for that | {:.1} s |", cost.cpu.as_secs_f64());
    println!("| memory then | {} MiB |", operator.mebibytes()?);

    let begin = Instant::now();
    installation.apply(labelled("AnomalyQuery", "q0".to_owned(), 0, json!({"expr": "edited"}))).await?;
    installation
        .wait::<ConfigMap>("anomaly-a0-config", |map| {
            map.data.as_ref().is_some_and(|data: &BTreeMap<String, String>| data["config.yaml"].contains("edited"))
        })
        .await?;
    println!("| one edited query is in its ConfigMap after | {:.2} s |", begin.elapsed().as_secs_f64());

    installation.wait_until_silent(Duration::from_secs(3)).await?;
    operator.cost()?;
    tokio::time::sleep(Duration::from_secs(arguments.watch)).await;
    let cost = operator.cost()?;
    let minutes = arguments.watch as f64 / 60.0;
    println!("| in {minutes} minutes of rest: requests, of them writes | {}, {} |", cost.requests, cost.writes);
    println!("| processor time of them | {:.2} s |", cost.cpu.as_secs_f64());

    let mut second = Measured::start(&installation).await?;
    operator.cost()?;
    tokio::time::sleep(Duration::from_secs(arguments.watch)).await;
    let writes = second.cost()?.writes;
    println!("| the same with a second operator: writes of both | {writes} |");
    println!("| memory of each at the end | {}, {} MiB |", operator.mebibytes()?, second.mebibytes()?);
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
