//! A part of a series, the band around what a model expected, and its alarms, as a picture in SVG.
//!
//! The picture has at most [`WIDTH`] columns of equal time, at least a step long. Each shows the lowest and the highest value of the
//! samples in it, and the widest band; labelled times are shaded, scores above 1 are marked at the bottom. To the left stand the
//! highest and the lowest value, below the first and the last time, in UTC. A group has a curve for each of some channels, and one for
//! the joint score.

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

/// Most channels of a group that are drawn.
const SHOWN_CHANNELS: usize = 4;
/// Scores above this one are drawn as if they were this.
const HIGHEST_SHOWN: f64 = 4.0;
/// What is free between two curves, and above the first of several, for its number.
const BETWEEN: f64 = 6.0;
const ABOVE: f64 = 4.0;

/// A curve with an axis of its own.
struct Curve<'a> {
    values: &'a [f64],
    /// What stands at its top; empty of the only one.
    name: &'a str,
    /// Its upper edge, and its height.
    top: f64,
    height: f64,
    /// The least and the greatest value that there is, and an eighth of those that are drawn, so that no difference overflows.
    ends: (f64, f64),
    drawn: (f64, f64),
}

impl<'a> Curve<'a> {
    /// Of values in columns, with room for some of a band that is farther out.
    fn new(values: &'a [f64], columns: &[Column], bounds: &[(f64, f64)], (top, height): (f64, f64)) -> Self {
        let shown = columns.iter().filter_map(|column| extremes(&values[column.rows.clone()]));
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = shown.fold(none, |(low, high), (l, h)| (low.min(l), high.max(h)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let eighths = (low / 8.0, high / 8.0);
        let range = if high > low { eighths.1 - eighths.0 } else { 1.0 };
        let outside = |distances: &mut dyn Iterator<Item = f64>| {
            distances.fold(0.0, f64::max).clamp(MARGINS.0 * range, MARGINS.1 * range)
        };
        let bottom = eighths.0 - outside(&mut bounds.iter().map(|(lower, _)| eighths.0 - lower / 8.0));
        let highest = eighths.1 + outside(&mut bounds.iter().map(|(_, upper)| upper / 8.0 - eighths.1));
        Self { values, name: "", top, height, ends: (low, high), drawn: (bottom, highest) }
    }

    fn y(&self, value: f64) -> f64 {
        let (bottom, highest) = self.drawn;
        self.top + self.height * (1.0 - ((value / 8.0).clamp(bottom, highest) - bottom) / (highest - bottom))
    }

    /// The line of the values.
    fn line(&self, series: &LabelledSeries, columns: &[Column]) -> String {
        let mut path = String::new();
        for stretch in stretches(series, columns, |column| extremes(&self.values[column.rows.clone()]).is_some()) {
            for (at, column) in stretch.iter().enumerate() {
                let Some((low, high)) = extremes(&self.values[column.rows.clone()]) else { continue };
                let (from, to) = (format!("{:.1}", self.y(low)), format!("{:.1}", self.y(high)));
                let _ = write!(path, "{}{} {from}", if at > 0 { 'L' } else { 'M' }, column.middle());
                if from != to {
                    let _ = write!(path, "V{to}");
                } else if stretch.len() == 1 {
                    // A dot.
                    path.push_str("h0");
                }
            }
        }
        let style = "fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"0.8\" stroke-linecap=\"round\"";
        format!("<path d=\"{path}\" {style}/>\n")
    }

    /// Its least and its greatest value, and its name.
    fn texts(&self) -> String {
        let (low, high) = self.ends;
        let numbers = if high > low { vec![low, high] } else { vec![low] };
        let mut text = String::new();
        for number in numbers {
            let (x, y, number) = (-3.0, self.y(number) + 3.0, short(number));
            let _ = writeln!(text, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{number}</text>");
        }
        if !self.name.is_empty() {
            let (y, name) = (self.top + 7.0, escaped(self.name));
            let _ = writeln!(text, "<text x=\"3\" y=\"{y}\">{name}</text>");
        }
        text
    }
}

/// Some rows of the only channel of a series; of several channels some of those that move in these rows, and below them the joint
/// score.
#[must_use]
pub fn svg(series: &LabelledSeries, replayed: &Replayed, rows: Range<usize>, title: &str) -> String {
    let columns = columns(series, rows);
    let bounds: Vec<(f64, f64)> = columns.iter().filter_map(|column| band(replayed, column)).collect();
    let scores: Vec<f64>;
    let curves = match series.channels.as_slice() {
        [(_, values)] => vec![Curve::new(values, &columns, &bounds, (0.0, HEIGHT))],
        channels => {
            scores = replayed.scores.iter().map(|score| score.min(HIGHEST_SHOWN)).collect();
            of_group(channels, &scores, &columns)
        }
    };

    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-{NUMBERS} 0 {} {}\" role=\"img\">\n<title>{}</title>\n",
        NUMBERS + WIDTH as f64,
        HEIGHT + STRIP + TIMES,
        escaped(title)
    );
    let _ = writeln!(text, "<rect x=\"-{NUMBERS}\" width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
    if let [curve] = curves.as_slice() {
        for stretch in stretches(series, &columns, |column| band(replayed, column).is_some()) {
            let bounds: Vec<_> =
                stretch.iter().filter_map(|column| Some((column.middle(), band(replayed, column)?))).collect();
            let there = bounds.iter().map(|(x, (_, upper))| (x, *upper));
            let back = bounds.iter().rev().map(|(x, (lower, _))| (x, *lower));
            let points = there.chain(back).map(|(x, bound)| format!("{x},{:.1}", curve.y(bound))).collect::<Vec<_>>();
            let _ = writeln!(text, "<polygon points=\"{}\" fill=\"#cfe3f5\"/>", points.join(" "));
        }
    }
    for stretch in stretches(series, &columns, |column| column.rows.clone().any(|row| series.labels[row])) {
        let (x, width) = extent(stretch);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"#f08c00\" fill-opacity=\"0.25\"/>"
        );
    }
    curves.iter().for_each(|curve| text.push_str(&curve.line(series, &columns)));
    for stretch in stretches(series, &columns, |column| column.rows.clone().any(|row| replayed.scores[row] > 1.0)) {
        let (x, width) = extent(stretch);
        let _ =
            writeln!(text, "<rect x=\"{x}\" y=\"{HEIGHT}\" width=\"{width}\" height=\"{STRIP}\" fill=\"#c62828\"/>");
    }
    text.push_str("<g font-family=\"sans-serif\" font-size=\"8\" fill=\"#555\">\n");
    curves.iter().for_each(|curve| text.push_str(&curve.texts()));
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

/// The first channels that are not constant, one below the other, and the joint score.
fn of_group<'a>(channels: &'a [(String, Vec<f64>)], scores: &'a [f64], columns: &[Column]) -> Vec<Curve<'a>> {
    let moves = |values: &[f64]| {
        let of_columns = columns.iter().filter_map(|column| extremes(&values[column.rows.clone()]));
        let mut of_columns = of_columns.peekable();
        let first = of_columns.peek().copied();
        of_columns.any(|(low, high)| low < high || Some((low, high)) != first)
    };
    let moving = channels.iter().filter(|(_, values)| moves(values)).take(SHOWN_CHANNELS);
    let mut shown: Vec<(&str, &[f64])> = moving.map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    shown.push(("joint score", scores));
    let count = shown.len() as f64;
    let height = (HEIGHT - ABOVE - BETWEEN * (count - 1.0)) / count;
    let tops = (0..).map(|index| ABOVE + f64::from(index) * (height + BETWEEN));
    let curves = shown.into_iter().zip(tops);
    curves.map(|((name, values), top)| Curve { name, ..Curve::new(values, columns, &[], (top, height)) }).collect()
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

    /// With a sample a minute, none of them labelled.
    fn series(times: Vec<i64>, channels: Vec<(String, Vec<f64>)>) -> LabelledSeries {
        LabelledSeries {
            source: "own".to_owned(),
            name: "s".to_owned(),
            split: String::new(),
            step: 60.0,
            eval_from: 0,
            labels: vec![false; times.len()],
            times,
            channels,
        }
    }

    /// With the same bounds at every time.
    fn replayed(scores: Vec<f64>, (lower, upper): (f64, f64)) -> Replayed {
        let bounds = |bound: f64| vec![bound; scores.len()];
        Replayed { lower: bounds(lower), upper: bounds(upper), scores, fits: 1, refused: BTreeMap::new() }
    }

    fn picture(values: Vec<f64>, scores: Vec<f64>) -> String {
        let count = values.len();
        let times = (0..count as i64).map(|row| row * 60).collect();
        let labelled = series(times, vec![("value".to_owned(), values)]);
        let labels = (0..count).map(|row| (40..50).contains(&row)).collect();
        let labelled = LabelledSeries { labels, ..labelled };
        svg(&labelled, &replayed(scores, (-1.0, 1.0)), 0..count, "mad <own>")
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
        let values = vec![1.0, 2.0, 1.0, 1.0, 2.0];
        let parted = series(vec![0, 60, 120, 600, 660], vec![("value".to_owned(), values)]);
        let text = svg(&parted, &replayed(vec![0.0; 5], (0.0, 3.0)), 0..5, "s");
        assert_eq!(text.matches("<polygon").count(), 2);
        assert!(text.contains("d=\"M16 98.0L49 42.0L83 98.0M349 98.0L383 42.0\""), "{text}");
    }

    #[test]
    fn a_group_shows_channels_that_move_each_on_its_own_scale_and_the_joint_score() {
        let moving = |factor: f64| (0..50).map(|row| factor * f64::from(row)).collect::<Vec<f64>>();
        let names = ["idle", "cpu", "memory", "disk", "network", "swap"];
        let channel = |(index, name): (usize, &str)| (name.to_owned(), moving(10.0 * index as f64));
        let times = (0..50).map(|row| row * 60).collect();
        let group = series(times, names.into_iter().enumerate().map(channel).collect());
        let scores = (0..50).map(|row| if row == 30 { 9.0 } else { 0.5 }).collect();
        let text = svg(&group, &replayed(scores, (f64::NAN, f64::NAN)), 0..50, "host");
        assert_eq!((text.matches("<path").count(), text.matches("<polygon").count()), (5, 0));
        for shown in [">cpu<", ">network<", ">joint score<", ">490<", ">1960<", ">4<"] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        assert!(!text.contains("idle") && !text.contains("swap") && text.contains("#c62828"));
    }

    #[test]
    fn a_series_of_nothing_or_of_one_value_is_a_picture_too() {
        for values in [vec![f64::NAN; 5], vec![7.0; 5], vec![f64::INFINITY, 1e300, -1e300, 0.0, 1.0]] {
            let text = picture(values, vec![f64::NAN; 5]);
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{text}");
        }
    }
}
