//! Files that an evaluation writes and reads. Scores: `<folder>/<split>/<source>/<series>.csv` with the columns `timestamp`, in seconds, and `anomaly_score`, empty
//! where there is none.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::labelled::LabelledSeries;

/// Why scores cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ScoreFileError {
    /// A file or folder cannot be used.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is no table of scores.
    #[error("{path}: {error}; it must have the columns timestamp and anomaly_score", path = .path.display())]
    Table {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: csv::Error,
    },
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Line {
    timestamp: i64,
    anomaly_score: Option<f64>,
}

fn path_of(folder: &Path, series: &LabelledSeries) -> PathBuf {
    folder.join(&series.split).join(&series.source).join(format!("{}.csv", series.name))
}

/// Writes the scores of a series.
///
/// # Errors
/// When the file cannot be written.
pub fn write(folder: &Path, series: &LabelledSeries, scores: &[f64]) -> Result<(), ScoreFileError> {
    let path = path_of(folder, series);
    let file_error = |error| ScoreFileError::File { path: path.clone(), error };
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(file_error)?;
    let table_error = |error| ScoreFileError::Table { path: path.clone(), error };
    let mut writer = csv::Writer::from_path(&path).map_err(table_error)?;
    for (timestamp, score) in series.times.iter().zip(scores) {
        let anomaly_score = Some(*score).filter(|score| !score.is_nan());
        writer.serialize(Line { timestamp: *timestamp, anomaly_score }).map_err(table_error)?;
    }
    writer.flush().map_err(file_error)
}

/// Writes a picture of a series to `<folder>/<source>/<series><ending>.svg`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_picture(
    folder: &Path,
    series: &LabelledSeries,
    ending: &str,
    picture: &str,
) -> Result<(), ScoreFileError> {
    let path = folder.join(&series.source).join(format!("{}{ending}.svg", series.name));
    let file_error = |error| ScoreFileError::File { path: path.clone(), error };
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(file_error)?;
    fs::write(&path, picture).map_err(file_error)
}

/// Reads the scores of a series, NaN where there is none; `None` without a file. Of two at one time the last one counts.
///
/// # Errors
/// When the file cannot be read.
pub fn read(folder: &Path, series: &LabelledSeries) -> Result<Option<Vec<f64>>, ScoreFileError> {
    let path = path_of(folder, series);
    if !path.exists() {
        return Ok(None);
    }
    let table_error = |error| ScoreFileError::Table { path: path.clone(), error };
    let mut by_time: HashMap<i64, f64> = HashMap::new();
    for line in csv::Reader::from_path(&path).map_err(table_error)?.into_deserialize() {
        let line: Line = line.map_err(table_error)?;
        by_time.insert(line.timestamp, line.anomaly_score.unwrap_or(f64::NAN));
    }
    Ok(Some(series.times.iter().map(|time| by_time.get(time).copied().unwrap_or(f64::NAN)).collect()))
}
