//! `vmanomaly evaluate` on the labelled series that are shipped, and on folders that are wrong.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and has files of its own"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use serde_json::Value;
use worker::evaluation::{
    candidates::{Candidate, Schedule},
    command_line::Flags,
    evaluate,
    labelled::{self, LabelledSeries},
    replay::replay,
};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/labelled")
}

/// The report that `vmanomaly evaluate FOLDER ... --output json` prints.
fn report(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(folder, &[arguments, &["--output", "json"]].concat()).unwrap()).unwrap()
}

fn run(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let flags = ["vmanomaly evaluate", folder.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
    let flags = Flags::try_parse_from(flags).map_err(|error| error.to_string())?;
    evaluate(&flags).map_err(|error| error.to_string())
}

/// A folder of one series, `s` of the source `own`, judged from its fourth row on.
fn folder(manifest_line: &str, series: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("own")).unwrap();
    fs::write(folder.path().join("own/s.csv"), series).unwrap();
    let manifest = format!("split,source,series,step_s,eval_from\n{manifest_line}\n");
    fs::write(folder.path().join("manifest.csv"), manifest).unwrap();
    folder
}

fn scores(candidate: &Candidate, series: &LabelledSeries) -> Vec<u64> {
    let job = candidate.job(series.step, Schedule::DEFAULT).unwrap();
    replay(&job, series).scores.iter().map(|score| score.to_bits()).collect()
}

#[test]
fn a_model_of_a_file_is_reported_by_source_with_the_figures_of_the_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tight.yaml");
    fs::write(&model, "class: zscore_online\nz_threshold: 4\n").unwrap();
    let report = report(&sample(), &["--model", model.to_str().unwrap()]);
    assert_eq!((report.as_array().unwrap().len(), report[0]["model"].as_str()), (1, Some("tight")));
    let nab = &report[0]["sources"]["nab"];
    assert_eq!((nab["series"].as_u64(), nab["events"].as_u64()), (Some(6), Some(11)));
    for figure in ["event_recall", "alarm_precision", "event_F1", "alarm_load", "VUS-PR(1h)", "VUS-PR(L=100)"] {
        let value = nab[figure].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&value), "{figure}: {value}");
    }
    assert!(nab["event_recall"].as_f64().unwrap() > 0.5);
    assert!(nab["NAB"]["standard"]["optimised"].as_f64().unwrap() > 0.0);
    // Windows of this source begin before the anomaly.
    assert!(nab["latency"]["p50_minutes"].is_null() && nab["timely_recall"].is_null());
}

#[test]
fn scores_that_were_written_give_the_same_figures_when_they_are_read() {
    let out = tempfile::tempdir().unwrap();
    let out_path = out.path().to_str().unwrap();
    let model = out.path().join("mad.yaml");
    fs::write(&model, "class: mad_online\n").unwrap();
    let first = report(&sample(), &["--model", model.to_str().unwrap(), "--write-scores", out_path]);
    let again = report(&sample(), &["--scores", out.path().join("mad").to_str().unwrap()]);
    assert_eq!(first[0]["sources"], again[0]["sources"]);
}

#[test]
fn no_score_knows_of_a_later_sample() {
    let all = labelled::read(&sample(), |_, _| true).unwrap();
    for candidate in Candidate::all(&[]) {
        let series = &all[2];
        let mut shorter = series.clone();
        let kept = series.times.len() - 700;
        shorter.times.truncate(kept);
        shorter.labels.truncate(kept);
        shorter.channels[0].1.truncate(kept);
        assert_eq!(scores(&candidate, series)[..kept], scores(&candidate, &shorter), "{}", candidate.name);
    }
}

#[test]
fn gaps_and_missing_values_have_no_score_and_the_rest_has() {
    let all = labelled::read(&sample(), |_, _| true).unwrap();
    let mut series = all[0].clone();
    series.channels[0].1[2000] = detect::model::MISSING;
    for rows in [2100..2200, 2500..2501] {
        series.times.drain(rows.clone());
        series.labels.drain(rows.clone());
        series.channels[0].1.drain(rows);
    }
    let candidate = Candidate::all(&[]).swap_remove(0);
    let scores = scores(&candidate, &series);
    let judged = series.first_judged();
    let unscored: Vec<usize> = (judged..scores.len()).filter(|row| f64::from_bits(scores[*row]).is_nan()).collect();
    assert_eq!(unscored, [2000]);
}

#[test]
fn tables_have_a_row_for_each_model_and_say_what_was_run() {
    let text = run(&sample(), &["--all", "--variant", "band_floor=0", "--fit-window", "1d"]).unwrap();
    for line in [
        "### nab: 6 series, 11 events",
        "| mad_online |",
        "| mad_online band_floor=0 |",
        "- calibrated: {class: calibrated}; one fit of at most 1d; ",
        "- std: {class: std, period: <steps of a day>}; fits of at most 1d; every 1d",
        "not the benchmark's official figure, which needs all 58",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_rates_that_were_asked_for_stand_beside_those_that_came() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("rates.yaml");
    let entries =
        "{often: {class: calibrated, false_alarms_per_day: 2}, other: {class: mad_online}, usual: {class: calibrated}}";
    fs::write(&models, format!("models: {entries}\n")).unwrap();
    let arguments = ["--model", models.to_str().unwrap()];
    let text = run(&sample(), &arguments).unwrap();
    let table: Vec<&str> = text.lines().skip_while(|line| *line != "| model | asked | nab |").skip(2).take(3).collect();
    assert!(table[0].starts_with("| usual | 0.1 | 0.") && table[1].starts_with("| often | 2 | "), "{text}");
    assert!(table[1].contains("(x ") && table[2].is_empty(), "{text}");
    let report = report(&sample(), &arguments);
    let rate = |model: usize| report[model]["sources"]["nab"]["false_alarms_per_series_day"].as_f64().unwrap();
    assert_eq!(report[0]["asked_false_alarms_per_day"], 2.0);
    assert!(report[1]["asked_false_alarms_per_day"].is_null() && rate(0) > 3.0 * rate(2));
}

#[test]
fn what_is_wrong_with_a_folder_is_said_with_file_and_line() {
    let rows = "timestamp,value,label\n0,1,0\n60,2,0\n120,1,0\n180,5,1\n";
    let wrong = |line: &str, series: &str| {
        let folder = folder(line, series);
        run(folder.path(), &["--all"]).unwrap_err().replace(folder.path().to_str().unwrap(), "F")
    };
    assert_eq!(
        wrong("dev,own,s,0,180", rows),
        "F/manifest.csv, line 2: step_s is \"0\", it must be a number of seconds above 0"
    );
    assert_eq!(
        wrong("dev,own,s,60,180", &rows.replace("60,2", "x,2")),
        "F/own/s.csv, line 3: timestamp is \"x\", it must be a whole number of seconds"
    );
    assert_eq!(
        wrong("dev,own,s,60,180", &rows.replace("120,1", "60,1")),
        "F/own/s.csv, line 4: timestamp is \"60\", it must be later than the one before"
    );
    assert_eq!(wrong("dev,own,s,60,999", rows), "F/own/s.csv: no row of own/s is at its eval_from of 999 or later");
    assert!(wrong("dev,own,t,60,180", rows).starts_with("F/own/t.csv"));
    let empty = tempfile::tempdir().unwrap();
    assert!(run(empty.path(), &["--all"]).unwrap_err().contains("manifest.csv"));
    assert!(run(&sample(), &["--all", "--source", "none"]).unwrap_err().ends_with("has no series of none"));
    assert!(run(&sample(), &[]).unwrap_err().contains("--all"));
}

#[test]
fn labels_come_from_the_events_where_a_series_has_no_column_for_them() {
    let folder = folder("dev,own,s,60,120", "timestamp,value\n0,1\n60,2\n120,1\n180,5\n");
    fs::write(folder.path().join("events.json"), r#"{"own/s": [[180, 180]]}"#).unwrap();
    let read = labelled::read(folder.path(), |_, _| true).unwrap();
    assert_eq!(read[0].labels, [false, false, false, true]);
}

/// The names of the pictures in a folder.
fn pictures(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn errors_are_drawn_one_by_one_where_they_are() {
    let out = tempfile::tempdir().unwrap();
    let out_path = out.path().to_str().unwrap();
    let only = ["--series", "realAWSCloudwatch__rds_cpu_utilization_e47b3b", "--class", "calibrated"];
    let around = ["--pictures", out_path, "--around", "missed", "--around", "false"];
    let report = report(&sample(), &[&only[..], &around].concat());
    assert_eq!(report[0]["sources"]["nab"]["event_recall"].as_f64(), Some(1.0));
    let drawn = pictures(&out.path().join("calibrated/nab"));
    assert!(!drawn.is_empty() && drawn.iter().all(|name| name.contains("e47b3b-false-2014")), "{drawn:?}");
    let text = fs::read_to_string(out.path().join("calibrated/nab").join(&drawn[0])).unwrap();
    assert!(text.contains("fill=\"#c62828\"") && text.contains(", false: highest score 1."), "{text}");
    assert!(run(&sample(), &["--class", "calibratd"]).unwrap_err().contains("'calibrated'"));
}

#[test]
fn from_the_start_a_model_has_no_history_and_all_samples_are_judged() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--from-start", "--series", "artificialNoAnomaly__art_noisy", "--class", "calibrated"];
    let written = [&arguments[..], &["--write-scores", out.path().to_str().unwrap()]].concat();
    let report = report(&sample(), &written);
    assert_eq!(report[0]["sources"]["nab"]["alarm_load"].as_f64(), Some(0.0));
    let scores = out.path().join("calibrated/sample/nab/artificialNoAnomaly__art_noisy.csv");
    let scores = fs::read_to_string(scores).unwrap();
    // The first ones score 0, all others something, though never an alarm.
    let of_line = |line: usize| scores.lines().nth(line).unwrap().rsplit(',').next().unwrap().parse::<f64>().unwrap();
    assert!((1..=30).all(|line| of_line(line) == 0.0) && (31..100).any(|line| of_line(line) > 0.0));
}
