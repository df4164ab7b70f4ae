//! `vmanomaly evaluate`: what models would have found in labelled series, and how often they would have cried wolf.

#![expect(clippy::disallowed_methods, reason = "a command that reads files and ends: no simulation runs it")]

pub mod around;
pub mod candidates;
pub mod command_line;
pub mod events;
pub mod figures;
pub mod labelled;
pub mod nab;
pub mod picture;
pub mod replay;
pub mod report;
mod score_files;
pub mod volume;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsString,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use rayon::prelude::*;

use candidates::{Candidate, CandidateError, Schedule};
use command_line::{Flags, OutputFormat};
use figures::{Scored, figures};
use labelled::{LabelledError, LabelledSeries};
use replay::Replayed;
use report::ModelReport;
use score_files::ScoreFileError;

use crate::{detector, plan::JobPlan};

/// Why nothing was evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// The series cannot be read.
    #[error("{0}")]
    Series(#[from] LabelledError),
    /// A model cannot be run.
    #[error("{0}")]
    Model(#[from] CandidateError),
    /// Scores cannot be read or written.
    #[error("{0}")]
    Scores(#[from] ScoreFileError),
    /// The folder has no such series.
    #[error("{folder} has no series{of}")]
    NoSeries {
        /// The folder.
        folder: String,
        /// Of which sources or names.
        of: String,
    },
    /// There is nothing to draw around a time.
    #[error("no series has a sample near {time}, which a picture was to be around")]
    NothingAround {
        /// The time.
        time: String,
    },
    /// The report cannot be written.
    #[error("the report cannot be written: {0}")]
    Report(#[from] serde_json::Error),
}

/// Runs the command; `arguments` begin after `evaluate`.
#[must_use]
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from([OsString::from("vmanomaly evaluate")].into_iter().chain(arguments)) {
        Ok(flags) => flags,
        Err(error) => return crate::command_line::CommandLineError::Flags(Box::new(error)).report(),
    };
    match evaluate(&flags) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The report that the flags ask for. Progress goes to standard error.
///
/// # Errors
/// What keeps it from being made.
pub fn evaluate(flags: &Flags) -> Result<String, EvaluationError> {
    let wanted = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut all =
        labelled::read(&flags.folder, |source, name| wanted(&flags.sources, source) && wanted(&flags.series, name))?;
    if all.is_empty() {
        let names = [flags.sources.as_slice(), flags.series.as_slice()].concat();
        let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
        return Err(EvaluationError::NoSeries { folder: flags.folder.display().to_string(), of });
    }
    if flags.from_start {
        all.iter_mut().for_each(LabelledSeries::judge_from_start);
    }
    around::check(&flags.around, flags.margin, &all)?;
    let mut candidates = if flags.all { Candidate::all(&flags.variants) } else { Vec::new() };
    candidates.extend(flags.classes.iter().filter_map(|class| Candidate::of_class(class)));
    for file in &flags.models {
        candidates.extend(Candidate::read(file)?);
    }
    let schedule = Schedule { fit_every: flags.fit_every, fit_window: flags.fit_window };
    let mut reports = Vec::new();
    for candidate in &candidates {
        let (report, replayed) = evaluate_model(candidate, schedule, &all)?;
        for (series, replayed) in &replayed {
            if let Some(folder) = &flags.write_scores {
                score_files::write(&folder.join(&candidate.name), series, &replayed.scores)?;
            }
            if let Some(folder) = &flags.pictures {
                let folder = folder.join(&candidate.name);
                for extract in around::extracts(&flags.around, flags.margin, series, &replayed.scores) {
                    let title = format!("{}: {}/{}{}", candidate.name, series.source, series.name, extract.what);
                    let picture = picture::svg(series, replayed, extract.rows, &title);
                    score_files::write_picture(&folder, series, &extract.ending, &picture)?;
                }
            }
        }
        eprintln!("{}: {:.1} s", candidate.name, report.seconds.unwrap_or(0.0));
        reports.push(report);
    }
    if let Some(folder) = &flags.scores {
        reports.push(judge_files(folder, &all)?);
    }
    Ok(match flags.output {
        OutputFormat::Text => report::markdown(&reports),
        OutputFormat::Json => report::json(&reports)?,
    })
}

type ScoredSeries<'a> = Vec<(&'a LabelledSeries, Vec<f64>)>;
type ReplayedSeries<'a> = Vec<(&'a LabelledSeries, Replayed)>;

fn evaluate_model<'a>(
    candidate: &Candidate,
    schedule: Schedule,
    all: &'a [LabelledSeries],
) -> Result<(ModelReport, ReplayedSeries<'a>), EvaluationError> {
    let started = Instant::now();
    let job = candidate.job(60.0, schedule)?;
    let is_joint = job.joint.is_some();
    let spec = job.models.first().and_then(|model| detector::spec(&job.query, &model.model));
    let is_fitted_once = spec.is_some_and(|spec| spec.is_fitted_once());
    let suited: Vec<&LabelledSeries> = all.iter().filter(|series| series.is_multivariate() == is_joint).collect();
    let mut jobs: BTreeMap<u64, JobPlan> = BTreeMap::new();
    for series in &suited {
        if let Entry::Vacant(vacant) = jobs.entry(series.step.to_bits()) {
            vacant.insert(candidate.job(series.step, schedule)?);
        }
    }
    let replayed: ReplayedSeries<'a> = suited
        .par_iter()
        .filter_map(|series| Some((*series, replay::replay(jobs.get(&series.step.to_bits())?, series))))
        .collect();
    let seconds = started.elapsed().as_secs_f64();
    let mut refused_fits: BTreeMap<String, usize> = BTreeMap::new();
    for (reason, count) in replayed.iter().flat_map(|(_, replayed)| &replayed.refused) {
        *refused_fits.entry(reason.clone()).or_default() += count;
    }
    let left_out = all.len() - suited.len();
    let report = ModelReport {
        model: candidate.name.clone(),
        configuration: candidate.described(),
        fit_every: (!is_fitted_once).then(|| duration(schedule.fit_every)),
        fit_window: Some(duration(schedule.fit_window)),
        seconds: Some(seconds),
        left_out: (left_out > 0).then(|| {
            format!("{left_out} series of {} left out", if is_joint { "one channel" } else { "several channels" })
        }),
        refused_fits,
        asked_false_alarms_per_day: candidate.false_alarms_per_day(),
        sources: by_source(replayed.iter().map(|(series, replayed)| Scored { series, scores: &replayed.scores })),
    };
    Ok((report, replayed))
}

/// The report on scores that were made elsewhere.
fn judge_files(folder: &std::path::Path, all: &[LabelledSeries]) -> Result<ModelReport, EvaluationError> {
    let mut scores: ScoredSeries<'_> = Vec::new();
    let mut missing = 0;
    for series in all {
        match score_files::read(folder, series)? {
            Some(found) => scores.push((series, found)),
            None => missing += 1,
        }
    }
    Ok(ModelReport {
        model: "scores".to_owned(),
        configuration: format!("scores of {}", folder.display()),
        fit_every: None,
        fit_window: None,
        seconds: None,
        left_out: (missing > 0).then(|| format!("{missing} series without scores left out")),
        refused_fits: BTreeMap::new(),
        asked_false_alarms_per_day: None,
        sources: by_source(scores.iter().map(|(series, scores)| Scored { series, scores })),
    })
}

fn by_source<'a>(scored: impl Iterator<Item = Scored<'a>>) -> BTreeMap<String, figures::Figures> {
    let mut sources: BTreeMap<&str, Vec<Scored<'_>>> = BTreeMap::new();
    for one in scored {
        sources.entry(&one.series.source).or_default().push(one);
    }
    sources.into_iter().map(|(source, scored)| (source.to_owned(), figures(source, &scored))).collect()
}

/// Milliseconds in the largest unit that divides them.
fn duration(milliseconds: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let fitting = units.into_iter().find(|(unit, _)| milliseconds % unit == 0);
    fitting.map_or(String::new(), |(unit, name)| format!("{}{name}", milliseconds / unit))
}
