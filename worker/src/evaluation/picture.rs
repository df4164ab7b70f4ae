//! A part of a series, the band around what a model expected, and its alarms, as a picture in SVG.
//!
//! The picture has at most [`WIDTH`] columns of equal time, at least a step long. Each shows the lowest and the highest value of the
//! samples in it, and the widest band; labelled times are shaded, scores above 1 are marked at the bottom. To the left stand the
//! highest and the lowest value, below the first and the last time, in UTC.

use std::{fmt::Write, ops::Range};

use super::{labelled::LabelledSeries, replay::Replayed};

const WIDTH: usize = 400;
const HEIGHT: f64 = 140.0;
/// Height of the strip of alarms below the curve.
const STRIP: f64 = 10.0;
/// Width of the numbers left of the curve, and height of the times below the strip.
const NUMBERS: f64 = 40.0;
const TIMES: f64 = 11.0;
/// How far outside of the values a band is drawn at most, and how much is free there at least, in heights of the values' range.
const MARGINS: (f64, f64) = (0.05, 0.75);
/// Samples further apart than so many steps are not joined.
const JOINED_STEPS: f64 = 3.0;

/// The samples in a column of the picture, at least one.
struct Column {
    /// The left and the right edge.
    left: usize,
    right: usize,
    rows: Range<usize>,
}

impl Column {
    const fn middle(&self) -> usize {
        usize::midpoint(self.left, self.right)
    }
}

/// Some rows of the only channel of a series; of several channels, the joint alarms over the first one.
#[must_use]
pub fn svg(series: &LabelledSeries, replayed: &Replayed, rows: Range<usize>, title: &str) -> String {
    let values: &[f64] = series.channels.first().map_or(&[], |(_, values)| values);
    let columns = columns(series, rows);
    let shown = columns.iter().filter_map(|column| extremes(&values[column.rows.clone()]));
    let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| (low.min(l), high.max(h)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    // Eighths, so that no difference overflows.
    let eighths = (low / 8.0, high / 8.0);
    let range = if high > low { eighths.1 - eighths.0 } else { 1.0 };
    let bounds: Vec<(f64, f64)> = columns.iter().filter_map(|column| band(replayed, column)).collect();
    let outside = |distances: &mut dyn Iterator<Item = f64>| {
        distances.fold(0.0, f64::max).clamp(MARGINS.0 * range, MARGINS.1 * range)
    };
    let bottom = eighths.0 - outside(&mut bounds.iter().map(|(lower, _)| eighths.0 - lower / 8.0));
    let top = eighths.1 + outside(&mut bounds.iter().map(|(_, upper)| upper / 8.0 - eighths.1));
    let y = |value: f64| HEIGHT * (1.0 - ((value / 8.0).clamp(bottom, top) - bottom) / (top - bottom));

    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-{NUMBERS} 0 {} {}\" role=\"img\">\n<title>{}</title>\n",
        NUMBERS + WIDTH as f64,
        HEIGHT + STRIP + TIMES,
        escaped(title)
    );
    let _ = writeln!(text, "<rect x=\"-{NUMBERS}\" width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
    for stretch in stretches(series, &columns, |column| band(replayed, column).is_some()) {
        let bounds: Vec<_> =
            stretch.iter().filter_map(|column| Some((column.middle(), band(replayed, column)?))).collect();
        let there = bounds.iter().map(|(x, (_, upper))| (x, *upper));
        let back = bounds.iter().rev().map(|(x, (lower, _))| (x, *lower));
        let points = there.chain(back).map(|(x, bound)| format!("{x},{:.1}", y(bound))).collect::<Vec<_>>();
        let _ = writeln!(text, "<polygon points=\"{}\" fill=\"#cfe3f5\"/>", points.join(" "));
    }
    for stretch in stretches(series, &columns, |column| column.rows.clone().any(|row| series.labels[row])) {
        let (x, width) = extent(stretch);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"#f08c00\" fill-opacity=\"0.25\"/>"
        );
    }
    let mut path = String::new();
    for stretch in stretches(series, &columns, |column| extremes(&values[column.rows.clone()]).is_some()) {
        for (at, column) in stretch.iter().enumerate() {
            let Some((low, high)) = extremes(&values[column.rows.clone()]) else { continue };
            let (from, to) = (format!("{:.1}", y(low)), format!("{:.1}", y(high)));
            let _ = write!(path, "{}{} {from}", if at > 0 { 'L' } else { 'M' }, column.middle());
            if from != to {
                let _ = write!(path, "V{to}");
            } else if stretch.len() == 1 {
                // A dot.
                path.push_str("h0");
            }
        }
    }
    let line = "fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"0.8\" stroke-linecap=\"round\"";
    let _ = writeln!(text, "<path d=\"{path}\" {line}/>");
    for stretch in stretches(series, &columns, |column| column.rows.clone().any(|row| replayed.scores[row] > 1.0)) {
        let (x, width) = extent(stretch);
        let _ =
            writeln!(text, "<rect x=\"{x}\" y=\"{HEIGHT}\" width=\"{width}\" height=\"{STRIP}\" fill=\"#c62828\"/>");
    }
    text.push_str("<g font-family=\"sans-serif\" font-size=\"8\" fill=\"#555\">\n");
    let numbers = if high > low { vec![low, high] } else { vec![low] };
    for number in numbers {
        let (x, y, number) = (-3.0, y(number) + 3.0, short(number));
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{number}</text>");
    }
    let baseline = HEIGHT + STRIP + TIMES - 2.0;
    let ends = [columns.first().map(|column| column.rows.start), columns.last().map(|column| column.rows.end - 1)];
    for (row, x, anchor) in [(ends[0], 0, "start"), (ends[1], WIDTH, "end")] {
        let Some(time) = row.map(|row| series.times[row]).and_then(|time| jiff::Timestamp::from_second(time).ok())
        else {
            continue;
        };
        let time = time.strftime("%Y-%m-%d %H:%M");
        let _ = writeln!(text, "<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"{anchor}\">{time}</text>");
    }
    text.push_str("</g>\n</svg>\n");
    text
}

/// The widest band in a column.
fn band(replayed: &Replayed, column: &Column) -> Option<(f64, f64)> {
    let bounds = |of: &[f64]| extremes(&of[column.rows.clone()]);
    Some((bounds(&replayed.lower)?.0, bounds(&replayed.upper)?.1))
}

/// The columns of these rows that have a sample.
fn columns(series: &LabelledSeries, rows: Range<usize>) -> Vec<Column> {
    let times = &series.times[rows.clone()];
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
    let length = (last - first) as f64 + series.step;
    let count = libm::ceil(length / series.step).clamp(1.0, WIDTH as f64) as usize;
    let begins = |column: usize| {
        let time = *first as f64 + length * column as f64 / count as f64;
        rows.start + times.partition_point(|row| (*row as f64) < time)
    };
    let column = |column: usize| Column {
        left: WIDTH * column / count,
        right: WIDTH * (column + 1) / count,
        rows: begins(column)..begins(column + 1),
    };
    (0..count).map(column).filter(|column| !column.rows.is_empty()).collect()
}

/// Columns in a row that are wanted, without a gap between their samples.
fn stretches<'a>(
    series: &LabelledSeries,
    columns: &'a [Column],
    wanted: impl Fn(&Column) -> bool,
) -> impl Iterator<Item = &'a [Column]> {
    let is_joined = |one: &Column, next: &Column| {
        let gap = series.times[next.rows.start] - series.times[one.rows.end - 1];
        wanted(one) && wanted(next) && gap as f64 <= JOINED_STEPS * series.step
    };
    let stretches: Vec<_> = columns.chunk_by(is_joined).collect();
    stretches.into_iter().filter(move |stretch| stretch.iter().all(&wanted))
}

/// Where a stretch begins, and its width.
fn extent(stretch: &[Column]) -> (usize, usize) {
    let left = stretch.first().map_or(0, |column| column.left);
    (left, stretch.last().map_or(0, |column| column.right - left))
}

/// The least and the greatest finite number.
fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite.fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

/// With three digits: `0.123`, `15.2`, `320`, `12300`, `1.23e9`.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let whole = if size == 0.0 { 1.0 } else { libm::floor(libm::log10(size)) + 1.0 };
    let decimals = (3.0 - whole).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
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
        svg(&series, &replayed, 0..count, "mad <own>")
    }

    #[test]
    fn labels_are_shaded_and_alarms_marked_where_they_are() {
        let text = picture(
            (0..400).map(|row| f64::from(row % 2)).collect(),
            (0..400).map(|row| if row == 45 { 2.0 } else { 0.0 }).collect(),
        );
        assert!(text.contains("<title>mad &lt;own&gt;</title>"));
        assert!(
            text.contains("<rect x=\"40\" width=\"10\" height=\"140\" fill=\"#f08c00\" fill-opacity=\"0.25\"/>"),
            "{text}"
        );
        assert!(text.contains("<rect x=\"45\" y=\"140\" width=\"1\" height=\"10\" fill=\"#c62828\"/>"), "{text}");
        assert!(text.contains("<polygon") && !text.contains("NaN"));
    }

    #[test]
    fn the_ends_of_both_axes_are_written() {
        let text = picture((0..400).map(|row| f64::from(row) / 100.0).collect(), vec![0.0; 400]);
        for label in [">0</text>", ">3.99</text>", ">1970-01-01 00:00</text>", ">1970-01-01 06:39</text>"] {
            assert!(text.contains(label), "{label} is not in {text}");
        }
        assert_eq!(
            [-0.01234, 15.25, 320.4, 123_456.0, 2.5e9, 1e-7].map(short),
            ["-0.0123", "15.2", "320", "123456", "2.50e9", "1.00e-7"]
        );
    }

    #[test]
    fn few_samples_fill_the_width_and_a_gap_parts_them() {
        let times = [0, 60, 120, 600, 660];
        let values = vec![1.0, 2.0, 1.0, 1.0, 2.0];
        let series = LabelledSeries {
            source: "own".to_owned(),
            name: "s".to_owned(),
            split: String::new(),
            step: 60.0,
            eval_from: 0,
            times: times.to_vec(),
            channels: vec![("value".to_owned(), values)],
            labels: vec![false; 5],
        };
        let bounds = |bound: f64| vec![bound; 5];
        let scores = vec![0.0; 5];
        let replayed = Replayed { scores, lower: bounds(0.0), upper: bounds(3.0), fits: 1, refused: BTreeMap::new() };
        let text = svg(&series, &replayed, 0..5, "s");
        assert_eq!(text.matches("<polygon").count(), 2);
        assert!(text.contains("d=\"M16 98.0L49 42.0L83 98.0M349 98.0L383 42.0\""), "{text}");
    }

    #[test]
    fn a_series_of_nothing_or_of_one_value_is_a_picture_too() {
        for values in [vec![f64::NAN; 5], vec![7.0; 5], vec![f64::INFINITY, 1e300, -1e300, 0.0, 1.0]] {
            let text = picture(values, vec![f64::NAN; 5]);
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{text}");
        }
    }
}
