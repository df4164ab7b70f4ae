//! Going on after a restart: snapshots, then the input log, tick by tick, under the configuration that was in force.

use std::collections::{BTreeMap, HashMap};

use super::{Job, LONGEST_SLEEP, Wait};
use crate::{
    context::{Environment, backoff},
    engine::{BLOCK_SERIES, JobState, TickInput},
    environment::{Clock, ReadError},
    fit::{FitScope, read},
    input_log::{Record, SkipReason},
    labels::Labels,
    peers::{
        Lineage,
        journal::{Content, Entry},
    },
    plan::JobPlan,
    readers::{Demand, Purpose, Wanted},
    schedule::Schedule,
    series::ByLabels,
    share::Handover,
    snapshot::{Block, DamagedBlock},
};

/// What a former process left of one job.
#[derive(Default)]
pub struct JobHistory {
    /// The newest readable snapshot of each block.
    pub blocks: Vec<Block>,
    /// The job's records of the input log, in the order of the log.
    pub records: Vec<Record>,
    /// The labels of the slots that the records use.
    pub labels: HashMap<u32, Labels>,
    /// Blocks whose newest snapshot could not be read.
    pub damaged_blocks: Vec<DamagedBlock>,
    /// Slots that the records use and whose labels are lost.
    pub unknown_slots: Vec<u32>,
    /// What it left of hand-overs.
    pub parts: HashMap<Handover, JobHistory>,
}

/// The input log of one job, sorted out.
#[derive(Default)]
struct Logged {
    /// Input by tick; the first record of a tick counts.
    ticks: BTreeMap<i64, TickInput>,
    /// Skipped ranges, inclusive.
    skipped: Vec<(i64, i64, SkipReason)>,
    /// Digests of configurations, by the tick from which they were in force.
    configurations: BTreeMap<i64, u64>,
    /// Digest of the configuration of the last tick, and of the last record.
    configuration: Option<u64>,
}

impl Logged {
    /// `adopted`: which of the states that were taken over from other ranks the snapshots hold.
    fn new(records: Vec<Record>, adopted: u64) -> Self {
        let mut logged = Self::default();
        for record in records {
            match record {
                Record::Tick { input, .. } => {
                    logged.ticks.entry(input.tick).or_insert(input);
                }
                Record::Skipped { from, to, reason, .. } => logged.skipped.push((from, to, reason)),
                Record::Configuration { from, digest, .. } => {
                    logged.configurations.insert(from, digest);
                    logged.configuration = Some(digest);
                }
                Record::Adopted { lineage, .. } if lineage == adopted => {
                    logged.ticks.clear();
                    logged.skipped.clear();
                }
                Record::Adopted { .. } => {}
                Record::Fit { .. } => {}
            }
        }
        logged
    }

    fn last(&self) -> Option<i64> {
        let ticks = self.ticks.last_key_value().map(|(tick, _)| *tick);
        self.skipped.iter().map(|(_, to, _)| *to).chain(ticks).max()
    }

    fn is_skipped(&self, tick: i64) -> bool {
        self.skipped.iter().any(|(from, to, _)| (*from..=*to).contains(&tick))
    }

    /// The digest of the configuration under which `tick` was read.
    fn configuration_at(&self, tick: i64) -> Option<u64> {
        self.configurations.range(..=tick).next_back().map(|(_, digest)| *digest).or(self.configuration)
    }

    /// The reason and the range of ticks that were given up, if it begins at `tick`.
    fn skipped_from(&self, tick: i64) -> Option<Content> {
        let range = self.skipped.iter().find(|(from, _, _)| *from == tick);
        range.map(|(from, to, reason)| Content::Skipped { from: *from, to: *to, reason: reason.clone() })
    }
}

impl<E: Environment> Job<E> {
    /// Takes in what a former process left. Afterwards the job stands exactly where that process stood, but for the tick
    /// in flight, which is kept for the other ranks to say whether it is still to be written.
    pub(super) async fn restore(&mut self, history: JobHistory) {
        let JobHistory { blocks, records, labels, damaged_blocks, unknown_slots, .. } = history;
        self.report_damage(&damaged_blocks);
        let lost_blocks: Vec<DamagedBlock> =
            damaged_blocks.into_iter().filter(|damaged| damaged.restored_watermark.is_none()).collect();
        // All blocks are of one adoption: they were written in one commit.
        let adopted = blocks.iter().map(|block| block.lineage.adopted).max().unwrap_or(0);
        let logged = Logged::new(records, adopted);
        // A job saves a block before it logs its first tick: without any, the records are another job's that is gone.
        if blocks.is_empty() && lost_blocks.is_empty() {
            return;
        }
        let former = self.logged_configuration(&logged).await;
        // One that cannot be read is stored anew with the next tick.
        self.logged_plan = logged.configuration.filter(|_| former.is_some());
        let mut plan = former.unwrap_or_else(|| self.state.plan.clone());
        // What has moved is as durable as the states that have, and with them.
        if let Some(share) = blocks.iter().map(|block| &block.share).max_by_key(|share| share.key())
            && share.key() >= plan.share.key()
        {
            plan.share.clone_from(share);
        }
        self.schedule =
            Schedule::new(&plan.scheduler, &plan.scheduler_alias, &plan.query_alias, self.context.clock.now());
        self.state = JobState::new(plan);
        let mut watermarks: HashMap<u32, i64> = HashMap::new();
        let mut rebuild = ByLabels::default();
        self.load_blocks(&blocks, &mut watermarks, &mut rebuild);
        for lost in &lost_blocks {
            for series in lost.series.iter().flatten() {
                self.state.series.put(series.slot, &series.labels, series.last_seen);
                rebuild.insert(series.labels.clone(), ());
            }
            let of_block = labels.iter().filter(|(slot, _)| *slot / BLOCK_SERIES == lost.index);
            rebuild.extend(of_block.map(|(_, labels)| (labels.clone(), ())));
        }
        let plan = &self.state.plan;
        self.state.series.retain(|labels| plan.has(labels));
        self.settle_series();
        let newest_watermark = watermarks.values().copied().max();
        let Some(last) = logged.last().into_iter().chain(newest_watermark).max() else {
            // It began long ago: the scheduler's next start may be a whole `fit_every` away.
            tracing::error!(job = %self.view.key, "everything that the job had learnt is lost, it begins anew at once");
            self.schedule.start_at_once();
            return;
        };
        let newest = blocks
            .iter()
            .map(|block| (block.watermark, block.lineage))
            .max_by_key(|(watermark, lineage)| (*watermark, lineage.rebuilds));
        self.lineage = newest.map_or_else(Lineage::default, |(_, lineage)| lineage);
        self.view.journal().restart(newest_watermark.unwrap_or(last), self.lineage);
        if self.state.models.iter().any(|model| model.fitted_to.is_some()) {
            self.replay(&logged, &labels, &watermarks, last).await;
        }
        self.stand_at(Some(last));
        if self.view.journal().standing.position != last {
            self.view.journal().restart(last, self.lineage);
        }
        let learnt = if self.in_flight.is_some() { last - self.schedule.infer_every } else { last };
        self.view.journal().standing.written = learnt;
        self.settle_series();
        if let Some(fitted_to) = self.state.models.iter().filter_map(|model| model.fitted_to).min() {
            self.saving.restored(watermarks.keys().copied(), &self.state, self.context.clock.monotonic());
            if !rebuild.is_empty() {
                self.rebuild_from_log(rebuild, &logged, fitted_to, learnt).await;
            }
            if unknown_slots.iter().any(|slot| self.state.series.get(*slot).is_none()) {
                tracing::warn!(job = %self.view.key, "labels of series are lost, these series are learnt again from the TSDB");
                self.fitting.newcomers(&self.state.series);
            }
            if let Some(due) = self.schedule.last_fit_within(fitted_to, last) {
                self.fitting.due(due, &mut self.since_fit);
                for input in logged.ticks.range(due + 1..).map(|(_, input)| input) {
                    self.fitting.remember(&mut self.since_fit, input.clone());
                }
            }
        }
        if logged.configuration_at(last) != Some(self.state.plan.digest()) {
            self.unrecorded = Some(self.state.plan.clone());
        }
        tracing::info!(
            job = %self.view.key, position = last, series = self.state.series.active(), blocks = blocks.len(),
            logged_ticks = logged.ticks.len(), "state restored"
        );
        self.announce();
        self.report_series();
        self.view.written(last, false);
    }

    fn report_damage(&self, damaged: &[DamagedBlock]) {
        for model in &self.state.models {
            let labels = self.labels.model(&model.plan.alias);
            let counter = self.context.metrics.snapshot_damaged_blocks.with_label_values(&labels.values());
            counter.inc_by(damaged.len() as u64);
        }
    }

    async fn logged_configuration(&self, logged: &Logged) -> Option<JobPlan> {
        let storage = self.context.storage.as_ref()?;
        let read = match storage.snapshots.configuration(logged.configuration?).await {
            Ok(Some(canonical)) => serde_json::from_slice(&canonical).map_err(|error| error.to_string()),
            Ok(None) => Err("it is missing".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::warn!(job = %self.view.key, error, "the job's former configuration cannot be read, the present one takes its place");
                None
            }
        }
    }

    /// Puts series and states of the snapshots in their places. States of an earlier fit than the newest cannot go
    /// on over the moment at which that fit took over: their series are to be rebuilt.
    fn load_blocks(&mut self, blocks: &[Block], watermarks: &mut HashMap<u32, i64>, rebuild: &mut ByLabels<()>) {
        self.state.note_fits(blocks);
        for block in blocks {
            watermarks.insert(block.index, block.watermark);
            for series in &block.series {
                self.state.series.put(series.slot, &series.labels, series.last_seen);
            }
            for position in 0..self.state.models.len() {
                let model = &self.state.models[position];
                let Some(fitted_to) = model.fitted_to else { continue };
                let states = block.models.iter().find(|states| {
                    states.alias == model.plan.alias
                        && states.signature == model.signature
                        && states.fitted_to == fitted_to
                });
                for (index, series) in block.series.iter().enumerate() {
                    match states.map(|states| states.states.get(index).and_then(Option::as_ref)) {
                        Some(Some(state)) => {
                            if let Err(error) = self.state.restore(series.slot, position, state) {
                                tracing::warn!(job = %self.view.key, series = %series.labels, %error, "a stored state cannot be used");
                                rebuild.insert(series.labels.clone(), ());
                            }
                        }
                        Some(None) => {}
                        None => {
                            rebuild.insert(series.labels.clone(), ());
                        }
                    }
                }
            }
        }
    }

    fn settle_series(&mut self) {
        self.state.grow();
        self.state.settle_series();
    }

    /// Learns the logged ticks that the snapshots do not have, and keeps the last one if it may not be written yet.
    async fn replay(
        &mut self,
        logged: &Logged,
        labels: &HashMap<u32, Labels>,
        watermarks: &HashMap<u32, i64>,
        last: i64,
    ) {
        let newest = watermarks.values().copied().max().unwrap_or(i64::MIN);
        let first_logged = logged.ticks.first_key_value().map_or(last, |(tick, _)| *tick);
        let oldest = watermarks.values().copied().min().unwrap_or(first_logged - 1);
        let mut tick = self.schedule.tick_at(oldest) + self.schedule.infer_every;
        while tick <= last {
            let reread = match logged.ticks.get(&tick) {
                None if logged.is_skipped(tick) => None,
                None => self.read_lost_tick(tick).await,
                Some(_) => None,
            };
            if let Some(input) = logged.ticks.get(&tick).or(reread.as_ref()) {
                self.see(input, labels);
                if tick > newest && !self.alone() {
                    self.replay_record(logged, tick, Content::Tick(input.clone()));
                }
                let input = &input.filtered(|slot| self.state.series.get(slot).is_some());
                // A written tick may be in a snapshot, so one that no snapshot has may be unwritten.
                if tick == last && newest < last {
                    // The TSDB may be away: everything but this one write is restored.
                    self.view.restored();
                    self.in_flight = Some(input.clone());
                    return;
                }
                let unlearnt = |block: u32, _: usize| watermarks.get(&block).is_none_or(|learnt| *learnt < tick);
                self.state.learn(input, unlearnt);
            }
            if tick > newest
                && !self.alone()
                && let Some(skipped) = logged.skipped_from(tick)
            {
                self.replay_record(logged, tick, skipped);
            }
            self.expire(tick);
            tick += self.schedule.infer_every;
        }
    }

    /// Books a replayed record, and offers it to the other ranks: they may not have taken it before the process ended.
    fn replay_record(&mut self, logged: &Logged, tick: i64, content: Content) {
        let plan = logged.configuration_at(tick).unwrap_or_else(|| self.state.plan.digest());
        let series = &self.state.series;
        let (position, is_known) = match &content {
            Content::Tick(input) => (input.tick, input.slots.iter().all(|slot| series.get(*slot).is_some())),
            Content::Skipped { to, .. } => (*to, true),
            Content::TakenOver(_) | Content::Released { .. } | Content::Joined { .. } => return,
        };
        let before = self.lineage.chain;
        self.chain_on(plan, &content);
        let (mut journal, series) = (self.view.journal(), &self.state.series);
        if is_known {
            let after = journal.standing.position;
            let entry = Entry { after, position, plan, before, content, chain: self.lineage.chain };
            journal.push(entry, |slot| series.labels(slot));
        } else {
            journal.restart(position, self.lineage);
        }
    }

    /// Notes when the series of a replayed tick were seen. A slot that has changed hands since the snapshot begins
    /// anew: the log has everything that its new series has learnt.
    fn see(&mut self, input: &TickInput, labels: &HashMap<u32, Labels>) {
        for slot in &input.slots {
            let before = self.state.series.get(*slot).map(|series| series.labels.clone());
            if let Some(logged) = labels.get(slot)
                && before.as_ref() != Some(logged)
            {
                self.state.series.put(*slot, logged, input.tick);
                self.state.grow();
                self.state.reset(&[*slot]);
            }
            self.state.series.seen(*slot, input.tick);
        }
    }

    /// Reads a tick whose record is damaged again; it becomes a record of the log anew.
    async fn read_lost_tick(&mut self, tick: i64) -> Option<TickInput> {
        let labels = self.labels.values();
        self.context.metrics.log_ticks_reread.with_label_values(&labels).inc();
        tracing::warn!(job = %self.view.key, tick, "the record of a tick is lost, it is read again");
        let context = self.context.clone();
        let view = self.view.clone();
        let wanted = Wanted { purpose: Purpose::Tick, until: tick, grid: self.tick_grid(tick) };
        let demand = Demand { wanted, fresh: false };
        let mut pauses = backoff();
        loop {
            match read(&context, &self.labels, &mut self.state, demand, &FitScope::All, &|| view.stopping()).await {
                Ok(answer) => {
                    let input = self.accept(tick, &answer);
                    let logged = self.log_tick(&input).await;
                    return (logged == Wait::Over).then_some(input);
                }
                Err(error @ ReadError::Refused { .. }) => {
                    tracing::warn!(job = %self.view.key, tick, %error, "a lost tick cannot be read again");
                    return None;
                }
                Err(error) => {
                    self.stand_still(error.kind(), &error.to_string());
                    self.context.clock.sleep(pauses.next().unwrap_or(LONGEST_SLEEP)).await;
                    if self.view.stopping() {
                        return None;
                    }
                }
            }
        }
    }

    /// `last`: the newest tick that is learnt.
    async fn rebuild_from_log(&mut self, only: ByLabels<()>, logged: &Logged, fitted_to: i64, last: i64) {
        let complete_from = |start: i64| {
            let mut tick = start + self.schedule.infer_every;
            while tick <= last && (logged.ticks.contains_key(&tick) || logged.is_skipped(tick)) {
                tick += self.schedule.infer_every;
            }
            tick > last
        };
        // The window ends where the lost states' own did, if the log still has all ticks from there on.
        let until = if complete_from(fitted_to) { fitted_to } else { last };
        let since: Vec<TickInput> = logged.ticks.range(until + 1..=last).map(|(_, input)| input.clone()).collect();
        self.rebuild(only, until, &since).await;
    }
}
