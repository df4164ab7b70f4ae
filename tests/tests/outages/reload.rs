//! Changes of the configuration and of the topology take effect under a running worker, or do not and say why.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::fault_proxy::FaultProxy;
use tests::scores::Scores;
use tests::signal::{gauge, now, this_second};
use tests::victoria_metrics::VictoriaMetrics;
use tests::worker::{Worker, WorkerSetup};

const SECOND: i64 = 1_000;
const SOON: Duration = Duration::from_secs(30);
const SERIES: u64 = 6;
/// The moment of the first fit.
const START: &str = ", start_from: '%Y-%m-%dT%H:%M:%S'";

struct Setting {
    _tsdb: VictoriaMetrics,
    proxy: FaultProxy,
    first_fit: i64,
}

impl Setting {
    async fn start() -> Self {
        let tsdb = VictoriaMetrics::start().await.unwrap();
        let (from, until) = (this_second() - 60 * SECOND, this_second() + 200 * SECOND);
        let names = ["load", "memory"].into_iter();
        let input = names.flat_map(|name| (0..SERIES).map(move |instance| gauge(name, instance, from, until, SECOND)));
        tsdb.import(&input.collect::<Vec<_>>()).await.unwrap();
        tsdb.everything_visible().await.unwrap();
        let proxy = FaultProxy::start(tsdb.address()).await.unwrap();
        Self { _tsdb: tsdb, proxy, first_fit: this_second() + 3 * SECOND }
    }

    /// Two queries and two models, of which `models` and `queries` say which ones there are.
    fn config(&self, models: &str, queries: &str) -> String {
        let url = self.proxy.url();
        let start = jiff::Timestamp::from_millisecond(self.first_fit).unwrap();
        let start = start.strftime(START);
        format!(
            "
schedulers:
  s: {{class: periodic, fit_window: 30s, fit_every: 1d, infer_every: 1s{start}}}
models: {models}
reader: {{datasource_url: '{url}', sampling_period: 1s, queries: {queries}}}
writer: {{datasource_url: '{url}'}}
settings: {{settle: 5ms, n_workers: 1}}
"
        )
    }

    /// A worker on the same input whose configuration nobody changes.
    async fn calm(&self, models: &str) -> Worker {
        let config = self.config(models, &format!("{{{LOAD}}}"));
        let setup = WorkerSetup { config: format!("preset: calm\n{config}"), ..WorkerSetup::default() };
        let worker = Worker::start(setup).await.unwrap();
        assert!(now() < self.first_fit, "the workers took too long to start");
        worker
    }

    fn sent(&self) -> Scores {
        self.sent_by("default")
    }

    fn sent_by(&self, preset: &str) -> Scores {
        Scores::of(&self.proxy.imported(), preset)
    }
}

const ZSCORE: &str = "zscore: {class: zscore_online, z_threshold: 3, queries: all, schedulers: all}";
const WIDE: &str = "zscore: {class: zscore_online, z_threshold: 6, queries: all, schedulers: all}";
const MAD: &str = "mad: {class: mad_online, queries: all, schedulers: all}";
const LOAD: &str = "load: {expr: load}";
const MEMORY: &str = "memory: {expr: memory}";

async fn watching(config: String, arguments: &[&str]) -> Worker {
    let watch = ["--watch", "--configCheckInterval=1s"];
    let arguments = watch.iter().chain(arguments);
    let setup = WorkerSetup {
        config,
        arguments: arguments.map(|argument| (*argument).to_owned()).collect(),
        ..WorkerSetup::default()
    };
    Worker::start(setup).await.unwrap()
}

/// Waits for change number `generation`.
async fn applied(worker: &mut Worker, generation: u64) {
    let is_applied = |status: &Value| {
        let config = &status["config"];
        (config["generation"] == generation && config["reload"] == "applied").then_some(())
    };
    worker.wait_for_status("the change", SOON, is_applied).await.unwrap();
    let metrics = worker.metrics().await.unwrap();
    let count = metrics.sum("vmanomaly_config_reloads_total", &["status=\"success\""]);
    assert_eq!(count, Some(generation as f64));
    assert_eq!(metrics.sum("vmanomaly_config_last_reload_successful", &[]), Some(1.0));
}

/// Every tick from the first to the last one.
fn assert_no_gap(scores: &Scores, label: &str, value: &str) {
    let times: Vec<i64> = scores.times(label, value).into_iter().collect();
    assert!(times.len() > 2 && times.windows(2).all(|pair| pair[1] - pair[0] == SECOND), "{value}: {times:?}");
}

#[tokio::test]
async fn a_changed_threshold_takes_effect_at_a_tick_and_what_was_learnt_stays() {
    let setting = Setting::start().await;
    let with = |model: &str| setting.config(&format!("{{{model}}}"), &format!("{{{LOAD}}}"));
    let mut worker = watching(with(ZSCORE), &[]).await;
    let mut calm = setting.calm(&format!("{{{WIDE}}}")).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();
    worker.write_config(&with(WIDE)).unwrap();
    applied(&mut worker, 1).await;
    let (begin, end) = (this_second() + 2 * SECOND, this_second() + 4 * SECOND);
    worker.wait_for_tick(end, 1, SOON).await.unwrap();
    calm.wait_for_tick(end, 1, SOON).await.unwrap();

    let (found, wanted) = (setting.sent(), setting.sent_by("calm"));
    assert_no_gap(&found, "for", "load");
    let upper = |scores: &Scores, from, until| scores.with("__name__", "yhat_upper").within(from, until);
    let mean = |scores: &Scores| scores.with("__name__", "yhat").within(0, end);
    assert_eq!(mean(&found).difference(&mean(&wanted), 0.0), None);
    assert_eq!(upper(&found, begin, end).difference(&upper(&wanted, begin, end), 0.0), None);
    let early = setting.first_fit + SECOND;
    assert!(upper(&found, early, early).difference(&upper(&wanted, early, early), 1e-3).is_some());
}

#[tokio::test]
async fn an_added_query_is_scored_and_a_removed_model_ends_while_the_others_go_on() {
    let setting = Setting::start().await;
    // A new query begins at the next start: here, at once.
    let start = jiff::Timestamp::from_millisecond(setting.first_fit).unwrap().strftime(START).to_string();
    let at_once = |config: String| config.replace(&start, "");
    let before = setting.config(&format!("{{{ZSCORE}, {MAD}}}"), &format!("{{{LOAD}}}"));
    let mut worker = watching(at_once(before), &[]).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();
    let after = setting.config(&format!("{{{ZSCORE}}}"), &format!("{{{LOAD}, {MEMORY}}}"));
    worker.write_config(&at_once(after)).unwrap();
    applied(&mut worker, 1).await;
    let end = this_second() + 4 * SECOND;
    worker.wait_for_tick(end, 2, SOON).await.unwrap();

    let sent = setting.sent().within(0, end);
    assert_no_gap(&sent, "model_alias", "zscore");
    assert_no_gap(&sent, "for", "load");
    assert!(sent.times("for", "memory").contains(&end));
    assert!(sent.times("model_alias", "mad").last().unwrap() < &end);
    let status = worker.status().await.unwrap();
    let models: Vec<_> =
        status["jobs"].as_array().unwrap().iter().map(|job| job["models"].as_object().unwrap().len()).collect();
    assert_eq!(models, [1, 1]);
}

#[tokio::test]
async fn an_invalid_change_keeps_the_configuration_and_says_what_is_wrong() {
    let setting = Setting::start().await;
    let queries = format!("{{{LOAD}}}");
    let good = setting.config(&format!("{{{ZSCORE}}}"), &queries);
    let mut worker = watching(good, &[]).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();
    let digest = worker.status().await.unwrap()["config"]["digest"].clone();
    let bad = setting.config(&format!("{{{}}}", ZSCORE.replace("z_threshold", "z_treshold")), &queries);
    worker.write_config(&bad).unwrap();
    let refused = |status: &Value| (status["config"]["reload"] == "invalid").then(|| status["config"].clone());
    let config = worker.wait_for_status("the refusal", SOON, refused).await.unwrap();
    assert_eq!((&config["digest"], &config["generation"]), (&digest, &0.into()));
    let error = config["last_error"].as_str().unwrap();
    assert!(error.contains("models.zscore.z_treshold") && error.contains("config.yaml"), "{error}");
    let metrics = worker.metrics().await.unwrap();
    assert_eq!(metrics.sum("vmanomaly_config_reloads_total", &["status=\"failure\""]), Some(1.0));
    assert_eq!(metrics.sum("vmanomaly_config_last_reload_successful", &[]), Some(0.0));
    let told = |line: &Value| {
        line["level"] == "ERROR" && line["message"].as_str().is_some_and(|text| text.contains("z_treshold"))
    };
    worker.wait_for_line("the refusal", SOON, told).await.unwrap();

    worker.write_config(&setting.config(&format!("{{{WIDE}}}"), &queries)).unwrap();
    applied(&mut worker, 1).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();
    assert_no_gap(&setting.sent(), "for", "load");
}

/// A folder as the kubelet mounts a ConfigMap: the file is a link into a folder that is itself a link.
fn mount(folder: &Path, version: &str, text: &str) {
    let data = folder.join(format!("..{version}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mounted.yaml"), text).unwrap();
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_config_map_that_is_swapped_takes_effect() {
    let setting = Setting::start().await;
    let with = |model: &str| setting.config(&format!("{{{model}}}"), &format!("{{{LOAD}}}"));
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "first", &with(ZSCORE));
    symlink("..data/mounted.yaml", folder.path().join("mounted.yaml")).unwrap();
    let path = folder.path().display().to_string();
    let mut worker = watching("settings: {n_workers: 1}\n".to_owned(), &[&path]).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();

    mount(folder.path(), "second", &with(MAD));
    std::fs::remove_dir_all(folder.path().join("..first")).unwrap();
    applied(&mut worker, 1).await;
    let scored_by_mad = |status: &Value| status["jobs"][0]["models"]["mad"]["fitted_to_ms"].as_i64();
    worker.wait_for_status("the new model", SOON, scored_by_mad).await.unwrap();
    worker.wait_for_tick(now() + 2 * SECOND, 1, SOON).await.unwrap();
    assert!(setting.sent().times("model_alias", "mad").len() > 1);
}

#[tokio::test]
async fn a_worker_of_one_shard_goes_on_with_its_part_when_there_are_two() {
    let setting = Setting::start().await;
    let folder = tempfile::tempdir().unwrap();
    let topology = folder.path().join("topology.yaml");
    std::fs::write(&topology, "epoch: 1\nshards: 1\n").unwrap();
    let config = setting.config(&format!("{{{ZSCORE}}}"), &format!("{{{LOAD}}}"));
    let topology_flag = format!("--topology={}", topology.display());
    let mut worker = watching(config, &[&topology_flag, "--shard=0"]).await;
    let mut calm = setting.calm(&format!("{{{ZSCORE}}}")).await;
    worker.wait_for_tick(setting.first_fit + SECOND, 1, SOON).await.unwrap();

    std::fs::write(&topology, "epoch: 2\nshards: 2\nprevious_shards: [1]\n").unwrap();
    applied(&mut worker, 1).await;
    let status = worker.status().await.unwrap();
    assert_eq!((&status["shards"], &status["epoch"], &status["shard"]), (&2.into(), &2.into(), &0.into()));
    let begin = this_second() + 2 * SECOND;
    let end = begin + 2 * SECOND;
    worker.wait_for_tick(end, 1, SOON).await.unwrap();

    let sent = setting.sent().within(0, end);
    assert_no_gap(&sent, "for", "load");
    let names = ["a", "b", "c", "d", "e", "f"];
    let stay: Vec<_> = names.iter().filter(|name| sent.times("instance", name).contains(&end)).collect();
    let part = sent.within(begin, end);
    assert!(!stay.is_empty() && stay.len() < names.len(), "{stay:?}");
    assert_eq!(names.iter().filter(|name| !part.times("instance", name).is_empty()).count(), stay.len());
    calm.wait_for_tick(end, 1, SOON).await.unwrap();
    for name in stay {
        let of = |scores: Scores| scores.with("instance", name).within(0, end);
        let (found, wanted) = (of(setting.sent()), of(setting.sent_by("calm")));
        assert_eq!(found.difference(&wanted, 0.0), None, "{name} goes on with what it has learnt");
    }
}
