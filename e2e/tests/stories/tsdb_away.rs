use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::status::JobPhase;
use tests::http::Endpoint;
use tests::series::Series;
use tests::signal::{Chance, now, this_second};

use crate::recording::{METRIC, STEP};
use crate::scene::{
    Scene, anomaly, demonstration, eventually, gaps, import, manifests, model, outputs, query, scored_until, status,
};

const SERIES: usize = 4;
const HISTORY: i64 = 120;
const AWAY: Duration = Duration::from_secs(120);

/// How long working off the outage may take: vmagent tries again after up to a minute, then its backlog comes.
const CAUGHT_UP: Duration = Duration::from_secs(240);

#[tokio::test]
async fn the_tsdb_away_for_two_minutes_leaves_no_gap_and_every_buffered_sample_is_learnt() {
    let scene = Scene::open("tsdb-away").await;
    scene.apply(&demonstration("vmagent.yaml")).await;
    scene.apply(VMAGENT).await;
    scene.rolled_out(&["deployment/vmagent"]).await;
    let tsdb = scene.tsdb().await;
    let start = this_second() - 2 * STEP;
    import(&tsdb, &samples((0..HISTORY).map(|back| start - back * STEP).rev())).await;
    let feed = Feed::start(scene.service("vmagent", 8429).await, start + STEP);
    let mut workers = anomaly("workers", 1);
    // Scraped and buffered samples take their time.
    workers["spec"]["settings"] = serde_json::json!({"settle": "10s", "catchUpDelay": "60s"});
    scene.apply(&manifests(&[model("mad", 6.0), query("load", METRIC), workers])).await;
    scene.ready("workers", 1).await;
    let from = this_second();
    scored_until(&tsdb, "workers", SERIES, from).await;

    scene.kubectl(&["scale", "statefulset/victoria-metrics", "--replicas=0"]).await;
    scene.kubectl(&["wait", "--for=delete", "pod/victoria-metrics-0", "--timeout=120s"]).await;
    tokio::time::sleep(AWAY).await;
    let worker = scene.worker("workers", 0).await;
    let told = status(&worker).await.unwrap();
    assert_eq!(told.jobs[0].phase, JobPhase::StandingStill, "{told:?}");
    assert!(told.ready, "a restart would not help: {told:?}");
    scene.kubectl(&["scale", "statefulset/victoria-metrics", "--replicas=1"]).await;
    scene.rolled_out(&["statefulset/victoria-metrics"]).await;
    let back = this_second();
    let runs = async || {
        let told = status(&worker).await?;
        let job = &told.jobs[0];
        (job.phase == JobPhase::Running && job.last_written_tick_ms? > back).then_some(job.skipped_ticks)
    };
    assert_eq!(eventually("every tick is made up for", CAUGHT_UP, runs).await, 0);

    let tsdb = scene.tsdb().await;
    scored_until(&tsdb, "workers", SERIES, back).await;
    let fed = feed.stop();
    let written = outputs(&tsdb, "workers").await;
    assert_eq!(gaps(&written, SERIES, from, back), Vec::<i64>::new());
    let mut learnt = BTreeMap::new();
    for series in written.iter().filter(|series| series.label("__name__") == "y") {
        for sample in &series.samples {
            learnt.insert((series.label("series").to_owned(), sample.time), sample.value);
        }
    }
    let differing: Vec<_> = fed
        .iter()
        .filter(|((_, time), _)| (from..=back).contains(time))
        .filter(|(key, value)| learnt.get(*key) != Some(value))
        .collect();
    assert!(differing.is_empty(), "{} samples are not learnt: {differing:?}", differing.len());
    scene.close().await;
}

/// vmagent takes imports for the story.
const VMAGENT: &str = "
apiVersion: v1
kind: Service
metadata: {name: vmagent}
spec:
  selector: {app.kubernetes.io/name: vmagent}
  ports: [{name: http, port: 8429, targetPort: http}]
";

/// A sample of each series at these times.
fn samples(times: impl Iterator<Item = i64> + Clone) -> Vec<Series> {
    let numbered = (0..SERIES).map(|number| {
        let samples = times.clone().map(|time| {
            let noise = Chance::new((time / STEP) as u64 * 31 + number as u64).below(4_000) as f64 / 1_000.0;
            (time, ((100.0 + noise) * 1000.0).round() / 1000.0)
        });
        Series::new(METRIC, &[("series", &format!("s{number}"))], samples)
    });
    numbered.collect()
}

/// Samples by series and time.
type Fed = BTreeMap<(String, i64), f64>;

/// Sends a sample of each series to vmagent every second.
struct Feed {
    task: tokio::task::JoinHandle<()>,
    fed: Arc<Mutex<Fed>>,
}

impl Feed {
    fn start(vmagent: Endpoint, first: i64) -> Self {
        let fed = Arc::new(Mutex::new(Fed::new()));
        let sent = Arc::clone(&fed);
        let task = tokio::spawn(async move {
            let mut next = first;
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                let due: Vec<_> = (0..).map(|index| next + index * STEP).take_while(|time| *time <= now()).collect();
                let batch = samples(due.iter().copied());
                // What vmagent did not take is sent again with the next ones.
                if due.is_empty() || vmagent.import(&batch).await.is_err() {
                    continue;
                }
                next += due.len() as i64 * STEP;
                for series in &batch {
                    let values = series.samples.iter();
                    let named = values.map(|sample| ((series.label("series").to_owned(), sample.time), sample.value));
                    sent.lock().unwrap().extend(named);
                }
            }
        });
        Self { task, fed }
    }

    /// What vmagent took.
    fn stop(self) -> Fed {
        self.task.abort();
        let fed = self.fed.lock().unwrap();
        fed.clone()
    }
}
