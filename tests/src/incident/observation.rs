//! What there is to see now: the newest outputs of every series, and its alert.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use config::ownership::{Spread, ownership_key, shard_of_key};

use super::replay::INCIDENT;
use crate::http::{Endpoint, HttpError};
use crate::series::Series;
use crate::vmalert::Alert;

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
    /// What its alert says, if it fires.
    pub alert: Option<String>,
    /// The shard that owns it, where there are several.
    pub shard: Option<u32>,
}

impl Row {
    /// An output, if there is one.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<f64> {
        self.outputs.get(name).copied()
    }

    /// Whether its alert fires.
    #[must_use]
    pub fn fires(&self) -> bool {
        self.alert.is_some()
    }
}

/// Where there is something to see.
#[derive(Debug, Clone)]
pub struct Observer {
    /// The TSDB.
    pub tsdb: Endpoint,
    /// vmalert.
    pub vmalert: Endpoint,
    /// Outputs older than this are not shown.
    pub lookback: Duration,
    /// Over how many shards the series are spread, each by its labels.
    pub shards: Option<NonZeroU32>,
}

impl Observer {
    /// Reads all of it. The recording with the incident comes first, then the others, then what is live.
    ///
    /// # Errors
    /// When TSDB or vmalert do not answer.
    pub async fn observe(&self, now: i64) -> Result<Vec<Row>, HttpError> {
        let lookback = self.lookback.as_millis();
        let expr = format!(
            r#"last_over_time({{__name__=~"anomaly_score|y|yhat|yhat_lower|yhat_upper",for!=""}}[{lookback}ms])"#
        );
        let outputs = self.tsdb.query(&expr, now).await?;
        let alerts = self.vmalert.alerts().await?;
        Ok(rows(&outputs, &alerts, self.shards))
    }
}

fn rows(outputs: &[Series], alerts: &[Alert], shards: Option<NonZeroU32>) -> Vec<Row> {
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    for series in outputs {
        let Some(sample) = series.samples.last() else {
            continue;
        };
        let (query, name) = (series.label("for").to_owned(), name(&series.labels));
        let order = (query != "recording", name != INCIDENT, query.clone(), name.clone());
        let row = rows.entry(order).or_insert_with(|| Row {
            alert: firing(alerts, &query, &name).map(|alert| alert.description().to_owned()),
            shard: shards.map(|shards| shard(series, shards)),
            query,
            name,
            outputs: BTreeMap::new(),
        });
        row.outputs.insert(series.label("__name__").to_owned(), sample.value);
    }
    rows.into_values().collect()
}

/// The alert of a series, if it fires.
fn firing<'a>(alerts: &'a [Alert], query: &str, name: &str) -> Option<&'a Alert> {
    alerts.iter().find(|alert| {
        alert.name == ALERT
            && alert.is_firing()
            && alert.labels.get("for").is_some_and(|its| its == query)
            && self::name(&alert.labels) == name
    })
}

/// Labels of an output that its input does not have.
const ADDED: [&str; 4] = ["for", "model_alias", "scheduler_alias", "preset"];

/// The shard that owns the input of an output.
#[must_use]
pub fn shard(output: &Series, shards: NonZeroU32) -> u32 {
    let labels = output.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let labels = labels.filter(|(name, _)| !ADDED.contains(name));
    let mut key = Vec::new();
    ownership_key(&Spread::Series, None, output.label("for"), labels, &mut key);
    shard_of_key(&key, shards)
}

fn name(labels: &BTreeMap<String, String>) -> String {
    ["recording", "mode", "device"].iter().find_map(|label| labels.get(*label)).cloned().unwrap_or_default()
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
            output("recording", "recording", INCIDENT, 4.0),
        ];
        let labels = outputs[2].labels.clone();
        let alert = Alert {
            name: ALERT.to_owned(),
            state: "firing".to_owned(),
            labels,
            annotations: BTreeMap::from([("description".to_owned(), "too much".to_owned())]),
            active_at: String::new(),
        };
        let rows = rows(&outputs, &[alert], None);
        let shown: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.alert.as_deref())).collect();
        assert_eq!(shown, [(INCIDENT, Some("too much")), ("amzn_mentions", None), ("user", None)]);
        assert_eq!(rows[0].output("anomaly_score"), Some(4.0));
    }
}
