//! The log of a run, with the virtual time and the worker, on stderr: `SIM_TRACE=worker=debug`.

use std::sync::Mutex;

use worker::peers::Member;

static AT: Mutex<(i64, Member)> = Mutex::new((0, Member { shard: 0, rank: 0 }));

struct VirtualTime;

impl tracing_subscriber::fmt::time::FormatTime for VirtualTime {
    fn format_time(&self, out: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let (at, member) = *AT.lock().expect("not poisoned");
        write!(out, "+{}.{:03}s {}/{}", at / 1000, at % 1000, member.shard, member.rank)
    }
}

pub fn is_on() -> bool {
    std::env::var_os("SIM_TRACE").is_some()
}

pub fn start() {
    if is_on() {
        let filter = tracing_subscriber::EnvFilter::from_env("SIM_TRACE");
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_timer(VirtualTime)
            .with_target(false)
            .with_writer(std::io::stderr)
            .try_init();
    }
}

pub fn at(now: i64, member: Member) {
    *AT.lock().expect("not poisoned") = (now, member);
}
