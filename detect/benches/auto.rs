//! How long a fit of `auto` takes: 128 trials of each class in two weeks of samples of five minutes, of one series or of one group, on one thread. Seconds are
//! those of a CPU where Linux counts them, so that other processes do not show.

#![expect(clippy::disallowed_methods, reason = "a measurement asks the machine for the time")]

#[path = "../tests/random/mod.rs"]
mod random;

use std::time::Instant;

use detect::auto::AutoArgs;
use detect::auto::joint::JointAutoArgs;
use detect::batch::Batch;
use detect::calendar::Zone;
use detect::decomposition::StdArgs;
use detect::holt_winters::HoltWintersArgs;
use detect::isolation_forest::IsolationForestArgs;
use detect::mad::MadOnlineArgs;
use detect::multivariate::{Channels, MultivariateSpec};
use detect::offline::Window;
use detect::quantile_online::QuantileOnlineArgs;
use detect::rolling_quantile::RollingQuantileArgs;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::temporal_envelope::TemporalEnvelopeArgs;
use detect::temporal_envelope::multivariate::TemporalEnvelopeMultivariateArgs;
use detect::zscore::ZscoreOnlineArgs;
use random::uniform;

const SAMPLES: i64 = 4_032;
const CHANNELS: usize = 15;
const STEP_MS: i64 = 300_000;
const DAY: i64 = 288;

fn noise(index: i64) -> f64 {
    uniform(index.cast_unsigned())
}

/// Since some moment.
fn seconds(origin: Instant) -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = counted.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| origin.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

fn main() {
    let origin = Instant::now();
    let zone = Zone::default();
    let seasonal = QuantileOnlineArgs {
        seasonal_interval: Some(DAY * STEP_MS),
        min_subseason: Some(12 * STEP_MS),
        ..QuantileOnlineArgs::default()
    };
    let holt_winters = HoltWintersArgs { seasonality: Some(DAY * STEP_MS), ..HoltWintersArgs::default() };
    let classes = [
        ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()),
        ModelSpec::MadOnline(MadOnlineArgs::default()),
        ModelSpec::QuantileOnline(seasonal, zone.clone()),
        ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 100)),
        ModelSpec::Std(StdArgs::new(DAY as u32)),
        ModelSpec::TemporalEnvelope(TemporalEnvelopeArgs::default(), zone.clone()),
        ModelSpec::Prophet(Box::default()),
        ModelSpec::HoltWinters(holt_winters),
        ModelSpec::IsolationForest(IsolationForestArgs::default(), zone),
    ];
    let times: Vec<i64> = (0..SAMPLES).map(|index| index * STEP_MS).collect();
    let curve = |index: i64| 100.0 + 20.0 * libm::sin(index as f64 / DAY as f64 * std::f64::consts::TAU);
    let values: Vec<f64> = (0..SAMPLES).map(|index| curve(index) + 4.0 * noise(index)).collect();
    let window = Window { times: &times, values: &values };
    for start in classes {
        let class = start.class();
        let Batch::Tuned(batch) = ModelSpec::Auto(Box::new(AutoArgs::new(start, 0.01))).new_batch(&[]) else {
            continue;
        };
        let (started, mut state, mut longest) = (seconds(origin), Vec::new(), 0.0_f64);
        let mut fit = batch.begin_fit(window);
        loop {
            let trial = seconds(origin);
            let goes_on = fit.step();
            longest = longest.max(seconds(origin) - trial);
            if !goes_on {
                break;
            }
        }
        let outcome = fit.finish(window, &mut state).map(|()| state.len());
        let spent = seconds(origin) - started;
        println!("{class:>18}  {spent:8.3} s, the longest trial {longest:.3} s, state {outcome:?}");
    }
    groups(origin);
}

/// The same of a group of channels that move together.
fn groups(origin: Instant) {
    let names: Vec<String> = (0..CHANNELS).map(|channel| format!("channel{channel}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let times: Vec<i64> = (0..SAMPLES).map(|index| index * STEP_MS).collect();
    let value = |index: i64| {
        let curve = libm::sin((index % SAMPLES) as f64 / DAY as f64 * std::f64::consts::TAU);
        100.0 + 20.0 * curve + 4.0 * noise(index)
    };
    let values: Vec<f64> = (0..CHANNELS as i64 * SAMPLES).map(value).collect();
    let window = Channels { times: &times, count: CHANNELS, values: &values };
    let classes = [
        MultivariateSpec::TemporalEnvelope(TemporalEnvelopeMultivariateArgs::default(), Zone::default()),
        MultivariateSpec::IsolationForest(IsolationForestArgs::default(), Zone::default()),
    ];
    for start in classes {
        let class = start.class();
        let auto = MultivariateSpec::Auto(Box::new(JointAutoArgs::new(start, 0.01)));
        let policies = [ScorePolicy::default(); CHANNELS];
        let (started, mut longest) = (seconds(origin), 0.0_f64);
        let Some(mut fit) = auto.begin_fit(&names, window, &policies) else { continue };
        loop {
            let trial = seconds(origin);
            let goes_on = fit.step();
            longest = longest.max(seconds(origin) - trial);
            if !goes_on {
                break;
            }
        }
        let outcome = fit.finish(window).map(|model| {
            let mut state = Vec::new();
            model.save(&mut state);
            state.len()
        });
        let spent = seconds(origin) - started;
        println!("{class} of {CHANNELS}  {spent:8.3} s, the longest trial {longest:.3} s, state {outcome:?}");
    }
}
