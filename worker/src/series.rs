//! Which series a job has, which slot each one has, and which series of an answer are taken in.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{environment::RangeAnswer, labels::Labels, output::OutputFormat, plan::JobPlan};

/// A map by label set, on the hash that the label set already has.
pub type ByLabels<V> = HashMap<Labels, V, BuildHasherDefault<Prehashed>>;

/// Takes the hash that is written as it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A series with state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its labels, as the query returns them.
    pub labels: Labels,
    /// The newest tick that brought a sample.
    pub last_seen: i64,
}

/// What is known of a label set that the query has returned.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Hash of the labels that its outputs get.
    output: u64,
    place: Place,
    /// The answer that had it last.
    answer: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Ours, with state in a slot.
    Slot(u32),
    /// Ours, without a slot: new, or over the limit.
    Waiting,
    /// Another shard's.
    Foreign,
    /// A score that a worker wrote.
    OwnScore,
}

/// The series of one job.
#[derive(Debug, Default)]
pub struct SeriesTable {
    slots: Vec<Option<Series>>,
    free: BTreeSet<u32>,
    known: ByLabels<Known>,
    /// Label sets by the labels of their outputs, where several share one.
    sharing: HashMap<u64, Vec<Labels>>,
    first_with_output: HashMap<u64, Labels>,
    active: usize,
    answer: u64,
    seen_in_answer: usize,
    own_scores_in_answer: usize,
}

/// What of an answer is taken in.
#[derive(Debug, Default)]
pub struct Admitted {
    /// `(slot, row of the answer)`, by slot.
    pub rows: Vec<(u32, usize)>,
    /// Own series without a place, because the limit is reached.
    pub over_limit: usize,
    /// Groups of series that would write the same outputs: refused.
    pub collisions: Vec<Vec<Labels>>,
    /// Series that are scores of a worker: refused.
    pub own_scores: usize,
}

impl SeriesTable {
    /// Slots in use and free.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Series with state.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active
    }

    /// The series in a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Series> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The labels of the series in a slot; empty if there is none.
    #[must_use]
    pub fn labels(&self, slot: u32) -> Labels {
        self.get(slot).map_or_else(|| Labels::new(std::iter::empty::<(&str, &str)>()), |series| series.labels.clone())
    }

    /// Notes that the series in a slot had a sample at `tick`.
    pub fn seen(&mut self, slot: u32, tick: i64) {
        if let Some(Some(series)) = self.slots.get_mut(slot as usize) {
            series.last_seen = series.last_seen.max(tick);
        }
    }

    /// The own copy of a label set that is known already.
    #[must_use]
    pub fn own(&self, labels: &Labels) -> Option<Labels> {
        self.known.get_key_value(labels).map(|(own, _)| own.clone())
    }

    /// Takes in a series that another rank has admitted at `tick`, and returns its slot.
    pub fn take_in(&mut self, labels: &Labels, tick: i64, plan: &JobPlan, format: &OutputFormat) -> u32 {
        if !self.known.contains_key(labels) {
            let known = self.classify(labels, plan, format);
            self.known.insert(labels.clone(), known);
        }
        let slot = self.place(labels, tick);
        self.seen(slot, tick);
        slot
    }

    /// Drops the series that `wanted` does not accept and returns their slots.
    pub fn retain(&mut self, wanted: impl Fn(&Labels) -> bool) -> Vec<u32> {
        let dropped: Vec<u32> =
            self.series().filter(|(_, series)| !wanted(&series.labels)).map(|(slot, _)| slot).collect();
        for slot in &dropped {
            self.drop_slot(*slot);
        }
        dropped
    }

    /// The slot of a series with state.
    #[must_use]
    pub fn slot_of(&self, labels: &Labels) -> Option<u32> {
        match self.known.get(labels)?.place {
            Place::Slot(slot) => Some(slot),
            Place::Waiting | Place::Foreign | Place::OwnScore => None,
        }
    }

    /// Starts an answer: what [`SeriesTable::keep`] is asked from now on belongs to it.
    pub fn begin_answer(&mut self) {
        self.answer += 1;
        self.seen_in_answer = 0;
        self.own_scores_in_answer = 0;
    }

    /// Whether the samples of a series are wanted.
    pub fn keep(&mut self, labels: &Labels, plan: &JobPlan, format: &OutputFormat) -> bool {
        self.seen_in_answer += 1;
        let answer = self.answer;
        let known = match self.known.get_mut(labels) {
            Some(known) => known,
            None => {
                let known = self.classify(labels, plan, format);
                self.known.entry(labels.clone()).or_insert(known)
            }
        };
        known.answer = answer;
        self.own_scores_in_answer += usize::from(known.place == Place::OwnScore);
        matches!(known.place, Place::Slot(_) | Place::Waiting)
    }

    fn classify(&mut self, labels: &Labels, plan: &JobPlan, format: &OutputFormat) -> Known {
        if is_own_score(labels) {
            return Known { output: 0, place: Place::OwnScore, answer: 0 };
        }
        let output = format.identity(labels).hash();
        match self.first_with_output.get(&output) {
            None => {
                self.first_with_output.insert(output, labels.clone());
            }
            Some(first) if first != labels => {
                let group = self.sharing.entry(output).or_insert_with(|| vec![first.clone()]);
                group.push(labels.clone());
            }
            Some(_) => {}
        }
        let place = if plan.has(labels) { Place::Waiting } else { Place::Foreign };
        Known { output, place, answer: 0 }
    }

    /// Decides which rows of the answer are taken in, and gives new series their slots: series with state keep their
    /// place, then the hash of the labels decides, so that the order of the answer does not matter.
    pub fn admit(&mut self, answer: &RangeAnswer, tick: i64, limit: usize) -> Admitted {
        let mut admitted =
            Admitted { collisions: self.collisions(), own_scores: self.own_scores_in_answer, ..Admitted::default() };
        let collided = |output: u64, sharing: &HashMap<u64, Vec<Labels>>| {
            sharing.contains_key(&output)
                && admitted
                    .collisions
                    .iter()
                    .flatten()
                    .any(|labels| self.known.get(labels).is_some_and(|known| known.output == output))
        };
        let mut waiting: Vec<(&Labels, usize)> = Vec::new();
        let mut rows = Vec::with_capacity(answer.series.len());
        for (row, labels) in answer.series.iter().enumerate() {
            match self.known.get(labels) {
                Some(known) if collided(known.output, &self.sharing) => {}
                Some(Known { place: Place::Slot(slot), .. }) => rows.push((*slot, row)),
                Some(Known { place: Place::Waiting, .. }) => waiting.push((labels, row)),
                _ => {}
            }
        }
        for (slot, _) in &rows {
            self.seen(*slot, tick);
        }
        waiting.sort_by_key(|(labels, _)| labels.hash());
        for (labels, row) in waiting {
            if self.active() < limit {
                rows.push((self.place(labels, tick), row));
            } else {
                admitted.over_limit += 1;
            }
        }
        rows.sort_unstable();
        admitted.rows = rows;
        self.forget_unseen();
        admitted
    }

    /// Gives a series a slot, the lowest free one, or the one it has.
    pub fn place(&mut self, labels: &Labels, tick: i64) -> u32 {
        if let Some(slot) = self.slot_of(labels) {
            return slot;
        }
        let slot = self.free.pop_first().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.put(slot, labels, tick);
        slot
    }

    /// Puts a series into a certain slot, as stored state says it.
    pub fn put(&mut self, slot: u32, labels: &Labels, last_seen: i64) {
        while self.slots.len() <= slot as usize {
            self.free.insert(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(None);
        }
        self.free.remove(&slot);
        // The loop above made the slot.
        let before = self.slots[slot as usize].replace(Series { labels: labels.clone(), last_seen });
        match before {
            None => self.active += 1,
            Some(before) if before.labels != *labels => {
                self.known.remove(&before.labels);
            }
            Some(_) => {}
        }
        self.known.entry(labels.clone()).and_modify(|known| known.place = Place::Slot(slot)).or_insert(Known {
            output: 0,
            place: Place::Slot(slot),
            answer: 0,
        });
    }

    /// Fills in what [`SeriesTable::put`] cannot know: the outputs' labels of every series with state.
    pub fn settle(&mut self, plan: &JobPlan, format: &OutputFormat) {
        self.known.clear();
        self.sharing.clear();
        self.first_with_output.clear();
        let placed: Vec<(u32, Labels)> = self.series().map(|(slot, series)| (slot, series.labels.clone())).collect();
        for (slot, labels) in placed {
            let mut known = self.classify(&labels, plan, format);
            known.place = Place::Slot(slot);
            self.known.insert(labels, known);
        }
    }

    /// All series with state, by slot.
    pub fn series(&self) -> impl Iterator<Item = (u32, &Series)> {
        (0..).zip(&self.slots).filter_map(|(slot, series)| series.as_ref().map(|series| (slot, series)))
    }

    /// Drops the series that were last seen before the tick `before` and returns their slots, which become free for
    /// others with [`SeriesTable::reclaim`].
    pub fn expire(&mut self, before: i64) -> Vec<u32> {
        let expired: Vec<u32> =
            self.series().filter(|(_, series)| series.last_seen < before).map(|(slot, _)| slot).collect();
        for slot in &expired {
            self.drop_slot(*slot);
        }
        expired
    }

    /// Drops the series that `plan` no longer gives to this shard.
    pub fn drop_foreign(&mut self, plan: &JobPlan) -> Vec<u32> {
        self.retain(|labels| plan.has(labels))
    }

    fn drop_slot(&mut self, slot: u32) {
        if let Some(series) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.active -= 1;
            self.known.remove(&series.labels);
        }
    }

    /// Leaves slots without a series unused as long as something refers to them; from `end` on nothing does.
    pub fn reserve(&mut self, end: u32, referred_to: impl Fn(u32) -> bool) {
        self.slots.resize(self.slots.len().max(end as usize), None);
        self.free.clear();
        self.reclaim(referred_to);
    }

    /// Frees dropped slots for new series, where nothing refers to them any more.
    pub fn reclaim(&mut self, referred_to: impl Fn(u32) -> bool) {
        for (slot, series) in (0..).zip(&self.slots) {
            if series.is_none() && !referred_to(slot) {
                self.free.insert(slot);
            }
        }
    }

    fn collisions(&self) -> Vec<Vec<Labels>> {
        let in_answer = |labels: &&Labels| self.known.get(*labels).is_some_and(|known| known.answer == self.answer);
        self.sharing
            .values()
            .map(|group| group.iter().filter(in_answer).cloned().collect::<Vec<_>>())
            .filter(|group| group.len() > 1)
            .collect()
    }

    /// Keeps the memory of what is known in proportion to what the query returns.
    fn forget_unseen(&mut self) {
        if self.known.len() <= 2 * self.seen_in_answer.max(self.slots.len()) + 1024 {
            return;
        }
        let answer = self.answer;
        self.known.retain(|_, known| known.answer == answer || matches!(known.place, Place::Slot(_)));
        let known = &self.known;
        self.first_with_output.retain(|_, labels| known.contains_key(labels));
        self.sharing.retain(|_, group| {
            group.retain(|labels| known.contains_key(labels));
            group.len() > 1
        });
    }
}

/// Whether a series is the output of a worker: these two labels together are on every output and on nothing else.
fn is_own_score(labels: &Labels) -> bool {
    labels.get("model_alias").is_some() && labels.get("scheduler_alias").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(number: u32) -> Labels {
        Labels::new([("number", number.to_string())])
    }

    #[test]
    fn a_slot_that_something_still_refers_to_is_given_to_no_other_series_after_a_restart() {
        let mut table = SeriesTable::default();
        table.put(3, &labels(3), 0);
        // A restored table knows only the series that snapshots have; records may name slots below and above.
        let referred = [0, 1, 4, 6];
        table.reserve(7, |slot| referred.contains(&slot));
        let given: Vec<u32> = (10..14).map(|number| table.place(&labels(number), 0)).collect();
        assert_eq!(given, [2, 5, 7, 8]);
        table.reclaim(|_| false);
        assert_eq!(table.place(&labels(20), 0), 0);
    }
}
