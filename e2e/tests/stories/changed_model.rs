use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use config::status::{ReloadState, Status};
use tests::series::Series;
use tests::signal::this_second;

use crate::recording;
use crate::scene::{Scene, anomaly, eventually, gaps, import, manifests, model, outputs, query, scored_until, status};

const SERIES: usize = 6;
const SHARDS: u32 = 2;

/// How soon a changed argument is in effect.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_changed_model_argument_is_loaded_by_every_worker_within_15_s_and_only_that_model_refits() {
    let scene = Scene::open("changed-model").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    let objects = [model("changing", 6.0), model("steady", 6.0), query("load", recording::METRIC)];
    scene.apply(&manifests(&objects)).await;
    scene.apply(&manifests(&[anomaly("workers", SHARDS)])).await;
    scene.ready("workers", 1).await;
    let from = this_second();
    scored_until(&tsdb, "workers", 2 * SERIES, from + 5 * recording::STEP).await;
    let mut workers = Vec::new();
    for shard in 0..SHARDS {
        workers.push(scene.worker("workers", shard).await);
    }
    let mut before = Vec::new();
    for worker in &workers {
        before.push(status(worker).await.unwrap());
    }
    let processes = scene.processes("workers").await;

    // The one argument changes what is learnt, the other what is made of it.
    let mut new = model("changing", 3.0);
    new["spec"]["madOnline"]["decay"] = 0.998.into();
    scene.apply(&manifests(&[new])).await;
    let changed = Instant::now();
    for (worker, before) in workers.iter().zip(&before) {
        let left = SOON.saturating_sub(changed.elapsed());
        let loaded = async || {
            let now = status(worker).await?;
            let takes = matches!(now.config.reload, ReloadState::Applied | ReloadState::Pending);
            (takes && now.config.revision != before.config.revision).then_some(())
        };
        eventually("the changed argument in /status", left, loaded).await;
    }
    println!("loaded {:.1} s after the change", changed.elapsed().as_secs_f64());
    scene.ready("workers", 1).await;
    let until = this_second() + 5 * recording::STEP;
    scored_until(&tsdb, "workers", 2 * SERIES, until).await;

    assert_eq!(scene.processes("workers").await, processes, "no pod was restarted");
    for (worker, before) in workers.iter().zip(&before) {
        let now = status(worker).await.unwrap();
        assert_eq!(fitted(&now, "steady"), fitted(before, "steady"), "the other model is not fitted again");
        assert!(fitted(&now, "changing") > fitted(before, "changing"), "the changed one is");
    }
    let written = outputs(&tsdb, "workers").await;
    let of = |model: &str| -> Vec<Series> {
        written.iter().filter(|series| series.label("model_alias") == model).cloned().collect()
    };
    for model in ["changing", "steady"] {
        assert_eq!(gaps(&of(model), SERIES, from, until), Vec::<i64>::new(), "{model} has no gap");
    }
    // The expected range of the changed model, and of no other, gets half as wide, at one moment for good.
    for (series, widths) in ratios(&of("changing"), &of("steady"), from, until) {
        let narrow: Vec<_> = widths.iter().map(|ratio| *ratio < 0.75).collect();
        assert!(!narrow[0] && narrow[narrow.len() - 1], "{series}: {widths:?}");
        assert_eq!(narrow.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1, "{series}: {widths:?}");
    }
    scene.close().await;
}

fn fitted(status: &Status, model: &str) -> Option<i64> {
    status.jobs.iter().filter_map(|job| job.models.get(model)?.fitted_to_ms).max()
}

/// By series, how wide the range of one model is in terms of the other's, tick by tick.
fn ratios(one: &[Series], other: &[Series], from: i64, until: i64) -> BTreeMap<String, Vec<f64>> {
    let widths = |outputs: &[Series]| {
        let mut bounds: BTreeMap<(String, i64), [f64; 2]> = BTreeMap::new();
        for series in outputs {
            let place = match series.label("__name__") {
                "yhat_lower" => 0,
                "yhat_upper" => 1,
                _ => continue,
            };
            for sample in series.samples.iter().filter(|sample| (from..=until).contains(&sample.time)) {
                bounds.entry((series.label("series").to_owned(), sample.time)).or_default()[place] = sample.value;
            }
        }
        bounds
    };
    let other = widths(other);
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((series, tick), [lower, upper]) in widths(one) {
        let [other_lower, other_upper] = other[&(series.clone(), tick)];
        ratios.entry(series).or_default().push((upper - lower) / (other_upper - other_lower));
    }
    ratios
}
