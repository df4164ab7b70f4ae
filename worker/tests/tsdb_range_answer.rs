//! The parser of range answers against a plain model of the format, and against bytes that are no answer.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;

use detect::model::{MISSING, is_missing};
use proptest::prelude::*;
use worker::environment::{Grid, RangeAnswer};
use worker::labels::Labels;
use worker::tsdb::answer_error::{AnswerError, Limits};
use worker::tsdb::columns::{Columns, split};
use worker::tsdb::known_series::KnownSeries;
use worker::tsdb::range_answer::RangeAnswerParser;

const GRID: Grid = Grid { start: 1_700_000_000_000, step: 15_000, points: 8 };

fn parse_with<'a>(
    known: &mut KnownSeries,
    limits: Limits,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> Result<RangeAnswer, AnswerError> {
    let part = split(GRID, usize::MAX).next().unwrap();
    let mut columns = Columns::new(GRID);
    let mut parser = RangeAnswerParser::new(part, limits, &mut columns, known, &[]);
    for chunk in chunks {
        parser.push(chunk, &mut |_: &Labels| true)?;
    }
    parser.finish()?;
    known.end_read();
    Ok(columns.finish(None))
}

fn parse(text: &[u8]) -> Result<RangeAnswer, AnswerError> {
    parse_with(&mut KnownSeries::new(100), Limits::default(), std::iter::once(text))
}

/// What a test compares: labels with the bits of their values, and what was counted.
fn seen(answer: &RangeAnswer) -> (Vec<(String, Vec<u64>)>, [u64; 4]) {
    let rows = answer.values.chunks(GRID.points).map(|row| row.iter().map(|value| value.to_bits()).collect());
    let series = answer.series.iter().map(ToString::to_string).zip(rows).collect();
    let counted = [answer.received_bytes, answer.received_series, answer.received_samples, answer.invalid_samples];
    (series, counted)
}

#[derive(Debug, Clone)]
struct Series {
    labels: BTreeMap<String, String>,
    /// Index on the grid, shift from there in ms, and the value's text.
    samples: Vec<(usize, i64, String)>,
    metric_first: bool,
    extra: Option<&'static str>,
}

fn series() -> impl Strategy<Value = Series> {
    let label_value = prop_oneof!["[a-z0-9]{1,8}", "[a-z\"\\\\/{}\\[\\]ö\u{1}\u{1F600}]{1,10}"];
    let value = prop_oneof![
        6 => any::<f64>().prop_map(|value| value.to_string()),
        6 => (-1000..1000_i32).prop_map(|value| (f64::from(value) / 8.0).to_string()),
        1 => prop_oneof![Just("+Inf"), Just("-Inf"), Just("NaN"), Just("zzz"), Just("")].prop_map(str::to_owned),
    ];
    let shift = prop_oneof![9 => Just(0_i64), 1 => -20_000..20_000_i64];
    (
        proptest::collection::btree_map("[a-z_]{1,6}", label_value, 0..5),
        proptest::collection::vec((0..GRID.points + 1, shift, value), 0..12),
        any::<bool>(),
        proptest::option::of(prop_oneof![
            Just(r#""x":{"y":["]}",1]}"#),
            Just(r#""histograms":[]"#),
            Just(r#""n":-1.5"#)
        ]),
    )
        .prop_map(|(labels, mut samples, metric_first, extra)| {
            // Mostly in order, as servers send them.
            if metric_first {
                samples.sort_by_key(|(index, ..)| *index);
            }
            Series { labels, samples, metric_first, extra }
        })
}

/// Several series with distinct labels.
fn all_series() -> impl Strategy<Value = Vec<Series>> {
    proptest::collection::vec(series(), 0..5).prop_map(|mut all| {
        for (index, series) in all.iter_mut().enumerate() {
            series.labels.insert("index".into(), index.to_string());
        }
        all
    })
}

fn time_of(index: usize, shift: i64) -> i64 {
    GRID.start + GRID.step * index as i64 + shift
}

/// As a server could write it. `space` goes wherever JSON allows white space.
fn write(all: &[Series], space: &str, result_first: bool) -> String {
    let s = space;
    let result: Vec<String> = all
        .iter()
        .map(|series| {
            let values: Vec<String> = series
                .samples
                .iter()
                .map(|(index, shift, value)| {
                    let time = time_of(*index, *shift);
                    let seconds = match time % 1000 {
                        0 => (time / 1000).to_string(),
                        rest => format!("{}.{rest:03}", time / 1000),
                    };
                    format!("[{s}{seconds}{s},{s}\"{value}\"{s}]")
                })
                .collect();
            let metric = format!("\"metric\"{s}:{s}{}", serde_json::to_string(&series.labels).unwrap());
            let values = format!("\"values\"{s}:{s}[{s}{}{s}]", values.join(&format!("{s},{s}")));
            let mut fields = if series.metric_first { vec![metric, values] } else { vec![values, metric] };
            fields.extend(series.extra.map(str::to_owned));
            format!("{{{s}{}{s}}}", fields.join(&format!("{s},{s}")))
        })
        .collect();
    let result = format!("\"result\"{s}:{s}[{s}{}{s}]", result.join(&format!("{s},{s}")));
    let result_type = format!("\"resultType\"{s}:{s}\"matrix\"");
    let data = if result_first { [result, result_type] } else { [result_type, result] }.join(&format!("{s},{s}"));
    let status = format!("\"status\"{s}:{s}\"success\"");
    let data = format!("\"data\"{s}:{s}{{{s}{data}{s}}}");
    let stats = r#""stats":{"seriesFetched": "5","executionTimeMsec":0,"a":[null,true,"\\\"}"]}"#.to_owned();
    let fields = if result_first { [data, stats, status] } else { [status, data, stats] };
    format!("{{{s}{}{s}}}{s}", fields.join(&format!("{s},{s}")))
}

/// What the answer means: the first number on each time of the grid, in order.
fn expect(all: &[Series]) -> (Vec<(String, Vec<u64>)>, [u64; 3]) {
    let mut invalid = 0;
    let mut rows = Vec::new();
    for series in all {
        let mut row = [MISSING; GRID.points];
        let mut last = None;
        for (index, shift, value) in &series.samples {
            let time = time_of(*index, *shift);
            match (GRID.index(time), value.parse::<f64>()) {
                (Some(index), Ok(value)) if last < Some(index) => {
                    row[index] = if value.is_nan() { f64::NAN } else { value };
                    last = Some(index);
                }
                _ => invalid += 1,
            }
        }
        if !row.iter().all(|value| is_missing(*value)) {
            let bits = row.iter().map(|value| value.to_bits()).collect();
            rows.push((Labels::new(&series.labels).to_string(), bits));
        }
    }
    let samples: usize = all.iter().map(|series| series.samples.len()).sum();
    (rows, [all.len() as u64, samples as u64, invalid])
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| {
            let chunk = &bytes[start..end];
            start = end;
            chunk
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_answer_is_read_as_it_is_written_however_it_is_cut(
        all in all_series(),
        space in prop_oneof![3 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")],
        result_first in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let text = write(&all, space, result_first);
        let (series, [count, samples, invalid]) = expect(&all);
        let expected = (series, [text.len() as u64, count, samples, invalid]);
        let mut known = KnownSeries::new(3);
        let whole = parse_with(&mut known, Limits::default(), std::iter::once(text.as_bytes()));
        prop_assert_eq!(seen(&whole.unwrap()), expected.clone());
        let in_pieces = parse_with(&mut known, Limits::default(), cut(text.as_bytes(), &cuts).into_iter());
        prop_assert_eq!(seen(&in_pieces.unwrap()), expected.clone());
        let in_bytes = parse_with(&mut known, Limits::default(), text.as_bytes().chunks(1));
        prop_assert_eq!(seen(&in_bytes.unwrap()), expected);
    }

    #[test]
    fn an_answer_without_its_end_is_an_error(all in all_series(), end in any::<prop::sample::Index>()) {
        let text = write(&all, "", false);
        let end = end.index(text.len());
        prop_assert_eq!(parse(&text.as_bytes()[..end]).unwrap_err(), AnswerError::Truncated { received: end as u64 });
    }

    #[test]
    fn damaged_answers_never_panic_and_cuts_do_not_change_the_outcome(
        all in all_series(),
        damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'['), Just(b']'), Just(b'}'), Just(b'"'), Just(b',')]), 1..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = write(&all, "", false).into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = parse(&bytes).map(|answer| seen(&answer));
        let pieces = parse_with(&mut KnownSeries::new(9), Limits::default(), cut(&bytes, &cuts).into_iter());
        // Messages may show more or less of the bytes.
        prop_assert_eq!(whole.ok(), pieces.ok().map(|answer| seen(&answer)));
    }

    #[test]
    fn arbitrary_bytes_are_an_error(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\":, 0-9a-z\\\\\u{c}]{0,80}".prop_map(String::into_bytes),
        ],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assert!(parse(&bytes).is_err());
        prop_assert!(parse_with(&mut KnownSeries::new(9), Limits::default(), cut(&bytes, &cuts).into_iter()).is_err());
    }
}

#[test]
fn keys_that_come_twice_or_not_at_all_are_errors() {
    let metric = r#""metric":{"a":"x"}"#;
    let values = r#""values":[[1700000000,"1"]]"#;
    for series in [
        format!("{{{metric},{metric},{values}}}"),
        format!("{{{metric},{values},{values}}}"),
        format!("{{{values}}}"),
        format!("{{{metric},{values},}}"),
        format!("{{{metric} {values}}}"),
        format!("{{{metric},\"values\":7}}"),
        format!("{{\"metric\":[],{values}}}"),
        format!("{{\"metric\":{{\"a\":1}},{values}}}"),
        format!("{{{metric},\"values\":[[1700000000,\"1\"],]}}"),
        "7".into(),
    ] {
        let text = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#);
        assert!(matches!(parse(text.as_bytes()), Err(AnswerError::Form { .. })), "{text}");
    }
    for text in
        [r#"{"data":{"resultType":"matrix","result":[]}}"#, r#"{"status":"success","data":{"resultType":"matrix"}}"#]
    {
        assert!(matches!(parse(text.as_bytes()), Err(AnswerError::Form { .. })), "{text}");
    }
    assert_eq!(parse(br#"{"status":"success"}"#).unwrap_err(), AnswerError::ResultType { found: String::new() });
}

#[test]
fn a_limit_that_is_exceeded_is_named() {
    let series = |name: &str| format!(r#"{{"metric":{{"a":"{name}"}},"values":[[1700000000,"1"],[1700000015,"1"]]}}"#);
    let text = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{},{}]}}}}"#,
        series("x"),
        series(&"y".repeat(100))
    );
    let enough = Limits { body_bytes: text.len() as u64, series_bytes: 1000, label_bytes: 110, series: 2 };
    for chunk in [1, 7, 10_000] {
        let parse = |limits| parse_with(&mut KnownSeries::new(9), limits, text.as_bytes().chunks(chunk));
        parse(enough).unwrap();
        for (limits, named) in [
            (Limits { body_bytes: enough.body_bytes - 1, ..enough }, "the answer in bytes"),
            (Limits { series_bytes: 150, ..enough }, "a series in bytes"),
            (Limits { label_bytes: 100, ..enough }, "a label set or text in bytes"),
            (Limits { series: 1, ..enough }, "the number of series"),
        ] {
            let error = parse(limits).unwrap_err();
            assert!(matches!(error, AnswerError::TooLarge { what, .. } if what == named), "{error}");
        }
        let endless = text.replace("\"1\"]]", &format!("\"{}\"]]", "1".repeat(5000)));
        let error =
            parse_with(&mut KnownSeries::new(9), Limits::default(), endless.as_bytes().chunks(chunk)).unwrap_err();
        assert!(matches!(error, AnswerError::TooLarge { what: "a sample in bytes", .. }), "{error}");
    }
}
