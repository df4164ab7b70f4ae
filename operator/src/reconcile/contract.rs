//! In which version of the contract the workers' files are written. Pure.

use std::ops::RangeInclusive;

use config::contract::{CONTRACT_VERSION, OLDEST_CONTRACT_VERSION};

use crate::workers::state::Worker;

/// The versions that this operator writes.
pub const WRITTEN: RangeInclusive<u32> = OLDEST_CONTRACT_VERSION..=CONTRACT_VERSION;

/// A worker understands none of the versions that this operator writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pod} understands contract {understands}, this operator writes {oldest} or newer")]
pub struct WorkerTooOld {
    /// Its pod.
    pub pod: String,
    /// The newest contract that it understands.
    pub understands: u32,
    /// The oldest that the operator writes.
    pub oldest: u32,
}

/// The highest contract that the operator writes (`written`), that every worker understands, and that is no higher than
/// the `recorded` one, the live topology's, while any worker does not say what it understands: a pod that does not
/// answer may be one of the older release, which would start and find a file that it cannot read.
///
/// # Errors
/// A worker is older than anything that the operator writes.
pub fn contract(written: &RangeInclusive<u32>, recorded: Option<u32>, workers: &[Worker]) -> Result<u32, WorkerTooOld> {
    let (oldest, newest) = (*written.start(), *written.end());
    let reports = || workers.iter().filter_map(|worker| Some((worker, worker.report()?.contract_version)));
    if let Some((worker, understands)) = reports().min_by_key(|(_, understands)| *understands)
        && understands < oldest
    {
        return Err(WorkerTooOld { pod: worker.pod.clone(), understands, oldest });
    }
    let understood = reports().map(|(_, understands)| understands).fold(newest, u32::min);
    let all_answer = workers.iter().all(|worker| worker.report().is_some());
    Ok(match recorded {
        Some(recorded) if !all_answer => understood.min(recorded.max(oldest)),
        _ => understood,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::workers::report::Report;
    use crate::workers::state::WorkerState;

    /// Workers that understand these contracts; `None` does not answer.
    fn workers(understand: &[Option<u32>]) -> Vec<Worker> {
        let worker = |(rank, understands): (u32, &Option<u32>)| {
            let report = |contract_version| Arc::new(Report { contract_version, ..Report::default() });
            let state = understands.map_or(WorkerState::Silent, |version| WorkerState::Answers(report(version)));
            Worker { pod: format!("r{rank}-0"), rank, shard: 0, state }
        };
        (0..).zip(understand).map(worker).collect()
    }

    fn written_by(operator: RangeInclusive<u32>, recorded: Option<u32>, understand: &[Option<u32>]) -> Option<u32> {
        contract(&operator, recorded, &workers(understand)).ok()
    }

    const OLD: Option<u32> = Some(1);
    const NEW: Option<u32> = Some(2);

    #[test]
    fn an_upgrade_writes_the_older_contract_until_the_last_worker_is_new() {
        assert_eq!(written_by(1..=1, None, &[None, None]), Some(1), "a new deployment");
        // The operator first, then rank by rank.
        for understand in [[OLD, OLD], [OLD, None], [OLD, NEW], [None, NEW]] {
            assert_eq!(written_by(1..=2, Some(1), &understand), Some(1), "{understand:?}");
        }
        assert_eq!(written_by(1..=2, Some(1), &[NEW, NEW]), Some(2));
        assert_eq!(written_by(1..=2, Some(2), &[None, NEW]), Some(2), "a restart afterwards");
        assert_eq!(written_by(1..=2, None, &[None, None]), Some(2), "a new deployment of the newer release");
    }

    #[test]
    fn a_rollback_writes_the_older_contract_as_soon_as_anybody_needs_it() {
        // The workers go back, the operator stays.
        assert_eq!(written_by(1..=2, Some(2), &[NEW, None]), Some(2));
        assert_eq!(written_by(1..=2, Some(2), &[NEW, OLD]), Some(1));
        assert_eq!(written_by(1..=2, Some(1), &[None, OLD]), Some(1));
        // The operator goes back, too, and finds what the newer one wrote.
        for understand in [[NEW, NEW], [NEW, None], [None, None]] {
            assert_eq!(written_by(1..=1, Some(2), &understand), Some(1), "{understand:?}");
        }
        // And forward again.
        assert_eq!(written_by(1..=2, Some(1), &[NEW, NEW]), Some(2));
    }

    #[test]
    fn a_worker_older_than_everything_that_is_written_is_named() {
        let too_old = contract(&(2..=3), Some(2), &workers(&[Some(3), Some(1)])).unwrap_err();
        assert_eq!(too_old.to_string(), "r1-0 understands contract 1, this operator writes 2 or newer");
    }

    proptest! {
        #[test]
        fn nobody_gets_what_it_does_not_understand_and_nothing_is_raised_past_a_silent_worker(
            (oldest, more) in (1_u32..4, 0_u32..3),
            recorded in prop::option::of(1_u32..6),
            understand in prop::collection::vec(prop::option::of(1_u32..6), 1..6),
        ) {
            let newest = oldest + more;
            let lowest = understand.iter().flatten().min().copied();
            match contract(&(oldest..=newest), recorded, &workers(&understand)) {
                Ok(version) => {
                    prop_assert!((oldest..=newest).contains(&version));
                    prop_assert!(understand.iter().flatten().all(|understands| version <= *understands));
                    let silent = understand.contains(&None);
                    prop_assert!(!silent || recorded.is_none_or(|recorded| version <= recorded.max(oldest)));
                    prop_assert!(silent || version == lowest.unwrap_or(newest).min(newest));
                }
                Err(_) => prop_assert!(lowest.is_some_and(|lowest| lowest < oldest)),
            }
        }
    }
}
