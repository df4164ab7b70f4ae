//! Our models against the Python libraries that users compare them with, in one run, on equal inputs, by turns.
//!
//! The Python side is `peers.py`, by the interpreter that `PEERS_PYTHON` names; without one there are only our own figures. Both
//! take the least CPU time of several rounds, Python that of its child processes too: other work on the machine lengthens it least.
//! Prints a table in Markdown and, unless
//! arguments name some of the cases, writes `target/bench/ratios.csv`.

mod inputs;
#[path = "../../tests/random/mod.rs"]
mod random;

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs, io};

use detect::calendar::Zone;
use detect::decomposition::seasonal_decompose;
use detect::holt_winters::{Composition, HoltWinters, HoltWintersArgs, estimate};
use detect::isolation_forest::{Channels, IsolationForest, IsolationForestArgs, IsolationForestMultivariate};
use detect::mad::{MadOnline, MadOnlineArgs};
use detect::model::{OnlineModel, Samples, Scores};
use detect::offline::{OfflineModel, Window};
use detect::prophet::{Growth, Mode, Prophet, ProphetArgs};
use detect::quantile_online::{QuantileOnline, QuantileOnlineArgs};
use detect::rolling_quantile::RollingQuantileArgs;
use detect::score::ScorePolicy;
use detect::spec::ModelSpec;
use detect::zscore::ZscoreOnlineArgs;
use inputs::{Series, daily, trending, wandering, write_times, write_values};
use random::uniform;
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 3;

/// A round of ours goes on for so long, ns.
const ROUND: f64 = 1.5e8;

/// Calls are timed together that take so long, ns: the clock itself takes some hundred.
const GROUP: f64 = 1e5;

/// Series of a batch of `zscore_online`.
const BATCH: usize = 10_000;

/// What is measured on both sides.
struct Case {
    name: &'static str,
    ours: Box<dyn FnMut()>,
    /// Of a call of ours and of one of the peer: what the figures are divided by.
    elements: [f64; 2],
}

fn case(name: &'static str, ours: impl FnMut() + 'static) -> Case {
    Case { name, ours: Box::new(ours), elements: [1.0; 2] }
}

fn window(series: &Series) -> Window<'_> {
    Window { times: &series.times, values: &series.values }
}

/// CPU time of this thread so far, ns.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    1e9 * time.tv_sec as f64 + time.tv_nsec as f64
}

/// Least nanoseconds of a call, of those of a round. Short calls are timed several at once.
fn nanoseconds(call: &mut dyn FnMut()) -> f64 {
    let started = cpu_time();
    call();
    let first = cpu_time() - started;
    let calls = (GROUP / first.max(1.0)).max(1.0) as u32;
    let mut least = f64::INFINITY;
    while cpu_time() - started < ROUND || least.is_infinite() {
        let start = cpu_time();
        (0..calls).for_each(|_| call());
        least = least.min((cpu_time() - start) / f64::from(calls));
    }
    least
}

/// The Python side, which answers a line for each line.
struct Peers {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peers {
    fn start(python: &Path, folder: &Path) -> io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/peers.py");
        let mut command = Command::new(python);
        command.arg(script).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        // One core each.
        for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "STAN_NUM_THREADS"] {
            command.env(threads, "1");
        }
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the Python side has no pipes"));
        };
        let mut peers = Self { child, input, output: BufReader::new(output) };
        let greeting = peers.line()?;
        if greeting == "ready" { Ok(peers) } else { Err(io::Error::other(format!("Python said {greeting:?}"))) }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the Python side ended"));
        }
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, question: &str) -> io::Result<f64> {
        writeln!(self.input, "{question}")?;
        self.input.flush()?;
        let answer = self.line()?;
        answer.parse().map_err(|_| io::Error::other(format!("Python answered {answer:?} to {question}")))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // An error is that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prophet_args() -> [(&'static str, usize, ProphetArgs); 4] {
    let multiplicative = ProphetArgs { seasonality_mode: Mode::Multiplicative, ..ProphetArgs::default() };
    let logistic = Growth::Logistic { cap: 250.0, floor: 0.0 };
    [
        ("prophet_fit_n4032_default", 4_032, ProphetArgs::default()),
        ("prophet_fit_n20160_default", 20_160, ProphetArgs::default()),
        ("prophet_multiplicative_fit_n4032", 4_032, multiplicative),
        ("prophet_logistic_fit_n4032", 4_032, ProphetArgs { growth: logistic, ..ProphetArgs::default() }),
    ]
}

fn prophet_cases(folder: &Path) -> io::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (name, samples, args) in prophet_args() {
        let series = trending(samples, 0);
        write_times(folder, &format!("prophet_n{samples}"), &series.times)?;
        write_values(folder, &format!("prophet_n{samples}"), &series.values)?;
        // A model of its own each time: clones would share the design of the times.
        cases.push(case(name, move || {
            black_box(Prophet::new(args.clone(), &[]).fit(window(&series))).ok();
        }));
    }
    let series = trending(4_032, 0);
    let last = series.times.last().copied().unwrap_or_default();
    let tick: Vec<i64> = (1..=5).map(|step| last + step * 300_000).collect();
    write_times(folder, "prophet_tick", &tick)?;
    let mut model = Prophet::new(ProphetArgs::default(), &[]);
    model.fit(window(&series)).map_err(io::Error::other)?;
    cases.extend(offline_cases(["prophet_predict_tick_n4032_default", "prophet_save", "prophet_load"], model, tick));

    let fleet: Vec<Vec<f64>> = (0..1_000).map(|seed| trending(4_032, seed).values).collect();
    let fits = move || {
        let empty = Prophet::new(ProphetArgs::default(), &[]);
        for values in &fleet {
            black_box(empty.clone().fit(Window { times: &series.times, values })).ok();
        }
    };
    cases.push(Case { elements: [1_000.0, 1.0], ..case("prophet_fleet_fit_n4032_s1000", fits) });
    Ok(cases)
}

/// A tick, the saving and the loading of a fitted model.
fn offline_cases<M: OfflineModel + Clone + 'static>(names: [&'static str; 3], model: M, times: Vec<i64>) -> Vec<Case> {
    let (mut state, mut predictions) = (Vec::new(), Vec::new());
    model.save(&mut state);
    let [tick, save, load] = names;
    let (ticking, mut loading, saved, values) = (model.clone(), model.clone(), state.clone(), vec![12.0; times.len()]);
    vec![
        case(tick, move || {
            predictions.clear();
            ticking.predict(Window { times: black_box(&times), values: &values }, &mut predictions);
        }),
        case(save, move || {
            state.clear();
            model.save(black_box(&mut state));
        }),
        case(load, move || {
            black_box(loading.load(black_box(&saved))).ok();
        }),
    ]
}

fn holt_winters_args(trend: Option<Composition>) -> HoltWintersArgs {
    HoltWintersArgs { trend, seasonal_periods: Some(288), ..HoltWintersArgs::default() }
}

const HOLT_WINTERS: [(&str, Option<Composition>); 2] = [
    ("holtwinters_fit_m288_n4032_none_add", None),
    ("holtwinters_fit_m288_n4032_add_add", Some(Composition::Additive)),
];

fn smoothing_cases(folder: &Path) -> io::Result<Vec<Case>> {
    write_values(folder, "holtwinters_n4032", &wandering(4_032, 288).values)?;
    let mut cases = Vec::new();
    for (name, trend) in HOLT_WINTERS {
        let series = wandering(4_032, 288);
        let mut model = HoltWinters::new(holt_winters_args(trend), &[]);
        cases.push(case(name, move || {
            black_box(model.fit(window(&series))).ok();
        }));
    }
    let series = wandering(4_032, 288);
    let mut model = HoltWinters::new(holt_winters_args(None), &[]);
    model.fit(window(&series)).map_err(io::Error::other)?;
    let last = series.times.last().copied().unwrap_or_default();
    let tick = (1..=5).map(|step| last + step * 60_000).collect();
    cases.extend(offline_cases(["holtwinters_predict_tick_m288", "holtwinters_save", "holtwinters_load"], model, tick));

    let Series { times, values } = series;
    let (for_stl, for_rolling) = (values.clone(), values.clone());
    cases.push(case("std_fit_p288_n4032", move || {
        black_box(seasonal_decompose(black_box(&values), 288)).ok();
    }));
    // The defaults of statsmodels.
    let mut stl = stlrs::params();
    stl.seasonal_length(7).low_pass_length(289).seasonal_degree(1).seasonal_jump(1).trend_jump(1).low_pass_jump(1);
    stl.inner_loops(5);
    cases.push(case("stl_fit_p288_n4032", move || {
        black_box(stl.fit(black_box(&for_stl), 288)).ok();
    }));
    let rolling = ModelSpec::RollingQuantile(RollingQuantileArgs::new(0.9, 96));
    let mut batch = rolling.new_batch(&[]);
    batch.grow(1);
    let mut scores = Scores::default();
    cases.push(case("rolling_quantile_score_w96_n4032", move || {
        let samples = Samples { times: &times, slots: &[0], values: &for_rolling };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
    }));
    Ok(cases)
}

fn forest_cases(folder: &Path) -> io::Result<Vec<Case>> {
    const POINTS: usize = 4_032;
    let times: Vec<i64> = (0..POINTS as i64).map(|step| 300_000 * step).collect();
    let one = daily(1, POINTS);
    let all = daily(15, POINTS);
    write_values(folder, "forest_d1", &one)?;
    write_values(folder, "forest_d15", &all)?;

    let mut univariate = IsolationForest::new(IsolationForestArgs::default(), Zone::default(), 42);
    univariate.fit(Window { times: &times, values: &one }).map_err(io::Error::other)?;
    let tick = times.iter().copied().take(5).collect();
    let names = ["isolation_forest_score_tick_d1", "isolation_forest_save", "isolation_forest_load"];
    let mut cases = offline_cases(names, univariate.clone(), tick);
    let (mut fitting, mut predictions) = (univariate.clone(), Vec::new());
    let series = Series { times: times.clone(), values: one };
    let scored = Series { times: times.clone(), values: series.values.clone() };
    cases.push(case("isolation_forest_fit_n4032_d1", move || {
        black_box(fitting.fit(window(&series))).ok();
    }));
    cases.push(case("isolation_forest_score_n4032_d1", move || {
        predictions.clear();
        univariate.predict(window(&scored), &mut predictions);
    }));

    let mut forest = IsolationForestMultivariate::new(IsolationForestArgs::default(), Zone::default(), 42);
    forest.fit(Channels { times: &times, count: 15, values: &all }).map_err(io::Error::other)?;
    let first_points: Vec<f64> = all.chunks(POINTS).flat_map(|series| series.iter().copied().take(5)).collect();
    let (mut fitting, scoring) = (forest.clone(), forest.clone());
    let (mut scores, mut tick_scores) = (Vec::new(), Vec::new());
    let (fit_times, fit_values, tick_times) = (times.clone(), all.clone(), times.clone());
    cases.push(case("isolation_forest_fit_n4032_d15", move || {
        black_box(fitting.fit(Channels { times: &fit_times, count: 15, values: &fit_values })).ok();
    }));
    cases.push(case("isolation_forest_score_n4032_d15", move || {
        scores.clear();
        scoring.predict(Channels { times: &times, count: 15, values: &all }, &mut scores);
    }));
    cases.push(case("isolation_forest_score_tick_d15", move || {
        tick_scores.clear();
        forest.predict(Channels { times: &tick_times[..5], count: 15, values: &first_points }, &mut tick_scores);
    }));
    Ok(cases)
}

fn online_cases(folder: &Path) -> io::Result<Vec<Case>> {
    const UPDATES: usize = 20_000;
    let values: Vec<f64> = (0..UPDATES as u64).map(uniform).collect();
    write_values(folder, "digest", &values)?;
    let mut mad = MadOnline::new(MadOnlineArgs::default());
    values.iter().for_each(|value| mad.learn(0, *value));
    let mut state = Vec::new();
    mad.save(&mut state);
    let (saving, mut loading, mut out) = (mad.clone(), mad, Vec::new());
    let mut cases = vec![
        case("mad_online_save", move || {
            out.clear();
            saving.save(black_box(&mut out));
        }),
        case("mad_online_load", move || {
            black_box(loading.load(black_box(&state))).ok();
        }),
    ];
    for name in ["tdigest_update_c100", "tdigest_update_array_c100"] {
        let mut digest = QuantileOnline::new(QuantileOnlineArgs::default(), Zone::default());
        values.iter().for_each(|value| digest.learn(0, *value));
        let values = values.clone();
        let learn = move || values.iter().for_each(|value| digest.learn(0, *value));
        cases.push(Case { elements: [UPDATES as f64; 2], ..case(name, learn) });
    }

    let values: Vec<f64> = (0..16 * BATCH as u64).map(uniform).collect();
    write_values(folder, "zscore", &values)?;
    let mut batch = ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()).new_batch(&[]);
    batch.grow(BATCH);
    let slots: Vec<u32> = (0..BATCH as u32).collect();
    let (mut scores, mut tick) = (Scores::default(), 0);
    let tick = move || {
        tick += 1;
        let values = &values[tick as usize % 16 * BATCH..][..BATCH];
        let samples = Samples { times: &[tick], slots: &slots, values };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
    };
    cases.push(Case { elements: [BATCH as f64; 2], ..case("zscore_online_tick_s10000", tick) });
    let mut batch = ModelSpec::ZscoreOnline(ZscoreOnlineArgs::default()).new_batch(&[]);
    batch.grow(1);
    let mut scores = Scores::default();
    cases.push(case("zscore_online_call_5points", move || {
        let samples = Samples { times: &[0, 1, 2, 3, 4], slots: &[0], values: &[1.0, 2.0, 3.0, 1.5, 2.5] };
        batch.infer(samples, &ScorePolicy::default(), &mut scores);
    }));
    Ok(cases)
}

/// The parts of names that the command line asks for; all cases are wanted if there are none.
fn is_wanted(name: &str) -> bool {
    let mut parts = env::args().skip(1).filter(|part| !part.starts_with('-')).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

/// The case of the peer: a thousand fits of aligned series are compared with one.
fn peer_name(name: &str) -> &str {
    if name == "prophet_fleet_fit_n4032_s1000" { "prophet_fit_n4032_default" } else { name }
}

/// With three digits and a unit.
fn readable(nanoseconds: f64) -> String {
    let (unit, scale) = match nanoseconds {
        time if time < 1e3 => ("ns", 1.0),
        time if time < 1e6 => ("us", 1e3),
        time if time < 1e9 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    let number = nanoseconds / scale;
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}")
}

/// Squared errors of our fit and of the peer's.
fn squared_errors(peers: &mut Peers) -> io::Result<String> {
    let mut lines = String::new();
    for (name, trend) in HOLT_WINTERS {
        let values = wandering(4_032, 288).values;
        let found = estimate(&holt_winters_args(trend), 288, &values).map_err(io::Error::other)?;
        let ours: f64 =
            found.fitted.iter().zip(&values).map(|(fitted, value)| (value - fitted) * (value - fitted)).sum();
        let theirs = peers.ask(&format!("sse {name}"))?;
        writeln!(lines, "Sum of squared errors of `{name}`: ours / theirs = {:.4}", ours / theirs).ok();
    }
    Ok(lines)
}

fn main() -> io::Result<()> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join("bench/peers");
    fs::create_dir_all(&folder)?;
    let mut cases = prophet_cases(&folder)?;
    cases.extend(smoothing_cases(&folder)?);
    cases.extend(forest_cases(&folder)?);
    cases.extend(online_cases(&folder)?);
    let all = cases.len();
    cases.retain(|case| is_wanted(case.name));
    let is_whole = cases.len() == all;
    let python = env::var_os("PEERS_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    let mut peers = python.map(|python| Peers::start(&python, &folder)).transpose()?;
    if peers.is_none() {
        eprintln!("no Python peers: PEERS_PYTHON names no interpreter; only our own figures");
    }

    let mut csv = "name,ours_ns,peer_ns,ratio\n".to_owned();
    println!("| what | ours | Python | ratio |\n|---|---|---|---|");
    for Case { name, mut ours, elements: [our_elements, peer_elements] } in cases {
        let (mut least, mut peer_least) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            least = least.min(nanoseconds(&mut *ours) / our_elements);
            if let Some(peers) = &mut peers {
                peer_least = peer_least.min(peers.ask(peer_name(name))? / peer_elements);
            }
        }
        if peers.is_some() {
            let ratio = peer_least / least;
            writeln!(csv, "{name},{least:.2},{peer_least:.2},{ratio:.2}").ok();
            let digits = usize::from(ratio < 10.0);
            println!("| `{name}` | {} | {} | {ratio:.digits$} |", readable(least), readable(peer_least));
        } else {
            writeln!(csv, "{name},{least:.2},,").ok();
            println!("| `{name}` | {} | - | - |", readable(least));
        }
    }
    if !is_whole {
        return Ok(());
    }
    fs::write(target.join("bench/ratios.csv"), csv)?;
    if let Some(mut peers) = peers {
        println!("\n{}", squared_errors(&mut peers)?);
    }
    Ok(())
}
