//! The models of many series, each with arguments of its own.

use super::args::AutoArgs;
use super::found::Found;
use super::search::{Search, Tuned};
use super::space::Tunable;
use crate::batch::Batch;
use crate::incidents;
use crate::model::{Provides, Samples, Scores, StateError, is_missing};
use crate::offline::{FitError, Window};
use crate::readiness::Readiness;
use crate::safeguards::Safeguards;
use crate::score::{Interval, ScorePolicy};
use crate::spec::ModelSpec;
use crate::state::{Format, HEADER_BYTES, damaged, require};

/// Tag and version of the state. Another space to search is another version.
pub const FORMAT: Format = Format { tag: *b"at", version: 2 };

/// Size of a saved state with so many found values, beside the state of the class.
#[must_use]
pub const fn state_bytes(values: usize, class: usize) -> usize {
    HEADER_BYTES + 2 + 8 * values + class
}

/// The model of one series.
struct Slot {
    spec: ModelSpec,
    found: Found,
    /// One slot of the class.
    model: Batch,
}

impl Slot {
    fn new(spec: ModelSpec, found: Found, safeguards: Safeguards, components: &[String]) -> Self {
        let mut model = spec.new_batch_with(safeguards, components);
        model.grow(1);
        Self { spec, found, model }
    }
}

/// `auto` of many series. A slot is a series; a new slot has learnt nothing.
///
/// Methods panic when a slot is not below [`slots`](Self::slots) or [`Samples::values`] is not rows x columns: that is the
/// caller's bug, never an effect of data.
pub struct TunedBatch {
    args: AutoArgs,
    components: Vec<String>,
    slots: Vec<Option<Box<Slot>>>,
    /// Scores of one series.
    row: Scores,
}

impl TunedBatch {
    /// A batch without slots that gives these components of the tuned class.
    #[must_use]
    pub fn new(args: AutoArgs, components: &[String]) -> Self {
        Self { args, components: components.to_vec(), slots: Vec::new(), row: Scores::default() }
    }

    /// The longest time of the search for one series; see [`TunedFit::step`].
    #[must_use]
    pub fn timeout(&self) -> Option<std::time::Duration> {
        self.args.timeout
    }

    /// The tuned class with the arguments of a slot; `None` while it has learnt nothing.
    #[must_use]
    pub fn found(&self, slot: u32) -> Option<&ModelSpec> {
        self.slots[slot as usize].as_deref().map(|slot| &slot.spec)
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Adds empty slots until there are at least `slots`.
    pub fn grow(&mut self, slots: usize) {
        if slots > self.slots.len() {
            self.slots.resize_with(slots, || None);
        }
    }

    /// Forgets what was found for a slot, and what it has learnt.
    pub fn reset(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
    }

    /// Whether a slot has learnt anything.
    #[must_use]
    pub fn has_state(&self, slot: u32) -> bool {
        self.slots[slot as usize].as_ref().is_some_and(|slot| slot.model.has_state(0))
    }

    /// How far the model of a slot is that scores by this policy. One that goes by the arguments that searches start from, because
    /// it began after the fit or its window was too short to search in, is never ready.
    #[must_use]
    pub fn readiness(&self, slot: u32, policy: &ScorePolicy) -> Readiness {
        self.slots[slot as usize]
            .as_deref()
            .map_or(Readiness::NONE, |slot| slot.model.readiness(0, policy).and(slot.found.most_ready()))
    }

    /// Begins a fit of a series. No slot changes: fits can run beside scoring and beside each other, and their states are put in
    /// force by [`load`](Self::load).
    #[must_use]
    pub fn begin_fit(&self, window: Window<'_>) -> TunedFit {
        let AutoArgs { start, safeguards, exclude_incidents, .. } = &self.args;
        let (search, start) = (begin(&self.args, window), start.clone());
        TunedFit { search, start, safeguards: *safeguards, exclude_incidents: *exclude_incidents }
    }

    /// A whole [fit](Self::begin_fit), whose state is appended to `state`. `goes_on` is asked before each trial but the first.
    ///
    /// # Errors
    /// When the window gives no fit of the class; `state` is unchanged then.
    pub fn fit(
        &self,
        window: Window<'_>,
        mut goes_on: impl FnMut() -> bool,
        state: &mut Vec<u8>,
    ) -> Result<(), FitError> {
        let mut fit = self.begin_fit(window);
        while fit.step() && goes_on() {}
        fit.finish(window, state)
    }

    /// Predicts and scores every sample as the tuned class does, and lets it learn them if it learns online. All outputs of a
    /// slot without a fit are NaN if it does not. `scores` is overwritten.
    pub fn infer(&mut self, samples: Samples<'_>, policy: &ScorePolicy, scores: &mut Scores) {
        samples.check(self.slots.len());
        scores.resize(samples.values.len());
        self.row.gives_stage = scores.gives_stage;
        let provides = self.provides();
        let columns = samples.times.len();
        for (row, slot) in samples.slots.iter().enumerate() {
            let values = samples.row(row);
            self.begin_online(*slot, values);
            let cells = row * columns..(row + 1) * columns;
            let Some(slot) = self.slots[*slot as usize].as_deref_mut() else {
                for (cell, value) in cells.zip(values) {
                    scores.put(cell, Interval::NONE, f64::NAN);
                    scores.provide_nothing(provides);
                    if !is_missing(*value) {
                        scores.put_stage(cell, || Readiness::NONE);
                    }
                }
                continue;
            };
            let one = Samples { times: samples.times, slots: &[0], values };
            slot.model.infer(one, policy, &mut self.row);
            scores.anomaly_score[cells.clone()].copy_from_slice(&self.row.anomaly_score);
            scores.yhat[cells.clone()].copy_from_slice(&self.row.yhat);
            scores.yhat_lower[cells.clone()].copy_from_slice(&self.row.yhat_lower);
            scores.yhat_upper[cells.clone()].copy_from_slice(&self.row.yhat_upper);
            if scores.gives_stage {
                scores.stage[cells.clone()].copy_from_slice(&self.row.stage);
                let most = slot.found.most_ready();
                scores.stage[cells].iter_mut().for_each(|stage| *stage = stage.min(most.value()));
            }
            scores.components.extend_from_slice(&self.row.components);
            scores.forecasts.extend_from_slice(&self.row.forecasts);
        }
    }

    /// Learns without scoring, if the class learns online.
    pub fn learn(&mut self, samples: Samples<'_>) {
        samples.check(self.slots.len());
        for (row, slot) in samples.slots.iter().enumerate() {
            let values = samples.row(row);
            self.begin_online(*slot, values);
            if let Some(slot) = self.slots[*slot as usize].as_deref_mut() {
                slot.model.learn(Samples { times: samples.times, slots: &[0], values });
            }
        }
    }

    /// A series that no fit has seen starts with the arguments that searches start from, if its class can start without a fit.
    fn begin_online(&mut self, slot: u32, values: &[f64]) {
        let slot = &mut self.slots[slot as usize];
        if slot.is_none() && self.args.start.learns_online() && values.iter().any(|value| value.is_finite()) {
            *slot = Some(Box::new(Slot::new(
                self.args.start.clone(),
                Found::default(),
                self.args.safeguards,
                &self.components,
            )));
        }
    }

    fn provides(&self) -> Provides {
        Provides { components: self.components.len(), forecasts: self.args.start.horizons() }
    }

    /// Appends one slot's state in its versioned binary form.
    pub fn save(&self, slot: u32, out: &mut Vec<u8>) {
        let slot = self.slots[slot as usize].as_deref();
        slot.map_or(&Found::default(), |slot| &slot.found).write(FORMAT, out);
        if let Some(slot) = slot {
            slot.model.save(0, out);
        }
    }

    /// Replaces one slot's state.
    ///
    /// # Errors
    /// When the bytes are no state of this model; the slot is unchanged then.
    pub fn load(&mut self, slot: u32, bytes: &[u8]) -> Result<(), StateError> {
        let (found, class) = Found::read(FORMAT, bytes)?;
        let loaded = if class.is_empty() && !found.is_searched {
            None
        } else {
            let spec = with_values(&self.args, &found.values)?;
            let mut loaded = Slot::new(spec, found, self.args.safeguards, &self.components);
            loaded.model.load(0, class)?;
            Some(Box::new(loaded))
        };
        self.slots[slot as usize] = loaded;
        Ok(())
    }

    /// Bytes on the heap that all slots hold.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_slot = |slot: &Slot| size_of::<Slot>() + slot.model.heap_bytes() + slot.found.values.capacity() * 8;
        let slots = self.slots.iter().flatten().map(|slot| of_slot(slot)).sum::<usize>();
        self.slots.capacity() * size_of::<Option<Box<Slot>>>() + slots
    }
}

/// A fit of one series under way.
pub struct TunedFit {
    /// `None` if the window is too short for the folds.
    search: Option<Box<dyn AnySearch>>,
    start: ModelSpec,
    safeguards: Safeguards,
    exclude_incidents: bool,
}

impl TunedFit {
    /// Makes the next trial. Returns whether there is another one to make; whoever makes the fit may end it before. The first
    /// trial is that of the arguments that the search starts from.
    pub fn step(&mut self) -> bool {
        self.search.as_deref_mut().is_some_and(|search| search.step())
    }

    /// Fits what was found so far to the window that the fit was [begun](TunedBatch::begin_fit) with, and appends the state to
    /// `state`, for [`TunedBatch::load`].
    ///
    /// # Errors
    /// When the window gives no fit of the class; `state` is unchanged then.
    pub fn finish(self, window: Window<'_>, state: &mut Vec<u8>) -> Result<(), FitError> {
        let mut values = window.values.to_vec();
        if self.exclude_incidents {
            incidents::leave_out(window.times, &mut values);
        }
        let window = Window { values: &values, ..window };
        let before = state.len();
        if let Some(Ok(Tuned { args, values, .. })) = self.search.map(AnySearch::finish) {
            Found { is_searched: true, values }.write(FORMAT, state);
            if args.fit(self.safeguards, window, state).is_ok() {
                return Ok(());
            }
            state.truncate(before);
        }
        Found::default().write(FORMAT, state);
        self.start.fit(self.safeguards, window, state).inspect_err(|_| state.truncate(before))
    }
}

/// A [`Search`] of any class.
trait AnySearch: Send {
    /// Makes a trial; returns whether there is another one.
    fn step(&mut self) -> bool;
    fn finish(self: Box<Self>) -> Result<Tuned<ModelSpec>, FitError>;
}

struct SearchOf<A: Tunable> {
    search: Search<A>,
    spec: fn(A) -> ModelSpec,
}

impl<A: Tunable> AnySearch for SearchOf<A> {
    fn step(&mut self) -> bool {
        self.search.step();
        !self.search.is_over()
    }

    fn finish(self: Box<Self>) -> Result<Tuned<ModelSpec>, FitError> {
        let Tuned { args, values, loss, start_loss, trials } = self.search.finish()?;
        Ok(Tuned { args: (self.spec)(args), values, loss, start_loss, trials })
    }
}

/// What is done with the arguments of a class that has some to search.
trait Visit {
    type Output;
    fn visit<A: Tunable>(self, start: A, spec: fn(A) -> ModelSpec) -> Self::Output;
}

/// `None` of a class that has none, or of `auto` itself.
fn visit<V: Visit>(start: &ModelSpec, visitor: V) -> Option<V::Output> {
    Some(match start.clone() {
        ModelSpec::ZscoreOnline(args) => visitor.visit(args, ModelSpec::ZscoreOnline),
        ModelSpec::MadOnline(args) => visitor.visit(args, ModelSpec::MadOnline),
        ModelSpec::QuantileOnline(args, zone) => {
            visitor.visit((args, zone), |(args, zone)| ModelSpec::QuantileOnline(args, zone))
        }
        ModelSpec::RollingQuantile(args) => visitor.visit(args, ModelSpec::RollingQuantile),
        ModelSpec::Std(args) => visitor.visit(args, ModelSpec::Std),
        ModelSpec::TemporalEnvelope(args, zone) => {
            visitor.visit((args, zone), |(args, zone)| ModelSpec::TemporalEnvelope(args, zone))
        }
        ModelSpec::Prophet(args) => visitor.visit(*args, |args| ModelSpec::Prophet(Box::new(args))),
        ModelSpec::HoltWinters(args) => visitor.visit(args, ModelSpec::HoltWinters),
        ModelSpec::IsolationForest(args, zone) => {
            visitor.visit((args, zone), |(args, zone)| ModelSpec::IsolationForest(args, zone))
        }
        ModelSpec::Auto(_) | ModelSpec::Calibrated(..) => return None,
    })
}

/// The names of the parameters of a class, as in configurations.
pub(super) fn parameter_names(spec: &ModelSpec) -> Vec<&'static str> {
    struct Names;
    impl Visit for Names {
        type Output = Vec<&'static str>;
        fn visit<A: Tunable>(self, _: A, _: fn(A) -> ModelSpec) -> Self::Output {
            A::PARAMETERS.iter().map(|parameter| parameter.name).collect()
        }
    }
    visit(spec, Names).unwrap_or_default()
}

/// A search for one series; `None` if the window is too short.
fn begin(args: &AutoArgs, window: Window<'_>) -> Option<Box<dyn AnySearch>> {
    struct Begin<'a>(&'a AutoArgs, Window<'a>);
    impl Visit for Begin<'_> {
        type Output = Option<Box<dyn AnySearch>>;
        fn visit<A: Tunable>(self, start: A, spec: fn(A) -> ModelSpec) -> Self::Output {
            let Self(args, window) = self;
            let frozen: Vec<&str> = args.frozen.iter().map(String::as_str).collect();
            let search = Search::new(start, &frozen, window, &args.running(), &args.tuning).ok()?;
            Some(Box::new(SearchOf { search, spec }))
        }
    }
    visit(&args.start, Begin(args, window)).flatten()
}

/// The tuned class with the values that a search found.
fn with_values(args: &AutoArgs, values: &[f64]) -> Result<ModelSpec, StateError> {
    struct Set<'a>(&'a [String], &'a [f64]);
    impl Visit for Set<'_> {
        type Output = Result<ModelSpec, StateError>;
        fn visit<A: Tunable>(self, mut args: A, spec: fn(A) -> ModelSpec) -> Self::Output {
            let Self(frozen, values) = self;
            let searched = || A::PARAMETERS.iter().filter(|one| frozen.iter().all(|frozen| frozen != one.name));
            if !values.is_empty() {
                require(values.len() == searched().count(), "the number of found values")?;
                for (parameter, value) in searched().zip(values) {
                    require(parameter.scale.holds(*value), "a found value is none that is searched")?;
                    (parameter.set)(&mut args, *value);
                }
            }
            let spec = spec(args);
            spec.validate().map_err(|_| damaged("the found values do not go together"))?;
            Ok(spec)
        }
    }
    visit(&args.start, Set(&args.frozen, values)).unwrap_or(Err(damaged("the class has nothing to tune")))
}
