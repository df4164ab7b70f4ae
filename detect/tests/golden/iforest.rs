//! `isolation_forest` against scikit-learn's `IsolationForest`. Random numbers differ, so that what is compared is what does not
//! depend on them: means over seeds, ranks, thresholds.

use detect::calendar::Zone;
use detect::isolation_forest::{Contamination, IsolationForest, IsolationForestArgs, SeasonalFeature};
use detect::offline::{OfflineModel, Window};
use serde_json::Value;

use crate::{Finding, Golden, Series, median, numbers};

/// As many as the reference has.
const SEEDS: u64 = 20;

/// How far the mean score of these seeds may be from an infinite forest's, averaged over the points of a file.
const MEAN: &str = "mean distance of the mean score from 5000 trees";

struct Scored {
    fit: Vec<f64>,
    infer: Vec<f64>,
    offset: f64,
}

fn scored(series: &Series, features: &[SeasonalFeature], contamination: Contamination, seed: u64) -> Scored {
    let args = IsolationForestArgs { contamination, seasonal_features: features.to_vec(), ..Default::default() };
    let mut model = IsolationForest::new(args, Zone::default(), seed);
    let fitted = model.fit(Window { times: &series.fit_times, values: &series.fit_values });
    assert_eq!(fitted, Ok(()));
    let scores = |times, values| {
        let mut scores = Vec::new();
        model.score_samples(Window { times, values }, &mut scores);
        scores
    };
    Scored {
        fit: scores(&series.fit_times, &series.fit_values),
        infer: scores(&series.infer_times, &series.infer_values),
        offset: model.offset().unwrap_or(f64::NAN),
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// The mean over the seeds, point by point.
fn mean_scores(runs: &[Scored], part: impl Fn(&Scored) -> &[f64]) -> Vec<f64> {
    let points = part(&runs[0]).len();
    (0..points).map(|point| mean(runs.iter().map(|run| part(run)[point]))).collect()
}

fn distances<'a>(ours: &'a [f64], theirs: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs())
}

/// Ranks from 0, equal values sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut next = 0;
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        for index in equal {
            ranks[*index] = next as f64 + (equal.len() - 1) as f64 / 2.0;
        }
        next += equal.len();
    }
    ranks
}

/// Spearman's rank correlation.
fn spearman(ours: &[f64], theirs: &[f64]) -> f64 {
    let middle = (ours.len() - 1) as f64 / 2.0;
    let product = |one: &[f64], other: &[f64]| -> f64 {
        one.iter().zip(other).map(|(one, other)| (one - middle) * (other - middle)).sum()
    };
    let (ours, theirs) = (ranks(ours), ranks(theirs));
    product(&ours, &theirs) / (product(&ours, &ours) * product(&theirs, &theirs)).sqrt()
}

/// Checks a file.
pub(crate) fn check(golden: &Golden, reference: &Value) -> Vec<Finding> {
    let series = golden.series(reference["series"].as_str().unwrap_or_default());
    let features: &[SeasonalFeature] = match reference["config"].as_str() {
        Some("uni") => &[],
        Some("hod_dow") => &[SeasonalFeature::HourOfDay, SeasonalFeature::DayOfWeek],
        other => panic!("unknown features: {other:?}"),
    };
    let contamination = Contamination::Share(0.01);
    let runs: Vec<Scored> = (0..SEEDS).map(|seed| scored(&series, features, contamination, seed)).collect();

    let infinite = numbers(&reference["infer_5000trees"]);
    let infer = mean_scores(&runs, |run| &run.infer);
    let mut findings = vec![
        Finding::new(MEAN, mean(distances(&infer, &infinite)), 0.004),
        Finding::new(
            "greatest distance of the mean score from 5000 trees",
            distances(&infer, &infinite).fold(0.0, f64::max),
            0.015,
        ),
    ];

    // The reference's fit scores are a mean over 20 seeds themselves: the tolerance is that of a difference, sqrt(2) times as great.
    let indexes = numbers(&reference["idx_fit"]);
    let all = mean_scores(&runs, |run| &run.fit);
    let fit: Vec<f64> = indexes.iter().map(|index| all[*index as usize]).collect();
    let distance = mean(distances(&fit, &numbers(&reference["fit_mean20"])));
    findings.push(Finding::new("mean distance of the mean score of the fit", distance, 0.0057));

    // Between seeds, the correlation is that of two noisy rankings; with the infinite forest, of one.
    if let Some(between) = reference["between_seeds"]["spearman_mean"].as_f64() {
        let rank = mean(runs.iter().map(|run| spearman(&run.infer, &infinite)));
        findings.push(Finding::new("rank correlation that is missing", 1.0 - rank, 1.0 - between));
    }

    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let offset = &reference["offset_c0_01"];
    let (theirs, deviation) = (number(&offset["mean"]), number(&offset["sd"]));
    let ours = mean(runs.iter().map(|run| run.offset));
    // A constant series has one score, and its reference a rounding error.
    findings.push(Finding::new("offset of contamination 0.01", (ours - theirs).abs(), 3.0 * deviation.max(1e-12)));
    let auto = scored(&series, features, Contamination::Auto, 42).offset;
    let theirs = number(&reference["decision_offset_auto"]);
    findings.push(Finding::new("offset of contamination auto", (auto - theirs).abs(), 0.0));
    findings
}

/// Checks all files together.
pub(crate) fn check_all(findings: &[Vec<Finding>]) -> Vec<Finding> {
    let means = findings.iter().flatten().filter(|finding| finding.what == MEAN).map(|finding| finding.deviation);
    vec![Finding::new("median over files of the mean distance from 5000 trees", median(means.collect()), 0.004)]
}
