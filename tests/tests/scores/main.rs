//! What the worker writes is what its documentation says: a week of a real series is scored by the worker's own loop
//! with a real VictoriaMetrics, and compared sample by sample with an implementation of the documented formulas that
//! shares nothing with the worker's.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod comparison;
mod input;
mod reference;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroU32;

use tests::accelerated::{Outcome, Run, run, worst_rounding, written};
use tests::victoria_metrics::VictoriaMetrics;

use comparison::{Comparison, Schedule};
use input::{DAY, FIRST, GUARDED, HOUR, Input, PLAIN};
use reference::Decided;
use table::{MODELS, Model, PLAIN_POLICIES, READER_RANGE, WITH_SETTINGS};

/// A first fit of one day, then a week of scores with two further fits.
const SCHEDULE: Schedule = Schedule {
    start: FIRST + DAY,
    end: FIRST + 8 * DAY,
    infer_every: HOUR,
    fit_window: DAY,
    fit_every: 3 * DAY,
    fit_lag: 2 * HOUR,
};

fn config(url: &str, models: &[Model], top: &str, metric_format: &str) -> String {
    let [low, high] = READER_RANGE;
    let mut yaml = format!(
        "{top}
schedulers:
  hourly: {{class: periodic, start_from: '2014-04-11T00:00:00Z', infer_every: 1h, fit_window: 1d, fit_every: 3d, fit_lag: 2h}}
reader:
  class: vm
  datasource_url: {url}
  sampling_period: 5m
  max_lookback: 5m
  data_range: [{low}, {high}]
  queries:
    guarded: {{expr: '{GUARDED}'}}
    plain: {{expr: '{PLAIN}', {PLAIN_POLICIES}}}
writer: {{class: vm, datasource_url: '{url}', metric_format: {metric_format}}}
models:
"
    );
    for model in models {
        let (alias, query, arguments) = (model.alias, model.query, model.yaml);
        // The formulas are vmanomaly's, which has no floor.
        writeln!(yaml, "  {alias}: {{queries: [{query}], schedulers: [hourly], band_floor: 0, {arguments}}}")
            .expect("a string");
    }
    yaml
}

async fn scored(config: &str, schedule: &Schedule) -> Outcome {
    let settle = 1_000;
    let outcome = run(Run {
        config,
        shard: 0,
        shards: NonZeroU32::MIN,
        start: schedule.start,
        end: schedule.end + settle,
        factor: 1e6,
    });
    outcome.await.expect("a run")
}

#[tokio::test(flavor = "current_thread")]
async fn scores_of_a_week_are_those_of_the_documented_formulas() {
    let input = Input::new();
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    database.import(&input.imported).await.expect("import");
    database.everything_visible().await.expect("everything visible");

    let top = "settings: {settle: 1s, max_catch_up: 30d, snapshot_interval: 1d}\npreset: documented";
    let format = "{__name__: 'cpu_$VAR', for: $QUERY_KEY, kind: '$VAR of $QUERY_KEY'}";
    let outcome = scored(&config(database.url(), MODELS, top, format), &SCHEDULE).await;
    for job in &outcome.jobs {
        assert_eq!((job.skipped_ticks, job.refused_series), (0, 0), "{job:?}");
    }
    let accepted = written(&outcome.accepted).expect("JSON lines");
    let mut comparison = Comparison::new(&accepted, |output, query, model| {
        BTreeMap::from([
            ("__name__", format!("cpu_{output}")),
            ("for", query.to_owned()),
            ("kind", format!("{output} of {query}")),
            ("model_alias", model.to_owned()),
            ("scheduler_alias", "hourly".to_owned()),
            ("preset", "documented".to_owned()),
        ])
    });
    for (query, answers) in [("guarded", &input.guarded), ("plain", &input.plain)] {
        for (instance, values) in answers {
            comparison.check(&SCHEDULE, query, instance, values, MODELS);
        }
    }
    let found = comparison.finish();
    println!("{found}");
    for decided in [
        Decided::OutsideDataRange,
        Decided::NothingLearnt,
        Decided::PredictionOutsideDataRange,
        Decided::WarmUp,
        Decided::Direction,
        Decided::MinDev,
        Decided::MinRelDev,
        Decided::Inside,
        Decided::Outside,
        Decided::Largest,
    ] {
        assert!(found.decided(decided) >= 5, "too few scores are {decided:?}");
    }

    database.everything_visible().await.expect("everything visible");
    let stored = database.export("{preset=\"documented\"}").await.expect("export");
    let rounding = worst_rounding(&accepted, &stored).expect("everything is stored");
    println!("the database rounded by up to {rounding:.1e}");
    assert!(rounding <= 1e-11);
}

#[tokio::test(flavor = "current_thread")]
async fn the_score_outside_the_data_range_falls_back_to_the_settings_and_an_explicit_zero_does_not() {
    let input = Input::new();
    let database = VictoriaMetrics::start().await.expect("VictoriaMetrics");
    database.import(&input.imported).await.expect("import");
    database.everything_visible().await.expect("everything visible");

    let schedule = Schedule { end: FIRST + 4 * DAY, ..SCHEDULE };
    let top = "settings: {settle: 1s, max_catch_up: 30d, snapshot_interval: 1d, anomaly_score_outside_data_range: 3.5}";
    let format = "{__name__: $VAR, for: $QUERY_KEY}";
    let outcome = scored(&config(database.url(), WITH_SETTINGS, top, format), &schedule).await;
    let accepted = written(&outcome.accepted).expect("JSON lines");
    let mut comparison = Comparison::new(&accepted, |output, query, model| {
        BTreeMap::from([
            ("__name__", output.to_owned()),
            ("for", query.to_owned()),
            ("model_alias", model.to_owned()),
            ("scheduler_alias", "hourly".to_owned()),
            ("preset", "default".to_owned()),
        ])
    });
    for (instance, values) in &input.guarded {
        comparison.check(&schedule, "guarded", instance, values, WITH_SETTINGS);
    }
    let found = comparison.finish();
    assert!(found.decided(Decided::OutsideDataRange) >= 100);
}
