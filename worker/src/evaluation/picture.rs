//! A series, the band around what a model expected, and its alarms, as a picture in SVG.
//!
//! Each column of pixels shows the lowest and the highest value of the samples in it, and the widest band; labelled times are
//! shaded, scores above 1 are marked at the bottom.

use std::{fmt::Write, ops::Range};

use super::{labelled::LabelledSeries, replay::Replayed};

const WIDTH: usize = 400;
const HEIGHT: f64 = 140.0;
/// Height of the strip of alarms below the curve.
const STRIP: f64 = 10.0;
/// How far outside of the values a band is drawn, in heights of the values' range.
const MARGIN: f64 = 0.25;

/// The judged part of the only channel of a series; of several channels, the joint alarms over the first one.
#[must_use]
pub fn svg(series: &LabelledSeries, replayed: &Replayed, title: &str) -> String {
    let judged = series.first_judged()..series.times.len();
    let values: &[f64] = series.channels.first().map_or(&[], |(_, values)| values);
    let columns = columns(&series.times, judged);
    let shown = columns.iter().filter_map(|rows| extremes(&values[rows.clone()]));
    let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| (low.min(l), high.max(h)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    // Eighths, so that no difference overflows.
    let (low, high) = (low / 8.0, high / 8.0);
    let range = if high > low { high - low } else { 1.0 };
    let (bottom, top) = (low - MARGIN * range, high + MARGIN * range);
    let y = |value: f64| HEIGHT * (1.0 - ((value / 8.0).clamp(bottom, top) - bottom) / (top - bottom));

    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n<title>{}</title>\n",
        HEIGHT + STRIP,
        escaped(title)
    );
    text.push_str("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    for stretch in stretches(&columns, |rows| rows.clone().any(|row| series.labels[row])) {
        let (x, width) = (stretch.start, stretch.len());
        let _ = writeln!(text, "<rect x=\"{x}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fbe3c8\"/>");
    }
    let lower: Vec<Option<f64>> =
        columns.iter().map(|rows| extremes(&replayed.lower[rows.clone()]).map(|of| of.0)).collect();
    let upper: Vec<Option<f64>> =
        columns.iter().map(|rows| extremes(&replayed.upper[rows.clone()]).map(|of| of.1)).collect();
    for stretch in stretches(&lower, Option::is_some) {
        let there = stretch.clone().filter_map(|x| Some((x, upper[x]?)));
        let back = stretch.rev().filter_map(|x| Some((x, lower[x]?)));
        let points = there.chain(back).map(|(x, bound)| format!("{x},{:.1}", y(bound))).collect::<Vec<_>>();
        let _ = writeln!(text, "<polygon points=\"{}\" fill=\"#cfe3f5\"/>", points.join(" "));
    }
    let mut path = String::new();
    let mut is_joined = false;
    for (x, rows) in columns.iter().enumerate() {
        let Some((low, high)) = extremes(&values[rows.clone()]) else {
            is_joined = false;
            continue;
        };
        let _ = write!(path, "{}{x} {:.1}V{:.1}", if is_joined { 'L' } else { 'M' }, y(low), y(high));
        is_joined = true;
    }
    let _ = writeln!(text, "<path d=\"{path}\" fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"0.8\"/>");
    for stretch in stretches(&columns, |rows| rows.clone().any(|row| replayed.scores[row] > 1.0)) {
        let (x, width) = (stretch.start, stretch.len());
        let _ =
            writeln!(text, "<rect x=\"{x}\" y=\"{HEIGHT}\" width=\"{width}\" height=\"{STRIP}\" fill=\"#c62828\"/>");
    }
    text.push_str("</svg>\n");
    text
}

/// The rows of each column of pixels, at equal distances of time.
fn columns(times: &[i64], judged: Range<usize>) -> Vec<Range<usize>> {
    let (Some(first), Some(last)) = (times.get(judged.start), times.get(judged.end.wrapping_sub(1))) else {
        return Vec::new();
    };
    let length = (last - first + 1) as f64;
    let begins = |column: usize| {
        let time = *first as f64 + length * column as f64 / WIDTH as f64;
        judged.start + times[judged.clone()].partition_point(|row| (*row as f64) < time)
    };
    (0..WIDTH).map(|column| begins(column)..begins(column + 1)).collect()
}

/// The least and the greatest finite number.
fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite.fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

/// The runs of columns that `wanted` accepts.
fn stretches<T>(columns: &[T], wanted: impl Fn(&T) -> bool) -> Vec<Range<usize>> {
    let runs = super::events::first_and_last(columns.len(), |column| wanted(&columns[column]));
    runs.into_iter().map(|(first, last)| first..last + 1).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn picture(values: Vec<f64>, scores: Vec<f64>) -> String {
        let count = values.len();
        let series = LabelledSeries {
            source: "own".to_owned(),
            name: "s".to_owned(),
            split: "dev".to_owned(),
            step: 60.0,
            eval_from: 0,
            times: (0..count as i64).map(|row| row * 60).collect(),
            channels: vec![("value".to_owned(), values)],
            labels: (0..count).map(|row| (40..50).contains(&row)).collect(),
        };
        let bounds = |bound: f64| vec![bound; count];
        let replayed = Replayed { scores, lower: bounds(-1.0), upper: bounds(1.0), fits: 1, refused: BTreeMap::new() };
        svg(&series, &replayed, "mad <own>")
    }

    #[test]
    fn labels_are_shaded_and_alarms_marked_where_they_are() {
        let text = picture(
            (0..400).map(|row| f64::from(row % 2)).collect(),
            (0..400).map(|row| if row == 45 { 2.0 } else { 0.0 }).collect(),
        );
        assert!(text.contains("<title>mad &lt;own&gt;</title>"));
        assert!(text.contains("<rect x=\"40\" width=\"10\" height=\"140\" fill=\"#fbe3c8\"/>"), "{text}");
        assert!(text.contains("<rect x=\"45\" y=\"140\" width=\"1\" height=\"10\" fill=\"#c62828\"/>"), "{text}");
        assert!(text.contains("<polygon") && !text.contains("NaN"));
    }

    #[test]
    fn a_series_of_nothing_or_of_one_value_is_a_picture_too() {
        for values in [vec![f64::NAN; 5], vec![7.0; 5], vec![f64::INFINITY, 1e300, -1e300, 0.0, 1.0]] {
            let text = picture(values, vec![f64::NAN; 5]);
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{text}");
        }
    }
}
