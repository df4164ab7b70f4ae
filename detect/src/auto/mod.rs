//! `auto`: the arguments of another class, found by trying them out on a series' history.
//!
//! # Objective
//!
//! The history is cut into folds of a training and a validation part. A trial fits a model with its arguments to each training
//! part and scores the validation part, both as the model itself will run ([`Running`]): in the same safeguards, and without incidents
//! in what is fitted where those are excluded. Lower losses are better:
//!
//! ```text
//! loss = mean over folds of  error + 0.1 width + 100 max(0, share - anomaly_percentage)
//! ```
//!
//! - `error` is the mean of `|y - yhat|`, `width` that of `yhat_upper - yhat_lower`, in units of the median absolute deviation of the
//!   history (the mean one where that is 0, and 1 where that is too). So the narrowest interval is wanted,
//! - `share` is that of the scores above 1; `anomaly_percentage` is its upper bound, not its target: a percent too much is as bad
//!   as an interval that is ten deviations wider,
//! - a class without an expected value has neither error nor width; there the last term is `100 |share - anomaly_percentage|`,
//!   because a bound alone is best kept by a model that finds nothing.
//!
//! With `n` samples and `r = train_val_ratio`, the folds of [`ValidationScheme::Regular`] have `v = n / (r + n_splits)` samples to
//! validate, the `r v` before them to train, and follow each other by `v` up to the end. Those of [`ValidationScheme::Leaky`] are
//! `n / n_splits` samples to validate, and all samples to train.
//!
//! # Search
//!
//! The first trial is that of the arguments that the search starts from, so that the result is never worse. Then even trials are
//! drawn from the whole [space](Tunable::PARAMETERS), uniformly on the scale of each parameter, and odd ones around the best so far.
//! Trial number `i` depends on the seed, on `i` and on the trials before it, so that a search that ends early is the beginning of
//! one that does not.
//!
//! Of the trials within a hundredth of the least loss that are not worse than the first, `optimize_complexity` takes the one with
//! the smallest state.
//!
//! Seasons, lists and names are never searched: what days and weeks do to a series is known, and written among the frozen arguments.
//!
//! # Fit
//!
//! A [`TunedBatch`] keeps a model with arguments of its own for each series. Its fit of a series is a [search](Search) in its window,
//! then a fit of the class with what was found to the whole window. Where the window is too short for the folds, or no trial gives
//! a fit, the arguments that the search starts from are fitted, as the class by itself would be. The library has no clock: a fit is
//! made [trial by trial](TunedFit::step), and whoever makes it ends it when [`AutoArgs::timeout`] is over.
//!
//! Until the next fit the model does what its class does. One that learns online learns every sample that it scores, and a series
//! that no fit has seen starts with the arguments that searches start from. One that does not has no output before its first fit.
//!
//! Classes that see several series together are tuned for each group: see [`joint`].
//!
//! # State
//!
//! The [header](crate::state) `at`, the number of values that were found (`u16`, with the highest bit set if there was a search; 0 if
//! those that it starts from are best), the values in the order of [`Tunable::PARAMETERS`] without what is frozen (`f64`), and the state of the
//! class: [`state_bytes`]. A slot that has learnt nothing has no state of the class.

mod args;
mod batch;
mod found;
pub mod joint;
mod objective;
mod search;
mod space;
mod trials;
mod tunable;

pub use args::{AutoArgs, MAX_SPLITS, Running, TuningArgs, ValidationScheme};
pub use batch::{FORMAT, TunedBatch, TunedFit, state_bytes};
pub use search::{Search, Tuned, tune};
pub use space::{Parameter, Scale, TrialArgs, Tunable, predict_offline, predict_online};
