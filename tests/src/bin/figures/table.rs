//! The figures as Markdown.

use std::time::Duration;

use crate::Arguments;
use crate::case::{Case, Outcome, middle};

fn ms(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}

/// Prints everything.
pub fn print(arguments: &Arguments, outcomes: &[(Case, Outcome)]) {
    let series = arguments.series as f64;
    println!("{} series, one point a tick; medians of {} ticks\n", arguments.series, arguments.ticks);
    let row = |name: &str, value: &dyn Fn(&Outcome) -> String| {
        let cells: Vec<String> = outcomes.iter().map(|(_, outcome)| value(outcome)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    let names: Vec<String> = outcomes.iter().map(|(case, _)| case.name()).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(outcomes.len()));
    row("TSDB's CPU for the read alone", &|outcome| ms(outcome.read.cpu));
    row("worker CPU per tick", &|outcome| ms(middle(&outcome.worker_cpu)));
    row("worker CPU per tick / TSDB's CPU for the read", &|outcome| {
        let ratio = middle(&outcome.worker_cpu).as_secs_f64() / outcome.read.cpu.as_secs_f64();
        format!("{ratio:.2}")
    });
    row("TSDB's CPU for the whole tick, read and write", &|outcome| ms(middle(&outcome.tsdb_cpu)));
    row("bytes read per series and tick", &|outcome| format!("{:.0}", outcome.read.bytes as f64 / series));
    row("bytes written per series and tick", &|outcome| format!("{:.0}", outcome.sent_bytes / series));
    row("RSS after the ticks, per series", &|outcome| {
        let bytes = outcome.resident_bytes.saturating_sub(outcome.empty_resident_bytes);
        format!("{:.0} B", bytes as f64 / series)
    });
    row("RSS after the ticks / at its highest", &|outcome| {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        format!("{:.0} / {:.0} MB", mb(outcome.resident_bytes), mb(outcome.highest_resident_bytes))
    });
    row("input log, bytes per series and tick", &|outcome| format!("{:.1}", outcome.log_bytes / series));
    row("snapshots, bytes per series", &|outcome| format!("{:.0}", outcome.snapshot_bytes as f64 / series));
    let restarted = |times: &[Duration]| {
        if times.is_empty() { "-".to_owned() } else { format!("{:.2} s", middle(times).as_secs_f64()) }
    };
    row("SIGKILL, start to first accepted write", &|outcome| restarted(&outcome.first_write));
    row("SIGKILL, start to the whole tick written", &|outcome| restarted(&outcome.first_tick));
    row("CPU from the start to that tick", &|outcome| restarted(&outcome.restart_cpu));
}
