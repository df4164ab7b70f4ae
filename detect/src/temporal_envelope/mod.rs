//! `temporal_envelope`: a level with a trend, calendar profiles and learnt holidays, in a band of the residuals' quantiles.
//!
//! Online and causal: a sample costs the same however many came before, and is predicted from those before it alone. If all
//! values are multiplied by a positive number and moved, so is everything that is predicted, up to rounding.
//!
//! # Prediction
//!
//! `yhat(t) = level + slope (t - t_last) + s(t)`, where `s` is the sum of the profiles' values at `t` and of the response of the
//! holiday that `t` is on. The residuals are `e = y - yhat`; with their quantiles `Q_lo` and `Q_hi` of `quantiles`, their
//! `IQR = Q_hi - Q_lo` and `sd`, the square root of the mean of their squares,
//!
//! - the lower bound is `yhat + min(Q_lo - iqr_threshold IQR, -3/2 iqr_threshold sd)`,
//! - the upper bound is `yhat + max(Q_hi + iqr_threshold IQR, 3/2 iqr_threshold sd)`,
//!
//! both saturating at `±f64::MAX`. The second terms matter where the residuals have heavy tails: with the default arguments the
//! band is 3.4 standard deviations of normal residuals to either side by the first terms, and 3 by the second ones.
//!
//! Past the latest sample, a slope is carried on for `10 / alpha` steps at most. A forecast at a horizon of `h` steps carries it on
//! all the way, and its margins are those of the next point times `sqrt(1 + h (a^2 + a b h + b^2 h^2 / 3))`, the growth for Holt's
//! method with the gains `a` and `b` below (R. Hyndman et al., "Forecasting with Exponential Smoothing", 2008, table 6.2, for
//! large `h`).
//!
//! # Learning
//!
//! With `d` the mean size of the residuals, but at least a quarter of the mean size of the latest ones:
//!
//! - **Robustness.** `e* = clamp(e, ±loss_reactivity d)`, and everything but the residuals' own sizes learns the value
//!   `x* = yhat + e*`.
//! - **Level and slope**, for `n` samples on the level: `level = yhat - s + a e*` with `a = max(1 - (1 - alpha)^2, 2 / (n + 1))`, and
//!   `slope = slope + b e*` a step with `b = alpha^2`: Brown's double exponential smoothing, started as a mean.
//! - **Profiles** learn `x* - s - base`, where `base` is a mean over the profile's period: a day for `hod_*`, a week for `dow_*` and
//!   `weekpart_*`, a year for `month_*`; corrected for a trend once there were two periods. The level is too fast for that, it
//!   follows the pattern itself. A node's gain, over a visit, is `2 / (v + 1)` at its visit `v`, and at least 2/13. A longer period
//!   learns what the shorter ones leave of a deviation. A spiky profile also learns what exceeds the limit, as far as it was there
//!   one day, or week, before.
//! - **Holidays** learn the same against the mean over a week; the profiles and means learn nothing on such days.
//! - **Residuals** are clipped like `e*` in the digest of their quantiles. Their sizes are clipped at `6 d`, the roots of their
//!   squares at `12 d`. They forget with a time constant of `10 / alpha` samples, but of at least five days; at first, they weigh
//!   linearly more the later they came.
//!
//! **Spikes and shifts.** A residual outside the band is not learnt at once: it waits. If a sample inside the band, or one beyond
//! its other side, follows before `changepoint_window` of them wait, they were a burst and are learnt, clipped. Otherwise the
//! series is on another level: the level becomes the median of what waited, which is then learnt; the older residuals are made
//! to weigh `2 changepoint_window` new ones, so that the band soon has the width of the new level. As many residuals in a row
//! outside the band on whichever side make the older ones weigh so little too.
//!
//! **What a new level means to a profile** shows later: a weekend ends, a fail-over does not. Meanwhile the profile predicts as
//! before, and a copy of it learns against the old base. When the level comes back half of the way, the new one was part of the
//! pattern: the copy becomes the profile. When it does not, in 3/4 of a day, half a week or half a year, the copy is dropped, the
//! base moves to the level, and the profile's nodes count as if they had seen six visits at most. So no season is ever predicted
//! that is only a change of the level, and the end of a fit needs no rules of its own: level, profiles and residuals are those of
//! the latest regime.
//!
//! # State
//!
//! At most [`max_state_bytes`]: 4.7 kB with the default arguments, 6.5 kB in memory; 36 kB with all profiles.
//!
//! The [header](crate::state) `te`, then `samples_seen` (`u64`), the time of the latest sample (`i64`), the samples on the level
//! (`u64`), the samples outside the band in a row (`u32`), step, level and slope (`f64`). Of each period: age and both means (`f64`),
//! and whether the level left it (`u32`), if so since when (`i64`), from where and how far (`f64`). The residuals: count, mean size,
//! mean square, mean of the latest sizes (`f64`) and their digest. The number of samples that wait (`u32`), their times (`i64`) and
//! values (`f64`). Of each profile: value (`f64`) and visits (`f32`) of each node, where the level left its period the same of the
//! copy, and where it is spiky the last cycle (`i64`) and worths (`f64`) of each node. The nodes of the holidays.

mod args;
mod base;
mod holiday;
pub mod multivariate;
mod profile;
mod residual;

use std::sync::Arc;

pub use args::{MAX_CHANGEPOINT_WINDOW, MAX_FORECASTS, TemporalEnvelopeArgs};
pub use holiday::{Holiday, HolidayDate, HolidayDateError};
pub use profile::{Seasonality, SeasonalityError};

use crate::calendar::{DAY_MS, WallClock, Zone};
use crate::model::{OnlineModel, Provides, StateError};
use crate::readiness::Readiness;
use crate::score::{Interval, at_least, at_most};
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};
use base::{Base, Departure};
use holiday::Holidays;
use profile::{Lesson, Period, Profile};
use residual::{Band, FIRST_SAMPLES, Residuals};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"te", version: 1 };

/// For so long, at least, residuals count, ms.
const RESIDUALS_MS: f64 = 5.0 * DAY_MS as f64;

/// A sample stands for the time since the one before it, up to so many steps.
const MAX_STEPS: f64 = 2.0;

/// Greatest size of a saved state.
#[must_use]
pub fn max_state_bytes(args: &TemporalEnvelopeArgs) -> usize {
    let profile = |seasonality: &Seasonality| Profile::max_saved_bytes(seasonality.nodes(), seasonality.is_spiky());
    let profiles: usize = args.seasonalities.iter().map(profile).sum();
    let holidays = Holidays::new(&args.holidays, &args.countries, args.group_holidays);
    let fixed = HEADER_BYTES + 3 * 8 + 4 + 3 * 8;
    let bases = Period::ALL.len() * Base::MAX_SAVED_BYTES;
    let waiting = 4 + 16 * args.changepoint_window as usize;
    fixed + bases + Residuals::max_saved_bytes() + waiting + profiles + 12 * holidays.nodes()
}

/// What all series of a batch have in common.
#[derive(Debug)]
struct Shared {
    args: TemporalEnvelopeArgs,
    zone: Zone,
    holidays: Holidays,
    /// Gains of the level and, a step, of the slope.
    level_gain: f64,
    slope_gain: f64,
}

/// `temporal_envelope` of one series.
#[derive(Debug, Clone)]
pub struct TemporalEnvelope {
    shared: Arc<Shared>,
    samples_seen: u64,
    /// The time of the latest sample that was learnt, ms.
    latest: i64,
    /// Samples learnt since the level was set.
    on_level: u64,
    /// Samples outside the band in a row.
    outside: u32,
    /// Usual distance of samples, ms; 0 while that is unknown.
    step: f64,
    level: f64,
    /// A ms.
    slope: f64,
    bases: [Base; 3],
    residuals: Residuals,
    /// A pure function of the residuals.
    band: Band,
    /// Samples outside the band, all on one side, not yet learnt.
    waiting: Vec<(i64, f64)>,
    /// For their median.
    scratch: Vec<f64>,
    profiles: Box<[Profile]>,
    responses: Profile,
}

impl TemporalEnvelope {
    /// A model that has learnt nothing, whose calendar is that of the clocks of a zone. Arguments are
    /// [validated](TemporalEnvelopeArgs::validate).
    #[must_use]
    pub fn new(args: TemporalEnvelopeArgs, zone: Zone) -> Self {
        let holidays = Holidays::new(&args.holidays, &args.countries, args.group_holidays);
        let kept = 1.0 - args.alpha;
        let (level_gain, slope_gain) = (1.0 - kept * kept, args.alpha * args.alpha);
        Self::empty(Arc::new(Shared { args, zone, holidays, level_gain, slope_gain }))
    }

    fn empty(shared: Arc<Shared>) -> Self {
        let profiles = shared
            .args
            .seasonalities
            .iter()
            .map(|seasonality| Profile::new(seasonality.nodes(), seasonality.is_spiky()))
            .collect();
        let responses = Profile::new(shared.holidays.nodes(), false);
        Self {
            shared,
            samples_seen: 0,
            latest: 0,
            on_level: 0,
            outside: 0,
            step: 0.0,
            level: 0.0,
            slope: 0.0,
            bases: [Base::default(); 3],
            residuals: Residuals::default(),
            band: Band::default(),
            waiting: Vec::new(),
            scratch: Vec::new(),
            profiles,
            responses,
        }
    }

    fn window(&self) -> usize {
        self.shared.args.changepoint_window as usize
    }

    fn clock(&self, time: i64) -> WallClock {
        self.shared.zone.wall_clock(time)
    }

    /// What profiles and holidays add at this time.
    fn seasonal(&self, clock: WallClock) -> f64 {
        let seasonalities = self.shared.args.seasonalities.iter();
        let values = self
            .profiles
            .iter()
            .zip(seasonalities)
            .map(|(profile, seasonality)| profile.value(seasonality.spot(clock)));
        let sum = values.fold(0.0, |sum, value| bounded(sum + value));
        bounded(sum + self.shared.holidays.spot(clock).map_or(0.0, |spot| self.responses.value(spot)))
    }

    /// The level that the slope leads to in so many ms.
    fn level_after(&self, elapsed: f64) -> f64 {
        bounded(self.level + bounded(self.slope * elapsed))
    }

    /// The same at a time, with the slope carried on for a while only.
    fn level_at(&self, time: i64) -> f64 {
        let elapsed = time.saturating_sub(self.latest).max(0) as f64;
        self.level_after(at_most(elapsed, 10.0 / self.shared.args.alpha * self.step))
    }

    /// Where a sample is expected but for the calendar, and how far it is from there without it.
    fn compare(&self, time: i64, value: f64) -> (f64, f64) {
        let level = self.level_at(time);
        (level, bounded(bounded(value - self.seasonal(self.clock(time))) - level))
    }

    fn is_outside(&self, residual: f64) -> bool {
        residual < self.band.lower || residual > self.band.upper
    }

    fn is_used(&self, period: Period) -> bool {
        self.shared.args.seasonalities.iter().any(|seasonality| seasonality.period() == period)
    }

    /// The profiles of a period.
    fn profiles_of(&mut self, period: Period) -> impl Iterator<Item = (&mut Profile, Seasonality)> {
        let profiles = self.profiles.iter_mut().zip(self.shared.args.seasonalities.iter().copied());
        profiles.filter(move |(_, seasonality)| seasonality.period() == period)
    }

    /// Learns a sample that is on the level, or as if it was. A deviation of some `typical` ones is an exception.
    fn absorb(&mut self, time: i64, value: f64, typical: f64) {
        if self.on_level == 0 {
            (self.latest, self.level) = (time, value);
        }
        let elapsed = time.saturating_sub(self.latest).max(0) as f64;
        self.follow_step(elapsed);
        let stands_for = at_most(elapsed, MAX_STEPS * self.step);
        let (level, residual) = self.compare(time, value);
        let Shared { args, level_gain, slope_gain, .. } = &*self.shared;
        let limit = bounded(args.loss_reactivity * typical);
        let clipped = residual.clamp(-limit, limit);
        let forget = at_most(args.alpha / 10.0, stands_for / RESIDUALS_MS);
        self.on_level += 1;
        let gain = at_least(*level_gain, 2.0 / (self.on_level as f64 + 1.0));
        self.level = bounded(level + gain * clipped);
        if self.step > 0.0 {
            self.slope = bounded(self.slope + slope_gain * clipped / self.step);
        }
        self.latest = self.latest.max(time);
        self.residuals.learn(residual, typical, limit, forget);
        self.band = self.residuals.band(args.quantiles, args.iqr_threshold);
        self.learn_calendar(time, bounded(level + clipped), bounded(level + residual), stands_for);
    }

    fn follow_step(&mut self, elapsed: f64) {
        if self.step == 0.0 {
            self.step = elapsed;
        } else if elapsed > 0.0 {
            self.step += (at_most(elapsed, 4.0 * self.step) - self.step) / 16.0;
        }
    }

    /// Learns the profiles, or the holiday, from a value without what the calendar adds to it, limited and not.
    fn learn_calendar(&mut self, time: i64, value: f64, unlimited: f64, stands_for: f64) {
        let clock = self.clock(time);
        if let Some(spot) = self.shared.holidays.spot(clock) {
            let base = self.bases[Period::Week as usize].value(Period::Week);
            let residual = bounded(value - base);
            let lesson = Lesson { spot, cycle: 0, residual, unlimited: residual, elapsed: stands_for, is_apart: false };
            self.responses.learn(lesson);
            return;
        }
        // Of a deviation that a shorter period has not learnt yet, a longer one takes what the shorter one leaves.
        let mut share = 1.0;
        for period in Period::ALL {
            self.settle_departure(period, time);
            let count = self.profiles_of(period).count().max(1) as f64;
            let base = &mut self.bases[period as usize];
            let of_base = base.value(period);
            let residual = share * bounded(value - of_base) / count;
            let unlimited = share * bounded(unlimited - of_base) / count;
            let is_apart = base.left.is_some();
            if !is_apart {
                base.learn(period, value, stands_for);
            }
            let mut share_taken = 0.0;
            for (profile, seasonality) in self.profiles_of(period) {
                let (spot, cycle) = (seasonality.spot(clock), seasonality.cycle(clock));
                let lesson = Lesson { spot, cycle, residual, unlimited, elapsed: stands_for, is_apart };
                share_taken = at_least(profile.learn(lesson), share_taken);
            }
            share *= 1.0 - share_taken;
        }
    }

    /// Whether the level came back to the base of a period, or has left it for good.
    fn settle_departure(&mut self, period: Period, time: i64) {
        let level = self.level;
        let base = &mut self.bases[period as usize];
        let Some(departure) = &mut base.left else { return };
        let distance = bounded(level - departure.from).abs();
        departure.distance = at_least(departure.distance, distance);
        if distance <= 0.5 * departure.distance {
            base.left = None;
            let clock = self.clock(time);
            let before = self.seasonal(clock);
            self.profiles_of(period).for_each(|(profile, _)| profile.join());
            self.level = bounded(level + bounded(before - self.seasonal(clock)));
        } else if time.saturating_sub(departure.since) as f64 >= period.patience() {
            base.left = None;
            base.shift(bounded(level - base.value(period)));
            self.profiles_of(period).for_each(|(profile, _)| profile.doubt());
        }
    }

    /// Learns what waits as a burst, which makes none of its own samples typical.
    fn absorb_waiting(&mut self) {
        let typical = self.residuals.typical();
        for index in 0..self.waiting.len() {
            let (time, value) = self.waiting[index];
            self.absorb(time, value, typical);
        }
        self.waiting.clear();
    }

    /// Takes what waits for another level.
    fn change_level(&mut self) {
        let Some((since, _)) = self.waiting.first().copied() else { return };
        self.scratch.clear();
        for index in 0..self.waiting.len() {
            let (time, value) = self.waiting[index];
            let value = bounded(value - self.seasonal(self.clock(time)));
            self.scratch.push(value);
        }
        self.scratch.sort_unstable_by(f64::total_cmp);
        let upper = self.scratch.len() / 2;
        let lower = (self.scratch.len() - 1) / 2;
        self.level = self.scratch[lower].midpoint(self.scratch[upper]);
        self.on_level = self.window() as u64;
        self.latest = self.latest.max(since);
        self.doubt_residuals();
        if self.shared.holidays.spot(self.clock(since)).is_none() {
            Period::ALL.into_iter().for_each(|period| self.depart(period, since));
        }
        for index in 0..self.waiting.len() {
            let (time, value) = self.waiting[index];
            self.absorb(time, value, self.residuals.typical());
        }
        self.waiting.clear();
    }

    /// Notes that the level is not that of the base, if it is not: the profiles learn apart.
    fn depart(&mut self, period: Period, since: i64) {
        let from = self.bases[period as usize].value(period);
        let distance = bounded(self.level - from).abs();
        if !self.is_used(period) || self.bases[period as usize].left.is_some() || distance <= self.band.width() {
            return;
        }
        self.bases[period as usize].left = Some(Departure { since, from, distance });
        self.profiles_of(period).for_each(|(profile, _)| profile.part());
    }

    /// Makes the next residuals count more: the band is not theirs.
    fn doubt_residuals(&mut self) {
        self.residuals.weaken(2.0 * f64::from(self.shared.args.changepoint_window));
        self.outside = 0;
    }

    /// Lets a sample outside the band wait, and decides once enough of them do.
    fn wait(&mut self, time: i64, value: f64, residual: f64) {
        if let Some((time, value)) = self.waiting.first().copied()
            && (self.compare(time, value).1 > 0.0) != (residual > 0.0)
        {
            self.absorb_waiting();
        }
        if self.waiting.capacity() == 0 {
            let window = self.window();
            self.waiting.reserve_exact(window);
            self.scratch.reserve_exact(window);
        }
        self.waiting.push((time, value));
        self.outside += 1;
        if self.waiting.len() >= self.window() {
            self.change_level();
        } else if self.outside as usize >= self.window() {
            self.doubt_residuals();
        }
    }
}

impl OnlineModel for TemporalEnvelope {
    fn predict(&self, time: i64) -> Interval {
        if self.samples_seen == 0 {
            return Interval::NONE;
        }
        around(bounded(self.level_at(time) + self.seasonal(self.clock(time))), self.band, 1.0)
    }

    fn provides(&self) -> Provides {
        Provides { components: 0, forecasts: self.shared.args.forecast_at.len() }
    }

    fn forecasts(&self, time: i64, out: &mut Vec<Interval>) {
        let Shared { args, level_gain, slope_gain, .. } = &*self.shared;
        for horizon in &args.forecast_at {
            if self.samples_seen == 0 {
                out.push(Interval::NONE);
                continue;
            }
            let at = time.saturating_add(*horizon);
            let level = self.level_after(at.saturating_sub(self.latest).max(0) as f64);
            let steps = if self.step > 0.0 { *horizon as f64 / self.step } else { 0.0 };
            let slope = slope_gain * steps;
            let variance = 1.0 + steps * (level_gain * level_gain + level_gain * slope + slope * slope / 3.0);
            out.push(around(bounded(level + self.seasonal(self.clock(at))), self.band, variance.sqrt()));
        }
    }

    fn learn(&mut self, time: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.samples_seen += 1;
        let (_, residual) = self.compare(time, value);
        if self.samples_seen > FIRST_SAMPLES && self.is_outside(residual) {
            self.wait(time, value, residual);
        } else {
            self.outside = 0;
            self.absorb_waiting();
            self.absorb(time, value, self.residuals.typical());
        }
    }

    /// Nothing: the latest regime is what the model goes on with.
    fn finish_fit(&mut self) {}

    fn samples_seen(&self) -> u64 {
        self.samples_seen
    }

    /// Ready once the mean under the profiles of the longest period is one over a whole period.
    fn readiness(&self) -> Readiness {
        if self.samples_seen == 0 {
            return Readiness::NONE;
        }
        let of_period = |period: Period| Readiness::learning(self.bases[period as usize].age, period.ms());
        Period::ALL
            .into_iter()
            .filter(|period| self.is_used(*period))
            .map(of_period)
            .fold(Readiness::READY, Readiness::and)
    }

    fn save(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(FORMAT, out);
        writer.u64(self.samples_seen);
        writer.u64(self.latest.cast_unsigned());
        writer.u64(self.on_level);
        writer.u32(self.outside);
        for number in [self.step, self.level, self.slope] {
            writer.f64(number);
        }
        self.bases.iter().for_each(|base| base.save(&mut writer));
        self.residuals.save(&mut writer);
        // Fewer than `MAX_CHANGEPOINT_WINDOW`.
        writer.u32(self.waiting.len() as u32);
        for (time, value) in &self.waiting {
            writer.u64(time.cast_unsigned());
            writer.f64(*value);
        }
        for (profile, seasonality) in self.profiles.iter().zip(&self.shared.args.seasonalities) {
            profile.save(self.bases[seasonality.period() as usize].left.is_some(), &mut writer);
        }
        self.responses.save(false, &mut writer);
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut loaded = Self::empty(Arc::clone(&self.shared));
        let mut reader = Reader::new(FORMAT, bytes)?;
        loaded.samples_seen = reader.u64()?;
        loaded.latest = reader.u64()?.cast_signed();
        loaded.on_level = reader.u64()?;
        loaded.outside = reader.u32()?;
        (loaded.step, loaded.level, loaded.slope) = (reader.finite()?, reader.finite()?, reader.finite()?);
        require(loaded.step.is_sign_positive(), "the step is negative")?;
        require((loaded.outside as usize) < loaded.window(), "more samples outside the band than are looked at")?;
        for period in Period::ALL {
            let base = Base::load(period, &mut reader)?;
            require(base.left.is_none() || loaded.is_used(period), "a departure without a profile")?;
            loaded.bases[period as usize] = base;
        }
        loaded.residuals = Residuals::load(&mut reader)?;
        let count = reader.u32()? as usize;
        require(count < loaded.window(), "more samples wait than are looked at")?;
        require(reader.remaining() >= 16 * count, "the number of samples that wait is not that of the bytes")?;
        if count > 0 {
            let window = loaded.window();
            loaded.waiting.reserve_exact(window);
            loaded.scratch.reserve_exact(window);
        }
        for _ in 0..count {
            let sample = (reader.u64()?.cast_signed(), reader.finite()?);
            loaded.waiting.push(sample);
        }
        for (profile, seasonality) in loaded.profiles.iter_mut().zip(&self.shared.args.seasonalities) {
            profile.load(loaded.bases[seasonality.period() as usize].left.is_some(), &mut reader)?;
        }
        loaded.responses.load(false, &mut reader)?;
        reader.finish()?;
        if loaded.samples_seen == 0 {
            let mut fresh = Vec::new();
            Self::empty(Arc::clone(&self.shared)).save(&mut fresh);
            require(bytes == fresh, "numbers without samples")?;
        } else {
            require(!loaded.residuals.is_empty() && loaded.on_level > 0, "samples without residuals")?;
        }
        loaded.band = loaded.residuals.band(self.shared.args.quantiles, self.shared.args.iqr_threshold);
        *self = loaded;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        let profiles: usize = self.profiles.iter().map(|profile| size_of::<Profile>() + profile.heap_bytes()).sum();
        let waiting = self.waiting.capacity() * size_of::<(i64, f64)>() + self.scratch.capacity() * size_of::<f64>();
        profiles + self.responses.heap_bytes() + waiting + self.residuals.heap_bytes()
    }
}

/// The band, so many times as wide, around an expected value.
fn around(yhat: f64, band: Band, times: f64) -> Interval {
    Interval { yhat, lower: bounded(yhat + times * band.lower), upper: bounded(yhat + times * band.upper) }
}

/// Within `±f64::MAX`: what a sum of finite numbers saturates at.
fn bounded(value: f64) -> f64 {
    at_most(at_least(value, -f64::MAX), f64::MAX)
}

/// The square, at most `f64::MAX`.
fn square(value: f64) -> f64 {
    at_most(value * value, f64::MAX)
}
