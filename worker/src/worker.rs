//! The worker: its jobs, their restoration, changed configurations, and its status.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{AbortHandle, Abortable, LocalBoxFuture},
    stream::FuturesUnordered,
};
use tokio::sync::mpsc;

use crate::{
    context::{Context, Environment, Spawned},
    environment::Clock,
    input_log::Recovered,
    job::{Job, JobHistory, JobView},
    plan::{JobPlan, arrival_of_key},
    snapshot::Restored,
};

/// What the outside asks of a running worker.
pub enum Command<E: Environment> {
    /// Go on with these jobs.
    Reconfigure {
        /// The jobs of this shard.
        jobs: Vec<JobPlan>,
        /// The client of the new configuration.
        tsdb: E::Tsdb,
        /// The new configuration.
        config: Box<config::worker::WorkerConfig>,
    },
    /// End at the next safe point.
    Stop,
}

/// Jobs get so long to come to a safe point when the worker stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A worker's jobs and what they share.
pub struct Worker<E: Environment> {
    context: Rc<Context<E>>,
    spawned: Spawned,
    commands: mpsc::UnboundedReceiver<Command<E>>,
    jobs: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// What jobs have started beside themselves.
    tasks: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// Ends a job at once, wherever it is; by name.
    running: BTreeMap<String, AbortHandle>,
}

impl<E: Environment> Worker<E> {
    /// A worker over `context`.
    #[must_use]
    pub fn new((context, spawned): (Rc<Context<E>>, Spawned), commands: mpsc::UnboundedReceiver<Command<E>>) -> Self {
        Self {
            context,
            spawned,
            commands,
            jobs: FuturesUnordered::new(),
            tasks: FuturesUnordered::new(),
            running: BTreeMap::new(),
        }
    }

    /// Runs the jobs, first taking in what a former process left, until [`Command::Stop`].
    pub async fn run(mut self, jobs: Vec<JobPlan>, history: HashMap<String, JobHistory>) {
        let mut history = history;
        for plan in jobs {
            let left = history.remove(&plan.key());
            self.start(plan, left);
        }
        self.forget(history.into_keys()).await;
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Reconfigure { jobs, tsdb, config }) => {
                        self.context.reconfigure(tsdb, &config);
                        self.reconcile(jobs).await;
                    }
                    Some(Command::Stop) | None => break,
                },
                Some(task) = self.spawned.recv() => self.tasks.push(task),
                Some(()) = self.jobs.next(), if !self.jobs.is_empty() => {}
                Some(()) = self.tasks.next(), if !self.tasks.is_empty() => {}
            }
        }
        let views: Vec<_> = self.context.views.borrow().values().cloned().collect();
        for view in views {
            view.mailbox().stop = true;
            view.wake();
        }
        let over = async { while self.jobs.next().await.is_some() {} };
        tokio::select! {
            biased;
            () = over => {}
            // A request may hang; a job survives its end anywhere.
            () = self.context.clock.sleep(STOP_WITHIN) => {}
        }
    }

    fn start(&mut self, plan: JobPlan, history: Option<JobHistory>) {
        let view = self.context.view(&plan);
        self.context.views.borrow_mut().insert(view.key.clone(), view.clone());
        let (handle, registration) = AbortHandle::new_pair();
        self.running.insert(view.key.clone(), handle);
        let job = Abortable::new(Job::new(self.context.clone(), view, plan).run(history), registration);
        self.jobs.push(Box::pin(async move {
            // Aborted or over: the same to the worker.
            let _ = job.await;
        }));
    }

    /// Starts the new jobs, changes the changed ones at their next tick, ends the others.
    async fn reconcile(&mut self, jobs: Vec<JobPlan>) {
        let mut ended: BTreeMap<String, Rc<JobView>> = self.context.views.borrow().clone();
        // They end with the job that they belong to.
        ended.retain(|_, view| view.arrival.is_none());
        for plan in jobs {
            match ended.remove(&plan.key()) {
                Some(view) => {
                    view.mailbox().plan = Some(plan);
                    view.wake();
                }
                None => self.start(plan, None),
            }
        }
        for (key, view) in &ended {
            // Like a crash, which a job survives anywhere; and nothing writes its state any more afterwards.
            if let Some(handle) = self.running.remove(key) {
                handle.abort();
            }
            self.context.views.borrow_mut().retain(|other, _| {
                other != key && arrival_of_key(other).is_none_or(|(_, job)| job != *key)
            });
            self.context.metrics.remove_job(&view.labels);
        }
        self.forget(ended.into_keys()).await;
    }

    /// Removes the stored state of jobs that are gone.
    async fn forget(&self, keys: impl Iterator<Item = String>) {
        let Some(storage) = &self.context.storage else { return };
        for gone in keys {
            tracing::info!(job = gone, "the job is gone, its state is removed");
            let parts = storage.snapshots.jobs().into_iter();
            let parts = parts.filter(|key| arrival_of_key(key).is_some_and(|(_, job)| job == gone));
            for key in parts.chain([gone.clone()]) {
            if let Err(error) = storage.snapshots.remove_job(&key).await {
                tracing::warn!(job = key, %error, "the state of a job that is gone cannot be removed");
            }
            }
        }
    }
}

/// What a former process left, job by job.
#[must_use]
pub fn history(recovered: Recovered, restored: Restored) -> HashMap<String, JobHistory> {
    let mut jobs: HashMap<String, JobHistory> = HashMap::new();
    for block in restored.blocks {
        jobs.entry(block.job.clone()).or_default().blocks.push(block);
    }
    for damaged in restored.damaged {
        jobs.entry(damaged.job.clone()).or_default().damaged_blocks.push(damaged);
    }
    for record in recovered.records {
        jobs.entry(record.job().to_owned()).or_default().records.push(record);
    }
    for (job, slot) in recovered.unknown_slots {
        jobs.entry(job).or_default().unknown_slots.push(slot);
    }
    for ((job, slot), labels) in recovered.labels {
        jobs.entry(job).or_default().labels.insert(slot, labels);
    }
    let parts: Vec<_> =
        jobs.keys().filter_map(|key| arrival_of_key(key).map(|(part, job)| (key.clone(), part, job))).collect();
    for (key, part, job) in parts {
        if let Some(history) = jobs.remove(&key) {
            jobs.entry(job).or_default().parts.insert(part, history);
        }
    }
    jobs
}
