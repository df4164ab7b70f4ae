//! Follows every model through the week and takes from what was written what the reference says must be there.

use std::collections::BTreeMap;
use std::fmt;

use tests::series::Series;

use crate::input::{STEP, Values, labels};
use crate::reference::{Band, Class, Decided, Rules, Seen, least_margin};
use crate::table::{ALL, Model};

/// When ticks and fits are.
pub struct Schedule {
    /// End of the first fit.
    pub start: i64,
    /// Last tick.
    pub end: i64,
    pub infer_every: i64,
    pub fit_window: i64,
    pub fit_every: i64,
    pub fit_lag: i64,
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Found {
    samples: u64,
    scores: BTreeMap<Decided, u64>,
    /// Worst relative deviations of z-score bounds and of their distance from the expected value.
    worst_bound: f64,
    worst_margin: f64,
    /// Worst rank errors of median and MAD, times the compression.
    worst_rank: [f64; 2],
    /// Worst relative deviation of scaled bounds from the unscaled ones.
    worst_scaled: f64,
}

impl Found {
    pub fn decided(&self, decided: Decided) -> u64 {
        self.scores.get(&decided).copied().unwrap_or(0)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} samples, {} of them scores that are exactly the expected ones: {:?}",
            self.samples,
            self.scores.values().sum::<u64>(),
            self.scores
        )?;
        writeln!(
            out,
            "z-score: bounds deviate by {:.1e} at most, margins by {:.1e}",
            self.worst_bound, self.worst_margin
        )?;
        writeln!(out, "MAD: rank errors of median and MAD are {:.2?} / compression at most", self.worst_rank)?;
        write!(out, "scaled bounds deviate by {:.1e} at most", self.worst_scaled)
    }
}

type Generated<'a> = dyn Fn(&str, &str, &str) -> BTreeMap<&'static str, String> + 'a;

/// Everything that was written, less what was found to be right.
pub struct Comparison<'a> {
    generated: Box<Generated<'a>>,
    left: BTreeMap<BTreeMap<String, String>, BTreeMap<i64, f64>>,
    found: Found,
}

/// One moment of one series under one query.
#[derive(Clone, Copy)]
struct Moment<'a> {
    instance: &'a str,
    time: i64,
    y: f64,
    seen: &'a Seen,
}

/// What a model wrote about one series, by output.
type Outputs = BTreeMap<&'static str, BTreeMap<i64, f64>>;

impl<'a> Comparison<'a> {
    /// `generated` gives the labels that the worker adds for (output, query, model).
    pub fn new(
        written: &[Series],
        generated: impl Fn(&str, &str, &str) -> BTreeMap<&'static str, String> + 'a,
    ) -> Self {
        let mut left = BTreeMap::new();
        for series in written {
            let samples: BTreeMap<i64, f64> = series.samples.iter().map(|sample| (sample.time, sample.value)).collect();
            assert_eq!(samples.len(), series.samples.len(), "written twice: {:?}", series.labels);
            left.insert(series.labels.clone(), samples);
        }
        Self { generated: Box::new(generated), left, found: Found::default() }
    }

    /// The labels of an output.
    fn labels(&self, output: &str, query: &str, model: &str, instance: &str) -> BTreeMap<String, String> {
        let received = labels(instance).map(|(name, value)| (name, value.to_owned()));
        received
            .into_iter()
            .chain((self.generated)(output, query, model))
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Takes out what a model wrote about a series.
    fn take(&mut self, query: &str, model: &str, instance: &str) -> Outputs {
        let mut outputs = Outputs::new();
        for output in ALL {
            let series = self.labels(output, query, model, instance);
            outputs.insert(output, self.left.remove(&series).unwrap_or_default());
        }
        outputs
    }

    /// Puts back what was not expected.
    fn put_back(&mut self, query: &str, model: &str, instance: &str, outputs: Outputs) {
        for (output, samples) in outputs {
            let series = self.labels(output, query, model, instance);
            self.left.insert(series, samples);
        }
    }

    /// Checks every model of a query on one series.
    pub fn check(
        &mut self,
        schedule: &Schedule,
        query: &'static str,
        instance: &str,
        values: &Values,
        models: &[Model],
    ) {
        let mut groups: Vec<Vec<&Model>> = Vec::new();
        for model in models.iter().filter(|model| model.query == query) {
            let learns_alike = |group: &&mut Vec<&Model>| learning(&group[0].rules) == learning(&model.rules);
            match groups.iter_mut().find(learns_alike) {
                Some(group) => group.push(model),
                None => groups.push(vec![model]),
            }
        }
        for group in groups {
            self.follow(schedule, query, instance, values, &group);
        }
    }

    /// Follows models that learn alike through the time.
    fn follow(&mut self, schedule: &Schedule, query: &str, instance: &str, values: &Values, models: &[&Model]) {
        let rules = &models[0].rules;
        let fit = |until: i64| {
            let mut seen = Seen::nothing(rules.decay);
            learn(&mut seen, values, until - schedule.fit_window, until);
            seen.finish_fit(rules.history_strength);
            seen
        };
        let mut outputs: Vec<Outputs> = models.iter().map(|model| self.take(query, model.alias, instance)).collect();
        let mut seen = fit(schedule.start);
        let mut next_fit = schedule.start + schedule.fit_every;
        let mut before = schedule.start;
        while before < schedule.end {
            let tick = before + schedule.infer_every;
            if tick == next_fit + schedule.fit_lag {
                let mut fitted = fit(next_fit);
                // A series without a sample in the window goes on with what it has.
                if fitted.count() > 0 {
                    learn(&mut fitted, values, next_fit, before);
                    seen = fitted;
                }
                next_fit += schedule.fit_every;
            }
            for time in (before + STEP..=tick).step_by(STEP as usize) {
                let Some(y) = values.get(&time).copied() else {
                    continue;
                };
                let moment = Moment { instance, time, y, seen: &seen };
                self.check_moment(moment, models, &mut outputs);
                if y.is_finite() {
                    seen.learn(y);
                }
            }
            before = tick;
        }
        for (model, outputs) in models.iter().zip(outputs) {
            self.put_back(query, model.alias, instance, outputs);
        }
    }

    /// Checks the outputs of models that have learnt the same.
    fn check_moment(&mut self, moment: Moment<'_>, models: &[&Model], written: &mut [Outputs]) {
        let learnt = moment.seen.count() > 0;
        let mut bands: BTreeMap<&str, Band> = BTreeMap::new();
        for (model, written) in models.iter().zip(written) {
            let what = || format!("{} at {} of {}", model.alias, moment.time, moment.instance);
            let outputs: BTreeMap<&str, f64> = written
                .iter_mut()
                .filter_map(|(output, samples)| Some((*output, samples.remove(&moment.time)?)))
                .collect();
            self.found.samples += outputs.len() as u64;
            let expected = |output: &&&str| match **output {
                "anomaly_score" | "y" => moment.y.is_finite(),
                _ => learnt,
            };
            let expected: Vec<&str> =
                ALL.iter().filter(|output| model.provided.contains(output)).filter(expected).copied().collect();
            let mut names: Vec<&str> = outputs.keys().copied().collect();
            names.sort_by_key(|name| ALL.iter().position(|output| output == name));
            assert_eq!(names, expected, "{}", what());

            if let Some(y) = outputs.get("y") {
                assert_eq!(y.to_bits(), moment.y.to_bits(), "{}", what());
            }
            let own = outputs.get("yhat").map(|yhat| Band {
                yhat: *yhat,
                lower: outputs["yhat_lower"],
                upper: outputs["yhat_upper"],
            });
            let twin = model.twin.and_then(|twin| bands.get(twin)).copied();
            assert!(!learnt || model.twin.is_none() || twin.is_some(), "{} has its twin before it", model.alias);
            if let Some(band) = own {
                self.check_band(band, twin, &model.rules, moment.seen, &what);
                bands.insert(model.alias, band);
            }
            if let Some(score) = outputs.get("anomaly_score") {
                let (wanted, decided) = model.rules.score(own.or(twin), moment.y, moment.seen.count());
                // Logarithms differ in the last place.
                let is_equal = if decided == Decided::Largest {
                    relative(*score, wanted) <= 1e-14
                } else {
                    score.to_bits() == wanted.to_bits()
                };
                assert!(is_equal, "{}: {score}, not {wanted} ({decided:?}), with {own:?} and y {}", what(), moment.y);
                *self.found.scores.entry(decided).or_insert(0) += 1;
            }
        }
    }

    fn check_band(&mut self, band: Band, twin: Option<Band>, rules: &Rules, seen: &Seen, what: &dyn Fn() -> String) {
        if let Some(twin) = twin {
            let margin = |bound: f64, scale: f64| ((bound - twin.yhat).abs() * scale).max(least_margin(twin.yhat));
            let scaled = rules.clipped(Band {
                yhat: twin.yhat,
                lower: twin.yhat - margin(twin.lower, rules.scale[0]),
                upper: twin.yhat + margin(twin.upper, rules.scale[1]),
            });
            assert_eq!(band.yhat.to_bits(), scaled.yhat.to_bits(), "{}", what());
            for (found, wanted) in [(band.lower, scaled.lower), (band.upper, scaled.upper)] {
                let deviation = relative(found, wanted);
                // Without a scale nothing is rounded again.
                let allowed = if rules.scale == [1.0; 2] { 0.0 } else { 1e-15 };
                assert!(deviation <= allowed, "{}: {found}, not {wanted}", what());
                self.found.worst_scaled = self.found.worst_scaled.max(deviation);
            }
        }
        match rules.class {
            Class::Zscore => self.check_moments(band, rules, seen, what),
            Class::Mad if !rules.clip => self.check_ranks(band, rules, seen, what),
            Class::Mad => assert!(band == rules.clipped(band), "{}: {band:?} is not clipped", what()),
        }
    }

    fn check_moments(&mut self, band: Band, rules: &Rules, seen: &Seen, what: &dyn Fn() -> String) {
        let (mean, deviation) = seen.mean_and_deviation();
        let wanted = rules.band(mean, deviation);
        for (found, wanted) in [(band.yhat, wanted.yhat), (band.lower, wanted.lower), (band.upper, wanted.upper)] {
            let deviation = relative(found, wanted);
            assert!(deviation <= 1e-9, "{}: {found}, not {wanted}", what());
            self.found.worst_bound = self.found.worst_bound.max(deviation);
        }
        // A margin of rounding noise has no digits to compare.
        if !rules.clip && rules.threshold * deviation > 1e-3 * mean.abs() {
            for (found, wanted) in [
                (band.yhat - band.lower, wanted.yhat - wanted.lower),
                (band.upper - band.yhat, wanted.upper - wanted.yhat),
            ] {
                let deviation = relative(found, wanted);
                assert!(deviation <= 1e-9, "{}: margin {found}, not {wanted}", what());
                self.found.worst_margin = self.found.worst_margin.max(deviation);
            }
        }
    }

    fn check_ranks(&mut self, band: Band, rules: &Rules, seen: &Seen, what: &dyn Fn() -> String) {
        let [below, above] = [band.yhat - band.lower, band.upper - band.yhat];
        let margin = above / rules.scale[1];
        // Two subtractions of numbers of this size.
        let rounding = 2.0 * least_margin(band.yhat);
        assert!(
            (below / rules.scale[0] - margin).abs() <= 2.0 * rounding,
            "{}: {band:?} is not symmetric but for the scale",
            what()
        );
        let mad = margin / rules.threshold;
        let errors = seen.rank_errors(band.yhat, mad, rounding);
        let compression = f64::from(rules.compression);
        for (error, worst) in errors.iter().zip(&mut self.found.worst_rank) {
            assert!(error * compression <= 2.0, "{}: rank errors {errors:?} of {band:?}", what());
            *worst = worst.max(error * compression);
        }
    }

    /// Nothing else may have been written.
    pub fn finish(self) -> Found {
        let left: Vec<_> = self.left.iter().filter(|(_, samples)| !samples.is_empty()).take(3).collect();
        assert!(left.is_empty(), "nobody expected {left:?}");
        self.found
    }
}

/// What learning depends on.
fn learning(rules: &Rules) -> (Class, u64, u64) {
    (rules.class, rules.decay.to_bits(), rules.history_strength.to_bits())
}

/// Learns the finite samples in `(after, until]`.
fn learn(seen: &mut Seen, values: &Values, after: i64, until: i64) {
    for (_, value) in values.range(after + 1..=until) {
        if value.is_finite() {
            seen.learn(*value);
        }
    }
}

fn relative(found: f64, wanted: f64) -> f64 {
    if found == wanted { 0.0 } else { (found - wanted).abs() / wanted.abs().max(f64::MIN_POSITIVE) }
}
