//! What one job offers to other ranks: where it stands, its newest records, a finished fit, an image of its state.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, VecDeque},
    rc::Rc,
};

use bytes::Bytes;

use super::{
    lineage::{Lineage, Phase, Standing},
    message::{Answer, DictionaryVersion, Held, Next, NextRecord, Request},
};
use crate::{
    engine::TickInput,
    input_log::SkipReason,
    labels::Labels,
    share::{Handover, Progress},
    snapshot::{self, Block},
};

/// Values of all kept records together, 32 MiB. A rank that is further behind takes the whole state over.
const KEPT_VALUES: usize = 4 << 20;
/// A state, or a fit that took over, is taken off after so many further records: whoever lacks it then takes the state of
/// that moment.
const OFFERED_FOR: usize = 10;
/// Configurations kept: each step of a hand-over makes one.
const KEPT_PLANS: usize = 32;
/// Most records kept, however small.
const KEPT_ENTRIES: usize = 1_000;

/// One record, as a rank has logged it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The position before it, ms.
    pub after: i64,
    /// The position after it: the tick, or the last tick given up, ms.
    pub position: i64,
    /// Digest of the configuration that it was made under.
    pub plan: u64,
    /// The chain before it.
    pub before: u64,
    /// What happened.
    pub content: Content,
    /// The chain after it.
    pub chain: u64,
}

/// A fit that took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takeover {
    /// End of the fit, ms.
    pub fitted_to: i64,
    /// Digest of its states.
    pub digest: u64,
}

/// What a record says.
#[derive(Debug, Clone)]
pub enum Content {
    /// The accepted input of a tick, in the slots of the rank that offers it.
    Tick(TickInput),
    /// Ticks that will never be read.
    Skipped {
        /// First, ms.
        from: i64,
        /// Last, ms.
        to: i64,
        /// Why.
        reason: SkipReason,
    },
    /// A fit took over.
    TakenOver(Takeover),
    /// The series of another shard were released to it.
    Released {
        /// The shard.
        to: u32,
    },
    /// The series that another shard has released have joined the others.
    Joined {
        /// Which.
        handover: Handover,
        /// The chain of their states; 0: nobody had them.
        chain: u64,
    },
}

impl Content {
    fn values(&self) -> usize {
        match self {
            Self::Tick(input) => input.values.len() + input.slots.len() / 2,
            _ => 0,
        }
    }
}

/// A finished fit, for other ranks to take.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedFit {
    /// Its end, ms.
    pub fitted_to: i64,
    /// Whether only series without a state were fitted.
    pub partial: bool,
    /// Aliases of the models that it fits.
    pub models: Vec<String>,
    /// Digest of the configuration that it was made under.
    pub plan: u64,
    /// Valid samples learnt.
    pub samples: u64,
    /// Digest of the states.
    pub digest: u64,
    /// Blocks as in snapshot files.
    pub blocks: Vec<Bytes>,
}

/// The whole state of a job at one position.
#[derive(Debug, Clone)]
pub struct StateImage {
    /// Names this image.
    pub id: u64,
    /// Where the rank stood.
    pub standing: Standing,
    /// The configuration in force, in its canonical form.
    pub plan: Bytes,
    /// The fit that was due or under way, ms.
    pub fit_due: Option<i64>,
    /// The ticks that it has not seen.
    pub since_fit: Vec<TickInput>,
    /// The labels of their slots.
    pub definitions: Vec<(u32, Labels)>,
    /// Hand-overs of epochs before that have arrived at the rank, and are no part of this state yet.
    pub arrived: Vec<Handover>,
    /// Blocks as in snapshot files.
    pub blocks: Vec<Bytes>,
}

/// The states of some blocks, each as in a snapshot file. `None` where a block is too large for one, which the log says.
#[must_use]
pub fn encoded(job: &str, blocks: &[Block]) -> Option<Vec<Bytes>> {
    let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
    let encode = |block| snapshot::encode_block(block, count).map(Bytes::from);
    match blocks.iter().map(encode).collect() {
        Ok(blocks) => Some(blocks),
        Err(what) => {
            tracing::error!(job, "states cannot be offered to other ranks: {what}");
            None
        }
    }
}

/// Labels by slot, with the version at which each was defined.
#[derive(Debug, Default)]
struct Dictionary {
    version: DictionaryVersion,
    slots: Vec<Option<(u64, Labels)>>,
}

impl Dictionary {
    /// Returns whether the slot was another series' before.
    fn define(&mut self, slot: u32, labels: Labels) -> bool {
        let slot = slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        let is_known = self.slots[slot].as_ref().map(|(_, known)| *known == labels);
        if is_known != Some(true) {
            self.version.version += 1;
            self.slots[slot] = Some((self.version.version, labels));
        }
        is_known == Some(false)
    }

    fn since(&self, known: DictionaryVersion) -> Vec<(u32, Labels)> {
        let version = if known.incarnation == self.version.incarnation { known.version } else { 0 };
        if version == self.version.version {
            return Vec::new();
        }
        let defined = (0..).zip(&self.slots).filter_map(|(slot, defined)| Some((slot, defined.as_ref()?)));
        defined.filter(|(_, (at, _))| *at > version).map(|(slot, (_, labels))| (slot, labels.clone())).collect()
    }
}

/// What a job offers to other ranks.
#[derive(Debug, Default)]
pub struct Journal {
    /// Where the job stands.
    pub standing: Standing,
    /// Digests and canonical forms of the newest configurations, the newest last.
    plans: VecDeque<(u64, Bytes)>,
    entries: VecDeque<Rc<Entry>>,
    values: usize,
    /// Positions with the chain after them; several of one position where not only a tick was learnt there.
    points: VecDeque<(i64, u64)>,
    dictionary: Dictionary,
    fit: Option<Rc<SharedFit>>,
    /// Whether it has not taken over yet.
    fit_waits: bool,
    /// Records since it took over.
    fit_age: usize,
    image: Option<Rc<StateImage>>,
    /// Records since the image.
    image_age: usize,
    image_wanted: bool,
    /// Ranks that have asked since [`Journal::take_heard`].
    heard: BTreeSet<u32>,
    /// How far the job has durably followed the topology.
    progress: Progress,
    /// Hand-overs that have not joined the others yet, and whether they have arrived.
    under_way: Vec<(Handover, bool)>,
    /// What other ranks can have of this one.
    held: Held,
    /// Whether the job has a state, or will have one without others.
    has_state: bool,
    /// Shards that have asked for their series in this epoch.
    wanted: BTreeSet<u32>,
}

impl Journal {
    /// `incarnation` tells runs of the process apart.
    #[must_use]
    pub fn new(rank: u32, incarnation: u64) -> Self {
        Self {
            standing: Standing { rank, written: i64::MIN, position: i64::MIN, ..Standing::default() },
            dictionary: Dictionary { version: DictionaryVersion { incarnation, version: 0 }, slots: Vec::new() },
            ..Self::default()
        }
    }

    /// The configuration that the next records are made under.
    pub fn set_plan(&mut self, digest: u64, canonical: impl FnOnce() -> Vec<u8>) {
        if self.plans.iter().all(|(known, _)| *known != digest) {
            self.plans.push_back((digest, Bytes::from(canonical())));
            if self.plans.len() > KEPT_PLANS {
                self.plans.pop_front();
            }
        }
    }

    /// A durable record. `labels` gives the labels of a slot.
    pub fn push(&mut self, entry: Entry, labels: impl Fn(u32) -> Labels) {
        match &entry.content {
            Content::Tick(input) => {
                let slots = input.slots.iter().copied();
                let reused: Vec<u32> = slots.filter(|slot| self.dictionary.define(*slot, labels(*slot))).collect();
                if !reused.is_empty() {
                    self.forget_records_of(&reused);
                }
            }
            // An earlier image leads there by a record that many ranks cannot follow any more.
            Content::TakenOver(_) | Content::Released { .. } | Content::Joined { .. } => self.image = None,
            Content::Skipped { .. } => {}
        }
        if matches!(entry.content, Content::TakenOver(_)) {
            // Whoever follows the record asks for it; nobody is to begin with it any more.
            self.standing.fit = None;
            self.fit_waits = false;
            self.fit_age = 0;
        }
        self.values += entry.content.values();
        self.reach(entry.position, entry.chain);
        self.entries.push_back(Rc::new(entry));
        while self.entries.len() > 2 && (self.values > KEPT_VALUES || self.entries.len() > KEPT_ENTRIES) {
            self.values -= self.entries.pop_front().map_or(0, |entry| entry.content.values());
        }
        self.image_age += 1;
        if self.image_age > OFFERED_FOR {
            self.image = None;
        }
        self.fit_age += 1;
        if !self.fit_waits && self.fit_age > OFFERED_FOR {
            self.offer_fit(None);
        }
    }

    /// These slots are other series' now: records from before would be taken for theirs.
    fn forget_records_of(&mut self, slots: &[u32]) {
        let refers = |entry: &Rc<Entry>| match &entry.content {
            Content::Tick(input) => slots.iter().any(|slot| input.has(*slot)),
            _ => false,
        };
        let newest = self.entries.iter().rposition(refers);
        let forgotten = self.entries.drain(..newest.map_or(0, |index| index + 1));
        self.values -= forgotten.map(|entry| entry.content.values()).sum::<usize>();
    }

    /// The state is another one from here on: what was recorded before does not lead to it.
    pub fn restart(&mut self, position: i64, lineage: Lineage) {
        self.entries.clear();
        self.values = 0;
        self.points.clear();
        self.image = None;
        self.standing.lineage = lineage;
        self.reach(position, lineage.chain);
    }

    /// The job stands at `position` with this chain now.
    pub fn reach(&mut self, position: i64, chain: u64) {
        self.standing.position = position;
        self.standing.lineage.chain = chain;
        self.points.push_back((position, chain));
        if self.points.len() > 2 * KEPT_ENTRIES {
            self.points.pop_front();
        }
    }

    /// Puts a finished fit on offer, or takes it off.
    pub fn offer_fit(&mut self, fit: Option<SharedFit>) {
        self.standing.fit = fit.as_ref().map(|fit| fit.fitted_to);
        // A fit that waits to take over has time.
        self.fit_age = 0;
        self.fit_waits = fit.is_some();
        self.fit = fit.map(Rc::new);
    }

    /// The ranks that have asked since the last call: they are there.
    pub fn take_heard(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.heard)
    }

    /// Whether somebody waits for an image of the state.
    #[must_use]
    pub fn wants_image(&self) -> bool {
        self.image_wanted
    }

    /// Puts an image of the state on offer.
    pub fn offer_image(&mut self, image: Option<StateImage>) {
        self.image = image.map(Rc::new);
        self.image_age = 0;
        self.image_wanted = false;
    }

    /// The states of the image on offer.
    #[must_use]
    pub fn offered_blocks(&self) -> Vec<Block> {
        let blocks = self.image.iter().flat_map(|image| &image.blocks);
        blocks.filter_map(|block| snapshot::decode_block(block)).collect()
    }

    /// How far the job has durably followed the topology, and whether it has a state; the hand-overs under way here,
    /// `true` for those that have arrived; and what other ranks are to know of those here.
    pub fn set_progress(
        &mut self,
        progress: &Progress,
        has_state: bool,
        under_way: impl Iterator<Item = (Handover, bool)>,
        held: Held,
    ) {
        self.has_state = has_state;
        if self.progress.epoch != progress.epoch {
            self.wanted.clear();
        }
        self.progress.clone_from(progress);
        self.under_way = under_way.collect();
        self.held = held;
    }

    /// Shards that have asked for their series.
    #[must_use]
    pub fn wanted_releases(&self) -> Vec<u32> {
        self.wanted.iter().copied().filter(|to| !self.progress.released.contains(to)).collect()
    }

    /// A shard has its series already, or asks for them.
    pub fn want_release(&mut self, to: u32) {
        self.wanted.insert(to);
    }

    fn release(&mut self, epoch: u64, to: u32) -> Answer {
        match epoch.cmp(&self.progress.epoch) {
            Ordering::Less => Answer::Nothing,
            Ordering::Greater => Answer::Later,
            Ordering::Equal if self.progress.released.contains(&to) => Answer::Released,
            Ordering::Equal if !self.has_state => Answer::Empty,
            Ordering::Equal => {
                self.want_release(to);
                Answer::Later
            }
        }
    }

    fn taken(&self, epoch: u64, from: u32) -> Answer {
        let mut under_way = self.under_way.iter();
        let one = under_way.find(|(handover, _)| (handover.epoch, handover.from) == (epoch, from));
        let is_taken = one.is_some_and(|(_, has_arrived)| *has_arrived) || self.progress.has_taken(epoch, from);
        // What is not here yet may still come.
        let may_come = self.progress.epoch <= epoch || one.is_some();
        if is_taken || !may_come { Answer::Taken(is_taken) } else { Answer::Later }
    }

    /// Whether this job has stood where the other rank stands.
    #[must_use]
    pub fn has_been_at(&self, other: &Standing) -> bool {
        self.points.iter().rev().any(|point| *point == (other.position, other.lineage.chain))
    }

    /// The answer to a request. Asking for an image that there is none of makes [`Journal::wants_image`] true.
    pub fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Next { standing, plan, dictionary } => {
                self.heard.insert(standing.rank);
                let next = self.next(standing, *plan, *dictionary);
                Answer::Next { standing: self.standing, next, held: self.held.clone() }
            }
            Request::Fit { fitted_to, block } => match &self.fit {
                Some(fit) if fit.fitted_to == *fitted_to => {
                    Answer::Fit { block: fit.blocks.get(*block as usize).cloned(), fit: fit.clone() }
                }
                _ => Answer::Nothing,
            },
            // What is read lies elsewhere.
            Request::Slice(_) => Answer::Nothing,
            Request::Release { epoch, to } => self.release(*epoch, *to),
            Request::Taken { epoch, from } => self.taken(*epoch, *from),
            Request::Image { image: wanted, block } => match &self.image {
                Some(image) if wanted.is_none_or(|id| id == image.id) => {
                    Answer::Image { block: image.blocks.get(*block as usize).cloned(), image: image.clone() }
                }
                _ if wanted.is_some() || self.standing.phase != Phase::Running => Answer::Nothing,
                _ => {
                    self.image_wanted = true;
                    Answer::Later
                }
            },
        }
    }

    fn next(&self, asking: &Standing, plan: u64, dictionary: DictionaryVersion) -> Next {
        let own = &self.standing;
        // One that is ahead compares the chains itself.
        if !own.is_comparable() || asking.position > own.position {
            return Next::Nothing;
        }
        if !self.has_been_at(asking) {
            let knows_position = self.points.iter().any(|(position, _)| *position == asking.position);
            return if knows_position { Next::Diverged } else { Next::Gone };
        }
        if (asking.position, asking.lineage.chain) == (own.position, own.lineage.chain) {
            return Next::Nothing;
        }
        let follows = |entry: &&Rc<Entry>| (entry.after, entry.before) == (asking.position, asking.lineage.chain);
        let Some(entry) = self.entries.iter().find(follows) else { return Next::Gone };
        // Older configurations are not kept: whoever lacks one takes the whole state over.
        let canonical = match entry.plan {
            same if same == plan => None,
            other => match self.plans.iter().find(|(known, _)| *known == other) {
                Some((_, canonical)) => Some(canonical.clone()),
                None => return Next::Gone,
            },
        };
        Next::Record(Box::new(NextRecord {
            entry: entry.clone(),
            plan: canonical,
            dictionary: self.dictionary.version,
            definitions: self.dictionary.since(dictionary),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Grid;

    fn labels(slot: u32) -> Labels {
        Labels::new([("instance", format!("host-{slot}"))])
    }

    /// A journal that stands at 0 with the chain 1, and then has learnt a tick of the slots `0..=index` at each `index + 1`.
    fn journal(ticks: i64) -> Journal {
        let mut journal = Journal::new(0, 77);
        journal.standing.phase = Phase::Running;
        journal.restart(0, Lineage { chain: 1, ..Lineage::default() });
        journal.set_plan(5, || b"{}".to_vec());
        for tick in 1..=ticks {
            let slots: Vec<u32> = (0..tick as u32).collect();
            let values = vec![0.5; slots.len()];
            let input =
                TickInput { tick, grid: Grid { start: tick, step: 1, points: 1 }, slots, values, query_series: 0 };
            let (before, chain) = (tick.unsigned_abs(), tick.unsigned_abs() + 1);
            let content = Content::Tick(input);
            journal.push(Entry { after: tick - 1, position: tick, plan: 5, before, content, chain }, labels);
        }
        journal
    }

    fn asking(position: i64, chain: u64) -> Standing {
        let lineage = Lineage { chain, ..Lineage::default() };
        Standing { rank: 1, phase: Phase::Running, position, lineage, ..Standing::default() }
    }

    fn next(journal: &mut Journal, standing: Standing, plan: u64, dictionary: DictionaryVersion) -> Next {
        match journal.answer(&Request::Next { standing, plan, dictionary }) {
            Answer::Next { next, .. } => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_not_given_any_more_once_a_slot_of_it_is_another_series() {
        let mut journal = journal(3);
        let input = TickInput {
            tick: 4,
            grid: Grid { start: 4, step: 1, points: 1 },
            slots: vec![1],
            values: vec![0.5],
            query_series: 1,
        };
        journal
            .push(Entry { after: 3, position: 4, plan: 5, before: 4, content: Content::Tick(input), chain: 5 }, |_| {
                labels(9)
            });
        let next = |position: i64, journal: &mut Journal| {
            next(journal, asking(position, position.unsigned_abs() + 1), 5, DictionaryVersion::default()).name()
        };
        assert_eq!([0, 1, 2, 3].map(|position| next(position, &mut journal)), ["gone", "gone", "gone", "record"]);
    }

    #[test]
    fn a_rank_that_is_behind_gets_one_record_after_the_other_and_each_label_set_once() {
        let mut journal = journal(3);
        let mut known = DictionaryVersion::default();
        for position in 0..3 {
            let standing = asking(position, position.unsigned_abs() + 1);
            let Next::Record(record) = next(&mut journal, standing, 5, known) else {
                panic!("no record after {position}")
            };
            assert_eq!((record.entry.after, record.entry.position), (position, position + 1));
            let slots: Vec<u32> = record.definitions.iter().map(|(slot, _)| *slot).collect();
            assert_eq!(slots, if position == 0 { vec![0, 1, 2] } else { vec![] });
            assert!(record.plan.is_none());
            known = record.dictionary;
        }
        assert!(matches!(next(&mut journal, asking(3, 4), 5, known), Next::Nothing));
        let other_run = DictionaryVersion { incarnation: 78, ..known };
        let Next::Record(record) = next(&mut journal, asking(2, 3), 5, other_run) else { panic!("no record") };
        assert_eq!(record.definitions.len(), 3, "what is known of another run's slots means nothing");
    }

    #[test]
    fn another_chain_an_unknown_position_and_a_configuration_that_is_gone_are_told_apart() {
        let mut journal = journal(3);
        let known = DictionaryVersion::default();
        assert!(matches!(next(&mut journal, asking(2, 999), 5, known), Next::Diverged));
        assert!(matches!(next(&mut journal, asking(-7, 1), 5, known), Next::Gone));
        let Next::Record(record) = next(&mut journal, asking(1, 2), 6, known) else { panic!("no record") };
        assert_eq!(record.plan.as_deref(), Some(&b"{}"[..]), "the configuration comes with the record");
        for plan in 0..KEPT_PLANS as u64 {
            journal.set_plan(100 + plan, || b"{new}".to_vec());
        }
        assert!(
            matches!(next(&mut journal, asking(1, 2), 6, known), Next::Gone),
            "the records' own one is not kept for ever"
        );
    }

    #[test]
    fn a_rank_that_has_the_fit_already_and_one_that_has_not_are_both_at_the_same_tick() {
        let mut journal = journal(2);
        let content = Content::TakenOver(Takeover { fitted_to: 1, digest: 7 });
        journal.push(Entry { after: 2, position: 2, plan: 5, before: 3, content, chain: 50 }, labels);
        let mut ask = |chain| next(&mut journal, asking(2, chain), 5, DictionaryVersion::default());
        assert!(matches!(ask(50), Next::Nothing));
        let Next::Record(record) = ask(3) else { panic!("no record") };
        assert!(matches!(record.entry.content, Content::TakenOver(_)));
        assert!(matches!(ask(4), Next::Diverged));
    }

    #[test]
    fn an_image_is_made_on_demand_and_outlived_by_some_records_only() {
        let mut journal = journal(1);
        let wanted = Request::Image { image: None, block: 0 };
        assert!(matches!(journal.answer(&wanted), Answer::Later));
        assert!(journal.wants_image());
        journal.offer_image(Some(StateImage {
            id: 9,
            standing: journal.standing,
            plan: Bytes::new(),
            fit_due: None,
            since_fit: Vec::new(),
            definitions: Vec::new(),
            arrived: Vec::new(),
            blocks: vec![Bytes::from_static(b"block")],
        }));
        assert!(matches!(journal.answer(&wanted), Answer::Image { block: Some(_), .. }));
        assert!(matches!(
            journal.answer(&Request::Image { image: Some(9), block: 1 }),
            Answer::Image { block: None, .. }
        ));
        assert!(matches!(journal.answer(&Request::Image { image: Some(8), block: 0 }), Answer::Nothing));
        for tick in 2..20 {
            let content = Content::Skipped { from: tick, to: tick, reason: SkipReason::BeyondCatchUp };
            let entry = Entry { after: tick - 1, position: tick, plan: 5, before: 0, content, chain: 0 };
            journal.push(entry, labels);
        }
        assert!(matches!(journal.answer(&Request::Image { image: Some(9), block: 0 }), Answer::Nothing));
    }

    #[test]
    fn only_so_many_values_are_kept() {
        let mut journal = journal(1);
        let slots: Vec<u32> = (0..1_000_000).collect();
        for tick in 2..20 {
            let grid = Grid { start: tick, step: 1, points: 1 };
            let input = TickInput { tick, grid, slots: slots.clone(), values: vec![0.0; slots.len()], query_series: 0 };
            let content = Content::Tick(input);
            let entry = Entry { after: tick - 1, position: tick, plan: 5, before: 0, content, chain: 0 };
            journal.push(entry, |_| labels(0));
        }
        assert!(journal.values <= KEPT_VALUES, "{}", journal.values);
        assert_eq!(journal.standing.position, 19);
    }
}
