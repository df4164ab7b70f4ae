//! What the state folder costs: a tick of 100,000 series in the input log, and blocks of 1,024 series.
//!
//! Prints bytes per series beside the times. `TMPDIR` says which device is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed set-up ends the benchmark")]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};
use worker::disk::file_system::FileSystem;
use worker::disk::memory::Memory;
use worker::engine::TickInput;
use worker::environment::Grid;
use worker::input_log::{InputLog, LogOptions, Record};
use worker::labels::Labels;
use worker::peers::Lineage;
use worker::share::Share;
use worker::snapshot::{Block, BlockSeries, ModelStates, SnapshotStore};

const SERIES: u32 = 100_000;
const BLOCK: u32 = 1_024;
const MINUTE: i64 = 60_000;

fn labels(slot: u32) -> Labels {
    Labels::new([
        ("__name__", "container_cpu_usage_seconds_total".to_owned()),
        ("cluster", "production-eu-1".to_owned()),
        ("container", format!("app-{}", slot % 40)),
        ("namespace", format!("team-{}", slot % 25)),
        ("pod", format!("app-{}-{:010x}", slot % 40, u64::from(slot) * 0x9e37_79b9)),
    ])
}

/// Numbers without a pattern, the same in every run (SplitMix64).
fn noise(seed: u64) -> u64 {
    let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Values of a kind, in 0..1,000.
type Values = fn(u32, i64) -> f64;
const KINDS: [(&str, Values); 3] = [
    ("rates of full precision", |slot, tick| noise(u64::from(slot) ^ (tick as u64) << 32) as f64 / u64::MAX as f64),
    ("two decimals", |slot, tick| (noise(u64::from(slot) ^ (tick as u64) << 32) % 100_000) as f64 / 100.0),
    ("integers", |slot, tick| (noise(u64::from(slot) ^ (tick as u64) << 32) % 1_000) as f64),
];

fn tick(index: i64, values: Values) -> Record {
    let grid = Grid { start: index * MINUTE, step: MINUTE, points: 1 };
    let values = (0..SERIES).map(|slot| values(slot, index)).collect();
    let input = TickInput { tick: index * MINUTE, grid, slots: (0..SERIES).collect(), values, query_series: 0 };
    Record::Tick { job: "scheduler/query".to_owned(), input }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 1 << 40, segment_age: std::time::Duration::MAX, ..LogOptions::default() }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

fn log(criterion: &mut Criterion) {
    let runtime = runtime();
    let all: Arc<Vec<Labels>> = Arc::new((0..SERIES).map(labels).collect());
    let of = move |slot: u32| all[slot as usize].clone();
    let mut group = criterion.benchmark_group("input log, tick of 100,000 series");
    group.throughput(Throughput::Elements(u64::from(SERIES))).sample_size(20);
    for (kind, values) in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let disk = Rc::new(FileSystem::open(folder.path()).unwrap());
        let log = runtime.block_on(InputLog::open(disk, options())).unwrap().0;
        let mut index = 0;
        let mut append = || {
            index += 1;
            let record = tick(index, values);
            runtime.block_on(async {
                let position = log.append(&record, &of).await.unwrap();
                log.durable(position).await.unwrap();
            });
        };
        append();
        let first = log.bytes();
        append();
        let per_series = |bytes: u64| bytes as f64 / f64::from(SERIES);
        println!(
            "{kind}: {:.2} bytes per series and tick; labels, once a segment: {:.1}",
            per_series(log.bytes() - first),
            per_series(first) - per_series(log.bytes() - first)
        );
        let record = tick(1_000_000, values);
        group.bench_function(format!("append and sync, {kind}"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let position = log.append(&record, &of).await.unwrap();
                    log.durable(position).await.unwrap();
                });
            });
        });
    }
    let disk = Memory::new();
    let log = runtime.block_on(InputLog::open(Rc::new(disk.clone()), options())).unwrap().0;
    for index in 0..20 {
        let position = runtime.block_on(log.append(&tick(index, KINDS[1].1), &of)).unwrap();
        runtime.block_on(log.durable(position)).unwrap();
    }
    group.throughput(Throughput::Elements(20 * u64::from(SERIES)));
    group.bench_function("open a log of 20 ticks", |bencher| {
        bencher.iter(|| {
            let (_, recovered) = runtime.block_on(InputLog::open(Rc::new(disk.clone()), options())).unwrap();
            assert_eq!(black_box(recovered).records.len(), 20);
        });
    });
    group.finish();
}

fn block(index: u32) -> Block {
    let slots = index * BLOCK..(index + 1) * BLOCK;
    let series = slots.clone().map(|slot| BlockSeries { slot, labels: labels(slot), last_seen: 1_700_000_000_000 });
    let state = |slot: u32| (0..8).flat_map(|word| noise(u64::from(slot * 8 + word)).to_le_bytes()).collect();
    let model = ModelStates {
        alias: "zscore".to_owned(),
        signature: "0123456789abcdef".to_owned(),
        fitted_to: 0,
        states: slots.clone().map(|slot| Some(state(slot))).collect(),
    };
    let series = series.collect();
    Block {
        job: "scheduler/query".to_owned(),
        index,
        watermark: 1_700_000_000_000,
        lineage: Lineage::default(),
        share: Share::default(),
        series,
        models: vec![model],
    }
}

fn snapshot(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("snapshot, blocks of 1,024 series with 64-byte states");
    group.throughput(Throughput::Elements(u64::from(BLOCK))).sample_size(20);
    let folder = tempfile::tempdir().unwrap();
    let disk = Rc::new(FileSystem::open(folder.path()).unwrap());
    let store = runtime.block_on(SnapshotStore::open(disk)).unwrap().0;
    let blocks: Vec<Block> = (0..100).map(block).collect();
    let bytes = runtime.block_on(store.write_all(&blocks)).unwrap();
    println!("{:.1} bytes per series, labels and states", bytes as f64 / f64::from(100 * BLOCK));
    group.bench_function("write one block of 100", |bencher| {
        bencher.iter(|| runtime.block_on(store.write(&blocks[0])).unwrap());
    });
    drop(store);
    let disk = Rc::new(FileSystem::open(folder.path()).unwrap());
    group.throughput(Throughput::Elements(100 * u64::from(BLOCK)));
    group.bench_function("open a store of 100 blocks", |bencher| {
        bencher.iter(|| {
            let (_, restored) = runtime.block_on(SnapshotStore::open(Rc::clone(&disk))).unwrap();
            assert_eq!(black_box(restored).blocks.len(), 100);
        });
    });
    group.finish();
}

criterion_group!(benches, log, snapshot);
criterion_main!(benches);
