//! What there is to see now: the newest outputs of every series, and its alert.

use std::collections::BTreeMap;

use ::tests::http::HttpError;
use ::tests::series::Series;
use ::tests::vmalert::Alert;

use crate::stack::Stack;

/// The alert whose state is shown and judged.
pub const ALERT: &str = "AnomalyScoreHigh";

/// One scored series.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The query's alias.
    pub query: String,
    /// What tells it apart from the query's other series; may be empty.
    pub name: String,
    /// The newest value of each output, by its name.
    pub outputs: BTreeMap<String, f64>,
    /// Whether its alert fires.
    pub fires: bool,
}

impl Row {
    /// An output, if there is one.
    pub fn output(&self, name: &str) -> Option<f64> {
        self.outputs.get(name).copied()
    }
}

/// Reads all of it. The recording with the incident comes first, then the others, then this machine.
pub async fn observe(stack: &Stack, now: i64) -> Result<Vec<Row>, HttpError> {
    let expr = r#"last_over_time({__name__=~"anomaly_score|y|yhat|yhat_lower|yhat_upper"}[10s])"#;
    let outputs = stack.tsdb.endpoint().query(expr, now).await?;
    let alerts = stack.vmalert.alerts().await?;
    Ok(rows(&outputs, &alerts))
}

fn rows(outputs: &[Series], alerts: &[Alert]) -> Vec<Row> {
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    for series in outputs {
        let Some(sample) = series.samples.last() else {
            continue;
        };
        let (query, name) = (series.label("for").to_owned(), name(&series.labels));
        let order = (query != "recording", name != crate::replay::INCIDENT, query.clone(), name.clone());
        let row = rows.entry(order).or_insert_with(|| Row {
            fires: alerts.iter().any(|alert| {
                alert.name == ALERT
                    && alert.is_firing()
                    && alert.labels.get("for") == Some(&query)
                    && self::name(&alert.labels) == name
            }),
            query,
            name,
            outputs: BTreeMap::new(),
        });
        row.outputs.insert(series.label("__name__").to_owned(), sample.value);
    }
    rows.into_values().collect()
}

fn name(labels: &BTreeMap<String, String>) -> String {
    ["recording", "mode"].iter().find_map(|label| labels.get(*label)).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incident_comes_first_and_has_its_own_alert() {
        let output =
            |query, label, name, value| Series::new("anomaly_score", &[("for", query), (label, name)], [(0, value)]);
        let outputs = [
            output("cpu", "mode", "user", 0.1),
            output("recording", "recording", "amzn_mentions", 0.2),
            output("recording", "recording", crate::replay::INCIDENT, 4.0),
        ];
        let labels = outputs[2].labels.clone();
        let alert = Alert {
            name: ALERT.to_owned(),
            state: "firing".to_owned(),
            labels,
            annotations: BTreeMap::new(),
            active_at: String::new(),
        };
        let rows = rows(&outputs, &[alert]);
        let shown: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.fires)).collect();
        assert_eq!(shown, [(crate::replay::INCIDENT, true), ("amzn_mentions", false), ("user", false)]);
        assert_eq!(rows[0].output("anomaly_score"), Some(4.0));
    }
}
