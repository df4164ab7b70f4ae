//! The series that both sides take, in files that the Python side reads.

use std::path::Path;
use std::{fs, io};

use crate::random::uniform;

/// Times (ms) and values.
pub struct Series {
    pub times: Vec<i64>,
    pub values: Vec<f64>,
}

/// Two weeks in so many samples: a bent trend, a daily and an hourly season, and noise.
pub fn trending(samples: usize, seed: u64) -> Series {
    let step = 14 * 86_400_000 / samples as i64;
    let times: Vec<i64> = (0..samples as i64).map(|index| 1_700_000_100_000 + index * step).collect();
    let value = |(index, time): (usize, &i64)| {
        let t = index as f64 / samples as f64;
        let turn = |period: i64| (time % period) as f64 / period as f64 * std::f64::consts::TAU;
        let season = 20.0 * libm::sin(turn(86_400_000)) + 5.0 * libm::cos(turn(3_600_000));
        100.0 + 30.0 * t + 40.0 * (t - 0.5).max(0.0) + season + 10.0 * uniform(seed << 32 | index as u64)
    };
    let values = times.iter().enumerate().map(value).collect();
    Series { times, values }
}

/// A level that wanders, a day of so many steps and a week with hours in them, and noise.
pub fn wandering(samples: usize, day: usize) -> Series {
    let mut level = 100.0;
    let value = |index: usize| {
        level += uniform(2 * index as u64) - 0.5;
        let angle = index as f64 * std::f64::consts::TAU / day as f64;
        let season = 20.0 * libm::sin(angle) + 3.0 * libm::sin(angle / 7.0) + 5.0 * libm::sin(24.0 * angle);
        level + season + 4.0 * uniform(2 * index as u64 + 1)
    };
    let values = (0..samples).map(value).collect();
    Series { times: (0..samples as i64).map(|step| step * 60_000).collect(), values }
}

/// Series after series, each a daily curve with noise.
pub fn daily(series: usize, samples: usize) -> Vec<f64> {
    let value = |at: usize| {
        let angle = std::f64::consts::TAU * (at % samples) as f64 / 288.0 + (at / samples) as f64;
        10.0 + 3.0 * libm::sin(angle) + uniform(at as u64) + uniform((at + series * samples) as u64)
    };
    (0..series * samples).map(value).collect()
}

pub fn write_values(folder: &Path, name: &str, values: &[f64]) -> io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join(format!("{name}.values")), bytes)
}

pub fn write_times(folder: &Path, name: &str, times: &[i64]) -> io::Result<()> {
    let bytes: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    fs::write(folder.join(format!("{name}.times")), bytes)
}
