//! A folder of labelled series:
//!
//! ```text
//! manifest.csv                 a line for each series, with its source, name, step and where judgement begins
//! events.json                  {"source/series": [[first, last], ...]}, the labelled times of series without a column `label`
//! <source>/<series>.csv.gz     timestamp,value,label, or timestamp,<channel>,<channel>,...,label; also without gzip, as .csv
//! ```
//!
//! Times are in seconds since 1970-01-01 UTC and ascend; an empty value is a missing one.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use detect::model::MISSING;
use flate2::read::MultiGzDecoder;

/// A labelled series, or several of them, the channels, that are labelled together.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledSeries {
    /// Where it comes from; figures are those of a source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// What the folder is a part of, such as `dev`.
    pub split: String,
    /// The usual distance of two times, in seconds, above 0.
    pub step: f64,
    /// Judged is from this time on, in seconds.
    pub eval_from: i64,
    /// Times in seconds, ascending.
    pub times: Vec<i64>,
    /// Name and values of each channel; [`MISSING`] where there is none.
    pub channels: Vec<(String, Vec<f64>)>,
    /// Whether each time is labelled as an anomaly.
    pub labels: Vec<bool>,
}

impl LabelledSeries {
    /// Index of the first time that is judged.
    #[must_use]
    pub fn first_judged(&self) -> usize {
        self.times.partition_point(|time| *time < self.eval_from)
    }

    /// Judges all samples, so that there is no history.
    pub fn judge_from_start(&mut self) {
        self.eval_from = self.times.first().copied().unwrap_or(self.eval_from);
    }

    /// Whether there are several channels.
    #[must_use]
    pub fn is_multivariate(&self) -> bool {
        self.channels.len() > 1
    }
}

/// Why a folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// A file cannot be opened or read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is no table.
    #[error("{path}: {error}", path = .path.display())]
    Table {
        /// Which one.
        path: PathBuf,
        /// Why, with the line.
        error: csv::Error,
    },
    /// `events.json` is not what it should be.
    #[error("{path}: {error}; it must be {{\"source/series\": [[first, last], ...]}}", path = .path.display())]
    Events {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// A column that is needed is not there.
    #[error("{path} has no column {column}", path = .path.display())]
    NoColumn {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: &'static str,
    },
    /// A cell cannot be read.
    #[error("{path}, line {line}: {column} is {text:?}, it must be {expected}", path = .path.display())]
    Cell {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// Which column.
        column: String,
        /// What is there.
        text: String,
        /// What should be.
        expected: &'static str,
    },
    /// A series has no value to judge.
    #[error("{path}: no row of {source_name}/{name} is at its eval_from of {eval_from} or later", path = .path.display())]
    NothingJudged {
        /// Which file.
        path: PathBuf,
        /// Source of the series.
        source_name: String,
        /// Its name.
        name: String,
        /// Where judgement begins.
        eval_from: i64,
    },
}

/// A table with named columns.
struct Table {
    path: PathBuf,
    columns: Vec<String>,
    rows: csv::StringRecordsIntoIter<Box<dyn Read>>,
}

struct Row<'a> {
    path: &'a Path,
    columns: &'a [String],
    record: csv::StringRecord,
}

impl Table {
    fn open(path: &Path) -> Result<Self, LabelledError> {
        let file_error = |error| LabelledError::File { path: path.to_owned(), error };
        let file = File::open(path).map_err(file_error)?;
        let bytes: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
        let headers = reader.headers().map_err(|error| LabelledError::Table { path: path.to_owned(), error })?;
        let columns = headers.iter().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), columns, rows: reader.into_records() })
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, LabelledError> {
        let record = self.rows.next().transpose();
        let record = record.map_err(|error| LabelledError::Table { path: self.path.clone(), error })?;
        Ok(record.map(|record| Row { path: &self.path, columns: &self.columns, record }))
    }
}

impl Row<'_> {
    fn text(&self, column: &'static str) -> Result<&str, LabelledError> {
        let index = self.columns.iter().position(|name| name == column);
        let cell = index.and_then(|index| self.record.get(index));
        cell.ok_or_else(|| LabelledError::NoColumn { path: self.path.to_owned(), column })
    }

    fn cell<T: std::str::FromStr>(&self, index: usize, expected: &'static str) -> Result<T, LabelledError> {
        let text = self.record.get(index).unwrap_or_default();
        text.trim().parse().map_err(|_| LabelledError::Cell {
            path: self.path.to_owned(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: self.columns.get(index).cloned().unwrap_or_default(),
            text: text.to_owned(),
            expected,
        })
    }

    fn parsed<T: std::str::FromStr>(&self, column: &'static str, expected: &'static str) -> Result<T, LabelledError> {
        let index = self.columns.iter().position(|name| name == column);
        let index = index.ok_or_else(|| LabelledError::NoColumn { path: self.path.to_owned(), column })?;
        self.cell(index, expected)
    }

    fn bad(&self, column: &str, text: &str, expected: &'static str) -> LabelledError {
        let line = self.record.position().map_or(0, csv::Position::line);
        let (path, column, text) = (self.path.to_owned(), column.to_owned(), text.to_owned());
        LabelledError::Cell { path, line, column, text, expected }
    }
}

/// Reads all series of a folder whose source and name `wanted` accepts, in the order of the manifest.
///
/// # Errors
/// What cannot be read, with file and line.
pub fn read(folder: &Path, wanted: impl Fn(&str, &str) -> bool) -> Result<Vec<LabelledSeries>, LabelledError> {
    let mut manifest = Table::open(&folder.join("manifest.csv"))?;
    let events = events(folder)?;
    let mut all = Vec::new();
    while let Some(row) = manifest.next()? {
        let (source, name) = (row.text("source")?.to_owned(), row.text("series")?.to_owned());
        if !wanted(&source, &name) {
            continue;
        }
        let step: f64 = row.parsed("step_s", "a number of seconds above 0")?;
        if !(step > 0.0 && step.is_finite()) {
            return Err(row.bad("step_s", &step.to_string(), "a number of seconds above 0"));
        }
        let eval_from: f64 = row.parsed("eval_from", "a time in seconds")?;
        let split = row.text("split").unwrap_or_default().to_owned();
        let labelled = events.get(&format!("{source}/{name}")).map_or(&[][..], Vec::as_slice);
        let eval_from = libm::ceil(eval_from) as i64;
        let empty = LabelledSeries {
            source,
            name,
            split,
            step,
            eval_from,
            times: Vec::new(),
            channels: Vec::new(),
            labels: Vec::new(),
        };
        all.push(read_series(folder, empty, labelled)?);
    }
    Ok(all)
}

fn events(folder: &Path) -> Result<HashMap<String, Vec<(i64, i64)>>, LabelledError> {
    let path = folder.join("events.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| LabelledError::Events { path, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(LabelledError::File { path, error }),
    }
}

fn read_series(
    folder: &Path,
    mut series: LabelledSeries,
    events: &[(i64, i64)],
) -> Result<LabelledSeries, LabelledError> {
    let stem = folder.join(&series.source).join(&series.name);
    let with = |ending: &str| PathBuf::from(format!("{}{ending}", stem.display()));
    let plain = with(".csv");
    let path = if plain.exists() { plain } else { with(".csv.gz") };
    let mut table = Table::open(&path)?;
    let column = |name: &str| table.columns.iter().position(|column| column == name);
    let time = column("timestamp").ok_or(LabelledError::NoColumn { path: path.clone(), column: "timestamp" })?;
    let label = column("label");
    let is_channel = |index: &usize| *index != time && Some(*index) != label;
    let channels: Vec<usize> = (0..table.columns.len()).filter(is_channel).collect();
    if channels.is_empty() {
        return Err(LabelledError::NoColumn { path, column: "value" });
    }
    series.channels = channels.iter().map(|index| (table.columns[*index].clone(), Vec::new())).collect();
    while let Some(row) = table.next()? {
        let at: i64 = row.cell(time, "a whole number of seconds")?;
        if series.times.last().is_some_and(|last| *last >= at) {
            return Err(row.bad("timestamp", &at.to_string(), "later than the one before"));
        }
        for (index, (_, values)) in channels.iter().zip(&mut series.channels) {
            let is_missing = row.record.get(*index).is_none_or(|text| text.trim().is_empty());
            values.push(if is_missing { MISSING } else { row.cell(*index, "a number, or nothing")? });
        }
        let labelled = match label {
            Some(label) => row.cell::<f64>(label, "0 or 1")? > 0.0,
            None => events.iter().any(|(first, last)| (*first..=*last).contains(&at)),
        };
        series.times.push(at);
        series.labels.push(labelled);
    }
    if series.first_judged() == series.times.len() {
        let LabelledSeries { source: source_name, name, eval_from, .. } = series;
        return Err(LabelledError::NothingJudged { path, source_name, name, eval_from });
    }
    Ok(series)
}
