//! The part of a worker's `/status` that decides about conditions: reasons, not numbers, so that a system in which
//! nothing happens but detection has nothing to report. Pure.

use std::collections::BTreeMap;

use config::status::{ErrorKind, JobPhase, JobStatus, NotReadyReason, ReloadState, Status};

/// From this lag on a job that waits for the TSDB counts as standing still, ms.
const STANDING_STILL_FROM_MS: i64 = 60_000;

/// What one worker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Version of the contract between operator and worker.
    pub contract_version: u32,
    /// Release of the worker.
    pub worker_version: String,
    /// Epoch of its topology.
    pub epoch: u64,
    /// Whether all its series have come to where that epoch has them.
    pub settled: bool,
    /// Replicas of every shard in its topology.
    pub ranks: Option<u32>,
    /// Revision of its configuration.
    pub revision: Option<String>,
    /// Whether it has restored its state and answers.
    pub ready: bool,
    /// Whether it restores its state.
    pub restoring: bool,
    /// Why it refuses the newest configuration.
    pub refused_configuration: Option<String>,
    /// By query alias.
    pub queries: BTreeMap<String, QueryReport>,
}

/// What one worker says about one query, over all its schedulers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryReport {
    /// Some model has no fit yet.
    pub first_fit: bool,
    /// The TSDB will not answer the query, in its words.
    pub query_refused: Option<String>,
    /// The TSDB will not take the scores, in its words.
    pub scores_refused: Option<String>,
    /// It waits for the TSDB or its volume for a minute or more, in their words.
    pub standing_still: Option<String>,
    /// It works off ticks.
    pub catching_up: bool,
    /// Series found no place under the limit.
    pub over_limit: bool,
    /// Series are refused, because their outputs collide.
    pub collided: bool,
    /// Its series only grow, and it does not ask how fast.
    pub counters_without_rate: bool,
    /// It has more series than its false alarms are enough for.
    pub beyond_alarm_budget: bool,
}

impl Report {
    /// The deciding part of an answer.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let mut queries: BTreeMap<String, QueryReport> = BTreeMap::new();
        for job in &status.jobs {
            queries.entry(job.query.clone()).or_default().add(job);
        }
        Self {
            contract_version: status.contract_version,
            worker_version: status.worker_version.clone(),
            epoch: status.epoch,
            settled: status.jobs.iter().all(|job| job.epoch == status.epoch && job.open_handovers == 0),
            ranks: Some(status.ranks),
            revision: status.config.revision.clone(),
            ready: status.ready,
            restoring: status.not_ready.iter().any(|why| why.reason == NotReadyReason::Restoring),
            refused_configuration: (status.config.reload == ReloadState::Invalid)
                .then(|| status.config.last_error.clone().unwrap_or_default()),
            queries,
        }
    }

    /// This report with the words of `before` where only numbers in them differ: times and addresses in error messages
    /// must not make a system talk that has nothing new to say.
    #[must_use]
    pub fn in_the_words_of(mut self, before: &Self) -> Self {
        keep_words(&mut self.refused_configuration, &before.refused_configuration);
        for (alias, query) in &mut self.queries {
            let Some(before) = before.queries.get(alias) else { continue };
            keep_words(&mut query.query_refused, &before.query_refused);
            keep_words(&mut query.scores_refused, &before.scores_refused);
            keep_words(&mut query.standing_still, &before.standing_still);
        }
        self
    }
}

impl QueryReport {
    fn add(&mut self, job: &JobStatus) {
        let words = || Some(job.last_error.clone().unwrap_or_default());
        match job.last_error_kind {
            Some(ErrorKind::QueryRefused) => self.query_refused = words(),
            Some(ErrorKind::ScoresRefused) => self.scores_refused = words(),
            Some(_) if job.lag_ms >= STANDING_STILL_FROM_MS || job.phase == JobPhase::Fitting => {
                self.standing_still = words();
            }
            _ => {}
        }
        let unfitted = job.models.values().any(|model| model.fitted_to_ms.is_none());
        // A job that waits for series of another shard gets their fits with them.
        self.first_fit |= job.open_handovers == 0 && (job.phase == JobPhase::Fitting || unfitted);
        self.catching_up |= job.phase == JobPhase::CatchingUp && job.lag_ms >= STANDING_STILL_FROM_MS;
        self.over_limit |= job.refused_series > 0;
        self.collided |= job.collided_series > 0;
        self.counters_without_rate |= job.counters_without_rate;
        self.beyond_alarm_budget |= job.beyond_alarm_budget;
    }
}

fn keep_words(now: &mut Option<String>, before: &Option<String>) {
    if let (Some(words), Some(before)) = (&*now, before)
        && same_words(words, before)
    {
        *now = Some(before.clone());
    }
}

/// Whether two texts differ in digits only.
#[must_use]
pub fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| -> String { text.chars().filter(|character| !character.is_ascii_digit()).collect() };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_times_in_an_error_are_no_news_and_another_error_is() {
        let report = |words: &str| Report {
            queries: BTreeMap::from([(
                "q".to_owned(),
                QueryReport { query_refused: Some(words.to_owned()), ..QueryReport::default() },
            )]),
            ..Report::default()
        };
        let before = report("cannot parse at 12:00:01");
        assert_eq!(report("cannot parse at 12:00:59").in_the_words_of(&before), before);
        assert_ne!(report("too many series").in_the_words_of(&before), before);
    }
}
