//! `prophet`: a trend that bends at changepoints, seasonalities and holidays, fitted by their most likely parameters.
//!
//! # Model
//!
//! S. Taylor and B. Letham, "Forecasting at scale", The American Statistician 72, 2018, as the Python package Prophet 1.5 has it.
//! With scaled time `t` (0 at the first sample of the history, 1 at the last), scaled values, changepoints `s_j` and columns of
//! features `x`:
//!
//! ```text
//! line(t)    = k t + m + sum_j delta_j (t - s_j)+
//! trend(t)   = line(t)                                  growth linear
//!            = m                                        growth flat
//!            = cap / (1 + exp(-line(t)))                growth logistic, with -k m instead of m
//! yhat       = trend (1 + x_m' beta_m) + x_a' beta_a
//! y          ~ N(yhat, sigma)
//! k, m       ~ N(0, 5)        delta ~ Laplace(0, changepoint_prior_scale)
//! beta_i     ~ N(0, prior scale of its column)          sigma ~ half N(0, 0.5)
//! ```
//!
//! A fit maximises the posterior from Prophet's start with the steps and the stopping rules of Stan's L-BFGS, so that it stops
//! where Prophet stops, to within what Prophet differs from itself when values change in their ninth digit. (Below 100 samples
//! Prophet takes Newton's method, which comes a little closer to the maximum.) The data enter the search through matrices wherever
//! the model allows, so that its steps cost the same for any number of samples.
//!
//! A constant series (unless growth is logistic) is not searched for: `sigma` is 1e-9, so any deviation scores above 1.
//!
//! As in Prophet, multiplicative terms are fitted to values from which the floor is taken (the least value with `scaling` minmax, or
//! that of logistic growth), but then multiply the trend with its floor. Without a floor there is no difference.
//!
//! The interval is `yhat -+ z sigma`, which is what Prophet's samples converge to within the history and for points that follow
//! each other; forecasts at horizons have the growing uncertainty of the trend (`uncertainty`).
//!
//! # Times
//!
//! A fit sorts samples by time; those of the same time are all kept, in their order. Seasonalities count from 1970-01-01 of the
//! clock of UTC, or with `tz_aware` of the zone's, where they then follow daylight saving time; the trend always follows UTC.
//!
//! # State
//!
//! Parameters, layout and scaling, none of the history: [`state_bytes`].

mod additive;
mod args;
mod compression;
mod design;
mod fit;
mod layout;
mod lbfgs;
mod logistic;
mod posterior;
mod repeats;
mod saved;
mod segments;
mod uncertainty;
pub(crate) mod vector;

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Provides, StateError};
use crate::offline::{FitError, OfflineModel, Prediction, Window};
use crate::readiness::Readiness;
use crate::score::Interval;

pub use args::{
    Aggregation, BuiltIn, Compression, Cycle, Growth, Holiday, MAX_CHANGEPOINTS, MAX_FOURIER_ORDER,
    MAX_HOLIDAY_COLUMNS, MAX_HOLIDAY_WINDOW, MAX_HORIZON, Mode, ProphetArgs, Scaling, Seasonality, TzSeasonality,
};
pub use design::Design;
pub use fit::{Fit, Terms};
pub use saved::{FORMAT, state_bytes};

use fit::Horizon;
use layout::{Facts, Layout};

/// What a component is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    Trend,
    Additive,
    Multiplicative,
    /// A seasonality, a holiday or all holidays.
    Named(String),
}

impl Component {
    /// Bounds of components are the components: there is one estimate of the parameters.
    fn named(name: &str) -> Self {
        let stem = name.strip_suffix("_lower").or_else(|| name.strip_suffix("_upper")).unwrap_or(name);
        match stem {
            "trend" => Self::Trend,
            "additive_terms" => Self::Additive,
            "multiplicative_terms" => Self::Multiplicative,
            stem => Self::Named(stem.to_owned()),
        }
    }
}

/// The components that a model of these arguments can have: `trend`, `additive_terms`, `multiplicative_terms`, each seasonality,
/// `holidays` and each holiday, and their bounds (`_lower`, `_upper`). What the history of a series decides against is NaN.
#[must_use]
pub fn component_names(args: &ProphetArgs) -> Vec<String> {
    let mut stems: Vec<&str> = vec!["trend", "additive_terms", "multiplicative_terms"];
    stems.extend(args.seasonalities.iter().map(|seasonality| seasonality.name.as_str()));
    stems.extend(args.tz_seasonalities.iter().map(|seasonality| seasonality.cycle.name()));
    let built_in =
        [("yearly", args.yearly_seasonality), ("weekly", args.weekly_seasonality), ("daily", args.daily_seasonality)];
    stems.extend(built_in.iter().filter(|(_, built_in)| !matches!(built_in, BuiltIn::Off)).map(|(name, _)| *name));
    let country = args.country_holidays.as_deref().and_then(crate::holidays::of_country).unwrap_or_default();
    if !(args.holidays.is_empty() && country.is_empty()) {
        stems.push("holidays");
    }
    stems.extend(args.holidays.iter().map(|holiday| holiday.name.as_str()));
    stems.extend(country.iter().map(|holiday| holiday.name));
    let mut names: Vec<String> = Vec::new();
    for stem in stems {
        if !names.iter().any(|name| name == stem) {
            names.extend(["", "_lower", "_upper"].map(|suffix| format!("{stem}{suffix}")));
        }
    }
    names
}

/// What the models of one configuration share.
#[derive(Debug)]
struct Shared {
    args: ProphetArgs,
    components: Vec<Component>,
    spans: Spans,
    cache: Mutex<Cache>,
}

/// How long a history has two cycles of its seasons, ms.
#[derive(Debug)]
struct Spans {
    /// Of those that every fit has.
    asked: f64,
    /// Of those that a fit has by itself as soon as it can.
    usual: f64,
}

/// What was made for one series and may serve the next.
#[derive(Debug, Default)]
struct Cache {
    design: Option<Arc<Design>>,
    layouts: Vec<Arc<Layout>>,
}

/// Layouts that are kept: histories of most series decide alike.
const MAX_LAYOUTS: usize = 16;

impl Shared {
    fn layout(&self, facts: Facts) -> Arc<Layout> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = cache.layouts.iter().find(|layout| layout.facts == facts) {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::new(&self.args, facts));
        if cache.layouts.len() == MAX_LAYOUTS {
            cache.layouts.remove(0);
        }
        cache.layouts.push(Arc::clone(&layout));
        layout
    }

    /// The design of these times: that of the last fit if it had the same.
    fn design(&self, times: &[i64]) -> Result<Arc<Design>, FitError> {
        let known = self.cache.lock().unwrap_or_else(PoisonError::into_inner).design.clone();
        if let Some(design) = known.filter(|design| design.times == times) {
            return Ok(design);
        }
        let design = Arc::new(Design::with_layouts(&self.args, times, |facts| self.layout(facts))?);
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).design = Some(Arc::clone(&design));
        Ok(design)
    }
}

/// `prophet` of one series. Clones share their configuration and what fits can share: series that have samples at the same times
/// share the [`Design`].
#[derive(Debug, Clone)]
pub struct Prophet {
    shared: Arc<Shared>,
    fit: Option<Box<Fit>>,
    /// Of `forecast_at`.
    horizons: Vec<Horizon>,
}

impl Prophet {
    /// A model without a fit that provides these components, some of [`component_names`]. The arguments must be valid.
    #[must_use]
    pub fn new(args: ProphetArgs, components: &[String]) -> Self {
        let components = components.iter().map(|name| Component::named(name)).collect();
        let spans = Spans { asked: args.asked_span() as f64, usual: args.usual_span() as f64 };
        let shared = Shared { args, components, spans, cache: Mutex::default() };
        Self { shared: Arc::new(shared), fit: None, horizons: Vec::new() }
    }

    /// The fit, if there is one.
    #[must_use]
    pub fn fitted(&self) -> Option<&Fit> {
        self.fit.as_deref()
    }

    fn set(&mut self, fit: Option<Fit>) {
        let args = &self.shared.args;
        let horizons = |fit: &Fit| {
            let horizon = |after: &i64| fit.horizon(*after, args.interval_width);
            args.forecast_at.iter().map(horizon).collect()
        };
        self.horizons = fit.as_ref().map(horizons).unwrap_or_default();
        self.fit = fit.map(Box::new);
    }
}

impl OfflineModel for Prophet {
    fn fit(&mut self, window: Window<'_>) -> Result<(), FitError> {
        let mut samples: Vec<(i64, f64)> = window.samples().collect();
        samples.sort_by_key(|(time, _)| *time);
        let (times, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
        let fit = match self.shared.args.compression {
            None => self.shared.design(&times)?.fit(&values)?,
            Some(compression) => {
                let compressed = compression::compress(compression, &times, &values);
                let mut fit = self.shared.design(&compressed.times)?.fit(&compressed.values)?;
                if compression.adjust_boundaries {
                    fit.spread = compressed.spread(fit.y_scale);
                }
                fit
            }
        };
        self.set(Some(fit));
        Ok(())
    }

    fn is_fitted(&self) -> bool {
        self.fit.is_some()
    }

    fn readiness(&self) -> Readiness {
        let Some(fit) = &self.fit else { return Readiness::NONE };
        let span = fit.span as f64;
        // Of two whole cycles the window has all samples when the first one of the third is still missing.
        let covered = span * (fit.samples as f64 / fit.samples.saturating_sub(1).max(1) as f64);
        let Spans { asked, usual } = self.shared.spans;
        Readiness::learning(covered, asked).and(Readiness::learning(span, usual))
    }

    fn predict(&self, points: Window<'_>, predictions: &mut Vec<Prediction>) {
        let args = &self.shared.args;
        let interval = |time: &i64| match &self.fit {
            Some(fit) => fit.interval(args, *time, args.interval_width),
            None => Interval::NONE,
        };
        predictions.extend(points.times.iter().map(interval).map(Prediction::Interval));
    }

    fn provides(&self) -> Provides {
        Provides { components: self.shared.components.len(), forecasts: self.shared.args.forecast_at.len() }
    }

    fn components(&self, time: i64, _value: f64, out: &mut Vec<f64>) {
        let args = &self.shared.args;
        let Some(fit) = &self.fit else {
            out.extend(self.shared.components.iter().map(|_| f64::NAN));
            return;
        };
        let terms = fit.terms(args, time);
        out.extend(self.shared.components.iter().map(|component| match component {
            Component::Trend => terms.trend,
            Component::Additive => terms.additive,
            Component::Multiplicative => terms.multiplicative,
            Component::Named(name) => fit.component(args, name, time).unwrap_or(f64::NAN),
        }));
    }

    fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
        let args = &self.shared.args;
        match &self.fit {
            Some(fit) => out.extend(
                self.horizons
                    .iter()
                    .map(|horizon| fit.interval_after(args, time.saturating_add(horizon.after), *horizon)),
            ),
            None => out.extend(args.forecast_at.iter().map(|_| Interval::NONE)),
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        saved::save(self.fitted(), out);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let fit = saved::load(&self.shared.args, |facts| self.shared.layout(facts), bytes)?;
        self.set(fit);
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        let numbers = |fit: &Fit| fit.delta.len() + fit.changepoints.len() + fit.beta.len() + 2 * fit.standards.len();
        let fit = self.fit.as_deref().map_or(0, |fit| size_of::<Fit>() + 8 * numbers(fit));
        fit + self.horizons.len() * size_of::<Horizon>()
    }
}
