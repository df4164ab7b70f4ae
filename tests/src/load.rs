//! Many series for measurements: a gauge of five labels a series, imported ahead of time.

use std::fmt::Write;

use crate::http::HttpError;
use crate::signal::now;
use crate::victoria_metrics::VictoriaMetrics;

/// Name of the metric.
pub const METRIC: &str = "container_memory_working_set_ratio";

/// Samples before now: what a fit learns.
pub const HISTORY_SECONDS: i64 = 300;

/// Lines of one import request.
const LINES: usize = 2_000;

/// What is imported.
#[derive(Debug)]
pub struct Load {
    series: usize,
    /// Distance of samples, ms.
    pub step: i64,
    first: i64,
    points: usize,
}

impl Load {
    /// So many series around the present, a sample every `step_seconds`, until `ahead_seconds` from now: longer than
    /// the whole run may take.
    #[must_use]
    pub fn new(series: usize, step_seconds: i64, ahead_seconds: i64) -> Self {
        let step = step_seconds * 1_000;
        let latest = now().div_euclid(step) * step;
        let points = (HISTORY_SECONDS + ahead_seconds) * 1_000 / step;
        let first = latest - HISTORY_SECONDS * 1_000 + step;
        Self { series, step, first, points: points.unsigned_abs() as usize }
    }

    /// The newest time of the grid that has come, unix ms.
    #[must_use]
    pub fn latest(&self) -> i64 {
        now().div_euclid(self.step) * self.step
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.series * self.points
    }

    /// Imports everything and waits until it is visible.
    ///
    /// # Errors
    /// When the TSDB does not take it.
    pub async fn import(&self, tsdb: &VictoriaMetrics) -> Result<(), HttpError> {
        let times: Vec<String> =
            (0..self.points as i64).map(|point| (self.first + point * self.step).to_string()).collect();
        let times = times.join(",");
        for first in (0..self.series).step_by(LINES) {
            let mut lines = String::new();
            for series in first..(first + LINES).min(self.series) {
                self.push_line(&mut lines, series, &times);
            }
            tsdb.import_lines(lines).await?;
        }
        tsdb.everything_visible().await?;
        tsdb.endpoint().get("/internal/force_merge", &[]).await?;
        Ok(())
    }

    /// As cAdvisor labels a container; values of 0 to 100 with up to four decimals.
    fn push_line(&self, out: &mut String, series: usize, times: &str) {
        let id = noise(series as u64);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            r#"{{"metric":{{"__name__":"{METRIC}","cluster":"production-eu-1","container":"app-{}","namespace":"team-{}","pod":"app-{}-{:010x}"}},"values":["#,
            series % 40,
            series % 25,
            series % 40,
            id & 0xff_ffff_ffff,
        );
        for point in 0..self.points {
            let separator = if point == 0 { "" } else { "," };
            let value = noise(id ^ point as u64) % 1_000_000;
            let _ = write!(out, "{separator}{}", value as f64 / 1e4);
        }
        let _ = writeln!(out, r#"],"timestamps":[{times}]}}"#);
    }
}

/// Numbers without a pattern, the same in every run (SplitMix64).
fn noise(seed: u64) -> u64 {
    let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
