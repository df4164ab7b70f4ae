//! What an evaluation prints.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::figures::{AtBudget, Figures};

/// The figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelReport {
    /// Its name.
    pub model: String,
    /// What it was configured with.
    pub configuration: String,
    /// Distance of fits; absent of a model that is fitted once, and for scores that were made elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit_every: Option<String>,
    /// Length of the window of a fit, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit_window: Option<String>,
    /// Seconds that fits and scores took, on all threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Series that were left out, because the model is not for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Fits that were refused, by reason.
    pub refused_fits: BTreeMap<String, usize>,
    /// False alarms a day and series that the model was asked for; absent of one that promises nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_false_alarms_per_day: Option<f64>,
    /// Figures by source.
    pub sources: BTreeMap<String, Figures>,
}

/// All figures as JSON, an array of models.
///
/// # Errors
/// None that can happen: the figures are numbers and names.
pub fn json(reports: &[ModelReport]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(reports)
}

/// All figures as Markdown, a table for each source.
#[must_use]
pub fn markdown(reports: &[ModelReport]) -> String {
    let mut text = String::new();
    let sources: BTreeMap<&str, usize> = reports
        .iter()
        .flat_map(|report| &report.sources)
        .map(|(name, figures)| (name.as_str(), figures.series))
        .collect();
    for source in sources.keys() {
        let rows = reports.iter().filter_map(|report| Some((report, report.sources.get(*source)?)));
        source_table(&mut text, source, &rows.collect::<Vec<_>>());
    }
    rate_table(&mut text, reports, &sources.into_keys().collect::<Vec<_>>());
    text.push_str("What was run:\n\n");
    for report in reports {
        let mut words = vec![report.configuration.clone()];
        let fits = if report.fit_every.is_some() { "fits" } else { "one fit" };
        words.extend(report.fit_window.iter().map(|window| format!("{fits} of at most {window}")));
        words.extend(report.fit_every.iter().map(|every| format!("every {every}")));
        words.extend(report.seconds.map(|seconds| format!("{seconds:.1} s of computing")));
        words.extend(report.left_out.clone());
        words.extend(report.refused_fits.iter().map(|(reason, count)| format!("{count} fits refused: {reason}")));
        let _ = writeln!(text, "- {}: {}", report.model, words.join("; "));
    }
    text
}

fn source_table(text: &mut String, source: &str, rows: &[(&ModelReport, &Figures)]) {
    let series = rows.first().map_or(0, |(_, figures)| figures.series);
    let events = rows.first().map_or(0, |(_, figures)| figures.events);
    let is_nab = rows.iter().any(|(_, figures)| figures.nab.is_some());
    let _ = writeln!(text, "### {source}: {series} series, {events} events\n");
    let mut columns = vec![
        "model",
        "recall",
        "false alarms per series-day",
        "precision",
        "F1",
        "alarm load",
        "recall at 0.1 FA (gap)",
        "recall at 1 FA (gap)",
        "VUS-PR 1 h",
        "VUS-PR 100",
    ];
    columns.extend(if is_nab {
        ["NAB standard", "NAB low FP", "NAB low FN"]
    } else {
        ["timely recall", "latency p50 min", "latency p90 min"]
    });
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
    for (report, figures) in rows {
        let (low, high) = figures.false_alarms_per_series_day_95;
        let mut cells = vec![
            report.model.clone(),
            format!("{}{}", cell(figures.event_recall), interval(figures.event_recall_95)),
            format!("{:.2} [{low:.2}-{high:.2}]", figures.false_alarms_per_series_day),
            format!("{:.2}", figures.alarm_precision),
            cell(figures.event_f1),
            format!("{:.2}%", 100.0 * figures.alarm_load),
            at_budget(&figures.recall_at_tenth),
            at_budget(&figures.recall_at_one),
            cell(figures.volume_hour),
            cell(figures.volume_hundred),
        ];
        match &figures.nab {
            Some(nab) => cells.extend(
                [nab.standard, nab.reward_low_fp, nab.reward_low_fn]
                    .map(|profile| format!("{:.1} / {:.0}", profile.optimised, profile.fixed)),
            ),
            None => cells.extend([
                cell(figures.timely_recall),
                cell(figures.latency.p50_minutes),
                cell(figures.latency.p90_minutes),
            ]),
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if is_nab {
        let files = rows.iter().find_map(|(_, figures)| Some(figures.nab?.files)).unwrap_or(0);
        let _ = writeln!(
            text,
            "\nNAB is over these {files} files with the best threshold / with score > 1: not the benchmark's official figure{}.",
            if files == 58 { " unless they are its 58" } else { ", which needs all 58" }
        );
    }
    text.push('\n');
}

/// How near the models that promise a rate of false alarms come to it.
fn rate_table(text: &mut String, reports: &[ModelReport], sources: &[&str]) {
    let promising = reports.iter().filter_map(|report| Some((report, report.asked_false_alarms_per_day?)));
    let mut rows: Vec<(&ModelReport, f64)> = promising.collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|(_, asked), (_, other)| asked.total_cmp(other));
    text.push_str("### False alarms per series-day that were asked for, that came (their ratio), and the recall\n\n");
    let _ = writeln!(text, "| model | asked | {} |", sources.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(2 + sources.len()));
    for (report, asked) in rows {
        let observed = |source: &&str| match report.sources.get(*source) {
            Some(Figures { false_alarms_per_series_day: observed, event_recall, .. }) => {
                format!("{observed:.3} (x {:.2}), {}", observed / asked, cell(*event_recall))
            }
            None => "-".to_owned(),
        };
        let cells: Vec<String> = sources.iter().map(observed).collect();
        let _ = writeln!(text, "| {} | {asked} | {} |", report.model, cells.join(" | "));
    }
    text.push('\n');
}

fn cell(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}

fn interval(bounds: Option<(f64, f64)>) -> String {
    bounds.map_or(String::new(), |(low, high)| format!(" [{low:.2}-{high:.2}]"))
}

fn at_budget(at: &AtBudget) -> String {
    let gap = at.calibration_gap.map_or("none".to_owned(), |gap| format!("{gap:+.1}"));
    format!("{:.2} ({gap})", at.recall)
}
