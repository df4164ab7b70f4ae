//! `calibrated`: what is usual at this time of the day and week, in a band as wide as makes an alarm rare for this very series.
//!
//! Online and causal. Everything follows from the step of the series; its arguments say how rare alarms are to be, and how long they
//! last. If all values are multiplied by a positive number and moved, so is everything that is predicted, up to rounding.
//!
//! # Notation
//!
//! `nd` is the number of samples a day at the series' step, `c` the number of finite samples so far,
//! `g(t) = max(1 / t, 1 / (c + 1))` the gain of a mean over `t` samples that starts as a plain one, `clip(v, l)` is `v` limited to
//! `[-l, l]`. Samples that are missing or not finite are skipped, and all that is said of a sample comes from the samples before it.
//! There are three speeds `b`: fast, 5 samples; mid, 24 samples, at least an hour; slow, 48 samples, at least a day.
//!
//! # Prediction
//!
//! 1. Three experts `a` say what the time adds: nothing, the daily profile `D`, the weekly profile `W`, in the civil time of the
//!    query's zone. `D` has 288 slots or as many as there are samples a day, `W` seven times 48 of them or as many; between the
//!    centres of slots that hold several samples they are linear. A daily slot that was not yet seen adds 0, a weekly one what the
//!    day adds.
//! 2. Each expert has a level `L[a][b]` of each speed. They are weighted by `w[a] ~ (min loss / loss[a])^4`; the residual of a speed is
//!    `r[b] = sum w[a] (x - S[a] - L[a][b])`, its prediction `p[b] = x - r[b]`.
//! 3. Four views look at the residuals, each with a deviation `u` of its own:
//!
//!    | view | deviation | sees |
//!    |---|---|---|
//!    | fast | `r[fast]` | that a series leaves the level that it has right now |
//!    | slow | `r[slow]` | that it is not where it was a day ago |
//!    | pair | `sqrt(r[slow] r'[slow])` with that of the sample before, 0 if their signs differ | two in a row that are weak alone |
//!    | drift | `m`, a mean of `r[slow]` over 8 hours, at least 10 samples | a small change that stays |
//! 4. A view's usual size is `sigma = (L1^0.6 (L2 / 1.25)^0.4 + 0.2 L2) h v`, with the mean `L1` of the deviations' sizes, which
//!    rare excursions hardly move, and their root mean square `L2`, which knows of them. With `n` samples at this hour of the day and
//!    the mean size `H` of `r[mid]` at it, `h = max(1, (n H + 100 L1[mid]) / (n + 100) / L1[mid])`. With the mean `E` of the latest
//!    sizes, `v = max(1, E / L1)^0.5`: after an incident the band is wide for a while, so that it is not reported again and again.
//! 5. A block is 12 hours, at least 12 samples. Its greatest `z = |u| / sigma` goes into a ring of the latest [`BLOCKS`] blocks of the
//!    view. With the 65 % quantile `Q` of `q >= 3` of them, `A = 1.587 Q q / (q + 5)` and `T = (A^4 + T0^4)^(1/4)`; before that
//!    `T = T0`, with `T0 = 4.13 (nd / 1440)^0.05`. So the band is a statement about how far this series goes in half a day.
//! 6. Half a band is `max(sigma T theta w f, 1.5 d)`, with `theta` of the asked rate (see "Rate"; 1 by default), the caution
//!    `w = 1 + exp(-q / 3) / 2` after `q` blocks, since little is known of a new series, `f` 1 of the fast and the slow view, 1.3 of the
//!    pair and 1.1 of the drift, and the value's quantum `d`, the least difference of two samples in a row that differ: a step of a
//!    counter is none by itself. Of the pair it is half of that, and of the drift, which is a mean over `t` samples, `sqrt(1 / t)` of it.
//! 7. The band of a view is where its deviation is at most half a band: around `p[fast]`; around `p[slow]`; with the residual
//!    `r'` of the sample before above 0, up to `p[slow] + half^2 / r'`, below 0 from there on; and, with the gain `g` of `m`, from
//!    `p[slow] + (-half - (1 - g) m) / g` to `p[slow] + (half - (1 - g) m) / g`. The interval is what they have in common, `yhat` the
//!    fast prediction limited to it. Where they have nothing in common, which is so at one sample of 2,000, right after the level
//!    changed, it is the middle between them.
//! 8. After an alarm half a band is multiplied by its height. An alarm of the score `s` has the height `s`; its logarithm falls to
//!    its e-th part in 5 hours, or in 30 steps if that is shorter, whether there are samples or not. Of two heights the greater one
//!    counts.
//!
//! # Rate
//!
//! `T` is for 0.1 alarms by chance a day. At another rate `F` it is multiplied by `theta = (0.1 / F)^b`: the frequency of extremes falls
//! about as a power of their size. What power, the blocks in the rings say:
//!
//! - The size of a block is the greatest `z / (T f)` of all views.
//! - A block with an alarm has about `k = (nd / 288)^(1/4)` of them: an alarm is told once for a number of samples. So where there is
//!   one a block on average, a share of `exp(-1 / k)` of all blocks has none by chance, and `M`, the quantile of the sizes of that share,
//!   is exceeded once a block.
//! - 1 is exceeded 0.1 times a day, `n` times a block: `b' = ln M / ln n`, limited to `[0.05, 1]`.
//! - Of `q` blocks, `b = (10 * 0.25 + q b') / (10 + q)`: 10 blocks of series in general, whose median is near 0.25. Before the third
//!   block, and where `n > 0.35`, for steps of seven hours and more, `b = 0.25`.
//!
//! The least half of a band, which follows from the value's quantum, is the same at every rate. What is learnt does not know of the
//! rate but for the height of the latest alarm, which is what it scored; so the rate may be changed at any time.
//!
//! # Score
//!
//! `s = max |u| / half` over all views, with half a band as it is without an alarm before. After one of the height `e`, what is above it
//! scores `s / e`, and all else at most 0.999: the rest of an incident ranks above what is usual, and is no alarm. So the score is above
//! 1 exactly outside the interval. With `once_per_incident: false` every height is 1: an incident scores above 1 as long as it lasts. It
//! is not 0 at `yhat` where that is not what the other views expect. The first [`FIRST_SCORED`] samples score 0, and so does the first
//! sample that differs from all before it: of a series that has never moved it is not known how far it goes. The interval of such a
//! series is its value. How a [`ScorePolicy`](crate::score::ScorePolicy) acts on it:
//!
//! - `scale` multiplies the margins of the interval, and leaves `yhat` alone. The score is that of the value whose distance from `yhat`
//!   is divided by the same number, so it still is 1 at the bounds, and 1 itself changes nothing.
//! - Heights are those of the scores without a policy: what is learnt does not know of policies.
//! - `direction`: a deviation from a view's prediction counts if it is to that side, and the score is 0 on the other side of `yhat`.
//! - Minimal deviations are those from `yhat`.
//! - `data_range` and `clip_predictions` act on the interval as with every class. A clipped bound changes what is written, not which
//!   samples score above 1.
//! - Where rounding, the least margin of [`crate::score`] or clipping let score and written interval differ on which side of 1 a sample
//!   is, the score is [that of the interval](crate::score::base_score).
//!
//! # Learning
//!
//! - `L1` from `|u|` clipped at 6 `L1`, `L2^2` from `u^2` as it is, both over 4 days, at least 200 samples; `E` from `|u|` clipped at 50
//!   `L1`, over 16 hours, at least 6 samples; `L1[mid]` from `|r[mid]|` as the others, and `H` from what it learns; `loss[a]` from the
//!   size of the expert's residual of mid speed, over 3 days, at least 50 samples, clipped at 6 mean errors of the first expert.
//! - `L[a][b]` from its own residual clipped at 3.5 of its mean errors, which are means over two days.
//! - `D` from `x - D - L[daily][slow]`, clipped alike, with the gain `max(0.15 / samples a slot and day, 1 / visits)`; `W` likewise with
//!   0.3 and `L[weekly][slow]`, starting from what the day adds.
//!
//! # Onset
//!
//! Of a series that stood still, sizes are 0, and for days they would be means over that: whatever it does then is an alarm. So if the
//! first move comes after [`FIRST_SCORED`] samples or more, `c` of the gains of `L1`, `L2`, `E`, mean errors and losses is the number
//! of samples since the first move, from when the series moves for good. That is when 15 more samples differ from the one before than do
//! not, counted from when there were last none more. Until then what it does is measured by what it did before: its onset is an alarm.
//!
//! # Original recipe
//!
//! [`CalibratedArgs::original`] is the class as it was at first, and is not reachable by configuration: the fast and the slow view alone,
//! no quantum, hold, caution and onset; `sigma` with `0.1 L2` and the exponent 0.6 of `E / L1`, `L1` and `L2` over 5 days, blocks of 8
//! hours, and `A = 1.475 Q q / (q + 5)` of the 3rd quartile. What each of the changes does is in `docs/detection-quality.md`.
//!
//! # State
//!
//! At most [`max_state_bytes`], which is 6.4 kB for steps of five minutes and less, and 3.8 kB for an hour. Profiles and rings are `f32`:
//! with `f64` scores are the same to 4 digits. What exceeds `f32` saturates.
//!
//! The [header](crate::state) `cb`, then `samples_seen` (`u64`), the block of the latest sample (`i64`), its time in ms (`i64`), the
//! number of blocks (`u64`), the samples before the onset and the moves since (`u64`; see "Onset"), the greatest `z` of the current one
//! by view, levels and their mean errors by expert and speed, losses by expert, the latest value and its `r[slow]`, `m`, `d` (0: none
//! yet), the logarithm of the height, `L1[mid]`, `L1`, `L2^2` and `E` by view (`f64`), `H` (`f64`) and visits (`u32`) by hour, value
//! (`f32`) and visits (`u16`) of each slot of both profiles, and the maxima of the blocks in the ring by view (`f32`). Version 1 was that
//! of the original recipe, version 2 knew of no onset. Both are refused, since what they say was learnt in another way, and the model
//! learns anew.

mod batch;
mod codec;
mod driver;
mod hold;
mod joint;
mod learning;
mod maxima;
pub mod multivariate;
mod onset;
mod pace;
mod prediction;
mod profile;
mod rate;
mod recipe;
mod state;
mod views;

pub use batch::CalibratedBatch;
pub use codec::{FORMAT, Stored, max_state_bytes};
pub use driver::{Season, Yardstick, component_names};
pub use maxima::BLOCKS;
pub use prediction::FIRST_SCORED;
pub use rate::{FALSE_ALARMS_PER_DAY, MAX_FALSE_ALARMS_PER_DAY, MIN_FALSE_ALARMS_PER_DAY};

use self::pace::Pace;
use self::rate::Rate;
use self::recipe::Recipe;
use crate::argument::{ArgumentError, Arguments};
use crate::calendar::DAY_MS;
use crate::readiness::NeededHistory;

/// Arguments of `calibrated`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibratedArgs {
    /// Distance of the series' samples, ms; above 0. All that is remembered follows from it.
    pub step: i64,
    /// Alarms that a series is to have by chance, a day; [`MIN_FALSE_ALARMS_PER_DAY`] to [`MAX_FALSE_ALARMS_PER_DAY`]. It acts on the
    /// threshold alone.
    pub false_alarms_per_day: f64,
    /// Whether an incident scores above 1 once, when it begins, and again only if it gets worse; else as long as it lasts.
    pub once_per_incident: bool,
    recipe: &'static Recipe,
}

impl CalibratedArgs {
    /// For series of this step, ms.
    #[must_use]
    pub const fn new(step: i64) -> Self {
        Self { step, false_alarms_per_day: FALSE_ALARMS_PER_DAY, once_per_incident: true, recipe: &Recipe::CURRENT }
    }

    /// The class as it was at first, to compare with: see the module's "Original recipe".
    #[must_use]
    pub const fn original(step: i64) -> Self {
        Self { recipe: &Recipe::ORIGINAL, ..Self::new(step) }
    }

    /// Of a channel of a [group](multivariate): the same without caution.
    #[must_use]
    pub const fn of_channel(step: i64) -> Self {
        Self { recipe: &Recipe::CHANNEL, ..Self::new(step) }
    }

    /// The same with another rate of false alarms a day.
    #[must_use]
    pub const fn with_false_alarms(self, per_day: f64) -> Self {
        Self { false_alarms_per_day: per_day, ..self }
    }

    /// The same, but incidents score above 1 as long as they last.
    #[must_use]
    pub const fn with_lasting_alarms(self) -> Self {
        Self { once_per_incident: false, ..self }
    }

    fn pace(&self) -> Pace {
        let mut pace = Pace::new(self.step, self.recipe, self.false_alarms_per_day);
        pace.once_per_incident = self.once_per_incident;
        pace
    }

    /// Checks every argument against its range.
    ///
    /// # Errors
    /// Names the first argument that is outside its range.
    pub fn validate(&self) -> Result<(), ArgumentError> {
        let Self { step, false_alarms_per_day, .. } = self;
        Arguments("calibrated").require("step", format!("{step} ms"), "above 0", *step > 0)?;
        Rate::validate(*false_alarms_per_day)
    }

    /// All of a week, and enough blocks for a threshold of the series' own.
    pub(crate) fn needed_history(&self, warm_up: u64) -> NeededHistory {
        let pace = self.pace();
        let week = pace.weekly_slots as u64;
        NeededHistory { samples: warm_up.max(FIRST_SCORED).max(week), span: pace.own_threshold_after().max(7 * DAY_MS) }
    }

    /// The arguments that act on learning; see [`crate::spec::ModelSpec::learning_signature`]. The zone acts on learning too.
    pub(crate) fn learning_signature(&self) -> String {
        let recipe = match self.recipe.name {
            "" => String::new(),
            name => format!(" recipe={name}"),
        };
        format!("step={}{recipe}", self.step)
    }
}
