//! What it costs to say which shard owns a series: the key of its labels, its hash, the shard.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use config::ownership::{Spread, ownership_key, shard_of_key};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SERIES: usize = 10_000;

/// As cAdvisor labels a container, sorted by name.
fn labels(series: usize) -> Vec<(&'static str, String)> {
    vec![
        ("__name__", "container_cpu_usage_seconds_total".to_owned()),
        ("cluster", "production-eu-1".to_owned()),
        ("container", format!("app-{}", series % 40)),
        ("namespace", format!("team-{}", series % 25)),
        ("pod", format!("app-{}-{:010x}", series % 40, (series as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)),
    ]
}

fn ownership(criterion: &mut Criterion) {
    let all: Vec<_> = (0..SERIES).map(labels).collect();
    let mut group = criterion.benchmark_group("owner of a series with four labels and a name");
    group
        .throughput(Throughput::Elements(SERIES as u64))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for shards in [3, 100].into_iter().filter_map(NonZeroU32::new) {
        group.bench_function(format!("{shards} shards"), |bencher| {
            let mut key = Vec::new();
            bencher.iter(|| {
                let mut sum = 0;
                for labels in &all {
                    let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
                    ownership_key(&Spread::Series, None, "cpu", labels, &mut key);
                    sum += shard_of_key(black_box(&key), shards);
                }
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ownership);
criterion_main!(benches);
