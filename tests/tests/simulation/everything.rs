//! Everything at once: all faults, while shards come and go.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use worker::peers::Rule;

use crate::{
    DATABASE, DURATION, violation,
    world::{
        deployment::{
            Deployment, Layout,
            observation::{Branch, Kind, Observed},
            schedule::{Faults, LeftOut},
            trace,
        },
        shortening::{Shortened, shorten},
    },
};

/// The seeds of the normal run.
const SEEDS: std::ops::Range<u64> = 400..418;
/// Runs to shorten a schedule that shows a violation; `SIM_RERUNS` says otherwise.
const MOST_RERUNS: usize = 40;

/// Each seed has a layout of its own. `SIM_SEEDS=a..b cargo test --release -p tests simulation -- --nocapture` runs the
/// named seeds; `SIM_TRACE=worker=debug` logs them, `SIM_RULE` breaks a rule in them.
#[test]
fn whatever_goes_wrong_in_the_simulation_no_tick_is_missing_and_ranks_agree() {
    let named = std::env::var("SIM_SEEDS").ok();
    let named = named.map(|text| parse_seeds(&text).expect("SIM_SEEDS is a..b"));
    let is_normal = named.is_none();
    let seeds: Vec<u64> = named.unwrap_or(SEEDS).collect();
    let reruns = std::env::var("SIM_RERUNS").map_or(MOST_RERUNS, |text| text.parse().expect("SIM_RERUNS is a number"));
    let broken = broken_rule();
    let (mut total, mut violations) = (Observed::default(), 0);
    for (observed, shortened) in in_parallel(&seeds, |seed| shown(seed, broken, reruns)) {
        total.add(&observed);
        violations += usize::from(shortened.is_some());
    }
    println!("{total}");
    println!("simulation: {} seeds, {} steps, {violations} violations", seeds.len(), total.steps);
    assert_eq!(violations, 0);
    if is_normal {
        let absent: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| total.fault(*kind) == 0).collect();
        assert!(absent.is_empty(), "never happened: {absent:?}");
        let absent: Vec<Branch> = Branch::ALL.into_iter().filter(|branch| total.branch(*branch) == 0).collect();
        assert!(absent.is_empty(), "never taken: {absent:?}");
        assert!(total.steps > 1_000_000, "{} steps", total.steps);
    }
}

/// A run, and the shortest schedule that shows what is wrong with it, if something is.
fn shown(seed: u64, broken: Option<Rule>, reruns: usize) -> (Observed, Option<Shortened>) {
    let (observed, violation) = everything(seed, &LeftOut::new(), broken);
    let shortened = violation.map(|violation| {
        println!("seed {seed}, with {} events: {violation:.900}", observed.happened.len());
        let shortened =
            shorten((&observed, violation), reruns, |left_out: &LeftOut| everything(seed, left_out, broken));
        println!("seed {seed}, {shortened}");
        shortened
    });
    (observed, shortened)
}

/// The rule that `SIM_RULE` names.
pub fn broken_rule() -> Option<Rule> {
    let named = std::env::var("SIM_RULE").ok()?;
    let rule = Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == named);
    Some(rule.unwrap_or_else(|| panic!("SIM_RULE={named} is none of {:?}", Rule::ALL)))
}

fn parse_seeds(text: &str) -> Option<std::ops::Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}

/// Runs on all processors; the results come in the order of the items.
pub fn in_parallel<I: Copy + Sync, T: Send>(items: &[I], run: impl Fn(I) -> T + Sync) -> Vec<T> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    // Logs of several runs would be mixed.
    let threads = if trace::is_on() { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = run(*item);
                    results.lock().expect("no run panics").insert(index, result);
                }
            });
        }
    });
    results.into_inner().expect("no run panics").into_values().collect()
}

/// A run with the layout of its seed.
pub fn everything(seed: u64, left_out: &LeftOut, broken: Option<Rule>) -> (Observed, Option<String>) {
    let layout = Layout {
        shards: 1 + (seed % 2) as u32,
        ranks: 1 + (seed % 3) as u32,
        most_shards: 5,
        most_ranks: if seed % 11 < 5 { 3 } else { 0 },
        hasty: seed % 4 > 1,
        failover: seed % 5 < 2,
    };
    let deployment = Deployment::new(DATABASE, layout, seed).without(broken).leaving_out(left_out);
    let is_shifting = seed % 7 < 3;
    let deployment = if is_shifting { deployment.shifting() } else { deployment };
    let observed = deployment.run(Faults::ALL, DURATION);
    let violation = violation(&observed, is_shifting);
    (observed, violation)
}
