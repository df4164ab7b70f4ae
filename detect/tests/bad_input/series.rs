//! Series as nobody wants them.

use detect::model::MISSING;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub const MINUTE: i64 = 60_000;
pub const DAY: i64 = 1440 * MINUTE;

/// The least number above 0.
pub const TINY: f64 = f64::from_bits(1);

pub const START: i64 = 1_700_000_000_000;

/// Steps of one length, of none, of lengths that change, back in time, over a year, to the end of time.
pub fn times(count: usize) -> impl Strategy<Value = Vec<i64>> {
    let start = prop_oneof![8 => Just(START), 1 => select(vec![0, -START, i64::MIN, i64::MAX - DAY])];
    let steady = select(vec![MINUTE, 60 * MINUTE, DAY, 1, 0]).prop_map(|step| Just(step).boxed());
    let gap = || select(vec![0, -60 * MINUTE, 365 * DAY, 1, 2 * DAY]);
    let mixed = prop_oneof![9 => Just(5 * MINUTE), 1 => gap()];
    let changing = prop_oneof![Just(MINUTE), Just(7 * MINUTE), Just(3 * 60 * MINUTE)];
    let wild = prop_oneof![3 => gap(), 1 => select(vec![i64::MAX, i64::MIN, i64::MAX / 2])];
    let steps = prop_oneof![
        3 => steady,
        3 => Just(mixed.boxed()),
        2 => Just(changing.boxed()),
        1 => Just(wild.boxed()),
    ];
    (start, steps.prop_flat_map(move |step| vec(step, count))).prop_map(|(start, steps)| {
        let mut time: i64 = start;
        let mut next = |step: i64| {
            let now = time;
            time = time.saturating_add(step);
            now
        };
        steps.into_iter().map(&mut next).collect()
    })
}

/// Constant, missing, without numbers, a curve in any unit, the ends of the range, anything.
pub fn values(count: usize) -> impl Strategy<Value = Vec<f64>> {
    let same = select(vec![0.0, -0.0, 1.0, TINY, -1e300, f64::MAX, f64::MIN, f64::NAN, MISSING, f64::INFINITY]);
    let unit = select(vec![1.0, 1e-320, 1e-300, 1e-20, 1e15, 1e300]);
    let level = select(vec![0.0, 2.0, -2.0, 1e9]);
    let end = select(vec![f64::MAX, f64::MIN, 1e300, -1e300, 0.0, TINY, -1.0]);
    let hole = select(vec![MISSING, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    let curve = (unit, level, vec(0.0..1.0_f64, count)).prop_map(|(unit, level, noise)| {
        let value = |(at, noise): (usize, &f64)| unit * (level + libm::sin(at as f64 / 3.0) + noise);
        noise.iter().enumerate().map(value).collect::<Vec<f64>>()
    });
    let curve = (curve, vec(prop_oneof![4 => Just(None), 1 => hole.prop_map(Some)], count));
    let curve = (curve, any::<bool>()).prop_map(|((curve, holes), has_holes)| {
        let value = |(value, hole): (f64, Option<f64>)| hole.filter(|_| has_holes).unwrap_or(value);
        curve.into_iter().zip(holes).map(value).collect()
    });
    prop_oneof![
        2 => same.prop_map(move |value| vec![value; count]),
        5 => curve,
        2 => vec(end, count),
        1 => vec(prop::num::f64::ANY, count),
    ]
}

pub fn series(longest: usize) -> impl Strategy<Value = (Vec<i64>, Vec<f64>)> {
    let count = prop_oneof![1 => 0..4_usize, 2 => 4..longest / 2, 2 => longest / 2..=longest];
    count.prop_flat_map(|count| (times(count), values(count)))
}
