//! Takes what another rank has recorded.

use super::{Job, Wait};
use crate::{
    context::Environment,
    engine::TickInput,
    labels::Labels,
    peers::{
        Rule,
        journal::{Content, Entry, Takeover},
        message::{DictionaryVersion, NextRecord},
    },
};

impl<E: Environment> Job<E> {
    /// Takes another rank's record: its configuration, the fit that took over before it, and what it says.
    pub(super) async fn take(&mut self, rank: u32, record: NextRecord) {
        let NextRecord { entry, plan, dictionary, definitions } = record;
        self.following.leads_on = false;
        self.note_definitions(rank, dictionary, definitions);
        if let Some(plan) = plan {
            match serde_json::from_slice(&plan) {
                Ok(plan) => {
                    self.put_in_force(plan);
                    self.want_again();
                }
                Err(error) => {
                    tracing::error!(job = %self.view.key, rank, %error, "another rank's configuration cannot be read");
                    self.pause_between_questions().await;
                    return;
                }
            }
        }
        let follows = (self.position, self.lineage.chain) == (Some(entry.after), entry.before);
        if !follows || entry.plan != self.state.plan.digest() {
            return;
        }
        match &entry.content {
            Content::Tick(input) => {
                let Some(input) = self.translate(rank, input) else {
                    self.following.dictionaries.remove(&rank);
                    return;
                };
                if self.log_tick(&input).await == Wait::Interrupted {
                    return;
                }
                self.recorded(Content::Tick(input.clone()), Some(input.tick));
                self.context.metrics.ticks_followed.with_label_values(&self.labels.values()).inc();
                self.check(rank, &entry);
                self.end_tick(input).await;
            }
            Content::Skipped { from, to, reason } => self.skip(*from, *to, reason.clone()).await,
            Content::TakenOver(takeover) if self.keeps(Rule::FollowTakeovers) => {
                if self.follow_takeover(rank, *takeover, entry.after + self.schedule.infer_every).await {
                    self.check(rank, &entry);
                } else {
                    self.adopt_from(rank).await;
                }
            }
            Content::TakenOver(_) => self.recorded(entry.content.clone(), self.position),
            Content::Released { to } => {
                self.release(&[*to]).await;
                self.check(rank, &entry);
            }
            Content::Joined { handover, chain } => self.follow_join(rank, *handover, *chain, entry.chain).await,
        }
    }

    /// Equal records after equal states give equal chains.
    fn check(&self, rank: u32, entry: &Entry) {
        if self.lineage.chain != entry.chain {
            let tick = entry.position;
            tracing::error!(job = %self.view.key, rank, tick, "the state differs from another rank's after the same record");
        }
    }

    async fn follow_takeover(&mut self, rank: u32, takeover: Takeover, tick: i64) -> bool {
        let Takeover { fitted_to, digest } = takeover;
        if self.fitting.ready_fit() != Some((fitted_to, digest)) && !self.fetch_fit(rank, fitted_to, Some(digest)).await
        {
            return false;
        }
        self.put_fit_in_force(tick).await == Wait::Over
    }

    fn note_definitions(&mut self, rank: u32, version: DictionaryVersion, definitions: Vec<(u32, Labels)>) {
        let known = self.following.dictionaries.entry(rank).or_default();
        if known.version.incarnation != version.incarnation {
            known.labels.clear();
        }
        known.version = version;
        // Where the own table has the same series, one text serves both.
        let own = |labels: Labels| self.state.series.own(&labels).unwrap_or(labels);
        known.labels.extend(definitions.into_iter().map(|(slot, labels)| (slot, own(labels))));
    }

    /// Another rank's accepted input in own slots.
    fn translate(&mut self, rank: u32, theirs: &TickInput) -> Option<TickInput> {
        let known = &self.following.dictionaries.get(&rank)?.labels;
        let format = &self.state.models.first()?.format;
        let mut rows = Vec::with_capacity(theirs.slots.len());
        for (row, slot) in theirs.slots.iter().enumerate() {
            let labels = known.get(slot)?;
            rows.push((self.state.series.take_in(labels, theirs.tick, &self.state.plan, format), row));
        }
        rows.sort_unstable();
        Some(theirs.in_slots(&rows))
    }

    /// Fetches a fit that another rank has finished, if this one lacks it.
    pub(super) async fn fetch_offered_fit(&mut self) {
        let Some((rank, fitted_to)) = self.following.offered_fit.take() else { return };
        if self.wants_fit(fitted_to) {
            self.fetch_fit(rank, fitted_to, None).await;
        }
    }

    /// Whether an offered fit is one that this job would begin now.
    fn wants_fit(&self, fitted_to: i64) -> bool {
        let newest = self.state.models.iter().map(|model| model.fitted_to).min().flatten();
        self.fitting.is_idle()
            && newest.is_none_or(|newest| newest < fitted_to)
            && !self.fitting.has_taken_over(fitted_to)
    }
}
