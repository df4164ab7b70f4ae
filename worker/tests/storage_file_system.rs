//! The state folder on a real file system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed set-up is a failed test")]
#![expect(clippy::disallowed_methods, reason = "the test looks at the files themselves")]

use std::fs;
use std::path::Path;
use std::rc::Rc;

use futures_util::future::join_all;
use worker::disk::file_system::{FileSystem, OpenError};
use worker::engine::TickInput;
use worker::environment::{Disk, DiskError, Grid};
use worker::input_log::{InputLog, LogOptions, Record};
use worker::labels::Labels;
use worker::peers::Lineage;
use worker::share::Share;
use worker::snapshot::{Block, BlockSeries, ModelStates, SnapshotStore};

fn labels(slot: u32) -> Labels {
    Labels::new([("instance", format!("host-{slot}"))])
}

fn tick(job: &str, tick: i64) -> Record {
    let grid = Grid { start: tick, step: 1, points: 1 };
    let input = TickInput { tick, grid, slots: vec![3, 4], values: vec![0.5, tick as f64], query_series: 2 };
    Record::Tick { job: job.to_owned(), input }
}

#[tokio::test]
async fn files_are_what_the_operations_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FileSystem::open(&folder.path().join("state/of/worker")).unwrap();
    assert_eq!(disk.list("log").await.unwrap(), Vec::<String>::new());
    assert!(matches!(disk.read("log/1").await, Err(DiskError::NotFound { path }) if path == "log/1"));
    assert!(matches!(disk.truncate("log/1", 0).await, Err(DiskError::NotFound { .. })));
    disk.append("log/1", b"hello ").await.unwrap();
    disk.append("log/1", b"world").await.unwrap();
    disk.sync("log/1").await.unwrap();
    disk.truncate("log/1", 4).await.unwrap();
    disk.append("log/1", b"!").await.unwrap();
    assert_eq!(disk.read("log/1").await.unwrap(), b"hell!");
    disk.write_atomic("a/b/c", b"old").await.unwrap();
    disk.write_atomic("a/b/c", b"new").await.unwrap();
    assert_eq!(disk.read("a/b/c").await.unwrap(), b"new");
    disk.append("a/b/d", b"").await.unwrap();
    assert_eq!(disk.list("a/b").await.unwrap(), ["c", "d"]);
    disk.remove("a").await.unwrap();
    disk.remove("a").await.unwrap();
    assert_eq!(disk.list("a/b").await.unwrap(), Vec::<String>::new());
    disk.append("a/b/d", b"again").await.unwrap();
    assert_eq!(disk.read("a/b/d").await.unwrap(), b"again");
    for path in ["../out", "/etc/passwd", "", "a//b", "a/./b", "a/.."] {
        assert!(matches!(disk.write_atomic(path, b"x").await, Err(DiskError::Io { .. })), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_snapshots_live_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let series = vec![BlockSeries { slot: 3, labels: labels(3), last_seen: 9 }];
    let states = vec![Some(vec![1, 2, 3])];
    let model = ModelStates { alias: "m".to_owned(), signature: "s".to_owned(), fitted_to: 0, states };
    let block = Block {
        job: "a/..".to_owned(),
        index: 0,
        watermark: 9,
        lineage: Lineage::default(),
        share: Share::default(),
        series,
        models: vec![model],
    };
    {
        let disk = Rc::new(FileSystem::open(folder.path()).unwrap());
        let options = LogOptions { segment_bytes: 200, ..LogOptions::default() };
        let (log, _) = InputLog::open(Rc::clone(&disk), options).await.unwrap();
        for round in 0..5 {
            join_all((0..4).map(|job| {
                let log = &log;
                async move {
                    let position = log.append(&tick(&format!("job {job}"), round), &labels).await.unwrap();
                    log.durable(position).await.unwrap();
                }
            }))
            .await;
        }
        log.retire(&|_| Some(3)).await.unwrap();
        let (store, _) = SnapshotStore::open(disk).await.unwrap();
        store.write(&block).await.unwrap();
        store.write(&block).await.unwrap();
        store.write(&block).await.unwrap();
    }
    let disk = Rc::new(FileSystem::open(folder.path()).unwrap());
    let (_, recovered) = InputLog::open(Rc::clone(&disk), LogOptions::default()).await.unwrap();
    assert_eq!(recovered.problems, Vec::<String>::new());
    for job in 0..4 {
        let name = format!("job {job}");
        let ticks: Vec<&Record> = recovered.records.iter().filter(|record| record.job() == name).collect();
        assert_eq!(ticks[ticks.len() - 2..], [&tick(&name, 3), &tick(&name, 4)]);
    }
    let (_, restored) = SnapshotStore::open(disk).await.unwrap();
    assert_eq!(restored.blocks, [block]);
    assert_eq!(restored.problems, Vec::<String>::new());
}

#[test]
fn a_folder_is_used_by_one_worker_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = FileSystem::open(folder.path()).unwrap();
    let error = FileSystem::open(folder.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    drop(first);
    FileSystem::open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.join("state"), file, Path::new("/proc/state").to_owned(), Path::new("/proc").to_owned()] {
        let error = FileSystem::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn what_a_killed_process_left_half_written_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    drop(FileSystem::open(folder.path()).unwrap());
    let rubbish = folder.path().join("temporary/rubbish");
    fs::write(&rubbish, b"half").unwrap();
    drop(FileSystem::open(folder.path()).unwrap());
    assert!(!rubbish.exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_device_without_space_is_reported_as_full() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FileSystem::open(folder.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("file")).unwrap();
    let error = disk.append("file", b"x").await.unwrap_err();
    assert!(matches!(&error, DiskError::Full { path } if path == "file"), "{error}");
}
