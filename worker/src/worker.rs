//! The worker: its jobs, their restoration, changed configurations, and its status.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    peers::Place,
    plan::{JobPlan, arrival_of_key},
    snapshot::Restored,
};

/// What the outside asks of a running worker.
pub enum Command<E: Environment> {
    /// Go on with these jobs.
    Reconfigure {
        /// The jobs of this worker; `None` while the topology has no place for it: then it runs none, and keeps what is
        /// stored.
        jobs: Option<Vec<JobPlan>>,
        /// Which worker this is among how many.
        place: Place,
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
    /// What a former process left of jobs that have not begun.
    left: HashMap<String, JobHistory>,
    /// Jobs of this process that ended when the topology lost this worker: what is stored of them is older than what
    /// others have.
    outdated: BTreeSet<String>,
    /// Whether nothing was stored of any job when the process began, and no job has begun yet.
    is_fresh: bool,
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
            left: HashMap::new(),
            outdated: BTreeSet::new(),
            is_fresh: false,
        }
    }

    /// Runs the jobs, first taking in what a former process left, until [`Command::Stop`]. Without jobs, it waits for
    /// some, and keeps what was left.
    pub async fn run(mut self, jobs: impl Into<Option<Vec<JobPlan>>>, history: HashMap<String, JobHistory>) {
        self.is_fresh = history.is_empty();
        self.left = history;
        if let Some(jobs) = jobs.into() {
            self.reconcile(jobs).await;
        }
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Reconfigure { jobs, place, tsdb, config }) => {
                        self.context.place.set(place);
                        self.context.reconfigure(tsdb, &config);
                        match jobs {
                            Some(jobs) => self.reconcile(jobs).await,
                            None => self.pause(),
                        }
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

    /// `is_late`: others may have gone on with the job while nothing was stored of it here.
    fn start(&mut self, plan: JobPlan, history: Option<JobHistory>, is_late: bool) {
        let view = self.context.view(&plan);
        self.context.views.borrow_mut().insert(view.key.clone(), view.clone());
        let (handle, registration) = AbortHandle::new_pair();
        self.running.insert(view.key.clone(), handle);
        let job = Job::new(self.context.clone(), view, plan);
        let job = if is_late { job.waiting_for_others() } else { job };
        let job = Abortable::new(job.run(history), registration);
        self.jobs.push(Box::pin(async move {
            // Aborted or over: the same to the worker.
            let _ = job.await;
        }));
    }

    /// Starts the new jobs, changes the changed ones at their next tick, ends the others.
    async fn reconcile(&mut self, jobs: Vec<JobPlan>) {
        self.context.readers.borrow_mut().note_shared(&jobs);
        let outdated = std::mem::take(&mut self.outdated);
        self.forget(outdated.iter().cloned()).await;
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let mut ended: BTreeMap<String, Rc<JobView>> = self.context.views.borrow().clone();
        // They end with the job that they belong to.
        ended.retain(|_, view| view.arrival.is_none());
        for plan in jobs {
            match ended.remove(&plan.key()) {
                Some(view) => {
                    view.mailbox().plan = Some(plan);
                    view.wake();
                }
                None => {
                    let left = self.left.remove(&plan.key());
                    // In the first topology, and at a shard that has just come, there is nothing that others could have.
                    let may_exist = plan.share.settled_epoch > 0 && !plan.share.is_new();
                    let is_late = (is_fresh || outdated.contains(&plan.key())) && may_exist;
                    self.start(plan, left, is_late);
                }
            }
        }
        for (key, view) in &ended {
            self.end(key, view);
        }
        let left = std::mem::take(&mut self.left);
        self.forget(ended.into_keys().chain(left.into_keys())).await;
    }

    /// Ends all jobs, and keeps what is stored of them.
    fn pause(&mut self) {
        let views = self.context.views.borrow().clone();
        for (key, view) in &views {
            self.end(key, view);
        }
        self.outdated.extend(views.into_keys());
    }

    /// Like a crash, which a job survives anywhere; and nothing writes its state any more afterwards.
    fn end(&mut self, key: &str, view: &JobView) {
        if let Some(handle) = self.running.remove(key) {
            handle.abort();
        }
        let is_part = |other: &str| arrival_of_key(other).is_some_and(|(_, job)| job == key);
        self.context.views.borrow_mut().retain(|other, _| other != key && !is_part(other));
        self.context.metrics.remove_job(&view.labels);
    }

    /// Removes the stored state of jobs that are gone.
    async fn forget(&self, keys: impl Iterator<Item = String>) {
        let Some(storage) = &self.context.storage else { return };
        for gone in keys {
            tracing::info!(job = gone, "what is stored of a job that ended is removed");
            let parts = storage.snapshots.jobs().into_iter();
            let parts = parts.filter(|key| arrival_of_key(key).is_some_and(|(_, job)| job == gone));
            for key in parts.chain([gone.clone()]) {
                if let Err(error) = storage.snapshots.remove_job(&key).await {
                    tracing::warn!(job = key, %error, "what is stored of a job that ended cannot be removed");
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
