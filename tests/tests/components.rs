//! The real components do what the other tests rely on.

#![allow(clippy::unwrap_used, reason = "functions that tests share are tests, too")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::components::repository;
use tests::node_exporter::NodeExporter;
use tests::process::POLL;
use tests::prometheus::Prometheus;
use tests::series::Series;
use tests::victoria_metrics::VictoriaMetrics;
use tests::vmagent::{Target, Vmagent};
use tests::vmalert::Vmalert;

const SOON: Duration = Duration::from_secs(20);

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The first answer of `look` that is something, within [`SOON`].
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(SOON, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn victoria_metrics_gives_back_values_of_twelve_digits_bit_for_bit_also_after_a_restart() {
    let mut tsdb = VictoriaMetrics::start().await.unwrap();
    let day = 1_700_000_000_000;
    let twelve_digits = |value: f64| format!("{value:.12}").parse::<f64>().unwrap();
    let wave = |index: i64| twelve_digits((index as f64 * 0.37).sin() * 0.1 + 1.0 / 3.0);
    let values = (0..2000).map(|index| (day + index * 30_000, wave(index)));
    let gauge = Series::new("load", &[("host", "a \"quoted\" \u{e9}")], values);
    let infinite = Series::new("load", &[("host", "b")], [(day, f64::INFINITY), (day + 1000, 1.5)]);
    tsdb.import([&gauge, &infinite]).await.unwrap();
    tsdb.force_flush().await.unwrap();
    // Not assert_eq: it would print all of them.
    assert!(tsdb.export("load").await.unwrap() == [gauge.clone(), infinite.clone()]);
    tsdb.restart().await.unwrap();
    assert!(tsdb.export("load").await.unwrap() == [gauge.clone(), infinite]);

    let answer = tsdb.endpoint().query_range("load{host!='b'}", day, day + 60_000, 30_000).await.unwrap();
    assert_eq!(answer[0].samples, gauge.samples[..3]);
    assert!(tsdb.process().cpu_time().unwrap() > Duration::ZERO);
    assert!(tsdb.process().resident_bytes().unwrap().0 > 1 << 20);
}

#[tokio::test]
async fn vmalert_fires_on_a_score_of_two_and_not_on_a_half() {
    let tsdb = VictoriaMetrics::start().await.unwrap();
    let rules = [repository().join("deploy/alerts/anomaly-score.yml")];
    let vmalert = Vmalert::start(tsdb.url(), &rules, Duration::from_secs(60)).await.unwrap();
    let labels = |instance| [("for", "cpu"), ("model_alias", "z"), ("scheduler_alias", "s"), ("instance", instance)];
    let scores = [
        Series::new("anomaly_score", &labels("hot"), [(now(), 2.0)]),
        Series::new("anomaly_score", &labels("calm"), [(now(), 0.5)]),
    ];
    tsdb.import(&scores).await.unwrap();
    tsdb.force_flush().await.unwrap();

    let fired = vmalert.wait_for(SOON, |alert| alert.is_firing()).await.unwrap().unwrap();
    assert_eq!((fired.name.as_str(), fired.labels["instance"].as_str()), ("AnomalyScoreHigh", "hot"));
    let evaluations = vmalert.evaluations().await.unwrap();
    eventually(async || (vmalert.evaluations().await.unwrap() > evaluations + 1).then_some(())).await;
    assert!(vmalert.alerts().await.unwrap().iter().all(|alert| alert.labels["instance"] == "hot"));
}

#[tokio::test]
async fn prometheus_answers_range_queries_on_what_vmagent_wrote_to_it() {
    let prometheus = Prometheus::start().await.unwrap();
    let vmagent = Vmagent::start(&prometheus.remote_write_url(), &[], Duration::from_secs(1)).await.unwrap();
    let end = now() / 1000 * 1000;
    let series = Series::new("load", &[("host", "a")], (0..10).map(|index| (end - 9000 + index * 1000, index as f64)));
    vmagent.import([&series]).await.unwrap();
    let answer = eventually(async || {
        let answer = prometheus.endpoint().query_range("load", end - 9000, end, 1000).await.unwrap();
        (!answer.is_empty()).then_some(answer)
    })
    .await;
    assert_eq!(answer, [series]);
}

#[tokio::test]
async fn vmagent_brings_the_machines_metrics_into_the_tsdb() {
    let (tsdb, node) = (VictoriaMetrics::start().await.unwrap(), NodeExporter::start().await.unwrap());
    let target = Target { job: "node".to_owned(), address: node.address().to_string() };
    let remote_write = format!("{}/api/v1/write", tsdb.url());
    let _vmagent = Vmagent::start(&remote_write, &[target], Duration::from_secs(1)).await.unwrap();
    let modes = eventually(async || {
        tsdb.force_flush().await.unwrap();
        let modes = tsdb.endpoint().query("node_cpu_seconds_total{job='node',cpu='0'}", now()).await.unwrap();
        (!modes.is_empty()).then_some(modes)
    })
    .await;
    assert!(modes.iter().any(|series| series.label("mode") == "idle"));
}
