//! Whole configurations: what a user writes, what comes out, what is said about mistakes.

mod classes;

use config::load::{Loaded, Source, load};
use config::worker::{DetectionDirection, ModelClass, Policies, StartFrom, VerifyTls, WorkerConfig};
use proptest::prelude::*;

const MINIMAL: &str = "\
schedulers:
  every_minute:
    class: periodic
    fit_window: 1d
    infer_every: 1m
models:
  z:
    class: zscore_online
    queries: all
    schedulers: all
reader:
  datasource_url: http://victoriametrics:8428/
  sampling_period: 1m
  queries:
    cpu:
      expr: rate(cpu[5m])
writer:
  datasource_url: http://victoriametrics:8428/
";

fn load_with(files: &[&str], env: &[(&str, &str)]) -> Result<Loaded, String> {
    let sources: Vec<Source> =
        files.iter().enumerate().map(|(index, text)| Source::new(format!("{index}.yaml"), *text)).collect();
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    load(&sources, &env, 4).map_err(|errors| errors.to_string())
}

fn config(files: &[&str]) -> WorkerConfig {
    load_with(files, &[]).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn warnings(files: &[&str]) -> String {
    let loaded = load_with(files, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

/// The errors of the minimal configuration with `overlay` merged over it.
fn errors_of(overlay: &str) -> String {
    match load_with(&[MINIMAL, overlay], &[]) {
        Ok(_) => panic!("no error: {overlay}"),
        Err(errors) => errors,
    }
}

#[test]
fn a_minimal_configuration_gets_the_documented_defaults_and_no_warning() {
    assert_eq!(warnings(&[MINIMAL]), "");
    let config = config(&[MINIMAL]);
    let scheduler = &config.schedulers["every_minute"];
    assert_eq!((scheduler.fit_every, scheduler.start_from), (60_000, None));
    let model = &config.models["z"];
    assert_eq!(model.class, ModelClass::ZscoreOnline { z_threshold: 2.5 });
    assert_eq!(model.provide_series, ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"]);
    assert_eq!((model.scale, model.decay, model.min_n_samples_seen), ([1.0, 1.0], 1.0, 16));
    assert_eq!(model.anomaly_score_outside_data_range, 1.01);
    assert_eq!((&*model.queries, &*model.schedulers), (&["cpu".into()][..], &["every_minute".into()][..]));
    assert_eq!(config.reader.client.url, "http://victoriametrics:8428");
    assert_eq!(config.reader.client.verify_tls, VerifyTls::System);
    assert_eq!((config.reader.latency_offset, config.reader.workers), (Some(1), 1));
    assert_eq!((config.reader.fetch_timeout, config.writer.client.timeout), (30_000, 30_000));
    assert_eq!(config.reader.queries["cpu"].series_limit, 100_000);
    assert_eq!(config.writer.metric_name, "$VAR");
    assert_eq!(config.writer.labels["for"], "$QUERY_KEY");
    assert_eq!(config.writer.max_request_bytes, 8 << 20);
    assert_eq!((config.server.port, config.monitoring.pull.is_none()), (8490, true));
    assert_eq!((config.settings.settle, config.settings.max_catch_up), (30_000, 86_400_000));
    assert_eq!(config.preset, "default");
}

#[test]
fn a_full_configuration_comes_through_value_by_value() {
    let text = r#"
preset: prod
settings:
  n_workers: -1
  anomaly_score_outside_data_range: 5.0
  restore_state: no
  retention: {ttl: 7d, check_interval: 1h}
  logger_levels: {reader.vm: DEBUG, writer: warn}
  settle: 0s
  max_catch_up: 2h
  catch_up_delay: 0s
  snapshot_interval: 1m
  snapshot_bytes_per_second: 1MiB
schedulers:
  s:
    class: scheduler.periodic.PeriodicScheduler
    fit_window: P14D
    fit_every: 1d
    infer_every: 30s
    start_from: "20:00"
    tz: europe/berlin
    scatter_infer_jobs: true
    fit_lag: 1m
models:
  m:
    class: model.online.OnlineMADModel
    queries: [b, a, b]
    schedulers: [s]
    provide_series: [timestamp, yhat, anomaly_score]
    scale: [1.2, 0.75]
    clip_predictions: true
    anomaly_score_outside_data_range: 0.0
    min_n_samples_seen: 1
    decay: 0.99
    history_strength: 2
    threshold: 3
    compression: 200
reader:
  class: reader.vm.VmReader
  datasource_url: https://vmselect:8481
  tenant_id: 42
  sampling_period: 15s
  user: me
  password_file: /etc/password
  verify_tls: /etc/ca.pem
  tls_cert_file: /c
  tls_key_file: /k
  timeout: 10s
  fetch_timeout: 20s
  workers: 3
  extra_filters: ['{env="prod"}']
  latency_offset: ""
  max_points_per_query: 5000
  tz: UTC
  offset: -60s
  max_lookback: 5m
  series_limit: 10
  query_range_path: custom/query_range
  data_range: ["0", .inf]
  queries:
    a:
      expr: a
      step: 30s
      data_range: [-inf, 1e3]
      detection_direction: above_expected
      min_dev_from_expected: [0, 2]
      min_rel_dev_from_expected: 10
      tz: America/New_York
      tenant_id: "42:7"
      offset: 1m
      max_lookback: 1m
      series_limit: 5
      max_points_per_query: 100
    b: {expr: b}
writer:
  class: vm
  datasource_url: https://vminsert:8480/insert/multitenant/prometheus/
  bearer_token: secret
  connection_retry_attempts: 2
  max_request_bytes: 1MiB
  metric_format: {__name__: x_$VAR, for: $QUERY_KEY, team: a}
monitoring: {pull: {port: 9000}}
server: {addr: 127.0.0.1, port: 0, path_prefix: anomaly/}
"#;
    assert_eq!(warnings(&[text]), "");
    let config = config(&[text]);
    let scheduler = &config.schedulers["s"];
    assert_eq!(scheduler.start_from, Some(StartFrom::TimeOfDay(20, 0)));
    assert_eq!((&*scheduler.tz, scheduler.fit_lag), ("Europe/Berlin", Some(60_000)));
    let model = &config.models["m"];
    assert_eq!(model.class, ModelClass::MadOnline { threshold: 3.0, compression: 200 });
    assert_eq!(model.queries, ["a", "b"]);
    assert_eq!(model.provide_series, ["yhat", "anomaly_score"]);
    assert_eq!((model.scale, model.anomaly_score_outside_data_range), ([1.2, 0.75], 0.0));
    let reader = &config.reader;
    assert_eq!(reader.client.tenant_id.as_deref(), Some("42:0"));
    assert_eq!(reader.client.verify_tls, VerifyTls::CaFile("/etc/ca.pem".into()));
    assert_eq!((reader.fetch_timeout, reader.latency_offset, reader.workers), (20_000, None, 3));
    assert_eq!(reader.query_range_path, "/custom/query_range");
    let (a, b) = (&reader.queries["a"], &reader.queries["b"]);
    assert_eq!((a.step, b.step, a.offset, b.offset), (30_000, 15_000, 60_000, -60_000));
    assert_eq!((a.tenant_id.as_deref(), b.tenant_id.as_deref()), (Some("42:7"), Some("42:0")));
    assert_eq!((a.max_lookback, b.max_lookback), (Some(60_000), Some(300_000)));
    assert_eq!((a.series_limit, b.series_limit, b.max_points_per_query), (5, 10, 5000));
    let (own, fallback) = (Policies::resolve(a, model), Policies::resolve(b, model));
    assert_eq!(own.data_range, [f64::NEG_INFINITY, 1e3]);
    assert_eq!(own.detection_direction, DetectionDirection::AboveExpected);
    assert_eq!((own.min_dev_from_expected, own.min_rel_dev_from_expected), ([0.0, 2.0], [10.0, 10.0]));
    assert_eq!(fallback.data_range, [0.0, f64::INFINITY]);
    assert_eq!(fallback.detection_direction, DetectionDirection::Both);
    let writer = &config.writer;
    assert_eq!(writer.client.url, "https://vminsert:8480");
    assert_eq!(writer.client.tenant_id.as_deref(), Some("multitenant"));
    assert_eq!((&*writer.metric_name, &*writer.labels["team"]), ("x_$VAR", "a"));
    assert_eq!(config.monitoring.pull, Some(("0.0.0.0".into(), 9000)));
    assert_eq!((config.server.port, &*config.server.path_prefix), (0, "/anomaly"));
    let settings = &config.settings;
    assert_eq!((settings.n_workers, settings.restore_state, settings.settle), (0, Some(false), 0));
    assert_eq!(settings.logger_levels["reader.vm"], "debug");
    assert_eq!(settings.logger_levels["writer"], "warning");
    assert_eq!(settings.snapshot_bytes_per_second, 1 << 20);
    assert_eq!(settings.retention_ttl, Some(604_800_000));
}

#[test]
fn the_canonical_form_survives_json_infinities_included() {
    let overlay = "reader: {queries: {cpu: {data_range: [-inf, 5]}, mem: {expr: m, data_range: [0, inf]}}}";
    let config = config(&[MINIMAL, overlay]);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<WorkerConfig>(&text).unwrap(), config);
    assert!(text.contains(r#"["-inf",5.0]"#) && text.contains(r#"[0.0,"inf"]"#), "{text}");
}

#[test]
fn all_errors_of_all_files_are_reported_at_once_in_the_order_of_the_files() {
    let first = MINIMAL.replace("    fit_window: 1d", "    fit_windw: 1d");
    let second = "models: {z: {z_treshold: 3, decay: 2}}\nserver: {port: eighty}\nwriter: {timeout: 5}\n";
    let errors = load_with(&[&first, second, "preset: a\npreset: b\n"], &[]).unwrap_err();
    let expected = [
        "0.yaml:3:5: schedulers.every_minute.fit_window: is required: a duration longer than 0",
        "0.yaml:4:5: schedulers.every_minute.fit_windw: unknown key; did you mean `fit_window`?",
        "1.yaml:1:14: models.z.z_treshold: unknown key; did you mean `z_threshold`?",
        "1.yaml:1:36: models.z.decay: `2`: must be above 0 and at most 1",
        "1.yaml:2:16: server.port: `eighty`: must be a whole number from 0 to 65535",
        "1.yaml:3:19: writer.timeout: `5`: `5` has no unit; write for example `5s`",
        "2.yaml:2:1: preset: the key is there twice",
    ];
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{errors}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
}

#[test]
fn a_mistake_is_named_with_its_key_and_what_is_allowed() {
    for (overlay, expected) in [
        ("scheduler_: 1", "scheduler_: unknown key; did you mean `schedulers`?"),
        ("reader: {queries: {cpu: {stepp: 1m}}}", "reader.queries.cpu.stepp: unknown key; did you mean `step`?"),
        ("reader: {queries: {cpu: [1]}}", "reader.queries.cpu: expected a map, found a list"),
        ("reader: {queries: {cpu: {expr: {a: 1}}}}", "reader.queries.cpu.expr: expected a text, found a map"),
        ("reader: {queries: {cpu: {data_range: [1, 0]}}}", "the lower bound 1 is above the upper bound 0"),
        ("reader: {queries: {cpu: {data_range: [1]}}}", "has 1 values; a range is exactly two"),
        ("reader: {queries: {cpu: {data_range: 5}}}", "data_range: expected two numbers"),
        ("reader: {queries: {cpu: {data_range: [.nan, 1]}}}", "data_range[0]: `.nan`: NaN is no bound"),
        ("reader: {queries: {cpu: {detection_direction: up}}}", "`up`: must be one of `both`, `above_expected`"),
        ("reader: {queries: {cpu: {min_dev_from_expected: [1, 2, 3]}}}", "found a list of 3 numbers"),
        ("reader: {queries: {cpu: {min_dev_from_expected: -1}}}", "`-1`: must be 0 or above"),
        ("reader: {queries: {cpu: {min_dev_from_expected: inf}}}", "`inf`: must be finite"),
        ("reader: {queries: {cpu: {series_limit: 0}}}", "series_limit: `0`: must be a whole number from 1"),
        (
            "reader: {queries: {cpu: {false_alarms_per_day: 0}}}",
            "reader.queries.cpu.false_alarms_per_day: `0`: must be from 0.001 to 1000000",
        ),
        ("reader: {queries: {cpu: {tz: Europe/Berln}}}", "did you mean `Europe/Berlin`?"),
        ("reader: {queries: {cpu: {step: 0s}}}", "step: `0s`: must be longer than 0"),
        ("reader: {queries: {cpu: {tenant_id: 1}}}", "tenant_id: needs `reader.tenant_id`"),
        ("reader: {tenant_id: a:b}", "`a:b`: must be `account`, `account:project` (numbers) or `multitenant`"),
        ("reader: {sampling_period: null}", "reader.sampling_period: is required"),
        ("reader: {class: vlogs}", "reader.class: not supported yet in this version: vlogs; supported: vm"),
        ("reader: {datasource_url: victoria:8428}", "must start with `http://` or `https://`"),
        ("reader: {datasource_url: 'http://h:99999'}", "has a wrong port"),
        ("reader: {password: x}", "reader.password: needs `user`"),
        ("reader: {user: u, bearer_token: x}", "bearer_token: and basic authentication exclude each other"),
        ("reader: {tls_cert_file: x}", "tls_cert_file: needs `tls_key_file`"),
        ("reader: {workers: -1}", "reader.workers: `-1`: must be a whole number from 0"),
        (
            "models: {z: {class: custom}}",
            "models.z.class: not supported yet in this version: custom; supported: calibrated, zscore_online, mad_online",
        ),
        ("models: {z: {class: arima}}", "there is no model class `arima`"),
        (
            "models: {z: {class: zscore_onlin}}",
            "did you mean `zscore_online`?; supported: calibrated, zscore_online, mad_online",
        ),
        ("models: {y: {queries: all, schedulers: all}}", "models.y.class: is required"),
        (
            "models: {z: {compression: 100}}",
            "compression: is an argument of mad_online, quantile_online, prophet, not of zscore_online",
        ),
        (
            "models: {z: {threshold: 2}}",
            "is an argument of mad_online, not of zscore_online; did you mean `z_threshold`?",
        ),
        ("models: {z: {class: quantile_online, quantiles: [0.9, 0.5, 0.1]}}", "models.z.quantiles: must be ascending"),
        ("models: {z: {class: quantile_online, quantiles: [0.1, 0.9]}}", "must be a list of 3 numbers, this one has 2"),
        ("models: {z: {class: quantile_online, quantiles: [0, 0.5, 2]}}", "quantiles[2]: `2`: must be from 0 to 1"),
        (
            "models: {z: {class: quantile_online, seasonal_interval: 2h, min_subseason: 37m}}",
            "seasonal_interval: `2h`: must be a multiple of `min_subseason`",
        ),
        ("models: {z: {class: quantile_online, seasonal_interval: 1d}}", "write `min_subseason` too, as in `1h`"),
        ("models: {z: {class: quantile_online, min_subseason: 1h}}", "write `seasonal_interval` too, as in `1d`"),
        (
            "models: {z: {class: quantile_online, seasonal_interval: 1w, min_subseason: 30s}}",
            "has 20160 parts of `min_subseason`, at most 10080 are allowed",
        ),
        (
            "models: {z: {class: quantile_online, season_starts_from: monday}}",
            "season_starts_from: `monday`: must be a date as in `1970-01-01`",
        ),
        ("models: {z: {class: rolling_quantile, quantile: 0.9}}", "models.z.window_steps: is required"),
        (
            "models: {z: {class: rolling_quantile, quantile: 0.1, window_steps: 9}}",
            "quantile: `0.1`: must be from 0.5 to 1",
        ),
        ("models: {z: {class: std}}", "models.z.period: is required: a whole number from 2 to 100000"),
        ("models: {z: {class: std, period: 24, threshold: 3}}", "threshold: is an argument of mad_online, not of std"),
        (
            "models: {z: {provide_series: [resid]}}",
            "provide_series[0]: `resid`: the class does not produce this series",
        ),
        (
            "models: {z: {forecast_at: [1d]}}",
            "is an argument of temporal_envelope, prophet, temporal_envelope_multivariate, not",
        ),
        ("models: {z: {queries: [cpi]}}", "models.z.queries[0]: there is no query `cpi`; did you mean `cpu`?"),
        ("models: {z: {schedulers: every_minute}}", "models.z.schedulers: expected a list of aliases"),
        ("models: {z: {provide_series: []}}", "models.z.provide_series: must be a list, not empty"),
        ("models: {z: {provide_series: [timestamp]}}", "models.z.provide_series: must be a list, not empty"),
        ("models: {z: {provide_series: [yhat_low]}}", "provide_series[0]: `yhat_low`: the class does not produce"),
        ("models: {z: {scale: 0}}", "models.z.scale: `0`: must be above 0"),
        ("models: {z: {band_floor: -1}}", "models.z.band_floor: `-1`: must be 0 or above"),
        ("models: {z: {influence_limit: 0.5}}", "influence_limit: is 0.5; it must be 0, for none, or at least 1"),
        ("models: {z: {exclude_incidents: maybe}}", "models.z.exclude_incidents"),
        ("models: {z: {min_n_samples_seen: 0}}", "`0`: must be a whole number, at least 1"),
        ("models: {z: {ttl: 1d}}", "models.z.ttl: not supported yet"),
        ("schedulers: {every_minute: {infer_every: 500ms}}", "`500ms`: must be at least 1s"),
        ("schedulers: {every_minute: {fit_window: 1s}}", "1s is shorter than the step of the query `cpu`, 1m"),
        (
            "schedulers: {every_minute: {fit_every: 1h, fit_lag: 90s}}",
            "fit_lag: `90s`: must be a multiple of `infer_every`, 1m",
        ),
        ("schedulers: {every_minute: {fit_lag: 2m}}", "must be at most `fit_every`, 1m"),
        ("schedulers: {every_minute: {start_from: 25:00}}", "start_from: `25:00`: must be a time of day"),
        (
            "schedulers: {every_minute: {class: backtesting}}",
            "not supported yet in this version: backtesting; supported: periodic",
        ),
        ("writer: {metric_format: {__name__: score}}", "must contain `$VAR`"),
        ("writer: {metric_format: {preset: x}}", "is a label that the worker adds itself"),
        ("writer: {metric_format: {a-b: x}}", "is no label name"),
        ("writer: {metric_format: {x: $MODEL_ALIAS}}", "only `$VAR` and `$QUERY_KEY` are replaced"),
        ("writer: {metric_format: {for: a}}\nreader: {queries: {mem: {expr: m}}}", "must contain `$QUERY_KEY`"),
        ("writer: {max_request_bytes: 1KiB}", "must be at least 65536 bytes"),
        ("settings: {settle: -1s}", "must not be negative"),
        ("settings: {logger_levels: {reader: loud}}", "settings.logger_levels.reader: `loud`: must be one of debug"),
        ("settings: {restore_state: maybe}", "`maybe`: must be `true` or `false`"),
        ("preset: node-exporter", "the preset `node-exporter` are not supported yet"),
        ("reader: {queries: {'': {expr: x}}}", "an alias must not be empty"),
    ] {
        let errors = errors_of(overlay);
        assert!(errors.contains(expected), "{overlay}\n  {expected}\n  {errors}");
        assert_eq!(errors.lines().count(), 1, "{overlay}\n{errors}");
        assert!(errors.starts_with("1.yaml:") || errors.starts_with("0.yaml:"), "{errors}");
    }
}

#[test]
fn missing_sections_and_files_are_errors() {
    let errors = load_with(&["server: {}\n"], &[]).unwrap_err();
    for section in ["schedulers", "reader", "writer"] {
        assert!(errors.contains(&format!("{section}: is required")), "{errors}");
    }
    assert!(!errors.contains("models"), "{errors}");
    assert_eq!(load_with(&[], &[]).unwrap_err(), "there is no configuration file");
    assert_eq!(load_with(&[MINIMAL, "# nothing\n"], &[]).unwrap_err(), "1.yaml:1:1: the file is empty");
}

#[test]
fn a_query_has_false_alarms_for_all_its_series_which_only_the_default_class_heeds() {
    let budget = "reader: {queries: {cpu: {false_alarms_per_day: 3}}}";
    let of_query = |files: &[&str]| config(files).reader.queries["cpu"].false_alarms_per_day;
    assert_eq!((of_query(&[MINIMAL]), of_query(&[MINIMAL, budget])), (None, Some(3.0)));
    let warning =
        "reader.queries.cpu.false_alarms_per_day: changes nothing: no model of class `calibrated` has the query";
    assert!(warnings(&[MINIMAL, budget]).contains(warning));
    let calibrated = "models: {z: {class: calibrated}}";
    assert_eq!(warnings(&[MINIMAL, budget, calibrated]), "");
}

#[test]
fn a_file_that_cannot_be_read_does_not_make_its_keys_missing() {
    let errors = load_with(&["models: [", "server: {prt: 1}\n"], &[]).unwrap_err();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(lines[0].starts_with("0.yaml:1:9: not valid YAML: "), "{errors}");
    assert_eq!(lines[1..], ["1.yaml:1:10: server.prt: unknown key; did you mean `port`?"]);
}

#[test]
fn what_works_but_perhaps_not_as_meant_is_a_warning() {
    for (overlay, expected) in [
        ("models: {z: {class: zscore}}", "models.z.class: `zscore` is deprecated and works as `zscore_online`"),
        (
            "models: {y: {class: mad_online, schedulers: all}}",
            "models.y.queries: absent: the model is attached to all queries",
        ),
        (
            "models: {y: {class: mad_online, queries: [], schedulers: all}}",
            "models.y: left out: it is attached to no query",
        ),
        (
            "models: {y: {class: mad_online, queries: all, schedulers: null}}",
            "models.y: left out: it is attached to no scheduler",
        ),
        ("models: {z: {data_range: [0, 1]}}", "models.z.data_range: on a model is deprecated"),
        (
            "models: {z: {queries: [cpu]}}\nreader: {queries: {mem: {expr: m}}}",
            "reader.queries.mem: left out: no model uses it",
        ),
        (
            "models: {z: {schedulers: [every_minute]}}\nschedulers: {b: {fit_window: 1d, infer_every: 1m}}",
            "schedulers.b: left out",
        ),
        ("reader: {queries: {cpu: rate(cpu)}}", "reader.queries.cpu: an expression alone is an old form"),
        ("reader: {health_path: /h}", "reader.health_path: has no effect here"),
        ("reader: {query_from_last_seen_timestamp: true}", "always caught up"),
        (
            "monitoring: {push: {url: http://x}}",
            "monitoring.push: has no effect here: pushing metrics is not supported yet",
        ),
        ("server: {uvicorn_config: {log_level: x}}", "server.uvicorn_config: has no effect here"),
        ("settings: {native_threads_per_worker: 2}", "has no effect here"),
        ("license: {key: x}", "license: has no effect here"),
        ("schedulers: {every_minute: {infer_every: 30s}}", "30s is shorter than the step of the query `cpu`, 1m"),
        ("reader: {fetch_timeout: 2m}", "shorter than the reader's `fetch_timeout`"),
        ("schedulers: {every_minute: {fit_every: 30s}}", "shorter than `infer_every`; raised to 1m"),
        ("reader: {tenant_id: 1}", "writer.tenant_id: is absent, but the reader reads 1:0"),
        ("reader: {tenant_id: 1}\nwriter: {tenant_id: 2}", "writer.tenant_id: is 2:0, but the reader reads 1:0"),
        ("writer: {tenant_id: multitenant}", "writer.tenant_id: is `multitenant`, but the reader has no tenants"),
        ("settings: {retention: {ttl: 1h, check_interval: 2h}}", "not shorter than `ttl`"),
    ] {
        let warnings = warnings(&[MINIMAL, overlay]);
        assert!(warnings.contains(expected), "{overlay}\n  {expected}\n  {warnings}");
        assert_eq!(warnings.lines().count(), 1, "{overlay}\n{warnings}");
    }
}

#[test]
fn reader_and_writer_of_the_same_single_tenant_fit() {
    for overlay in [
        "reader: {tenant_id: 1}\nwriter: {tenant_id: '1:0'}",
        "reader: {tenant_id: multitenant}\nwriter: {tenant_id: multitenant}",
        "reader: {datasource_url: 'http://s:8481/select/multitenant/prometheus'}\nwriter: {tenant_id: multitenant}",
    ] {
        assert_eq!(warnings(&[MINIMAL, overlay]), "", "{overlay}");
    }
    let overlay = "reader: {tenant_id: 1, datasource_url: 'http://s:8481/select/2/prometheus'}";
    assert!(errors_of(overlay).contains("is 1:0, but the path of `datasource_url` says 2"), "{}", errors_of(overlay));
}

#[test]
fn orphans_leave_the_configuration() {
    let overlay = "models: {y: {class: mad_online, queries: [mem], schedulers: []}}\n\
                   reader: {queries: {mem: {expr: m}}}\nschedulers: {b: {fit_window: 1d, infer_every: 1m}}\n";
    let config = config(&[
        &MINIMAL.replace("queries: all", "queries: [cpu]").replace("schedulers: all", "schedulers: [every_minute]"),
        overlay,
    ]);
    assert_eq!(config.models.keys().collect::<Vec<_>>(), ["z"]);
    assert_eq!(config.reader.queries.keys().collect::<Vec<_>>(), ["cpu"]);
    assert_eq!(config.schedulers.keys().collect::<Vec<_>>(), ["every_minute"]);
}

#[test]
fn old_flat_forms_mean_what_they_meant() {
    let text = "scheduler: {fit_window: 1d, infer_every: 1m}\nmodel: {class: zscore_online}\n\
                reader: {datasource_url: http://h, sampling_period: 1m, queries: {q: up}}\n\
                writer: {datasource_url: http://h}\n";
    let config = config(&[text]);
    assert_eq!(config.models["default_model"].schedulers, ["default_scheduler"]);
    assert_eq!(config.reader.queries["q"].expr, "up");
    let warnings = warnings(&[text, "models: {m: {class: mad_online, queries: all, schedulers: all}}"]);
    assert!(warnings.contains("model: ignored: `models` is there too"), "{warnings}");
}

#[test]
fn files_are_merged_key_by_key_whatever_the_spelling_of_a_class() {
    let overlay = "models: {z: {class: model.online.OnlineZscoreModel, z_threshold: 3}}\n\
                   reader: {class: reader.vm.VmReader, queries: {mem: {expr: m}, a: {expr: a}}}\n";
    let config = config(&[MINIMAL, overlay]);
    assert_eq!(config.models["z"].class, ModelClass::ZscoreOnline { z_threshold: 3.0 });
    assert_eq!(config.models["z"].queries, ["a", "cpu", "mem"]);
    assert_eq!(config.reader.client.url, "http://victoriametrics:8428");
}

#[test]
fn policies_fall_back_from_query_to_model_to_reader_field_by_field() {
    let overlay = "reader: {data_range: [0, 1], queries: {cpu: {min_dev_from_expected: 0}, mem: {expr: m, data_range: [0, 3]}}}\n\
                   models:\n  z: {min_dev_from_expected: 7, detection_direction: below_expected}\n  \
                   y: {class: mad_online, queries: all, schedulers: all, data_range: [0, 2]}\n";
    let config = config(&[MINIMAL, overlay]);
    let resolve = |query: &str, model: &str| Policies::resolve(&config.reader.queries[query], &config.models[model]);
    assert_eq!(resolve("cpu", "z").data_range, [0.0, 1.0]);
    assert_eq!(resolve("cpu", "y").data_range, [0.0, 2.0]);
    assert_eq!(resolve("mem", "y").data_range, [0.0, 3.0]);
    assert_eq!(resolve("cpu", "z").min_dev_from_expected, [0.0, 0.0]);
    assert_eq!(resolve("mem", "z").min_dev_from_expected, [7.0, 7.0]);
    assert_eq!(resolve("mem", "z").detection_direction, DetectionDirection::BelowExpected);
    assert_eq!(resolve("mem", "y").detection_direction, DetectionDirection::Both);
}

#[test]
fn environment_variables_give_values_of_any_type() {
    let overlay = "reader: {user: me, password: %{PASSWORD}, datasource_url: \"http://%{HOST}:8428\"}\n\
                   server: {port: %{PORT}}\nmodels: {z: {scale: [%{SCALE}, 1]}}\n";
    let env = [("PASSWORD", "p: 'w"), ("HOST", "vm"), ("PORT", "81"), ("SCALE", "1.5")];
    let config = load_with(&[MINIMAL, overlay], &env).unwrap().config;
    assert_eq!(config.reader.client.password.as_deref(), Some("p: 'w"));
    assert_eq!(config.reader.client.url, "http://vm:8428");
    assert_eq!((config.server.port, config.models["z"].scale), (81, [1.5, 1.0]));
    let errors = load_with(&[MINIMAL, overlay], &env[1..]).unwrap_err();
    assert_eq!(errors, "1.yaml:1:30: reader.password: the environment variable `PASSWORD` is not set");
}

#[test]
fn secrets_appear_in_no_message() {
    let secrets = [("TOKEN", "hunter2x")];
    for overlay in [
        "reader: {user: {a: hunter2x}, password: [hunter2x]}",
        "reader: {datasource_url: 'http://me:hunter2x@host'}",
        "reader: {password: hunter2x}",
        "reader: {timeout: %{TOKEN}, workers: %{TOKEN}, tz: %{TOKEN}, data_range: [%{TOKEN}, 1]}",
        "models: {z: {class: %{TOKEN}, queries: [%{TOKEN}]}}",
        "models: {z: {provide_series: [%{TOKEN}], scale: %{TOKEN}}}",
        "writer: {metric_format: {__name__: %{TOKEN}}, verify_tls: '', max_request_bytes: %{TOKEN}}",
        "server: {port: %{TOKEN}, path_prefix: '#%{TOKEN}'}",
        "settings: {logger_levels: {a: %{TOKEN}}, settle: %{TOKEN}}",
        "preset: ui:%{TOKEN}",
    ] {
        let errors = load_with(&[MINIMAL, overlay], &secrets).map(|_| overlay).unwrap_err();
        assert!(!errors.contains("hunter2x"), "{errors}");
    }
    let overlay = "reader: {user: me, password: hunter2x}\nwriter: {bearer_token: hunter2x}\n";
    let config = config(&[MINIMAL, overlay]);
    assert!(!format!("{config:?}").contains("hunter2x"));
    assert!(!serde_json::to_string(&config.without_secrets()).unwrap().contains("hunter2x"));
}

#[test]
fn start_from_is_an_instant_or_a_time_of_day() {
    for (text, tz, expected) in [
        ("2026-01-31T06:00:00Z", "UTC", StartFrom::At(1_769_839_200_000)),
        ("2026-01-31T06:00:00", "Europe/Berlin", StartFrom::At(1_769_835_600_000)),
        ("2026-01-31T06:00:00+02", "Europe/Berlin", StartFrom::At(1_769_832_000_000)),
        ("2026-01-31", "UTC", StartFrom::At(1_769_817_600_000)),
        ("6:05", "UTC", StartFrom::TimeOfDay(6, 5)),
    ] {
        let overlay = format!("schedulers: {{every_minute: {{start_from: \"{text}\", tz: {tz}}}}}");
        let config = config(&[MINIMAL, &overlay]);
        assert_eq!(config.schedulers["every_minute"].start_from, Some(expected), "{text}");
    }
}

#[test]
fn metrics_on_the_port_of_the_server_need_no_listener_of_their_own() {
    let overlay = |port: u16| format!("monitoring: {{pull: {{port: {port}}}}}");
    assert_eq!(config(&[MINIMAL, &overlay(8490)]).monitoring.pull, None);
    assert_eq!(config(&[MINIMAL, &overlay(8080)]).monitoring.pull, Some(("0.0.0.0".into(), 8080)));
}

#[test]
fn the_number_of_workers_follows_queries_and_cpus() {
    let many: String = (0..20).map(|index| format!("    q{index}: {{expr: q}}\n")).collect();
    let config = config(&[MINIMAL, &format!("reader:\n  queries:\n{many}")]);
    assert_eq!(config.reader.workers, 8);
}

/// The lines of the minimal configuration whose key is no alias: (line number, key).
fn keys() -> Vec<(usize, &'static str)> {
    let lines = MINIMAL.lines().enumerate();
    lines
        .filter_map(|(index, line)| Some((index, line.split_once(':')?.0.trim())))
        .filter(|(_, key)| !["every_minute", "z", "cpu"].contains(key))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_key_is_named_with_its_line(
        index in 0..keys().len(),
        at: prop::sample::Index,
        letter in "[a-z_]",
        insert: bool,
    ) {
        let (line, key) = keys()[index];
        let at = at.index(key.len());
        let rest = if insert { &key[at..] } else { &key[at + 1..] };
        let mutated = format!("{}{letter}{rest}", &key[..at]);
        prop_assume!(mutated != key);
        let mut lines: Vec<String> = MINIMAL.lines().map(str::to_owned).collect();
        lines[line] = lines[line].replacen(key, &mutated, 1);
        let errors = load_with(&[&lines.join("\n")], &[]).map(|_| ()).unwrap_err();
        let expected = |error: &str| {
            error.starts_with(&format!("0.yaml:{}:", line + 1))
                && error.contains(&format!("{mutated}: unknown key"))
        };
        prop_assert!(errors.lines().any(expected), "{mutated}\n{errors}");
    }

    #[test]
    fn any_value_anywhere_is_taken_or_refused_without_a_panic(
        index in 0..keys().len(),
        value in "[-+%{}\\[\\]a-z0-9.:,$/ ]{0,20}",
    ) {
        let (line, _) = keys()[index];
        let mut lines: Vec<String> = MINIMAL.lines().map(str::to_owned).collect();
        if let Some((key, _)) = lines[line].clone().split_once(':') {
            lines[line] = format!("{key}: {value}");
        }
        let _ = load_with(&[&lines.join("\n")], &[]);
    }
}
