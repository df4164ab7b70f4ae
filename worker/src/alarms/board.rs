//! The alarms of all jobs, for those who ask from other threads.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use super::{Alarm, Listed};

/// Alarms of one job that are kept for showing, those with the highest scores.
pub const MOST_OF_A_JOB: usize = 1_000;

/// What the jobs show. They write it after their ticks, the API reads it; nothing is computed under the lock.
#[derive(Debug, Default)]
pub struct AlarmBoard {
    jobs: Mutex<BTreeMap<String, Arc<Listed>>>,
}

/// Some alarms of a worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alarms {
    /// How many there are.
    pub total: usize,
    /// Highest score first; fewer than `total` if the limit, or that of a job, left some out.
    pub alarms: Vec<Alarm>,
}

impl AlarmBoard {
    /// Puts what a job shows in place of what it showed before.
    pub fn show(&self, job: &str, listed: Listed) {
        let mut jobs = self.lock();
        if listed.total() == 0 {
            jobs.remove(job);
        } else {
            jobs.insert(job.to_owned(), Arc::new(listed));
        }
    }

    /// The alarms that `wanted` accepts, at most `most`, highest score first. What a job left out for want of space
    /// counts where `wanted` accepts all that the job shows.
    #[must_use]
    pub fn alarms(&self, wanted: impl Fn(&Alarm) -> bool, most: usize) -> Alarms {
        let jobs: Vec<Arc<Listed>> = self.lock().values().cloned().collect();
        let mut alarms = Vec::new();
        let mut left_out = 0;
        for listed in jobs {
            let before = alarms.len();
            let mut shown = 0;
            alarms.extend(listed.alarms().inspect(|_| shown += 1).filter(&wanted));
            if alarms.len() - before == shown {
                left_out += listed.total() - shown;
            }
        }
        alarms.sort_by(|one, other| other.score.total_cmp(&one.score));
        let total = alarms.len() + left_out;
        alarms.truncate(most);
        Alarms { total, alarms }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Listed>>> {
        // A map of values that are put there whole is whole after a panic, too.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
