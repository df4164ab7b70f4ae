//! How fast range answers are parsed: a fit window (200 series with a week of points each) and a tick (100,000
//! series with one point and six labels), in chunks of 64 KiB as they come from a socket, against
//! `serde_json::Value` over the whole body.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up fails")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use worker::environment::{Grid, RangeAnswer};
use worker::labels::Labels;
use worker::tsdb::answer_error::Limits;
use worker::tsdb::columns::{Columns, split};
use worker::tsdb::known_series::KnownSeries;
use worker::tsdb::range_answer::RangeAnswerParser;

const CHUNK: usize = 64 << 10;

/// An answer in which every value has its own digits, as gauges have.
fn answer(series: usize, grid: Grid) -> String {
    let mut text = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":["#);
    let mut state = 0_u64;
    for index in 0..series {
        if index > 0 {
            text.push(',');
        }
        write!(
            text,
            r#"{{"metric":{{"__name__":"node_cpu_seconds_total","cpu":"{}","env":"production","instance":"10.20.{}.{}:9100","job":"node-exporter","mode":"idle"}},"values":["#,
            index / 65_536,
            index / 256 % 256,
            index % 256
        )
        .unwrap();
        for (point, time) in grid.times().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let separator = if point > 0 { "," } else { "" };
            write!(text, "{separator}[{},\"{}\"]", time / 1000, (state >> 32) as f64 / 1e7).unwrap();
        }
        text.push_str("]}");
    }
    text.push_str(r#"]},"stats":{"seriesFetched": "200","executionTimeMsec":800}}"#);
    text
}

fn parse(text: &str, grid: Grid, known: &mut KnownSeries) -> RangeAnswer {
    let mut columns = Columns::new(grid);
    let part = split(grid, usize::MAX).next().unwrap();
    let mut parser = RangeAnswerParser::new(part, Limits::default(), &mut columns, known, &[]);
    for chunk in text.as_bytes().chunks(CHUNK) {
        parser.push(chunk, &mut |_: &Labels| true).unwrap();
    }
    parser.finish().unwrap();
    known.end_read();
    columns.finish(None)
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("range_answer");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for (shape, series, points) in [("fit window", 200, 20_161), ("tick", 100_000, 1)] {
        let grid = Grid { start: 1_700_000_010_000, step: 30_000, points };
        let text = answer(series, grid);
        // Label sets are remembered from the tick before.
        let mut known = KnownSeries::new(series);
        let read = parse(&text, grid, &mut known);
        assert_eq!((read.series.len(), read.received_samples), (series, (series * points) as u64));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("streamed into columns", shape), &text, |bencher, text| {
            bencher.iter(|| black_box(parse(text, grid, &mut known)));
        });
        group.bench_with_input(BenchmarkId::new("streamed, all label sets new", shape), &text, |bencher, text| {
            bencher.iter(|| black_box(parse(text, grid, &mut KnownSeries::new(series))));
        });
        group.bench_with_input(BenchmarkId::new("serde_json::Value", shape), &text, |bencher, text| {
            bencher.iter(|| black_box(serde_json::from_str::<serde_json::Value>(text).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
