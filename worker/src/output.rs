//! How written series are named, and their bytes: JSON lines of VictoriaMetrics' `/api/v1/import`
//! (<https://docs.victoriametrics.com/single-server-victoriametrics/#json-line-format>).

use bytes::Bytes;
use detect::score::Interval;
use std::{borrow::Cow, collections::BTreeMap};

use crate::labels::Labels;

const NAME: &str = "__name__";
const VAR: &str = "$VAR";

/// The series that says how far a model is.
pub const STAGE: &str = "stage";
const QUERY_KEY: &str = "$QUERY_KEY";

/// A column of a tick's outputs, the value of `$VAR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    /// One of what the model gives besides its interval.
    Component(usize),
    /// A part of what is expected at a horizon.
    Forecast(usize, Part),
    Y,
    Yhat,
    YhatLower,
    YhatUpper,
    AnomalyScore,
    Stage,
}

/// A part of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Yhat,
    Lower,
    Upper,
}

/// What a model gives besides its interval, by name: in the order in which it does so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FurtherOutputs {
    /// Names of its components.
    pub components: Vec<String>,
    /// Horizons of its forecasts as they are written, as in `1h`.
    pub horizons: Vec<String>,
}

impl FurtherOutputs {
    fn column(&self, name: &str) -> Option<Column> {
        if let Some(which) = self.components.iter().position(|component| component == name) {
            return Some(Column::Component(which));
        }
        // The longest first: each of them is the start of the next.
        let parts = [("yhat_lower_", Part::Lower), ("yhat_upper_", Part::Upper), ("yhat_", Part::Yhat)];
        let (horizon, part) = parts.iter().find_map(|(start, part)| Some((name.strip_prefix(start)?, *part)))?;
        let which = self.horizons.iter().position(|known| known == horizon)?;
        Some(Column::Forecast(which, part))
    }
}

impl Column {
    fn from_name(name: &str, further: &FurtherOutputs) -> Option<Self> {
        Some(match name {
            "y" => Self::Y,
            "yhat" => Self::Yhat,
            "yhat_lower" => Self::YhatLower,
            "yhat_upper" => Self::YhatUpper,
            "anomaly_score" => Self::AnomalyScore,
            STAGE => Self::Stage,
            _ => return further.column(name),
        })
    }

    fn of<'a>(self, columns: &OutputColumns<'a>) -> Cow<'a, [f64]> {
        let column = match self {
            Self::Y => columns.y,
            Self::Yhat => columns.yhat,
            Self::YhatLower => columns.yhat_lower,
            Self::YhatUpper => columns.yhat_upper,
            Self::AnomalyScore => columns.anomaly_score,
            Self::Stage => columns.stage,
            Self::Component(which) => {
                let points = columns.components.chunks_exact(columns.component_count.max(1));
                return points.map(|point| point.get(which).copied().unwrap_or(f64::NAN)).collect();
            }
            Self::Forecast(which, part) => {
                let points = columns.forecasts.chunks_exact(columns.forecast_count.max(1));
                let value = |interval: &Interval| match part {
                    Part::Yhat => interval.yhat,
                    Part::Lower => interval.lower,
                    Part::Upper => interval.upper,
                };
                return points.map(|point| point.get(which).map_or(f64::NAN, value)).collect();
            }
        };
        Cow::Borrowed(column)
    }
}

/// One series' outputs, each as long as the times that they belong to.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputColumns<'a> {
    /// Input values.
    pub y: &'a [f64],
    /// Expected values.
    pub yhat: &'a [f64],
    /// Lower bounds of the expected interval.
    pub yhat_lower: &'a [f64],
    /// Upper bounds of the expected interval.
    pub yhat_upper: &'a [f64],
    /// Anomaly scores.
    pub anomaly_score: &'a [f64],
    /// How far the model was, by [`detect::readiness::Readiness::value`].
    pub stage: &'a [f64],
    /// What each point is made of: so many numbers for each time as there are components.
    pub components: &'a [f64],
    /// Number of components.
    pub component_count: usize,
    /// What is expected after each point: so many intervals for each time as there are horizons.
    pub forecasts: &'a [Interval],
    /// Number of horizons.
    pub forecast_count: usize,
}

/// How the outputs of one model, query and scheduler are named.
///
/// A written series has the labels of its input without `__name__`, the labels of `writer.metric_format` and
/// `model_alias`, `scheduler_alias` and `preset`. Of equal names the later in this order counts, so received labels
/// never override generated ones.
#[derive(Debug, Clone)]
pub struct OutputFormat {
    /// Names and values without `$QUERY_KEY`, `$VAR` still in place; without `__name__`.
    generated: Vec<(String, String)>,
    /// The start of a line of each provided series, up to and including its generated labels.
    heads: Vec<(Column, Vec<u8>)>,
    /// Whether inputs that differ in their metrics' names only are two.
    tells_names_apart: bool,
}

impl OutputFormat {
    /// For the series of `provide_series`, written in this order; `further` is what the model gives besides its interval. Names that are
    /// no output column are ignored: the configuration refuses them.
    #[expect(clippy::too_many_arguments, reason = "each is a part of a written series' name")]
    #[must_use]
    pub fn new(
        metric_name: &str,
        labels: &BTreeMap<String, String>,
        query_alias: &str,
        model_alias: &str,
        scheduler_alias: &str,
        preset: &str,
        provide_series: &[String],
        further: &FurtherOutputs,
    ) -> Self {
        let automatic = [("model_alias", model_alias), ("scheduler_alias", scheduler_alias), ("preset", preset)];
        let mut generated: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| *name != NAME && !automatic.iter().any(|(own, _)| own == name))
            .map(|(name, value)| (name.clone(), value.replace(QUERY_KEY, query_alias)))
            .collect();
        // An alias may contain anything, `$VAR` too: it is not a template.
        let templates = generated.len();
        generated.extend(automatic.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let heads = provide_series
            .iter()
            .filter_map(|name| Some((Column::from_name(name, further)?, name)))
            .map(|(column, name)| {
                let metric_name = metric_name.replace(QUERY_KEY, query_alias).replace(VAR, name);
                let mut head = b"{\"metric\":{\"__name__\":".to_vec();
                push_json_string(&mut head, &metric_name);
                for (index, (label, value)) in generated.iter().enumerate() {
                    if index < templates {
                        push_label(&mut head, label, &value.replace(VAR, name));
                    } else {
                        push_label(&mut head, label, value);
                    }
                }
                (column, head)
            })
            .collect();
        Self { generated, heads, tells_names_apart: false }
    }

    /// The same for inputs that share their outputs with others: their metrics' names tell them apart.
    #[must_use]
    pub fn telling_names_apart(self) -> Self {
        Self { tells_names_apart: true, ..self }
    }

    /// The labels that all outputs of this input get, without `__name__`; `$VAR` stays as it is. Two inputs with one
    /// identity would write the same series.
    #[must_use]
    pub fn identity(&self, input: &Labels) -> Labels {
        let received = input.iter().filter(|(name, _)| *name != NAME || self.tells_names_apart);
        let generated = self.generated.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::new(received.chain(generated))
    }

    /// Appends one line for each provided series that has a finite value. Other values are left out together with
    /// their times. Floats are written in the shortest form that reads back to the same bits.
    pub fn render(&self, out: &mut Vec<u8>, input: &Labels, times: &[i64], columns: &OutputColumns<'_>) {
        let mut received: Option<std::ops::Range<usize>> = None;
        // Mostly all values are finite: these times are written once.
        let mut all_times: Option<std::ops::Range<usize>> = None;
        for (column, head) in &self.heads {
            let values = column.of(columns);
            debug_assert_eq!(values.len(), times.len(), "{column:?}");
            let count = values.iter().filter(|value| value.is_finite()).count();
            if count == 0 {
                continue;
            }
            out.extend_from_slice(head);
            match &received {
                Some(range) => out.extend_from_within(range.clone()),
                None => {
                    let start = out.len();
                    for (name, value) in input.iter().filter(|(name, _)| !self.generates(name)) {
                        push_label(out, name, value);
                    }
                    received = Some(start..out.len());
                }
            }
            let finite = || values.iter().zip(times).filter(|(value, _)| value.is_finite());
            out.extend_from_slice(b"},\"values\":");
            push_array(out, finite().map(|(value, _)| value));
            match all_times.as_ref().filter(|_| count == times.len()) {
                Some(range) => out.extend_from_within(range.clone()),
                None => {
                    let start = out.len();
                    out.extend_from_slice(b",\"timestamps\":");
                    push_array(out, finite().map(|(_, time)| time));
                    out.extend_from_slice(b"}\n");
                    if count == times.len() {
                        all_times = Some(start..out.len());
                    }
                }
            }
        }
    }

    fn generates(&self, name: &str) -> bool {
        name == NAME || self.generated.iter().any(|(own, _)| own == name)
    }
}

/// An empty value is the same as no label.
fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        out.push(b',');
        push_json_string(out, name);
        out.push(b':');
        push_json_string(out, value);
    }
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    push_json(out, text);
}

fn push_array<'a, T: serde::Serialize + 'a>(out: &mut Vec<u8>, items: impl Iterator<Item = &'a T>) {
    let mut separator = b'[';
    for item in items {
        out.push(separator);
        push_json(out, item);
        separator = b',';
    }
    out.push(b']');
}

#[expect(clippy::expect_used, reason = "a string or number has a JSON form, and writing to memory does not fail")]
fn push_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, item: &T) {
    serde_json::to_writer(out, item).expect("a string or number as JSON in memory");
}

/// Cuts a body at line ends into consecutive parts of at most `max` bytes. A line that is longer is a part by
/// itself; no part is empty.
#[must_use]
pub fn split_lines(body: &Bytes, max: usize) -> Vec<Bytes> {
    let is_line_end = |byte: &u8| *byte == b'\n';
    let mut rest = body.clone();
    let mut parts = Vec::new();
    while rest.len() > max {
        let (most, beyond) = rest.split_at(max);
        let length = match most.iter().rposition(is_line_end) {
            Some(last) => last + 1,
            None => beyond.iter().position(is_line_end).map_or(rest.len(), |first| max + first + 1),
        };
        parts.push(rest.split_to(length));
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A metric name with labels, as `metric_format` has them.
    type Template = (String, BTreeMap<String, String>);

    fn template(metric_name: &str, labels: &[(&str, &str)]) -> Template {
        (metric_name.into(), labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn format((name, labels): &Template, provide: &[&str]) -> OutputFormat {
        let provide: Vec<String> = provide.iter().map(|name| (*name).into()).collect();
        OutputFormat::new(name, labels, "cpu", "zs", "1m", "default", &provide, &FurtherOutputs::default())
    }

    fn render(format: &OutputFormat, input: &Labels, times: &[i64], columns: &OutputColumns<'_>) -> Vec<Value> {
        let mut out = Vec::new();
        format.render(&mut out, input, times, columns);
        let text = String::from_utf8(out).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_written_series_has_the_input_labels_and_the_generated_ones_win() {
        let writer = template("a_$VAR", &[("for", "$QUERY_KEY"), ("what", "$VAR of $QUERY_KEY"), ("instance", "")]);
        let format = format(&writer, &["anomaly_score", "yhat"]);
        let input = Labels::new([
            ("__name__", "node_cpu"),
            ("instance", "dropped by the empty constant label"),
            ("for", "spoofed"),
            ("model_alias", "spoofed"),
            ("path", "a\"b\\\n\u{1}ö"),
        ]);
        let columns = OutputColumns { yhat: &[2.0], anomaly_score: &[0.5], ..Default::default() };
        let labels = |name: &str, what: &str| {
            json!({"__name__": name, "for": "cpu", "what": what, "model_alias": "zs", "scheduler_alias": "1m",
                "preset": "default", "path": "a\"b\\\n\u{1}ö"})
        };
        assert_eq!(
            render(&format, &input, &[60_000], &columns),
            [
                json!({"metric": labels("a_anomaly_score", "anomaly_score of cpu"), "values": [0.5], "timestamps": [60_000]}),
                json!({"metric": labels("a_yhat", "yhat of cpu"), "values": [2.0], "timestamps": [60_000]}),
            ]
        );
    }

    #[test]
    fn inputs_that_would_write_one_series_have_one_identity() {
        let format = format(&template("$VAR", &[("for", "$QUERY_KEY")]), &["y"]);
        let same_after_generation = [
            Labels::new([("__name__", "a"), ("job", "x")]),
            Labels::new([("__name__", "b"), ("job", "x"), ("for", "y"), ("preset", "p")]),
        ]
        .map(|input| format.identity(&input));
        assert_eq!(same_after_generation[0], same_after_generation[1]);
        assert_ne!(same_after_generation[0], format.identity(&Labels::new([("job", "y")])));
        assert_eq!(
            same_after_generation[0].to_string(),
            r#"{for="cpu",job="x",model_alias="zs",preset="default",scheduler_alias="1m"}"#
        );
    }

    #[test]
    fn values_that_are_not_finite_are_left_out_with_their_times() {
        let format = format(&template("$VAR", &[]), &["y", "yhat_lower", "yhat_upper", "anomaly_score"]);
        let columns = OutputColumns {
            y: &[1.0, f64::NAN, 3.0],
            yhat_lower: &[f64::NEG_INFINITY; 3],
            yhat_upper: &[f64::INFINITY, f64::NAN, -0.0],
            anomaly_score: &[detect::model::MISSING; 3],
            ..Default::default()
        };
        let lines = render(&format, &Labels::new([("a", "b")]), &[1, 2, 3], &columns);
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["values"], &lines[0]["timestamps"]), (&json!([1.0, 3.0]), &json!([1, 3])));
        assert_eq!((&lines[1]["values"], &lines[1]["timestamps"]), (&json!([-0.0]), &json!([3])));
    }

    #[test]
    fn components_and_forecasts_are_written_under_their_names() {
        let further = FurtherOutputs { components: vec!["trend".into()], horizons: vec!["1h".into(), "lower".into()] };
        let provide = ["trend", "yhat_1h", "yhat_lower_lower", "yhat_lower"].map(String::from);
        let (name, labels) = template("$VAR", &[]);
        let format = OutputFormat::new(&name, &labels, "q", "m", "s", "default", &provide, &further);
        let interval = |yhat: f64| Interval { yhat, lower: yhat - 1.0, upper: yhat + 1.0 };
        let columns = OutputColumns {
            yhat_lower: &[7.0, 8.0],
            components: &[1.0, 2.0],
            component_count: 1,
            forecasts: &[interval(10.0), interval(20.0), interval(30.0), Interval::NONE],
            forecast_count: 2,
            ..Default::default()
        };
        let lines = render(&format, &Labels::new([("a", "b")]), &[1, 2], &columns);
        let written: Vec<_> = lines.iter().map(|line| (&line["metric"]["__name__"], &line["values"])).collect();
        let expected = [
            (json!("trend"), json!([1.0, 2.0])),
            (json!("yhat_1h"), json!([10.0, 30.0])),
            (json!("yhat_lower_lower"), json!([19.0])),
            (json!("yhat_lower"), json!([7.0, 8.0])),
        ];
        assert_eq!(written, expected.iter().map(|(name, values)| (name, values)).collect::<Vec<_>>());
    }

    #[test]
    fn an_alias_that_looks_like_a_placeholder_is_taken_literally() {
        let (name, labels) = template("$VAR", &[("for", "$QUERY_KEY")]);
        let format = OutputFormat::new(
            &name,
            &labels,
            "q",
            "$VAR",
            "$QUERY_KEY",
            "default",
            &["y".into()],
            &FurtherOutputs::default(),
        );
        let columns = OutputColumns { y: &[1.0], ..Default::default() };
        let lines = render(&format, &Labels::new([("a", "b")]), &[1], &columns);
        assert_eq!(lines[0]["metric"]["model_alias"], "$VAR");
        assert_eq!(lines[0]["metric"]["scheduler_alias"], "$QUERY_KEY");
    }

    proptest! {
        #[test]
        fn every_finite_value_reads_back_to_the_same_bits(bits in proptest::collection::vec(any::<u64>(), 1..50)) {
            #[derive(serde::Deserialize)]
            struct Line {
                values: Vec<Box<serde_json::value::RawValue>>,
                timestamps: Vec<i64>,
            }
            let values: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
            let times: Vec<i64> = (0..values.len() as i64).collect();
            let columns = OutputColumns { y: &values, ..Default::default() };
            let mut out = Vec::new();
            format(&template("$VAR", &[]), &["y"]).render(&mut out, &Labels::new([("a", "b")]), &times, &columns);
            let written: Vec<(i64, u64)> = times.iter().zip(&values)
                .filter(|(_, value)| value.is_finite()).map(|(time, value)| (*time, value.to_bits())).collect();
            let read: Vec<(i64, u64)> = serde_json::Deserializer::from_slice(&out).into_iter::<Line>().flat_map(|line| {
                let line = line.unwrap();
                // `str::parse` rounds correctly, which serde_json does not by default.
                let bits = line.values.into_iter().map(|value| value.get().parse::<f64>().unwrap().to_bits());
                line.timestamps.into_iter().zip(bits).collect::<Vec<_>>()
            }).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn a_body_is_split_only_at_line_ends_and_nothing_is_lost(
            lines in proptest::collection::vec("[a-z]{0,12}\n", 0..20), tail in "[a-z]{0,5}", max in 0_usize..40,
        ) {
            let body = Bytes::from(lines.concat() + &tail);
            let parts = split_lines(&body, max);
            prop_assert_eq!(parts.concat(), body.to_vec());
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(!part.is_empty());
                prop_assert!(index + 1 == parts.len() || part.ends_with(b"\n"));
                let line_count = part.split_inclusive(|byte| *byte == b'\n').count();
                prop_assert!(part.len() <= max || line_count == 1);
                let next_line = parts.get(index + 1).and_then(|next| next.split_inclusive(|byte| *byte == b'\n').next());
                prop_assert!(next_line.is_none_or(|line| part.len() + line.len() > max), "parts are as large as may be");
            }
        }
    }
}
