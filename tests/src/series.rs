//! Series with samples, as VictoriaMetrics' import and export write them and as range queries answer them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A sample. Two are equal when time and the value's bits are.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Unix time, ms.
    pub time: i64,
    /// Value; NaN and infinities included.
    pub value: f64,
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time && self.value.to_bits() == other.value.to_bits()
    }
}

/// A series: its labels, `__name__` included, and its samples in time order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Samples.
    pub samples: Vec<Sample>,
}

impl Series {
    /// A series with a metric name, further labels and samples of (unix ms, value).
    #[must_use]
    pub fn new(name: &str, labels: &[(&str, &str)], samples: impl IntoIterator<Item = (i64, f64)>) -> Self {
        let pairs = std::iter::once(("__name__", name)).chain(labels.iter().copied());
        Self {
            labels: pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).collect(),
            samples: samples.into_iter().map(|(time, value)| Sample { time, value }).collect(),
        }
    }

    /// The value of a label, empty if it is absent.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The line of `/api/v1/import`, with a newline at its end. Every number is written so that it reads back with
    /// the same bits; NaN becomes `null`, which the TSDB drops.
    #[must_use]
    pub fn import_line(&self) -> String {
        let labels = serde_json::Value::from_iter(self.labels.clone());
        let mut line = format!("{{\"metric\":{labels},\"values\":[");
        for (index, sample) in self.samples.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = match sample.value {
                value if value.is_nan() => write!(line, "{separator}null"),
                f64::INFINITY => write!(line, "{separator}\"Infinity\""),
                f64::NEG_INFINITY => write!(line, "{separator}\"-Infinity\""),
                value => write!(line, "{separator}{value:?}"),
            };
        }
        let times: Vec<_> = self.samples.iter().map(|sample| sample.time).collect();
        let _ = writeln!(line, "],\"timestamps\":{times:?}}}");
        line
    }
}

/// A value as JSON has it: a number, `null`, or a string. `serde_json` may read a number one bit off.
fn exact(raw: &RawValue) -> Result<f64, String> {
    match raw.get().trim_matches('"') {
        "null" => Ok(f64::NAN),
        text => text.parse().map_err(|_| format!("the value {text} is no number")),
    }
}

/// The lines of `/api/v1/export`, sorted by labels. Blocks of one series are joined.
pub(crate) fn parse_export(body: &[u8]) -> Result<Vec<Series>, String> {
    #[derive(Deserialize)]
    struct Line<'a> {
        metric: BTreeMap<String, String>,
        #[serde(borrow)]
        values: Vec<&'a RawValue>,
        timestamps: Vec<i64>,
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<Sample>> = BTreeMap::new();
    for line in text.lines() {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let samples = series.entry(line.metric).or_default();
        for (time, value) in line.timestamps.into_iter().zip(line.values) {
            samples.push(Sample { time, value: exact(value)? });
        }
    }
    let sorted = series.into_iter().map(|(labels, mut samples)| {
        samples.sort_by_key(|sample| sample.time);
        Series { labels, samples }
    });
    Ok(sorted.collect())
}

/// The answer to a range query or an instant query, sorted by labels.
pub(crate) fn parse_query_answer(body: &[u8]) -> Result<Vec<Series>, String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        result: Vec<Row<'a>>,
    }
    #[derive(Deserialize)]
    struct Row<'a> {
        metric: BTreeMap<String, String>,
        #[serde(borrow, default)]
        values: Vec<(&'a RawValue, &'a RawValue)>,
        #[serde(borrow)]
        value: Option<(&'a RawValue, &'a RawValue)>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut series = Vec::new();
    for row in answer.data.result {
        let points = row.values.into_iter().chain(row.value);
        let sample = |(time, value)| Ok(Sample { time: (exact(time)? * 1000.0).round() as i64, value: exact(value)? });
        series.push(Series { labels: row.metric, samples: points.map(sample).collect::<Result<_, String>>()? });
    }
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_line_reads_back_as_the_same_series() {
        let values = [0.1 + 0.2, -5.551115123125783e-17, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0];
        let samples = values.iter().enumerate().map(|(index, value)| (index as i64, *value));
        let series = Series::new("requests", &[("path", "/\"a\"\n\u{e9}")], samples);
        assert_eq!(parse_export(series.import_line().as_bytes()), Ok(vec![series]));
    }

    #[test]
    fn times_of_a_range_answer_are_exact_milliseconds() {
        let body = br#"{"data":{"result":[{"metric":{"a":"b"},"values":[[1700000000.123,"NaN"],[1700000001.001,"1"]]}]},"stats":{}}"#;
        let series = parse_query_answer(body).unwrap();
        let times: Vec<_> = series[0].samples.iter().map(|sample| sample.time).collect();
        assert_eq!(times, [1_700_000_000_123, 1_700_000_001_001]);
    }
}
