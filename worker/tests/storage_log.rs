//! The input log over the in-memory disk: what it gives back, and after which fault.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed set-up is a failed test")]

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::test;
use worker::disk::memory::{Memory, Operation};
use worker::engine::TickInput;
use worker::environment::{Disk, DiskError, Grid};
use worker::input_log::{InputLog, LogError, LogOptions, Position, Record, Recovered, SkipReason};
use worker::labels::Labels;

const JOB: &str = "every minute/requests";
const MINUTE: i64 = 60_000;

fn labels(slot: u32) -> Labels {
    Labels::new([("__name__", "requests_total".to_owned()), ("instance", format!("host-{slot}"))])
}

fn tick(job: &str, index: i64, slots: std::ops::Range<u32>) -> Record {
    let grid = Grid { start: index * MINUTE - MINUTE / 2, step: MINUTE / 2, points: 2 };
    let slots: Vec<u32> = slots.collect();
    let values = slots.iter().flat_map(|slot| [f64::from(*slot) * 0.1, index as f64]).collect();
    let query_series = slots.len() as u64;
    Record::Tick { job: job.to_owned(), input: TickInput { tick: index * MINUTE, grid, slots, values, query_series } }
}

fn options(segment_bytes: u64) -> LogOptions {
    LogOptions { segment_bytes, ..LogOptions::default() }
}

async fn open(disk: &Memory, options: LogOptions) -> (InputLog<Memory>, Recovered) {
    InputLog::open(Rc::new(disk.clone()), options).await.unwrap()
}

async fn append(log: &InputLog<Memory>, record: &Record) -> Result<Position, LogError> {
    log.append(record, &labels).await
}

async fn append_durably(log: &InputLog<Memory>, records: &[Record]) {
    for record in records {
        let position = append(log, record).await.unwrap();
        log.durable(position).await.unwrap();
    }
}

fn records() -> Vec<Record> {
    let mut records = vec![Record::Configuration { job: JOB.to_owned(), from: MINUTE, digest: 0xfeed }];
    records.extend((1..20).map(|index| tick(JOB, index, 0..10 + index as u32)));
    records.push(Record::Fit { job: JOB.to_owned(), model: "zscore".to_owned(), fitted_to: 1, from: 20 * MINUTE });
    let reason = SkipReason::Refused { message: "too many points".to_owned() };
    records.push(Record::Skipped { job: JOB.to_owned(), from: 20 * MINUTE, to: 21 * MINUTE, reason });
    records
}

#[test]
async fn everything_appended_is_read_back_in_order_over_many_segments() {
    let disk = Memory::new();
    let (log, _) = open(&disk, options(1_000)).await;
    append_durably(&log, &records()).await;
    assert!(log.segments() > 3);
    let bytes: usize = disk.files().iter().filter(|(path, _)| path.starts_with("log/")).map(|(_, bytes)| bytes).sum();
    assert_eq!(log.bytes(), bytes as u64);
    let (again, recovered) = open(&disk, options(1_000)).await;
    assert_eq!(recovered.records, records());
    assert_eq!((recovered.damaged_records, recovered.problems), (0, vec![]));
    assert_eq!(recovered.labels.len(), 29);
    for slot in 0..29 {
        assert_eq!(recovered.labels[&(JOB.to_owned(), slot)], labels(slot));
    }
    assert_eq!(again.bytes(), log.bytes());
}

#[test]
async fn labels_are_written_once_in_a_segment() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    append(&log, &tick(JOB, 1, 0..100)).await.unwrap();
    let first = log.bytes();
    append(&log, &tick(JOB, 2, 0..100)).await.unwrap();
    assert!(log.bytes() - first < 100 * 2 * 8 + 100);
    drop(log);
    let (log, _) = open(&disk, LogOptions::default()).await;
    let reopened = log.bytes();
    append(&log, &tick(JOB, 3, 0..100)).await.unwrap();
    assert!(log.bytes() - reopened < 100 * 2 * 8 + 100);
}

#[test]
async fn a_segment_ends_when_a_job_has_spanned_its_age() {
    let disk = Memory::new();
    let options = LogOptions { segment_age: Duration::from_secs(600), ..LogOptions::default() };
    let (log, _) = open(&disk, options).await;
    for index in 0..10 {
        append(&log, &tick(JOB, index, 0..1)).await.unwrap();
        append(&log, &tick("other/job", index + 10_000, 0..1)).await.unwrap();
    }
    assert_eq!(log.segments(), 1);
    append(&log, &tick(JOB, 10, 0..1)).await.unwrap();
    assert_eq!(log.segments(), 2);
}

#[test]
async fn jobs_that_append_together_share_a_sync() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    let before = disk.operations();
    join_all((0..10).map(|job| {
        let log = &log;
        async move {
            let position = append(log, &tick(&format!("job {job}"), 1, 0..5)).await.unwrap();
            log.durable(position).await.unwrap();
        }
    }))
    .await;
    assert!(disk.operations() - before <= 10 + 2, "10 appends, at most 2 syncs");
    disk.crash(0);
    let (_, recovered) = open(&disk, LogOptions::default()).await;
    assert_eq!(recovered.records.len(), 10);
}

#[test]
async fn a_full_disk_costs_nothing_but_time() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    append_durably(&log, &[tick(JOB, 1, 0..10)]).await;
    append(&log, &tick("other/job", 1, 0..10)).await.unwrap();
    disk.fill();
    for _ in 0..3 {
        let error = append(&log, &tick(JOB, 2, 0..20)).await.unwrap_err();
        assert!(matches!(error, LogError::Disk(DiskError::Full { .. })), "{error}");
        assert!(error.to_string().contains("log/00000000000000000001"), "{error}");
    }
    disk.set_capacity(None);
    append_durably(&log, &[tick(JOB, 2, 0..20)]).await;
    disk.crash(0);
    let (_, recovered) = open(&disk, LogOptions::default()).await;
    assert_eq!(recovered.records, [tick(JOB, 1, 0..10), tick("other/job", 1, 0..10), tick(JOB, 2, 0..20)]);
    assert_eq!(recovered.damaged_records, 0);
}

#[test]
async fn what_a_failed_sync_has_lost_is_written_again() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    append_durably(&log, &[tick(JOB, 1, 0..10)]).await;
    let position = append(&log, &tick(JOB, 2, 0..10)).await.unwrap();
    disk.fail_next(Operation::Sync);
    log.durable(position).await.unwrap_err();
    log.durable(position).await.unwrap();
    for number in 0..8 {
        let crashed = disk.copy();
        crashed.crash(number);
        let (_, recovered) = open(&crashed, LogOptions::default()).await;
        assert_eq!(recovered.records, [tick(JOB, 1, 0..10), tick(JOB, 2, 0..10)]);
    }
}

#[test]
async fn a_failed_append_of_one_job_does_not_disturb_the_sync_of_another() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    let position = append(&log, &tick(JOB, 1, 0..10)).await.unwrap();
    let second = tick("other/job", 1, 0..10);
    disk.fail_next(Operation::Append);
    let (durable, appended) = join(log.durable(position), append(&log, &second)).await;
    durable.unwrap();
    appended.unwrap_err();
    append_durably(&log, std::slice::from_ref(&second)).await;
    disk.crash(0);
    let (_, recovered) = open(&disk, LogOptions::default()).await;
    assert_eq!(recovered.records, [tick(JOB, 1, 0..10), second]);
}

#[test]
async fn segments_go_when_no_job_needs_them_and_slots_stay_taken_until_then() {
    let disk = Memory::new();
    let (log, _) = open(&disk, options(1)).await;
    append_durably(&log, &[Record::Configuration { job: JOB.to_owned(), from: MINUTE, digest: 7 }]).await;
    append_durably(&log, &[tick(JOB, 1, 0..10), tick(JOB, 2, 5..10), tick("gone/job", 2, 0..3)]).await;
    append_durably(&log, &[tick(JOB, 3, 5..10)]).await;
    assert_eq!(log.retire(&|_| Some(i64::MIN)).await.unwrap(), 0);
    assert!(log.refers_to(JOB, 0) && log.refers_to("gone/job", 2));
    let other = |slot: u32| labels(slot + 1_000);
    let error = log.append(&tick(JOB, 4, 5..6), &other).await.unwrap_err();
    assert!(matches!(error, LogError::SlotInUse { slot: 5, .. }), "{error}");

    let needed = |job: &str| (job == JOB).then_some(3 * MINUTE);
    assert_eq!(log.retire(&needed).await.unwrap(), 4);
    assert!(!log.refers_to(JOB, 0) && !log.refers_to("gone/job", 2));
    assert!(log.refers_to(JOB, 5));
    log.append(&tick(JOB, 4, 0..1), &other).await.unwrap();
    assert_eq!(log.configurations().into_iter().collect::<Vec<_>>(), [7]);

    let (_, recovered) = open(&disk, options(1)).await;
    let configuration = Record::Configuration { job: JOB.to_owned(), from: MINUTE, digest: 7 };
    assert_eq!(recovered.records, [configuration, tick(JOB, 3, 5..10), tick(JOB, 4, 0..1)]);
    assert_eq!(recovered.labels[&(JOB.to_owned(), 0)], other(0));
}

#[test]
async fn the_configuration_of_a_job_that_stands_still_outlives_its_segment() {
    let disk = Memory::new();
    let (log, _) = open(&disk, options(1)).await;
    let still = Record::Configuration { job: "still/job".to_owned(), from: MINUTE, digest: 9 };
    append_durably(&log, &[still.clone(), tick(JOB, 2, 0..1), tick(JOB, 3, 0..1)]).await;
    assert!(log.retire(&|_| Some(3 * MINUTE)).await.unwrap() > 0);
    let (_, recovered) = open(&disk, options(1)).await;
    assert!(recovered.records.contains(&still));
}

#[test]
async fn on_a_full_disk_segments_still_go() {
    let disk = Memory::new();
    let (log, _) = open(&disk, options(1)).await;
    let still = Record::Configuration { job: "still/job".to_owned(), from: MINUTE, digest: 9 };
    append_durably(&log, &[still.clone(), tick(JOB, 2, 0..1), tick(JOB, 3, 0..1)]).await;
    disk.fill();
    log.retire(&|_| Some(3 * MINUTE)).await.unwrap_err();
    assert_eq!(log.segments(), 2);
    log.retire(&|_| Some(3 * MINUTE)).await.unwrap();
    let (_, recovered) = open(&disk, options(1)).await;
    assert_eq!(recovered.records, [tick(JOB, 3, 0..1), still]);
}

#[test]
async fn slots_whose_labels_are_lost_are_named_and_their_values_kept() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    append_durably(&log, &[tick(JOB, 1, 0..3), tick(JOB, 2, 0..4)]).await;
    assert!(disk.flip("log/00000000000000000001", 40, 1), "the definitions before the first tick");
    let (log, recovered) = open(&disk, LogOptions::default()).await;
    assert_eq!(recovered.records, [tick(JOB, 1, 0..3), tick(JOB, 2, 0..4)]);
    assert_eq!(recovered.unknown_slots, [0, 1, 2].map(|slot| (JOB.to_owned(), slot)));
    assert_eq!(recovered.labels.len(), 1);
    assert!(log.refers_to(JOB, 0));
}

#[test]
async fn a_segment_of_a_newer_release_is_refused_and_left_alone() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    append_durably(&log, &records()).await;
    let path = "log/00000000000000000001";
    let mut bytes = disk.content(path).unwrap();
    bytes[8] = 2;
    let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    disk.put(path, &bytes);
    let error = InputLog::open(Rc::new(disk.clone()), LogOptions::default()).await.unwrap_err();
    let LogError::Newer(newer) = &error else { panic!("{error}") };
    assert_eq!((newer.path.as_str(), newer.found, newer.supported), (path, 2, 1));
    assert_eq!(disk.content(path).unwrap(), bytes);
}

#[test]
async fn a_folder_of_a_newer_release_is_refused_by_name_and_version() {
    let disk = Memory::new();
    drop(open(&disk, LogOptions::default()).await);
    let mut bytes = disk.content("format").unwrap();
    bytes[8] = 7;
    let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&checksum);
    disk.put("format", &bytes);
    let error = InputLog::open(Rc::new(disk.clone()), LogOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("format: format version 7, this release reads up to 1"), "{error}");
}

#[test]
async fn a_record_that_contradicts_itself_is_refused() {
    let disk = Memory::new();
    let (log, _) = open(&disk, LogOptions::default()).await;
    let grid = Grid { start: 0, step: 1, points: 2 };
    let input = TickInput { tick: 0, grid, slots: vec![1], values: vec![1.0], query_series: 1 };
    let record = Record::Tick { job: JOB.to_owned(), input };
    assert!(matches!(append(&log, &record).await, Err(LogError::Malformed { .. })));
    assert_eq!(log.bytes(), 0);
}

#[test]
async fn a_foreign_file_in_the_folder_is_reported_and_left_alone() {
    let disk = Memory::new();
    disk.append("log/notes.txt", b"hello").await.unwrap();
    let (_, recovered) = open(&disk, LogOptions::default()).await;
    assert_eq!(recovered.problems.len(), 1);
    assert!(recovered.problems[0].contains("log/notes.txt"));
    assert!(disk.content("log/notes.txt").is_some());
}
