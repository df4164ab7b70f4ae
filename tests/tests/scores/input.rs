//! A real series with gaps cut into it, another one that comes and goes, and a nearly constant one; and what the two
//! queries make of them.

use std::collections::BTreeMap;

use tests::components::repository;
use tests::recording;
use tests::series::Series;

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
pub const STEP: i64 = 5 * MINUTE;

/// The recording begins at 2014-04-10T00:02Z and is moved by two minutes, onto the grid.
pub const FIRST: i64 = 1_397_088_000_000;

/// Values by time; a value that is not finite is one that the query answers with.
pub type Values = BTreeMap<i64, f64>;

pub struct Input {
    pub imported: Vec<Series>,
    /// What each query answers, by instance.
    pub guarded: BTreeMap<&'static str, Values>,
    pub plain: BTreeMap<&'static str, Values>,
}

/// NaN where `gate` and `divisor` are 0, an infinity where only the divisor is.
pub const GUARDED: &str = "cpu_percent * gate / divisor";
pub const PLAIN: &str = "cpu_percent";

/// The input's labels; `preset` is one that the worker gives its outputs itself.
pub fn labels(instance: &str) -> [(&str, &str); 3] {
    [("instance", instance), ("role", "database"), ("preset", "of the input")]
}

impl Input {
    pub fn new() -> Self {
        let path = repository().join("tests/data/nab/rds_cpu_percent.csv");
        let recorded: Vec<f64> =
            recording::read(&path).expect("the recording").into_iter().map(|point| point.value).collect();
        assert_eq!(recorded.len() as i64, 8 * DAY / STEP);
        let mut input = Self { imported: Vec::new(), guarded: BTreeMap::new(), plain: BTreeMap::new() };
        for (instance, shape) in SHAPES {
            input.add(instance, &|index| shape(&recorded, index), recorded.len());
        }
        input
    }

    fn add(&mut self, instance: &'static str, shape: &dyn Fn(usize) -> Option<f64>, points: usize) {
        let (mut cpu, mut gates, mut divisors) = (Vec::new(), Vec::new(), Vec::new());
        let (mut plain, mut guarded) = (Values::new(), Values::new());
        for index in 0..points {
            let time = FIRST + index as i64 * STEP;
            let (gate, divisor) = match index % 151 {
                7 => (1.0, 0.0),
                60 => (-1.0, 0.0),
                90 => (0.0, 0.0),
                _ => (1.0, 1.0),
            };
            gates.push((time, gate));
            divisors.push((time, divisor));
            let Some(value) = shape(index) else { continue };
            cpu.push((time, value));
            plain.insert(time, value);
            let divided = value * gate / divisor;
            // The database leaves NaN out of its answers.
            if !divided.is_nan() {
                guarded.insert(time, divided);
            }
        }
        let labels = labels(instance);
        for (name, samples) in [("cpu_percent", cpu), ("gate", gates), ("divisor", divisors)] {
            self.imported.push(Series::new(name, &labels, samples));
        }
        self.plain.insert(instance, plain);
        self.guarded.insert(instance, guarded);
    }
}

type Shape = fn(&[f64], usize) -> Option<f64>;

const SHAPES: [(&str, Shape); 3] = [
    ("recorded", |recorded, index| {
        // Single samples, half an hour, five hours.
        let missing = index % 97 == 13 || matches!(index, 500..506 | 900..960);
        (!missing).then(|| recorded[index])
    }),
    // From the third to the sixth day, so that it begins without a fit and is in the window of the second one.
    ("passing", |recorded, index| (700..1700).contains(&index).then(|| recorded[(index + 700) % recorded.len()])),
    ("constant", |_, index| {
        Some(match index {
            600 => 20.000_000_001,
            1000 => 20.5,
            1500..1503 => 80.0,
            1800 => 10.0,
            _ => 20.0,
        })
    }),
];
