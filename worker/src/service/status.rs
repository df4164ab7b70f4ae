//! What `/status` and `/ready` say, and what reloads, signals and questions of other workers change or find out.

use std::rc::Rc;

use config::{
    contract::{CONTRACT_VERSION, RELEASE},
    status::{ConfigStatus, NotReady, NotReadyReason, ReloadState, Status},
    topology::Topology,
};
use tokio::sync::mpsc;

use super::{Fatal, Process, Staged};
use crate::{
    context::Context,
    metrics::{Metrics, ReloadStatus},
    peers::{Answer, Place, encoding::Question, http::Refusal},
    worker::Command,
};

/// What `/status` and `/ready` are made of.
pub(super) struct StatusSource {
    pub(super) context: Rc<Context<Process>>,
    /// Which worker this is, and among how many.
    pub(super) place: Place,
    pub(super) topology: Topology,
    /// How many jobs there are to be.
    pub(super) job_count: usize,
    /// Why it runs no jobs.
    pub(super) displaced: Option<NotReady>,
    pub(super) folder: Option<String>,
    pub(super) stopping: bool,
    pub(super) config: ConfigStatus,
}

impl StatusSource {
    pub(super) fn restored(&self) -> bool {
        !self.is_starting() && self.context.views.borrow().values().all(|view| view.is_restored())
    }

    /// Whether jobs have yet to be started: nothing can be said of them before.
    fn is_starting(&self) -> bool {
        self.context.views.borrow().values().filter(|view| view.arrival.is_none()).count() < self.job_count
    }

    pub(super) fn stop(&mut self, commands: &mpsc::UnboundedSender<Command<Process>>) {
        tracing::info!("stopping");
        self.stopping = true;
        // Nobody receives only when the worker has ended already.
        let _ = commands.send(Command::Stop);
    }

    pub(super) fn reloaded(
        &mut self,
        outcome: Result<Staged, Fatal>,
        commands: &mpsc::UnboundedSender<Command<Process>>,
        metrics: &Metrics,
        now: i64,
    ) {
        match outcome {
            Ok(staged) => {
                tracing::info!(digest = staged.digest, jobs = staged.job_count(), "changed configuration takes effect");
                metrics.config_reloaded(ReloadStatus::Success, now);
                metrics.entities(staged.job_count(), staged.job_count());
                self.job_count = staged.job_count();
                self.topology = staged.topology;
                self.place = staged.place;
                self.displaced = staged.displaced;
                self.report_displacement();
                self.config = ConfigStatus {
                    digest: staged.digest,
                    revision: staged.config.revision.clone(),
                    generation: self.config.generation + 1,
                    reload: ReloadState::Applied,
                    last_error: None,
                    applied_at_ms: Some(now),
                };
                let config = Box::new(staged.config);
                let Staged { jobs, place, tsdb, .. } = staged;
                // Nobody receives only when the worker has ended already.
                let _ = commands.send(Command::Reconfigure { jobs, place, tsdb, config });
            }
            Err(error) => {
                tracing::error!("Reload aborted - invalid config: {error}");
                metrics.config_reloaded(ReloadStatus::Failure, now);
                self.config.reload = ReloadState::Invalid;
                self.config.last_error = Some(error.to_string());
            }
        }
    }

    /// Says once why this worker runs no jobs.
    pub(super) fn report_displacement(&self) {
        if let Some(why) = &self.displaced {
            tracing::warn!("{}: it runs no jobs until the topology has a place for it", why.message);
        }
    }

    /// What another worker asks about a job.
    pub(super) fn answer(&self, question: &Question) -> Result<Answer, Refusal> {
        if self.stopping {
            return Err(Refusal::not_now("this worker is stopping"));
        }
        Ok(self.context.answer(&question.job, &question.request))
    }

    pub(super) fn status(&self) -> Status {
        let views = self.context.views.borrow();
        let mut not_ready = Vec::new();
        if self.is_starting() {
            let message = "jobs are being started".to_owned();
            not_ready.push(NotReady { reason: NotReadyReason::Restoring, message });
        }
        for view in views.values().filter(|view| !view.is_restored()) {
            let message = format!("job {}: state is being restored", view.key);
            not_ready.push(NotReady { reason: NotReadyReason::Restoring, message });
        }
        if let Some(why) = &self.displaced {
            not_ready.push(why.clone());
        }
        if self.stopping {
            not_ready.push(NotReady { reason: NotReadyReason::Stopping, message: "the process is going down".into() });
        }
        Status {
            contract_version: CONTRACT_VERSION,
            worker_version: RELEASE.to_owned(),
            shard: self.place.member.shard,
            rank: self.place.member.rank,
            ranks: self.place.ranks,
            epoch: self.topology.epoch,
            shards: self.topology.shards.get(),
            ready: not_ready.is_empty(),
            not_ready,
            config: self.config.clone(),
            state_folder: self.folder.clone(),
            // What a job has of hand-overs is part of it, and counted there.
            jobs: views.values().filter(|view| view.arrival.is_none()).map(|view| view.comparable_status()).collect(),
        }
    }
}
