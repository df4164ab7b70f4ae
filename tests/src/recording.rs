//! Recorded real series with a labelled anomaly, as CSV files: lines that begin with `#` are notes, then the header
//! `timestamp,value,label`, then one line per sample with unix seconds, a value (empty: missing) and 1 inside the
//! labelled window.

use std::path::Path;

/// One sample of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Unix time of the recording, ms.
    pub time: i64,
    /// Value; NaN where it is missing.
    pub value: f64,
    /// Inside a labelled anomaly.
    pub anomalous: bool,
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{path}, line {line}: {message}")]
    Line {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

/// Reads a recording.
///
/// # Errors
/// When the file cannot be read, or a line is no sample or not later than the one before.
pub fn read(path: &Path) -> Result<Vec<Point>, RecordingError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| RecordingError::Read { path: name.clone(), source })?;
    parse(&text).map_err(|(line, message)| RecordingError::Line { path: name, line, message })
}

fn parse(text: &str) -> Result<Vec<Point>, (usize, String)> {
    let mut points: Vec<Point> = Vec::new();
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut rows = lines.filter(|(_, line)| !line.starts_with('#'));
    match rows.next() {
        Some((_, "timestamp,value,label")) => {}
        other => {
            return Err((other.map_or(1, |(line, _)| line), "expected timestamp,value,label".to_owned()));
        }
    }
    for (line, row) in rows {
        let point = parse_row(row).ok_or_else(|| (line, format!("{row:?} is no sample")))?;
        if points.last().is_some_and(|last| last.time >= point.time) {
            return Err((line, "not later than the line before".to_owned()));
        }
        points.push(point);
    }
    Ok(points)
}

fn parse_row(row: &str) -> Option<Point> {
    let mut fields = row.split(',');
    let (time, value, label) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let value = if value.is_empty() { f64::NAN } else { value.parse().ok()? };
    let anomalous = match label {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    Some(Point { time: time.parse::<i64>().ok()?.checked_mul(1000)?, value, anomalous })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_gaps_and_labels_are_read() {
        let points = parse("# MIT\ntimestamp,value,label\n10,1.5,0\n20,,1\n").unwrap();
        assert_eq!(points[0], Point { time: 10_000, value: 1.5, anomalous: false });
        assert!(points[1].value.is_nan() && points[1].anomalous);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in [
            ("time,value\n", 1),
            ("timestamp,value,label\n10,1,0\n10,1,0\n", 3),
            ("timestamp,value,label\n10,x,0\n", 2),
            ("timestamp,value,label\n10,1,2\n", 2),
            ("timestamp,value,label\n10,1,0,7\n", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }
}
