//! Everything that runs, started in order with a line for each step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::tests::components::{Program, find, repository};
use ::tests::incident::observation::Observer;
use ::tests::incident::progress::Progress;
use ::tests::incident::replay::{Replay, now};
use ::tests::node_exporter::NodeExporter;
use ::tests::process::{POLL, free_port};
use ::tests::victoria_metrics::VictoriaMetrics;
use ::tests::vmagent::{Target, Vmagent};
use ::tests::vmalert::{Vmalert, rule_files};
use ::tests::worker::{Worker, WorkerSetup};

use crate::Failure;

/// How long the worker may take to learn the history.
const LEARN: Duration = Duration::from_secs(30);

/// An alert looks at scores at most this old: a few ticks.
const LOOKBACK: Duration = Duration::from_secs(5);

/// The running processes. Dropped, and so ended, from the worker to the TSDB.
pub struct Stack {
    pub worker: Worker,
    pub vmalert: Vmalert,
    agent: Vmagent,
    node: NodeExporter,
    pub tsdb: VictoriaMetrics,
}

impl Stack {
    /// Starts all of it on an empty TSDB with the history of the recordings, and waits until the worker has learnt it.
    pub async fn start(replay: &Replay, progress: &Progress) -> Result<Self, Failure> {
        let rules = programs_and_rules()?;
        let tsdb = progress.step("VictoriaMetrics", VictoriaMetrics::start(), |tsdb| tsdb.url().to_owned()).await?;
        let node =
            progress.step("node exporter", NodeExporter::start(), |node| format!("http://{}", node.address())).await?;
        let port = free_port()?;
        let targets = [
            Target { job: "node".to_owned(), address: node.address().to_string() },
            Target { job: "vmanomaly".to_owned(), address: format!("127.0.0.1:{port}") },
        ];
        let remote_write = format!("{}/api/v1/write", tsdb.url());
        let agent = progress
            .step("vmagent", Vmagent::start(&remote_write, &targets, Duration::from_secs(1)), |agent| {
                format!("{}, scrapes node exporter and worker every second", agent.url())
            })
            .await?;
        let history = replay.history(now().div_euclid(replay.pace.tick) * replay.pace.tick);
        let import = async {
            tsdb.import(&history).await?;
            tsdb.everything_visible().await
        };
        let samples: usize = history.iter().map(|series| series.samples.len()).sum();
        progress.step("history", import, |()| format!("{samples} samples of {} recordings", history.len())).await?;

        let setup = WorkerSetup {
            config: std::fs::read_to_string(config_file())?,
            environment: vec![("TSDB_URL".to_owned(), tsdb.url().to_owned())],
            port: Some(port),
            ..WorkerSetup::default()
        };
        let mut worker = progress
            .step("worker", Worker::start(setup), |worker| {
                format!("{}, with examples/standalone/vmanomaly.yaml", worker.url())
            })
            .await?;
        let vmalert = progress
            .step("vmalert", Vmalert::start(tsdb.url(), &rules, LOOKBACK), |vmalert| {
                format!("{}, with deploy/alerts", vmalert.url())
            })
            .await?;
        progress
            .step("learning", learn(&mut worker, replay.recordings()), |()| {
                "the worker knows every recording".to_owned()
            })
            .await?;
        Ok(Self { worker, vmalert, agent, node, tsdb })
    }

    /// What there is to see.
    pub fn observer(&self) -> Observer {
        Observer {
            tsdb: self.tsdb.endpoint().clone(),
            vmalert: self.vmalert.endpoint().clone(),
            lookback: Duration::from_secs(10),
            shards: None,
        }
    }

    /// Fails when one of the processes has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        let processes = [
            self.worker.process_mut(),
            self.vmalert.process_mut(),
            self.agent.process_mut(),
            self.node.process_mut(),
            self.tsdb.process_mut(),
        ];
        for process in processes {
            if let Some(status) = process.ended() {
                let name = process.name().to_owned();
                return Err(Failure::Ended { name, status, log: process.last_lines() });
            }
        }
        Ok(())
    }

    /// Where to look, a line each.
    pub fn places(&self) -> Vec<(&'static str, String)> {
        let (tsdb, vmalert, worker) = (self.tsdb.url(), self.vmalert.url(), self.worker.url());
        vec![
            ("scores", format!("{tsdb}/api/v1/query?query=anomaly_score")),
            (
                "one hour of scores",
                format!("{tsdb}/prometheus/api/v1/query_range?query=anomaly_score&start=-1h&step=1s"),
            ),
            ("alerts", format!("{vmalert}/vmalert/alerts")),
            ("worker", format!("{worker}/status")),
            ("its metrics", format!("{worker}/metrics")),
            ("scrape targets", format!("{}/targets", self.agent.url())),
            ("its configuration", "examples/standalone/vmanomaly.yaml".to_owned()),
        ]
    }
}

/// Names every program that is missing, not only the first one.
fn programs_and_rules() -> Result<Vec<PathBuf>, Failure> {
    let programs =
        [Program::VictoriaMetrics, Program::NodeExporter, Program::Vmagent, Program::Vmalert, Program::Worker];
    let missing: Vec<_> = programs.into_iter().filter_map(|program| find(program).err()).collect();
    if !missing.is_empty() {
        let sentences: Vec<_> = missing.iter().map(|error| format!("{error}.")).collect();
        return Err(Failure::Missing(sentences.join("\n")));
    }
    Ok(rule_files(&repository().join("deploy/alerts"))?)
}

fn config_file() -> PathBuf {
    repository().join("examples/standalone/vmanomaly.yaml")
}

/// Waits until the worker has a model for every recording.
async fn learn(worker: &mut Worker, recordings: usize) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let metrics = worker.metrics().await.unwrap_or_default();
        let learnt = metrics.sum("vmanomaly_models_active", &["query_key=\"recording\""]).unwrap_or(0.0);
        if learnt >= recordings as f64 {
            return Ok(());
        }
        let process = worker.process_mut();
        if let Some(status) = process.ended() {
            return Err(Failure::Ended { name: process.name().to_owned(), status, log: process.last_lines() });
        }
        if begin.elapsed() > LEARN {
            return Err(Failure::NotLearnt { learnt, recordings, within: LEARN, log: process.last_lines() });
        }
        tokio::time::sleep(POLL).await;
    }
}
