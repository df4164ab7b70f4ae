//! A fit: models learn a window of history from nothing. An online model's fit is a fold over chunks of time, so the
//! window is never held in memory; it is for models that need it as a whole.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::sync::SemaphorePermit;

use crate::{
    context::{Context, Environment, backoff},
    engine::{FitWindow, JobState, Refused, TickInput},
    environment::{Clock, Grid, RangeAnswer, ReadError},
    joint::Joint,
    labels::Labels,
    metrics::JobLabels,
    plan::JobPlan,
    readers::{Demand, Purpose, Wanted},
    series::ByLabels,
};

/// Values that one chunk of a fit holds at most (32 MiB), as far as the number of series can be foreseen.
const CHUNK_VALUES: usize = 4 << 20;
/// Points of the first chunk, before the number of series is known.
const FIRST_CHUNK_POINTS: usize = 100;

/// What a fit learns.
pub struct FitRequest {
    /// The job, with only the models to fit.
    pub plan: JobPlan,
    /// The tick at which the window ends.
    pub fitted_to: i64,
    /// Series that have a place already, by slot.
    pub placed: Vec<Labels>,
    /// Which series.
    pub scope: FitScope,
    /// Set by the job when nobody wants the result any more.
    pub cancelled: Rc<Cell<bool>>,
}

/// Which series a fit learns.
pub enum FitScope {
    /// Everything that the shard owns.
    All,
    /// Only these.
    Only(ByLabels<()>),
    /// Everything that the shard owns but these.
    Except(ByLabels<()>),
}

impl FitScope {
    /// By what has a state of its own under a plan: of a series that belongs to a group, the whole group.
    fn of_units(self, plan: &JobPlan) -> Self {
        let units = |series: ByLabels<()>| series.into_keys().map(|labels| (plan.unit_of(&labels), ())).collect();
        match self {
            Self::All => Self::All,
            Self::Only(series) => Self::Only(units(series)),
            Self::Except(series) => Self::Except(units(series)),
        }
    }

    fn has(&self, plan: &JobPlan, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Only(units) => units.contains_key(&plan.unit_of(labels)),
            Self::Except(units) => !units.contains_key(&plan.unit_of(labels)),
        }
    }
}

/// What a fit has learnt.
pub struct FitResult {
    /// Whether only some series were fitted.
    pub partial: bool,
    /// The tick at which the window ended.
    pub fitted_to: i64,
    /// The series and their states, in slots of their own.
    pub state: JobState,
    /// Valid samples learnt.
    pub samples: u64,
    /// Series that models could not be fitted to.
    pub refused: Vec<Refused>,
    /// For each search for the arguments of a series that its time limit has cut short, the position of the model.
    pub cut: Vec<usize>,
    /// Time spent on learning, reads aside.
    pub learning: Duration,
}

/// Fits, asking again as long as the TSDB is away. `report` hears why it is not answering.
pub async fn fit<E: Environment>(
    context: &Rc<Context<E>>,
    labels: &JobLabels,
    request: FitRequest,
    report: &dyn Fn(&ReadError),
) -> Option<FitResult> {
    let FitRequest { plan, fitted_to, placed, scope, cancelled } = request;
    let scope = scope.of_units(&plan);
    let mut permit = Some(context.fits.acquire().await.ok()?);
    let query = plan.query.clone();
    let most_points = plan.max_points_per_read();
    let limit = plan.series_limit();
    let window = plan.scheduler.fit_window;
    let mut state = JobState::new(plan);
    for model in &mut state.models {
        model.fitted_to = Some(fitted_to);
    }
    for series in &placed {
        state.series.place(series, fitted_to);
    }
    let whole = Grid::within(fitted_to - window + query.offset, fitted_to + query.offset, query.step);
    let partial = !matches!(scope, FitScope::All);
    let (samples, refused, cut, learning) = (0, Vec::new(), Vec::new(), Duration::ZERO);
    let mut result = FitResult { partial, fitted_to, state, samples, refused, cut, learning };
    let mut history = FitWindow::default();
    let mut done = 0;
    let mut chunk_points = FIRST_CHUNK_POINTS;
    while done < whole.points {
        let points = chunk_points.min(most_points).min(whole.points - done);
        let grid = Grid { start: whole.start + whole.step * done as i64, step: whole.step, points };
        let reading = Reading { context, labels, scope: &scope, cancelled: &cancelled, report };
        let wanted = Wanted { purpose: Purpose::Fit, until: fitted_to, grid };
        let answer = reading.until_answered(&mut result.state, wanted, &mut permit).await?;
        // Every shard sees the same series, kept or not, so all cut the window alike and get the same answers.
        chunk_points = (CHUNK_VALUES / (answer.query_series as usize).max(1)).max(1);
        let started = context.clock.monotonic();
        let rows = result.state.series.admit(&answer, fitted_to, limit).rows;
        let input = TickInput::of_rows(fitted_to, grid, &rows, &answer.values);
        result.samples += input.valid_samples();
        result.state.learn_chunk(&input);
        result.state.courses.note(&input);
        if result.state.needs_window() {
            history.push(input);
        }
        result.learning += context.clock.monotonic().saturating_sub(started);
        done += points;
    }
    result.state.finish_fit();
    if result.state.needs_window() {
        result.state.gather(&history);
        let stopwatch = context.clock.stopwatch();
        for slice in result.state.slices() {
            let mut started = context.clock.monotonic();
            let refused = result.state.fit_slice(&history, &slice);
            result.refused.extend(refused);
            let mut searches = result.state.begin_searches(&history, &slice);
            loop {
                result.learning += context.clock.monotonic().saturating_sub(started);
                // The other jobs' ticks are due meanwhile.
                tokio::task::yield_now().await;
                if cancelled.get() {
                    return None;
                }
                if searches.is_empty() {
                    break;
                }
                started = context.clock.monotonic();
                let searched = result.state.search(&mut searches, &history, &stopwatch);
                result.refused.extend(searched.refused);
                result.cut.extend(searched.cut);
            }
        }
    }
    Some(result)
}

/// What stays the same over the reads of a fit.
struct Reading<'a, E: Environment> {
    context: &'a Rc<Context<E>>,
    labels: &'a JobLabels,
    scope: &'a FitScope,
    cancelled: &'a Cell<bool>,
    report: &'a dyn Fn(&ReadError),
}

impl<'a, E: Environment> Reading<'a, E> {
    /// Reads what is wanted for as long as it takes. Between attempts the permit is another fit's: a query that the TSDB
    /// keeps refusing must not hold up the fits of the others.
    async fn until_answered(
        &self,
        state: &mut JobState,
        wanted: Wanted,
        permit: &mut Option<SemaphorePermit<'a>>,
    ) -> Option<RangeAnswer> {
        let mut pauses = backoff();
        loop {
            if self.cancelled.get() {
                return None;
            }
            let demand = Demand { wanted, fresh: false };
            let cancelled = || self.cancelled.get();
            match read(self.context, self.labels, state, demand, self.scope, &cancelled).await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    (self.report)(&error);
                    drop(permit.take());
                    self.context.clock.sleep(pauses.next().unwrap_or(Duration::from_secs(10))).await;
                    *permit = Some(self.context.fits.acquire().await.ok()?);
                }
            }
        }
    }
}

/// One attempt to read for a job, from the TSDB or the shard that reads for all. For a multivariate model it reads all its
/// queries, and fails with the first that does.
pub async fn read<E: Environment>(
    context: &Rc<Context<E>>,
    labels: &JobLabels,
    state: &mut JobState,
    demand: Demand,
    scope: &FitScope,
    given_up: &dyn Fn() -> bool,
) -> Result<RangeAnswer, ReadError> {
    let JobState { plan, models, series, .. } = state;
    let Some(model) = models.first() else { return Ok(RangeAnswer::default()) };
    series.begin_answer();
    if plan.joint.is_none() {
        let mut keep = |labels: &Labels| series.keep(labels, plan, &model.format) && scope.has(plan, labels);
        return context.read(plan, labels, demand, given_up, &mut keep).await;
    }
    let mut all = RangeAnswer::default();
    for of_query in plan.reads() {
        let alias = &of_query.query_alias;
        let mut keep = |labels: &Labels| {
            let channel = Joint::channel(alias, labels);
            series.keep(&channel, plan, &model.format) && scope.has(plan, &channel)
        };
        let answer = context.read(&of_query, labels, demand, given_up, &mut keep).await?;
        all.append(answer, |labels| Joint::channel(alias, labels));
    }
    Ok(all)
}
