//! The worker as a process: command line, files, signals, and the loop between them.

mod known_topology;
mod status;

use std::{num::NonZeroU32, process::ExitCode, rc::Rc, sync::Arc, time::Duration};

use config::{
    contract::RELEASE,
    load::Source,
    status::{ConfigStatus, NotReady, NotReadyReason, ReloadState},
    topology::Topology,
    worker::WorkerConfig,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, watch};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    capacity::Capacity,
    command_line::{Arguments, TopologySource},
    config_files::{self, ConfigFiles, Watcher},
    context::{Context, Environment, Storage},
    disk::file_system::FileSystem,
    environment::{Clock, Disk},
    http::{HttpOptions, HttpServer, Limits},
    logging::{LogFormat, LogLevel, Logging},
    metrics::{Metrics, ReloadStatus},
    peers::{
        Member, Place,
        http::{HttpPeers, Link, LinkError, WAITING_QUESTIONS},
    },
    plan::{self, JobPlan},
    system_clock::SystemClock,
    tsdb::HttpTsdb,
    worker::{Worker, history},
};

use known_topology::RecallError;
use status::StatusSource;

/// The four traits of a real process.
struct Process;

impl Environment for Process {
    type Clock = SystemClock;
    type Disk = FileSystem;
    type Tsdb = HttpTsdb;
    type Peers = HttpPeers;
}

/// The status is made anew so often.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Everything that a configuration leads to, ready to be put in force.
struct Staged {
    config: WorkerConfig,
    topology: Topology,
    /// Which worker this is, and among how many.
    place: Place,
    /// `None` while the topology has no place for this worker.
    jobs: Option<Vec<JobPlan>>,
    /// Why it has none.
    displaced: Option<NotReady>,
    tsdb: HttpTsdb,
    digest: String,
}

/// When a configuration is looked at.
#[derive(Debug, Clone, Copy)]
enum At<'a> {
    /// The process starts.
    Start,
    /// The process starts, and has followed this topology before, which the file does not go on from.
    Resumption(&'a Topology),
    /// The process runs as this shard, and follows this topology.
    Reload(u32, &'a Topology),
}

impl Staged {
    /// Whether there is no topology that this release understands.
    fn awaits_older_contract(&self) -> bool {
        self.displaced.as_ref().is_some_and(|why| why.reason == NotReadyReason::NewerContract)
    }

    fn job_count(&self) -> usize {
        self.jobs.as_ref().map_or(0, Vec::len)
    }

    /// For `--dryRun`.
    fn summary(&self) -> String {
        let Place { member, ranks } = self.place;
        let rank = if ranks > 1 { format!(", rank {} of {ranks}", member.rank) } else { String::new() };
        let (jobs, shards) = (self.job_count(), self.topology.shards);
        let idle = self.displaced.as_ref().map(|why| format!("; {}", why.message)).unwrap_or_default();
        format!("configuration is valid: {jobs} job(s) on shard {} of {shards}{rank}{idle}", member.shard)
    }
}

/// Runs a worker until SIGINT or SIGTERM.
#[must_use]
pub fn run(arguments: Vec<std::ffi::OsString>) -> ExitCode {
    let arguments = match Arguments::parse(arguments, environment_variable) {
        Ok(arguments) => arguments,
        Err(error) => return error.report(),
    };
    let clock = SystemClock::new();
    let format = arguments.logger_format.unwrap_or_else(LogFormat::of_stderr);
    let unix = clock;
    let logging = match Logging::install(arguments.logger_level, format, move || unix.now()) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match serve(&arguments, &logging, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(critical = true, "{error}");
            ExitCode::FAILURE
        }
    }
}

fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why the process ends; for people.
type Fatal = Box<dyn std::error::Error>;

fn serve(arguments: &Arguments, logging: &Logging, clock: SystemClock) -> Result<(), Fatal> {
    for (level, remark) in &arguments.remarks {
        match level {
            LogLevel::Debug => tracing::debug!("{remark}"),
            _ => tracing::warn!("{remark}"),
        }
    }
    let capacity = Capacity::of_this_process();
    let files = read_files(arguments)?;
    let staged = stage(arguments, &files, logging, At::Start)?;
    tracing::info!(
        version = RELEASE,
        jobs = staged.job_count(),
        shard = staged.place.member.shard,
        rank = staged.place.member.rank,
        shards = staged.topology.shards.get(),
        digest = staged.digest,
        "Config has been loaded successfully"
    );
    if arguments.dry_run {
        println!("{}", staged.summary());
        return Ok(());
    }
    let threads = capacity.threads(staged.config.settings.n_workers);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("learn-{index}"))
        .build_global()?;
    let metrics = Arc::new(Metrics::new(&staged.config.preset, RELEASE, clock.now())?);
    metrics.capacity(&capacity, threads);
    metrics.config_reload_enabled.set(i64::from(arguments.watch));
    metrics.config_loaded(clock.now());
    metrics.entities(staged.job_count(), staged.job_count());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(arguments, logging, clock, staged, &files, metrics))
}

/// The configuration's files, and the topology's, if there is one, as the last.
fn read_files(arguments: &Arguments) -> Result<ConfigFiles, Fatal> {
    Ok(config_files::read(&watched(arguments))?)
}

fn watched(arguments: &Arguments) -> Vec<std::path::PathBuf> {
    let mut paths = arguments.configs.clone();
    paths.extend(topology_file(arguments).cloned());
    paths
}

fn topology_file(arguments: &Arguments) -> Option<&std::path::PathBuf> {
    match &arguments.topology {
        Some(TopologySource::File(path)) => Some(path),
        _ => None,
    }
}

/// Parses, validates, plans and connects, without changing anything.
fn stage(arguments: &Arguments, files: &ConfigFiles, logging: &Logging, at: At) -> Result<Staged, Fatal> {
    let cpus = Capacity::of_this_process().threads(0);
    let mut sources: Vec<Source> =
        files.sources.iter().map(|(name, text)| Source::new(name.clone(), text.clone().into_bytes())).collect();
    let (mut unreadable, mut counted_by) = (None, None);
    let topology = match &arguments.topology {
        Some(TopologySource::File(path)) => {
            let source = sources.pop().unwrap_or_else(|| Source::new(path.display().to_string(), Vec::new()));
            let is_newer = Topology::newer_contract(&source).is_some();
            match (at, Topology::parse(&source)) {
                // Ending would not help: who writes the file learns from this worker's status that it has to be older.
                (At::Start, Err(error)) if is_newer && arguments.watch && !arguments.dry_run => {
                    let message = error.to_string().trim_end().to_owned();
                    unreadable = Some(NotReady { reason: NotReadyReason::NewerContract, message });
                    counted_by = Topology::parse_core(&source);
                    Topology::default()
                }
                (At::Resumption(known), Err(_)) if is_newer => known.clone(),
                (_, Err(error)) => return Err(error.into()),
                (At::Start, Ok(given)) => given,
                (At::Resumption(known), Ok(given)) => known_topology::in_place_of(&given, known),
                (At::Reload(_, known), Ok(given)) => {
                    known_topology::check(known, &given).map_err(|refused| format!("{}: {refused}", path.display()))?;
                    given
                }
            }
        }
        Some(TopologySource::Members(members)) => {
            Topology { shards: NonZeroU32::new(*members).unwrap_or(NonZeroU32::MIN), ..Topology::default() }
        }
        None => Topology::default(),
    };
    let shard = match at {
        // Of a deployment that shrinks to one shard, not every worker becomes that one.
        At::Reload(shard, _) => shard,
        At::Start | At::Resumption(_) => {
            let counted_by = counted_by.as_ref().unwrap_or(&topology);
            let former = counted_by.previous_shards.iter().copied();
            arguments.shard(former.fold(counted_by.shards, NonZeroU32::max).get())?
        }
    };
    let member = Member { shard, rank: arguments.rank() };
    let place = Place { member, ranks: topology.ranks.get() };
    let loaded = config::load::load(&sources, &environment_variable, cpus)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = loaded.config;
    for client in [&config.reader.client, &config.writer.client] {
        logging.redactor().register_client(client);
    }
    // A shard that the topology does not have is a mistake where nothing can change it.
    let may_come = !matches!(at, At::Start) || (arguments.watch && topology_file(arguments).is_some());
    let no_place = |message| NotReady { reason: NotReadyReason::NotInTopology, message };
    let (jobs, displaced) = match plan::plan(&config, &topology, member.shard) {
        _ if unreadable.is_some() => (None, unreadable),
        Err(error) if may_come => (None, Some(no_place(error.to_string()))),
        planned => {
            let displaced = (member.rank >= place.ranks).then(|| {
                let Place { member: Member { rank, .. }, ranks } = place;
                no_place(format!(
                    "this worker is rank {rank}, but the topology has {ranks} rank(s) (0 to {})",
                    ranks - 1
                ))
            });
            (Some(planned?).filter(|_| displaced.is_none()), displaced)
        }
    };
    let tsdb = HttpTsdb::new(&config.reader, &config.writer)?;
    logging.set_component_levels(&config.settings.logger_levels)?;
    let canonical = serde_json::to_vec(&(config.without_secrets(), &topology))?;
    Ok(Staged { digest: format!("{:016x}", xxh3_64(&canonical)), config, topology, place, jobs, displaced, tsdb })
}

/// The loop with everything that comes from outside.
async fn work(
    arguments: &Arguments,
    logging: &Logging,
    clock: SystemClock,
    staged: Staged,
    files: &ConfigFiles,
    metrics: Arc<Metrics>,
) -> Result<(), Fatal> {
    let started = clock.monotonic();
    let (questioner, mut questions) = mpsc::channel(WAITING_QUESTIONS);
    let peers = HttpPeers::new(metrics.clone());
    let mut link = Link::new(peers.clone(), questioner, metrics.clone(), logging.redactor().clone());
    let Opened { storage, left, disk } = open_storage(arguments, &staged.config, &metrics).await?;
    // Without a topology file there are no epochs, and nothing to remember.
    let memory = disk.filter(|_| topology_file(arguments).is_some());
    let (staged, refused) = resume(arguments, files, logging, staged, memory.as_deref()).await?;
    if refused.is_some() {
        metrics.config_reloaded(ReloadStatus::Failure, clock.now());
        metrics.entities(staged.job_count(), staged.job_count());
    }
    follow(&mut link, &staged)?;
    if !staged.awaits_older_contract() {
        remember(memory.as_deref(), &staged.topology).await;
    }
    let folder =
        storage.is_some().then(|| arguments.state_folder.as_ref().map(|path| path.display().to_string())).flatten();
    let job_count = staged.job_count();
    let Staged { config, topology, place, jobs, displaced, tsdb, digest } = staged;
    let (context, spawned) = Context::<Process>::new(clock, tsdb, (peers, place), storage, metrics.clone(), &config);
    let (commands, receiver) = mpsc::unbounded_channel();
    let worker = Worker::new((context.clone(), spawned), receiver).run(jobs, left);
    tokio::pin!(worker);
    let mut status = StatusSource {
        context: context.clone(),
        place,
        topology,
        job_count,
        displaced,
        folder,
        stopping: false,
        config: ConfigStatus {
            digest,
            revision: config.revision.clone(),
            generation: 0,
            reload: if refused.is_some() { ReloadState::Invalid } else { ReloadState::None },
            last_error: refused,
            applied_at_ms: Some(clock.now()),
        },
    };
    status.report_displacement();
    let (published, status_receiver) = watch::channel(status.status());
    let server = HttpServer::start(HttpOptions {
        server: config.server.clone(),
        pull: config.monitoring.pull.clone(),
        limits: Limits::default(),
        metrics: metrics.clone(),
        status: status_receiver,
        alarms: context.alarms.clone(),
        redactor: logging.redactor().clone(),
    })?;
    let watcher = Watcher::new(watched(arguments), arguments.config_check_interval, files);
    // A stream keeps its wait while the loop below turns: the interval is longer than the status'.
    let changes = stream::unfold(watcher, |mut watcher| async move {
        let changed = watcher.changed(&clock).await;
        Some((changed, watcher))
    });
    tokio::pin!(changes);
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // Also one that keeps its wait: questions come more often.
    let beats = stream::unfold((), |()| async move {
        clock.sleep(STATUS_INTERVAL).await;
        Some(((), ()))
    });
    tokio::pin!(beats);
    let mut restoring = true;
    let mut changed = true;
    loop {
        if std::mem::take(&mut changed) {
            published.send_replace(status.status());
        }
        if restoring && status.restored() {
            restoring = false;
            let seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
            metrics.restore_seconds.with_label_values(&[metrics.preset()]).set(seconds);
        }
        tokio::select! {
            biased;
            () = &mut worker => break,
            Some(read) = changes.next(), if arguments.watch => {
                let outcome = read.map_err(Fatal::from).and_then(|files| {
                    let staged = stage(arguments, &files, logging, At::Reload(status.place.member.shard, &status.topology))?;
                    follow(&mut link, &staged)?;
                    Ok(staged)
                });
                if let Ok(staged) = &outcome {
                    remember(memory.as_deref(), &staged.topology).await;
                }
                status.reloaded(outcome, &commands, &metrics, clock.now());
                changed = true;
            }
            _ = interrupt.recv(), if !status.stopping => {
                status.stop(&commands);
                changed = true;
            }
            _ = terminate.recv(), if !status.stopping => {
                status.stop(&commands);
                changed = true;
            }
            Some(asked) = questions.recv() => asked.answer(status.place.member, |question| status.answer(question)),
            Some(()) = beats.next() => changed = true,
        }
    }
    server.stop().await;
    Ok(())
}

/// Opens, moves or closes the way to the other workers. One that has no place in the topology has none.
fn follow(link: &mut Link, staged: &Staged) -> Result<(), LinkError> {
    match staged.jobs {
        Some(_) => link.follow(&staged.topology, staged.place.member),
        None => {
            link.close();
            Ok(())
        }
    }
}

/// What to start with if a former process has followed a topology that the file does not go on from, or that is all this
/// release understands: that one, and why.
async fn resume(
    arguments: &Arguments,
    files: &ConfigFiles,
    logging: &Logging,
    staged: Staged,
    memory: Option<&FileSystem>,
) -> Result<(Staged, Option<String>), Fatal> {
    let unreadable =
        staged.displaced.as_ref().filter(|_| staged.awaits_older_contract()).map(|why| why.message.clone());
    let Some((disk, path)) = memory.zip(topology_file(arguments)) else { return Ok((staged, unreadable)) };
    let known = match known_topology::recall(disk).await {
        Ok(Some(known)) => known,
        Ok(None) => return Ok((staged, unreadable)),
        Err(problem @ RecallError::Damaged) => {
            tracing::error!("damaged state: {problem}");
            return Ok((staged, unreadable));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(why) = unreadable {
        tracing::error!(known_epoch = known.epoch, "{why}: this worker goes on with epoch {}", known.epoch);
        return Ok((stage(arguments, files, logging, At::Resumption(&known))?, Some(why)));
    }
    let Err(refused) = known_topology::check(&known, &staged.topology) else { return Ok((staged, None)) };
    let (path, epoch) = (path.display(), staged.topology.epoch);
    let why = format!("{path}: {refused}");
    tracing::error!(epoch, known_epoch = known.epoch, "{why}: this worker goes on with epoch {}", known.epoch);
    Ok((stage(arguments, files, logging, At::Resumption(&known))?, Some(why)))
}

/// Keeps a topology that is followed from now on.
async fn remember(memory: Option<&FileSystem>, topology: &Topology) {
    let Some(disk) = memory else { return };
    // Every job keeps its own epoch with its state, so this is no reason to stop.
    if let Err(error) = known_topology::remember(disk, topology).await {
        tracing::warn!(%error, "the topology cannot be kept: after a restart, an older file would not be noticed");
    }
}

/// The state folder, if there is one.
#[derive(Default)]
struct Opened {
    storage: Option<Storage<FileSystem>>,
    /// What a former process left, job by job.
    left: std::collections::HashMap<String, crate::job::JobHistory>,
    disk: Option<Rc<FileSystem>>,
}

/// Opens the state folder, if there is one, and says what was found in it.
async fn open_storage(arguments: &Arguments, config: &WorkerConfig, metrics: &Metrics) -> Result<Opened, Fatal> {
    let Some(folder) = &arguments.state_folder else {
        if config.settings.restore_state == Some(true) {
            return Err("settings.restore_state is true, but there is no state folder: give --stateFolder or set \
                        VMANOMALY_MODEL_DUMPS_DIR"
                .into());
        }
        tracing::warn!("no state folder is set (in-memory): a restart learns everything anew from the TSDB");
        return Ok(Opened::default());
    };
    let disk = Rc::new(FileSystem::open(folder)?);
    if config.settings.restore_state == Some(false) {
        tracing::warn!(folder = %folder.display(), "settings.restore_state is false: stored state is removed");
        for name in ["log", "snapshot", known_topology::FILE] {
            disk.remove(name).await?;
        }
    }
    let (storage, recovered, restored) = Storage::open(disk.clone()).await?;
    storage.snapshots.retain_configurations(&storage.log.configurations()).await?;
    let preset = [metrics.preset()];
    metrics.log_damaged_records.with_label_values(&preset).inc_by(recovered.damaged_records);
    metrics.log_bytes.with_label_values(&preset).set(i64::try_from(storage.log.bytes()).unwrap_or(i64::MAX));
    for problem in recovered.problems.iter().chain(&restored.problems) {
        tracing::error!("damaged state: {problem}");
    }
    tracing::info!(folder = %folder.display(), records = recovered.records.len(), blocks = restored.blocks.len(), "state folder opened");
    Ok(Opened { storage: Some(storage), left: history(recovered, restored), disk: Some(disk) })
}
