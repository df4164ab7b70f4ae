//! `/api/v1/alarms`: what is above a score of 1, and why.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Shared, listener::refusal};
use crate::alarms::Alarm;

/// Alarms of an answer if the question names no limit.
const USUAL_LIMIT: usize = 100;

/// What a question asks for: alarms that fulfil all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    query: Option<String>,
    model: Option<String>,
    scheduler: Option<String>,
    labels: Vec<(String, String)>,
    limit: usize,
}

pub(super) async fn alarms(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    match Wanted::parse(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => Json(shared.alarms.alarms(|alarm| wanted.accepts(alarm), wanted.limit)).into_response(),
        Err(message) => refusal(StatusCode::BAD_REQUEST, &message),
    }
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self { query: None, model: None, scheduler: None, labels: Vec::new(), limit: USUAL_LIMIT };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "query" => wanted.query = Some(value.into_owned()),
                "model" => wanted.model = Some(value.into_owned()),
                "scheduler" => wanted.scheduler = Some(value.into_owned()),
                "label" => match value.split_once('=') {
                    Some((name, value)) => wanted.labels.push((name.to_owned(), value.to_owned())),
                    None => return Err(format!("label: {value:?} is not name=value")),
                },
                "limit" => {
                    wanted.limit =
                        value.parse().map_err(|_| format!("limit: {value:?} is not a number of 0 and more"))?;
                }
                other => {
                    return Err(format!(
                        "unknown parameter {other:?}: there are query, model, scheduler, label, limit"
                    ));
                }
            }
        }
        Ok(wanted)
    }

    fn accepts(&self, alarm: &Alarm) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.query, &alarm.query)
            && is(&self.model, &alarm.model)
            && is(&self.scheduler, &alarm.scheduler)
            && self.labels.iter().all(|(name, value)| {
                // No label and an empty one are the same.
                alarm.labels.get(name).map_or("", String::as_str) == value
            })
    }
}
