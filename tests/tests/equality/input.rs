//! Counters and gauges that come, pause and vanish, with samples off the grid; every value is one that VictoriaMetrics keeps
//! as it is.

use tests::series::Series;

pub const MINUTE: i64 = 60_000;
/// 2026-01-05T06:00:00Z, where the first fit ends.
pub const START: i64 = 1_767_592_800_000;
/// Where the data begin.
pub const BEGIN: i64 = START - 40 * MINUTE;
/// Where the runs end.
pub const END: i64 = START + 45 * MINUTE;

/// More than a block of states holds, so that threads have several to work on.
pub const WORKERS: u64 = 1_100;
pub const HANDLERS: u64 = 64;

/// Numbers from numbers (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `bound` that belongs to a series and a time.
fn chance(kind: u64, series: u64, time: i64, bound: u64) -> u64 {
    mix(mix(mix(kind) ^ series) ^ time.unsigned_abs()) % bound
}

/// Some series are there all the time, the others for a quarter of an hour each, longer away than the TTL.
fn is_there(series: u64, time: i64) -> bool {
    let quarter = (time.div_euclid(15 * MINUTE)).unsigned_abs();
    series % 4 != 3 || (quarter + series / 4).is_multiple_of(2)
}

/// The times of a series' samples.
fn times(kind: u64, series: u64, every: i64) -> impl Iterator<Item = i64> {
    let late = chance(kind, series, 0, every.unsigned_abs()) as i64;
    (BEGIN + late..=END)
        .step_by(every as usize)
        .filter(move |time| is_there(series, *time) && chance(kind, series, *time, 40) != 0)
}

pub fn input() -> Vec<Series> {
    let mut input = Vec::new();
    for worker in 0..WORKERS {
        let labels = [("worker", format!("worker-{worker}")), ("zone", format!("zone-{}", worker % 3))];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        let busy = times(1, worker, 60_000).map(|time| {
            let value = match chance(2, worker, time, 50) {
                // With nothing in the queue: NaN.
                0 => 0.0,
                1 => 900.0,
                _ => 10.0 + (worker % 17) as f64 + chance(3, worker, time, 8_000) as f64 / 1e3,
            };
            (time, value)
        });
        input.push(Series::new("busy_seconds", &labels, busy));
        let queue = times(1, worker, 60_000).map(|time| {
            // Division by zero: an infinity, or NaN where nothing is busy either.
            let value = match chance(4, worker, time, 25) {
                0 => 0.0,
                _ => 1.0 + chance(5, worker, time, 4) as f64,
            };
            (time, value)
        });
        input.push(Series::new("queue_length", &labels, queue));
    }
    for handler in 0..HANDLERS {
        let labels = [("handler", format!("/handler/{handler}"))];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut total = 0.0;
        let requests = times(6, handler, 15_000).map(|time| {
            total += chance(7, handler, time, 10 + handler) as f64;
            if chance(8, handler, time, 300) == 0 {
                // The process restarts.
                total = 0.0;
            }
            (time, total)
        });
        let requests: Vec<_> = requests.collect();
        input.push(Series::new("requests_total", &labels, requests));
    }
    input
}
