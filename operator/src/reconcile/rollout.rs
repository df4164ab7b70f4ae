//! In which order the groups of workers, one for each rank, take a new pod template: one after the other, so that every
//! shard keeps a worker. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;

use crate::names::TEMPLATE;

/// What is seen of the StatefulSet of a rank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// Pods that it asks for.
    pub pods: u32,
    /// Pods that there are.
    pub existing: u32,
    /// Pods that are ready, whatever their template.
    pub ready: u32,
    /// Whether all of them are ready and have its template.
    pub rolled_out: bool,
    /// The hash of the template that was applied; `None` when somebody removed it.
    pub template_hash: Option<String>,
    /// The template.
    pub template: PodTemplateSpec,
}

impl Group {
    /// Of a live StatefulSet.
    #[must_use]
    pub fn of(set: &StatefulSet) -> Self {
        let spec = set.spec.clone().unwrap_or_default();
        let status = set.status.clone().unwrap_or_default();
        let count = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        let pods = count(spec.replicas);
        let observed = status.observed_generation >= set.metadata.generation;
        let ready = count(status.ready_replicas);
        Self {
            pods,
            existing: u32::try_from(status.replicas).unwrap_or(0),
            ready,
            rolled_out: observed && ready >= pods && count(status.updated_replicas) >= pods,
            template_hash: set.annotations().get(TEMPLATE).cloned(),
            template: spec.template,
        }
    }

    /// `wanted` with the template that the group has.
    #[must_use]
    pub fn with_own_template(&self, mut wanted: StatefulSet) -> StatefulSet {
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        annotations.remove(TEMPLATE);
        annotations.extend(self.template_hash.clone().map(|hash| (TEMPLATE.to_owned(), hash)));
        if let Some(spec) = &mut wanted.spec {
            spec.template = self.template.clone();
        }
        wanted
    }
}

/// How far a rank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has no StatefulSet.
    Absent,
    /// It has the newest template.
    Newest {
        /// Whether all its pods have it, are ready, and have restored their state.
        settled: bool,
    },
    /// It has another one.
    Behind {
        /// The same.
        settled: bool,
        /// Whether any of its workers works, so that there is something to lose.
        serves: bool,
    },
}

/// Ranks that wait for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Those that wait, the highest first.
    pub waiting: Vec<u32>,
    /// The one that they wait for.
    pub first: u32,
}

/// Which ranks do not get the newest template yet. What is absent or does not serve gets it at once; of the others one
/// at a time does: one that does not do well before those that do, so that a change which corrects something is not
/// held up by what it corrects, then from the highest rank to the lowest, and each only when all that have the newest
/// template are settled.
#[must_use]
pub fn hold(ranks: &BTreeMap<u32, Progress>) -> Option<Hold> {
    let highest_first = || ranks.iter().rev();
    let under_way = highest_first().find(|(_, progress)| match progress {
        Progress::Absent => true,
        Progress::Newest { settled } => !settled,
        Progress::Behind { serves, .. } => !serves,
    });
    let behind = |unsettled: bool| {
        highest_first().find(|(_, progress)| match progress {
            Progress::Behind { settled, serves: true } => !(unsettled && *settled),
            _ => false,
        })
    };
    let (first, _) = under_way.or_else(|| behind(true)).or_else(|| behind(false))?;
    let waits = |(rank, progress): &(&u32, &Progress)| {
        *rank != first && matches!(progress, Progress::Behind { serves: true, .. })
    };
    let waiting: Vec<u32> = highest_first().filter(waits).map(|(rank, _)| *rank).collect();
    (!waiting.is_empty()).then_some(Hold { waiting, first: *first })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Progress::{Absent, Behind, Newest};
    use super::*;

    const OLD: Progress = Behind { settled: true, serves: true };
    const DONE: Progress = Newest { settled: true };
    const STARTING: Progress = Newest { settled: false };

    /// (waiting, first) for ranks from 0 on.
    fn held(ranks: &[Progress]) -> Option<(Vec<u32>, u32)> {
        hold(&(0..).zip(ranks.iter().copied()).collect()).map(|hold| (hold.waiting, hold.first))
    }

    #[test]
    fn an_update_goes_from_the_highest_rank_to_the_lowest_and_waits_for_each() {
        assert_eq!(held(&[OLD, OLD, OLD]), Some((vec![1, 0], 2)));
        assert_eq!(held(&[OLD, OLD, STARTING]), Some((vec![1, 0], 2)));
        assert_eq!(held(&[OLD, OLD, DONE]), Some((vec![0], 1)));
        assert_eq!(held(&[OLD, DONE, DONE]), None);
        assert_eq!(held(&[OLD]), None);
    }

    #[test]
    fn new_ranks_come_at_once_and_an_update_waits_for_them() {
        assert_eq!(held(&[Absent, Absent]), None);
        assert_eq!(held(&[DONE, Absent]), None);
        assert_eq!(held(&[OLD, Absent]), Some((vec![0], 1)));
    }

    #[test]
    fn what_an_update_broke_is_corrected_at_once_and_before_what_works() {
        let broken = Behind { settled: false, serves: false };
        let halting = Behind { settled: false, serves: true };
        // The update was given up when rank 1 did not start: rank 0 has the template that is wanted again.
        assert_eq!(held(&[DONE, broken]), None);
        assert_eq!(held(&[OLD, broken, OLD]), Some((vec![2, 0], 1)));
        assert_eq!(held(&[OLD, halting, OLD]), Some((vec![2, 0], 1)));
        assert_eq!(held(&[broken, broken]), None);
    }

    fn progress() -> impl Strategy<Value = Progress> {
        prop_oneof![
            Just(Absent),
            any::<bool>().prop_map(|settled| Newest { settled }),
            any::<(bool, bool)>().prop_map(|(settled, serves)| Behind { settled: settled && serves, serves }),
        ]
    }

    proptest! {
        #[test]
        fn at_most_one_rank_that_serves_is_replaced_and_only_when_no_other_is_under_way(
            ranks in prop::collection::vec(progress(), 1..10),
        ) {
            let ranks: BTreeMap<u32, Progress> = (0..).zip(ranks).collect();
            let waiting = hold(&ranks).map(|hold| hold.waiting).unwrap_or_default();
            let replaced = |serving: bool| ranks.iter().filter(|(rank, progress)| {
                matches!(progress, Behind { serves, .. } if *serves == serving) && !waiting.contains(rank)
            }).count();
            let under_way = replaced(false)
                + ranks.values().filter(|progress| matches!(progress, Absent | Newest { settled: false })).count();
            prop_assert!(replaced(true) <= 1);
            prop_assert!(replaced(true) == 0 || under_way == 0);
            // Somebody always goes on.
            prop_assert!(waiting.is_empty() || replaced(true) + under_way > 0);
        }
    }
}
