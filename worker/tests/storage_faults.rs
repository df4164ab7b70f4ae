//! Damage and crashes anywhere in the state folder: found, counted, and no more lost than what was hit.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed set-up is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};
use worker::disk::memory::Memory;
use worker::engine::TickInput;
use worker::environment::{DiskError, Grid};
use worker::input_log::{InputLog, LogError, LogOptions, Record, Recovered};
use worker::labels::Labels;
use worker::peers::Lineage;
use worker::share::Share;
use worker::snapshot::{Block, BlockSeries, ModelStates, Restored, SnapshotError, SnapshotStore};

const JOBS: [&str; 2] = ["every minute/requests", "every minute/errors"];
const MINUTE: i64 = 60_000;
const SLOTS: u32 = 40;

fn labels(slot: u32) -> Labels {
    Labels::new([("__name__", "requests_total".to_owned()), ("instance", format!("host-{slot}"))])
}

fn tick(job: &str, index: i64) -> Record {
    let grid = Grid { start: index * MINUTE, step: MINUTE, points: 1 };
    // Values that no compression makes small: damage should hit them too.
    let values = (0..SLOTS).map(|slot| (f64::from(slot) + index as f64 * 0.37).sqrt()).collect();
    let (slots, query_series) = ((0..SLOTS).collect(), u64::from(SLOTS));
    Record::Tick { job: job.to_owned(), input: TickInput { tick: index * MINUTE, grid, slots, values, query_series } }
}

fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for job in JOBS {
        records.push(Record::Configuration { job: job.to_owned(), from: 0, digest: 1 });
    }
    for index in 0..20 {
        records.extend(JOBS.map(|job| tick(job, index)));
    }
    let fit = |job: &str| Record::Fit { job: job.to_owned(), model: "m".to_owned(), fitted_to: 0, from: 20 * MINUTE };
    records.extend(JOBS.map(fit));
    records
}

fn block(job: &str, index: u32, watermark: i64) -> Block {
    let series: Vec<BlockSeries> = (index * 8..index * 8 + 8)
        .map(|slot| BlockSeries { slot, labels: labels(slot), last_seen: watermark })
        .collect();
    let states = series.iter().map(|one| Some(format!("{job} {watermark} {}", one.slot).into_bytes())).collect();
    let model = ModelStates { alias: "m".to_owned(), signature: String::new(), fitted_to: 0, states };
    Block {
        job: job.to_owned(),
        index,
        watermark,
        lineage: Lineage::default(),
        share: Share::default(),
        series,
        models: vec![model],
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 3_000, ..LogOptions::default() }
}

async fn open_log(disk: &Memory) -> Result<(InputLog<Memory>, Recovered), LogError> {
    InputLog::open(Rc::new(disk.clone()), options()).await
}

async fn open_store(disk: &Memory) -> Result<(SnapshotStore<Memory>, Restored), SnapshotError> {
    SnapshotStore::open(Rc::new(disk.clone())).await
}

/// A log of several segments, and blocks of both jobs with two generations.
async fn folder() -> Memory {
    let disk = Memory::new();
    let (log, _) = open_log(&disk).await.unwrap();
    for record in records() {
        let position = log.append(&record, &labels).await.unwrap();
        log.durable(position).await.unwrap();
    }
    assert!(log.segments() > 3);
    let (store, _) = open_store(&disk).await.unwrap();
    for watermark in [1, 2] {
        for job in JOBS {
            store.write_all(&[0, 1, 2].map(|index| block(job, index, watermark))).await.unwrap();
        }
    }
    disk
}

fn newest_manifest(disk: &Memory) -> String {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("snapshot/manifest")).max().unwrap()
}

/// What must be there of the log when one place of it is damaged.
fn check_log(recovered: &Recovered, what: &str) {
    let whole: Vec<Record> = records();
    for job in JOBS {
        let mut expected = whole.iter();
        for record in recovered.records.iter().filter(|record| record.job() == job) {
            assert!(expected.any(|one| one == record), "{what}: a record that was not appended, or out of order");
        }
    }
    assert!(whole.len() - recovered.records.len() <= 1, "{what}: more than the hit record is lost");
    for ((_, slot), known) in &recovered.labels {
        assert_eq!(*known, labels(*slot), "{what}");
    }
    let referred: BTreeSet<(String, u32)> =
        JOBS.iter().flat_map(|job| (0..SLOTS).map(|slot| ((*job).to_owned(), slot))).collect();
    let unknown: BTreeSet<(String, u32)> = recovered.unknown_slots.iter().cloned().collect();
    let known: BTreeSet<(String, u32)> = recovered.labels.keys().cloned().collect();
    assert_eq!(known.union(&unknown).cloned().collect::<BTreeSet<_>>(), referred, "{what}");
}

#[tokio::test]
async fn of_a_thousand_flipped_bytes_each_is_seen_and_costs_only_what_it_hit() {
    let intact = folder().await;
    let newest_manifest = newest_manifest(&intact);
    let blocks = open_store(&intact.copy()).await.unwrap().1.blocks;
    // Every file is hit equally often, whatever its length.
    let files = intact.files();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut hit: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..1_000 {
        let disk = intact.copy();
        let (path, length) = &files[round % files.len()];
        let offset = random.random_range(0..*length);
        let mask = random.random_range(1..=255_u8);
        assert!(disk.flip(path, offset, mask));
        let what = format!("{path}, byte {offset}, mask {mask:#x}");

        let (_, recovered) = open_log(&disk).await.expect(&what);
        let (store, restored) = open_store(&disk).await.expect(&what);
        check_log(&recovered, &what);
        if path.starts_with("log/") {
            assert_eq!(recovered.damaged_records, 1, "{what}");
            assert!(recovered.problems[0].contains(path.as_str()), "{what}: {:?}", recovered.problems);
            assert!(recovered.damaged_bytes > 0, "{what}");
        } else {
            assert_eq!((recovered.damaged_records, recovered.records.len()), (0, records().len()), "{what}");
        }

        assert_eq!(restored.damaged_manifests, u64::from(*path == newest_manifest), "{what}");
        let is_newest_block = blocks.iter().any(|block| {
            let commit = if block.job == JOBS[0] { 3 } else { 4 };
            path.ends_with(&format!("/{}.{commit}", block.index)) && path.contains(&block.job[13..])
        });
        assert_eq!(restored.damaged_blocks, u64::from(is_newest_block), "{what}");
        assert_eq!(restored.older_generations_used, u64::from(is_newest_block), "{what}");
        assert_eq!(restored.blocks.len(), blocks.len(), "{what}");
        let changed: Vec<&Block> = restored.blocks.iter().filter(|block| !blocks.contains(block)).collect();
        for block_read in &changed {
            assert_eq!(**block_read, block(&block_read.job, block_read.index, 1), "{what}");
            let damaged = &restored.damaged[0];
            assert_eq!((&damaged.job, damaged.index), (&block_read.job, block_read.index), "{what}");
            let slots = |series: &[BlockSeries]| series.iter().map(|one| one.slot).collect::<Vec<_>>();
            assert_eq!(damaged.series.as_deref().map(slots), Some(slots(&block_read.series)), "{what}");
        }
        assert_eq!(changed.len(), usize::from(is_newest_block), "{what}");
        store.write(&block(JOBS[0], 0, 3)).await.expect(&what);
        let kind = path.split(['/', '.']).nth(if path.starts_with("log") { 0 } else { 1 }).unwrap_or("format");
        *hit.entry(kind).or_default() += 1;
    }
    assert!(["log", "blocks", "manifest"].iter().all(|kind| hit[kind] > 50), "{hit:?}");
}

#[tokio::test]
async fn a_damaged_log_goes_on_in_a_new_segment() {
    let disk = folder().await;
    let last = disk.files().into_iter().map(|(path, _)| path).rfind(|path| path.starts_with("log/")).unwrap();
    assert!(disk.flip(&last, 60, 1));
    let (log, recovered) = open_log(&disk).await.unwrap();
    let mut expected = recovered.records;
    for index in 20..23 {
        let record = tick(JOBS[0], index);
        let position = log.append(&record, &labels).await.unwrap();
        log.durable(position).await.unwrap();
        expected.push(record);
    }
    let (_, recovered) = open_log(&disk).await.unwrap();
    assert_eq!(recovered.records, expected);
    assert!(recovered.unknown_slots.is_empty());
}

/// What a run had achieved when it ended.
#[derive(Debug, Default)]
struct Achieved {
    /// Records that were appended, the last one perhaps only in part.
    appended: Vec<Record>,
    /// How many of them are durable.
    durable: usize,
    /// Watermark of the last commit of each job's blocks that returned, and of the one that was begun.
    committed: BTreeMap<&'static str, i64>,
    begun: BTreeMap<&'static str, i64>,
    /// Records that may be retired: ticks before this one, of both jobs.
    needed_from: i64,
}

async fn run(disk: &Memory, achieved: &mut Achieved) -> Result<(), Box<dyn std::error::Error>> {
    let (log, _) = open_log(disk).await?;
    let (store, _) = open_store(disk).await?;
    for index in 0..12 {
        for job in JOBS {
            let record = tick(job, index);
            achieved.appended.push(record.clone());
            let position = log.append(&record, &labels).await?;
            if index % 2 == 0 || job == JOBS[1] {
                log.durable(position).await?;
                achieved.durable = achieved.appended.len();
            }
        }
        if index % 3 == 2 {
            for job in JOBS {
                let watermark = index * MINUTE;
                achieved.begun.insert(job, watermark);
                store.write_all(&[block(job, 0, watermark), block(job, 1, watermark)]).await?;
                achieved.committed.insert(job, watermark);
            }
            let oldest = |job: &str| store.oldest_watermark(job);
            achieved.needed_from = JOBS.iter().filter_map(|job| oldest(job)).min().unwrap_or(0);
            log.retire(&|job| Some(oldest(job).unwrap_or(0))).await?;
        }
    }
    Ok(())
}

async fn check_after_crash(disk: &Memory, achieved: &Achieved, what: &str) {
    let (_, recovered) = open_log(disk).await.expect(what);
    assert_eq!((recovered.damaged_records, &recovered.problems), (0, &vec![]), "{what}");
    assert!(recovered.unknown_slots.is_empty(), "{what}");
    let first = achieved.appended.iter().position(|record| Some(record) == recovered.records.first());
    let first = first.unwrap_or(achieved.appended.len());
    let kept = &achieved.appended[first..first + recovered.records.len()];
    assert_eq!(recovered.records, kept, "{what}: a run of the appended records without a gap");
    assert!(first + kept.len() >= achieved.durable || kept.is_empty() && achieved.durable == 0, "{what}");
    let retired = &achieved.appended[..first];
    let is_old = |record: &Record| record.newest_tick() < achieved.needed_from;
    assert!(kept.is_empty() || retired.iter().all(is_old), "{what}: a needed record was retired");

    let (_, restored) = open_store(disk).await.expect(what);
    assert_eq!((restored.damaged_blocks, restored.damaged_manifests), (0, 0), "{what}");
    for job in JOBS {
        let watermarks: Vec<(u32, i64)> =
            restored.blocks.iter().filter(|one| one.job == job).map(|one| (one.index, one.watermark)).collect();
        let of = |watermark: Option<&i64>| watermark.map_or(vec![], |watermark| vec![(0, *watermark), (1, *watermark)]);
        let (old, new) = (of(achieved.committed.get(job)), of(achieved.begun.get(job)));
        assert!(watermarks == old || watermarks == new, "{what}: {watermarks:?} is neither {old:?} nor {new:?}");
        for one in restored.blocks.iter().filter(|one| one.job == job) {
            assert_eq!(*one, block(job, one.index, one.watermark), "{what}");
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_operation_loses_nothing_that_was_durable() {
    let whole = Memory::new();
    run(&whole, &mut Achieved::default()).await.unwrap();
    let operations = whole.operations();
    assert!(operations > 70, "{operations}");
    for operation in 0..operations {
        for number in 0..4 {
            let disk = Memory::new();
            let mut achieved = Achieved::default();
            disk.crash_at(operation);
            let outcome = run(&disk, &mut achieved).await;
            let what = format!("operation {operation}, crash {number}");
            // Removing what nobody needs may fail without anybody noticing; the process is dead all the same.
            assert!(outcome.is_err() || operation + 1 >= operations, "{what}");
            if number == 0 {
                disk.restart()
            } else {
                disk.crash(operation * 4 + number)
            }
            check_after_crash(&disk, &achieved, &what).await;
            // And once more: a crash while the folder is being read changes nothing.
            for second in 0..if number == 1 { 8 } else { 0 } {
                let again = disk.copy();
                again.crash_at(second);
                let _ = open_log(&again).await;
                let _ = open_store(&again).await;
                again.crash(second);
                check_after_crash(&again, &achieved, &what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_at_any_size_stops_the_work_and_loses_nothing() {
    let whole = Memory::new();
    run(&whole, &mut Achieved::default()).await.unwrap();
    let needed: usize = whole.files().iter().map(|(_, bytes)| bytes).sum();
    for capacity in (0..needed).step_by(97) {
        let disk = Memory::new();
        disk.set_capacity(Some(capacity as u64));
        let mut achieved = Achieved::default();
        let outcome = run(&disk, &mut achieved).await;
        if let Err(error) = &outcome {
            let full = |error: &DiskError| matches!(error, DiskError::Full { .. });
            let is_full = match error.downcast_ref::<LogError>() {
                Some(error) => matches!(error, LogError::Disk(disk) if full(disk)),
                None => matches!(error.downcast_ref(), Some(SnapshotError::Disk(disk)) if full(disk)),
            };
            assert!(is_full, "{error}");
        }
        disk.crash(capacity as u64);
        disk.set_capacity(None);
        check_after_crash(&disk, &achieved, &format!("capacity {capacity}")).await;
    }
}

proptest! {
    #[test]
    fn whatever_is_in_the_files_opening_never_panics(
        files in prop::collection::vec(("[a-z]{1,8}", any::<Vec<u8>>()), 1..4),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<Vec<u8>>()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = folder().await;
            for (name, bytes) in &files {
                disk.put(&format!("log/{name}"), bytes);
                disk.put(&format!("snapshot/blocks/{name}/0.9"), bytes);
                disk.put(&format!("snapshot/manifest.{}", bytes.len()), bytes);
            }
            let paths = disk.files();
            for (place, bytes) in &places {
                disk.put(&place.get(&paths).0, bytes);
            }
            let _ = open_log(&disk).await;
            let _ = open_store(&disk).await;
        });
    }
}
