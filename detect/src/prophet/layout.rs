//! Which columns of features a fit has, and their values at a time.

use std::f64::consts::TAU;

use crate::calendar::{DAY_MS, WallClock};
use crate::holidays;

use super::args::{BuiltIn, Cycle, Mode, ProphetArgs};

/// What the samples of a fit decide about its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Facts {
    /// Fourier terms of the yearly, the weekly and the daily seasonality.
    pub(crate) orders: [u16; 3],
    /// The first and the last year that a sample lies in: the holidays of other years have no columns.
    pub(crate) years: (i16, i16),
}

impl Facts {
    /// Of samples from `first` to `last` (ms), of which no two that differ in time are closer than `least_step` ms.
    pub(crate) fn new(args: &ProphetArgs, first: i64, last: i64, least_step: i64) -> Self {
        let span = last.saturating_sub(first);
        let order = |name: &str, built_in, usual, days: i64, step_days: i64| match built_in {
            BuiltIn::Auto => {
                let is_named = args.seasonalities.iter().any(|seasonality| seasonality.name == name);
                let has_two = span >= days * DAY_MS && (step_days == 0 || least_step < step_days * DAY_MS);
                if has_two && !is_named { usual } else { 0 }
            }
            BuiltIn::On => usual,
            BuiltIn::Off => 0,
            BuiltIn::Order(order) => order,
        };
        let orders = [
            order("yearly", args.yearly_seasonality, 10, 730, 0),
            order("weekly", args.weekly_seasonality, 3, 14, 7),
            order("daily", args.daily_seasonality, 4, 2, 1),
        ];
        let year = |time| wall_clock(args, time).date().year;
        Self { orders, years: (year(first), year(last)) }
    }

    /// What a saved state says, if a history could decide it so.
    pub(crate) fn possible(args: &ProphetArgs, orders: [u16; 3], years: (i16, i16)) -> Option<Self> {
        let built_in = [args.yearly_seasonality, args.weekly_seasonality, args.daily_seasonality];
        let is_possible = |(built_in, usual, order): (BuiltIn, u16, u16)| match built_in {
            BuiltIn::Auto => order == 0 || order == usual,
            BuiltIn::On => order == usual,
            BuiltIn::Off => order == 0,
            BuiltIn::Order(wanted) => order == wanted,
        };
        let choices = built_in.into_iter().zip([10, 3, 4]).zip(orders);
        let holds = choices.map(|((built_in, usual), order)| (built_in, usual, order)).all(is_possible);
        (holds && years.0 <= years.1).then_some(Self { orders, years })
    }
}

/// The clock that days and seasonalities follow.
pub(crate) fn wall_clock(args: &ProphetArgs, time: i64) -> WallClock {
    if args.tz_aware { args.zone.wall_clock(time) } else { WallClock::new(time) }
}

/// A Fourier series: a sine and a cosine a term.
#[derive(Debug, Clone, PartialEq)]
struct Fourier {
    /// In days.
    period: f64,
    /// In ms, if it is a whole number of them: the phase is exact then.
    whole_period: Option<i64>,
    order: u16,
}

impl Fourier {
    fn new(period: f64, order: u16) -> Self {
        let ms = period * DAY_MS as f64;
        let is_whole = (1.0..1e15).contains(&ms) && ms.fract() == 0.0;
        Self { period, whole_period: is_whole.then_some(ms as i64), order }
    }

    /// `sin(i a)` and `cos(i a)` for `i` from 1 on, with the angle `a` of the clock within the period. The angle is reduced to
    /// one turn first, and the multiples come from the addition theorem.
    fn fill(&self, clock: WallClock, out: &mut [f64]) {
        let mut pairs = out.as_chunks_mut::<2>().0.iter_mut();
        self.for_each_term(clock, |sin, cos| pairs.next().into_iter().for_each(|pair| *pair = [sin, cos]));
    }

    /// The series with these coefficients.
    fn value(&self, clock: WallClock, coefficients: &[f64]) -> f64 {
        let mut pairs = coefficients.as_chunks::<2>().0.iter();
        let mut value = 0.0;
        self.for_each_term(clock, |sin, cos| {
            if let Some([for_sin, for_cos]) = pairs.next() {
                value += for_sin * sin + for_cos * cos;
            }
        });
        value
    }

    #[inline]
    fn for_each_term(&self, clock: WallClock, mut term: impl FnMut(f64, f64)) {
        let turns = match self.whole_period {
            Some(period) => clock.ms().rem_euclid(period) as f64 / period as f64,
            None => {
                let cycles = clock.ms() as f64 / DAY_MS as f64 / self.period;
                cycles - cycles.floor()
            }
        };
        // A period of next to nothing has no phase that a number could hold.
        let turns = if turns.is_finite() { turns } else { 0.0 };
        let (first_sin, first_cos) = libm::sincos(TAU * turns);
        let (mut sin, mut cos) = (first_sin, first_cos);
        for _ in 0..self.order {
            term(sin, cos);
            (sin, cos) = (sin * first_cos + cos * first_sin, cos * first_cos - sin * first_sin);
        }
    }
}

/// The effect of a day that lies `offset` days from a holiday.
#[derive(Debug, Clone, PartialEq)]
struct HolidayColumn {
    /// Days since 1970-01-01, ascending.
    days: Vec<i64>,
}

/// What a block of neighbouring columns holds.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Fourier(Fourier),
    /// Sine and cosine, each standardised.
    Cyclical(Cycle),
    Holiday(HolidayColumn),
}

/// Neighbouring columns of one component.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// The component.
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// The columns `start..end`.
    pub(crate) start: usize,
    pub(crate) end: usize,
    kind: Kind,
}

impl Block {
    pub(crate) fn is_holiday(&self) -> bool {
        matches!(self.kind, Kind::Holiday(_))
    }

    fn width(&self) -> usize {
        match &self.kind {
            Kind::Fourier(fourier) => 2 * usize::from(fourier.order),
            Kind::Cyclical(_) => 2,
            Kind::Holiday(_) => 1,
        }
    }
}

/// Mean and standard deviation of a column that is standardised.
pub(crate) type Standard = (f64, f64);

/// The columns of a fit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub(crate) facts: Facts,
    pub(crate) blocks: Vec<Block>,
    /// Of columns.
    pub(crate) names: Vec<String>,
    /// Of columns.
    pub(crate) prior_scales: Vec<f64>,
    /// Of columns.
    pub(crate) modes: Vec<Mode>,
    /// Columns that are standardised, ascending.
    pub(crate) standardised: Vec<usize>,
}

impl Layout {
    pub(crate) fn new(args: &ProphetArgs, facts: Facts) -> Self {
        let mut layout = Self {
            facts,
            blocks: Vec::new(),
            names: Vec::new(),
            prior_scales: Vec::new(),
            modes: Vec::new(),
            standardised: Vec::new(),
        };
        let mode = args.seasonality_mode;
        let built_in = [("yearly", 365.25), ("weekly", 7.0), ("daily", 1.0)];
        let order_of = |name: &str| {
            let found = built_in.iter().zip(facts.orders).find(|((own, _), _)| *own == name);
            found.map_or(0, |(_, order)| order)
        };
        for seasonality in &args.seasonalities {
            // What is switched on by the model takes the place of a seasonality of its name.
            let own = built_in.iter().find(|(name, _)| *name == seasonality.name && order_of(name) > 0);
            let (fourier, prior_scale, mode) = match own {
                Some((name, period)) => (Fourier::new(*period, order_of(name)), args.seasonality_prior_scale, mode),
                None => (
                    Fourier::new(seasonality.period, seasonality.fourier_order),
                    seasonality.prior_scale.unwrap_or(args.seasonality_prior_scale),
                    seasonality.mode.unwrap_or(mode),
                ),
            };
            layout.push(&seasonality.name, Kind::Fourier(fourier), prior_scale, mode);
        }
        if !args.tz_use_cyclical_encoding {
            for seasonality in &args.tz_seasonalities {
                let order = seasonality.fourier_order.unwrap_or(seasonality.cycle.usual_order());
                let kind = Kind::Fourier(Fourier::new(seasonality.cycle.days(), order));
                let prior_scale = seasonality.prior_scale.unwrap_or(args.seasonality_prior_scale);
                layout.push(seasonality.cycle.name(), kind, prior_scale, seasonality.mode.unwrap_or(mode));
            }
        }
        for ((name, period), order) in built_in.into_iter().zip(facts.orders) {
            if order > 0 && args.seasonalities.iter().all(|seasonality| seasonality.name != name) {
                let kind = Kind::Fourier(Fourier::new(period, order));
                layout.push(name, kind, args.seasonality_prior_scale, mode);
            }
        }
        layout.push_holidays(args);
        if args.tz_use_cyclical_encoding {
            for seasonality in &args.tz_seasonalities {
                let prior_scale = seasonality.prior_scale.unwrap_or(args.holidays_prior_scale);
                let kind = Kind::Cyclical(seasonality.cycle);
                layout.push(seasonality.cycle.name(), kind, prior_scale, seasonality.mode.unwrap_or(mode));
            }
        }
        layout
    }

    fn push(&mut self, name: &str, kind: Kind, prior_scale: f64, mode: Mode) {
        let start = self.names.len();
        let mut block = Block { name: name.to_owned(), mode, start, end: start, kind };
        block.end += block.width();
        for column in 0..block.width() {
            self.names.push(match block.kind {
                Kind::Fourier(_) => format!("{name}_delim_{}", column + 1),
                Kind::Cyclical(_) => format!("{name}_{}", if column == 0 { "sin" } else { "cos" }),
                Kind::Holiday(_) => String::new(),
            });
            self.prior_scales.push(prior_scale);
            self.modes.push(mode);
            if matches!(block.kind, Kind::Cyclical(_)) {
                self.standardised.push(start + column);
            }
        }
        self.blocks.push(block);
    }

    /// A column a name and day around it, in the order of their keys.
    fn push_holidays(&mut self, args: &ProphetArgs) {
        let mut columns: Vec<(String, &str, f64, Vec<i64>)> = Vec::new();
        let mut add = |name, offset: i32, prior_scale, day: i64| {
            let sign = if offset < 0 { '-' } else { '+' };
            let key = format!("{name}_delim_{sign}{}", offset.abs());
            match columns.iter_mut().find(|(known, ..)| *known == key) {
                Some((.., days)) => days.push(day),
                None => columns.push((key, name, prior_scale, vec![day])),
            }
        };
        for holiday in &args.holidays {
            let Some(day) = holidays::day_number(holiday.date) else { continue };
            for offset in holiday.lower_window..=holiday.upper_window {
                add(&holiday.name, offset, args.prior_scale_of(holiday), day + i64::from(offset));
            }
        }
        let (first, last) = self.facts.years;
        let country = args.country_holidays.as_deref().and_then(holidays::of_country).unwrap_or_default();
        for holiday in &country {
            if holiday.dates.iter().any(|date| (first..=last).contains(&date.year)) {
                let own = args.holidays.iter().find(|own| own.name == holiday.name);
                let prior_scale = own.map_or(args.holidays_prior_scale, |own| args.prior_scale_of(own));
                for day in holiday.dates.iter().filter_map(|date| holidays::day_number(*date)) {
                    add(holiday.name, 0, prior_scale, day);
                }
            }
        }
        columns.sort_by(|one, other| one.0.cmp(&other.0));
        let mode = args.holidays_mode.unwrap_or(args.seasonality_mode);
        for (key, name, prior_scale, mut days) in columns {
            days.sort_unstable();
            let column = self.names.len();
            self.push(name, Kind::Holiday(HolidayColumn { days }), prior_scale, mode);
            self.names[column] = key;
        }
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.names.len()
    }

    /// What a block adds up to with its coefficients; `standards` are those of all columns that are standardised.
    pub(crate) fn effect(&self, block: &Block, clock: WallClock, coefficients: &[f64], standards: &[Standard]) -> f64 {
        match &block.kind {
            Kind::Fourier(fourier) => fourier.value(clock, coefficients),
            Kind::Cyclical(cycle) => {
                let first = self.standardised.partition_point(|column| *column < block.start);
                let terms = encode(*cycle, clock).into_iter().zip(coefficients).zip(standards.iter().skip(first));
                terms.map(|((value, factor), (mean, deviation))| factor * ((value - mean) / deviation)).sum()
            }
            Kind::Holiday(holiday) => {
                let is_day = holiday.days.binary_search(&clock.days()).is_ok();
                coefficients.first().copied().filter(|_| is_day).unwrap_or(0.0)
            }
        }
    }

    fn fill_block(block: &Block, clock: WallClock, out: &mut [f64]) {
        match &block.kind {
            Kind::Fourier(fourier) => fourier.fill(clock, out),
            Kind::Cyclical(cycle) => out.copy_from_slice(&encode(*cycle, clock)),
            Kind::Holiday(holiday) => {
                out[0] = f64::from(u8::from(holiday.days.binary_search(&clock.days()).is_ok()));
            }
        }
    }

    /// Writes the features of all times, a row of `stride` numbers each, before columns are standardised.
    pub(crate) fn fill_rows(&self, clocks: &[WallClock], stride: usize, rows: &mut [f64]) {
        for block in &self.blocks {
            // On a regular grid the rows of a seasonality repeat with its period: they are copied from one period ago.
            let period = match &block.kind {
                Kind::Fourier(fourier) => fourier.whole_period,
                _ => None,
            };
            let mut earlier = 0;
            for (index, clock) in clocks.iter().enumerate() {
                let mut source = None;
                if let Some(period) = period {
                    while earlier < index && clocks[earlier].ms() < clock.ms().saturating_sub(period) {
                        earlier += 1;
                    }
                    source = (clocks[earlier].ms().saturating_add(period) == clock.ms()).then_some(earlier);
                }
                let start = index * stride + block.start;
                match source {
                    Some(source) => {
                        let source = source * stride;
                        rows.copy_within(source + block.start..source + block.end, start);
                    }
                    None => Self::fill_block(block, *clock, &mut rows[start..start + block.end - block.start]),
                }
            }
        }
    }
}

/// Sine and cosine of where the clock stands in a cycle.
fn encode(cycle: Cycle, clock: WallClock) -> [f64; 2] {
    let turns = match cycle {
        Cycle::Minute => clock.minute() as f64 / 60.0,
        Cycle::HourOfDay => (clock.hour() as f64 + clock.minute() as f64 / 60.0) / 24.0,
        Cycle::DayOfWeek => (clock.weekday() - 1) as f64 / 7.0,
        Cycle::Month => f64::from(clock.date().month - 1) / 12.0,
    };
    libm::sincos(TAU * turns).into()
}
