//! Conditions that change only when they have something to say. Pure.

use crds::status::{ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::workers::report::same_words;

/// Longest message, characters.
const LONGEST_MESSAGE: usize = 1024;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `Some(true)`, `Some(false)` or, for Unknown, `None`.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// The same for people; empty when there is nothing to add.
    pub message: String,
}

impl Finding {
    /// It holds.
    #[must_use]
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into() }
    }

    /// It does not.
    #[must_use]
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into() }
    }
}

/// The condition that follows `before`. Its time is that of the last change of its status. A message that repeats an
/// error of a database is left as it was when only numbers in it differ.
#[must_use]
pub fn following(
    before: Option<&Condition>,
    type_: ConditionType,
    finding: &Finding,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match finding.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let mut message: String = finding.message.chars().take(LONGEST_MESSAGE).collect();
    let same = before.filter(|before| before.status == status);
    if let Some(same) = same
        && same.reason == finding.reason.name()
        && repeats_foreign_words(finding.reason)
        && same_words(&same.message, &message)
    {
        message.clone_from(&same.message);
    }
    Condition {
        type_: type_.name().to_owned(),
        status: status.to_owned(),
        reason: finding.reason.name().to_owned(),
        message,
        observed_generation: generation,
        // Conditions have whole seconds.
        last_transition_time: same.map_or_else(
            || Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
            |same| same.last_transition_time.clone(),
        ),
    }
}

fn repeats_foreign_words(reason: Reason) -> bool {
    matches!(reason, Reason::QueryRejected | Reason::StandingStill | Reason::ScoresRejected)
}

/// The condition of this type.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.name())
}

/// Some of many names, for a message.
#[must_use]
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
