//! The snapshot store over the in-memory disk: what it gives back, and after which fault.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed set-up is a failed test")]

use std::collections::HashSet;
use std::rc::Rc;

use tokio::test;
use worker::disk::memory::{Memory, Operation};
use worker::environment::{Disk, DiskError};
use worker::labels::Labels;
use worker::peers::Lineage;
use worker::share::Share;
use worker::snapshot::{Block, BlockSeries, ModelStates, Restored, SnapshotError, SnapshotStore};

const JOB: &str = "every minute/../requests";

fn block(job: &str, index: u32, watermark: i64) -> Block {
    let slots = index * 4..index * 4 + 4;
    let series = slots.map(|slot| {
        let labels = Labels::new([("__name__", "up".to_owned()), ("instance", format!("host-{slot}"))]);
        BlockSeries { slot, labels, last_seen: watermark - i64::from(slot) }
    });
    let state = |number: u32| (number != 2).then(|| format!("state {number} after {watermark}").into_bytes());
    let model = |alias: &str| ModelStates {
        alias: alias.to_owned(),
        signature: "signature".to_owned(),
        fitted_to: 5,
        states: (0..4).map(state).collect(),
    };
    Block {
        job: job.to_owned(),
        index,
        watermark,
        lineage: Lineage::default(),
        share: Share::default(),
        series: series.collect(),
        models: vec![model("a"), model("b")],
    }
}

async fn open(disk: &Memory) -> (SnapshotStore<Memory>, Restored) {
    SnapshotStore::open(Rc::new(disk.clone())).await.unwrap()
}

/// A disk with two generations of two blocks, of watermark 10 and 20, and the block of another job.
async fn two_generations() -> Memory {
    let disk = Memory::new();
    let (store, _) = open(&disk).await;
    store.write_all(&[block(JOB, 0, 10), block(JOB, 1, 10), block("other/job", 0, 10)]).await.unwrap();
    store.write(&block(JOB, 0, 20)).await.unwrap();
    store.write(&block(JOB, 1, 20)).await.unwrap();
    disk
}

fn newest(disk: &Memory, start: &str) -> String {
    let files = disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with(start));
    files.max_by_key(|path| path.rsplit('.').next().unwrap().parse::<u64>().unwrap()).unwrap()
}

fn flip(disk: &Memory, path: &str, offset: usize) {
    assert!(disk.flip(path, offset, 0x10), "{path}");
}

#[test]
async fn the_newest_generation_is_read_back_and_two_are_kept() {
    let disk = two_generations().await;
    let (store, _) = open(&disk).await;
    store.write(&block(JOB, 0, 30)).await.unwrap();
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 30), block(JOB, 1, 20), block("other/job", 0, 10)]);
    assert_eq!((restored.problems, restored.damaged), (vec![], vec![]));
    assert_eq!(store.oldest_watermark(JOB), Some(10));
    assert_eq!(store.oldest_watermark("no/job"), None);
    assert_eq!(store.jobs(), [JOB, "other/job"]);
    store.write(&block(JOB, 1, 30)).await.unwrap();
    assert_eq!(store.oldest_watermark(JOB), Some(20));
    let files = disk.files();
    assert_eq!(files.iter().filter(|(path, _)| path.starts_with("snapshot/blocks/")).count(), 5);
    assert_eq!(files.iter().filter(|(path, _)| path.starts_with("snapshot/manifest")).count(), 2);
    assert!(files.iter().all(|(path, _)| !path.contains("..")));
}

#[test]
async fn a_damaged_block_costs_only_its_newest_generation() {
    let disk = two_generations().await;
    let path = newest(&disk, "snapshot/blocks/every");
    flip(&disk, &path, disk.content(&path).unwrap().len() - 1);
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 20), block(JOB, 1, 10), block("other/job", 0, 10)]);
    assert_eq!((restored.damaged_blocks, restored.older_generations_used), (1, 1));
    let damaged = &restored.damaged[0];
    assert_eq!((damaged.job.as_str(), damaged.index, damaged.restored_watermark), (JOB, 1, Some(10)));
    assert_eq!(damaged.series.as_ref().unwrap(), &block(JOB, 1, 20).series);
    assert!(restored.problems[0].contains(&path), "{:?}", restored.problems);

    store.write(&block(JOB, 1, 30)).await.unwrap();
    assert_eq!(store.oldest_watermark(JOB), Some(10), "the readable older generation is kept");
    let path = newest(&disk, "snapshot/blocks/every");
    flip(&disk, &path, 20);
    assert_eq!(open(&disk).await.1.blocks[1], block(JOB, 1, 10));
}

#[test]
async fn the_series_of_a_block_without_a_readable_generation_are_named() {
    let disk = two_generations().await;
    let path = newest(&disk, "snapshot/blocks/other");
    flip(&disk, &path, disk.content(&path).unwrap().len() - 1);
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks.len(), 2);
    assert_eq!(restored.damaged[0].restored_watermark, None);
    assert_eq!(restored.damaged[0].series.as_ref().unwrap(), &block("other/job", 0, 10).series);
    assert_eq!(store.oldest_watermark("other/job"), None);
}

#[test]
async fn a_damaged_manifest_is_counted_and_costs_nothing() {
    let disk = two_generations().await;
    flip(&disk, &newest(&disk, "snapshot/manifest"), 25);
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 20), block(JOB, 1, 20), block("other/job", 0, 10)]);
    assert_eq!((restored.damaged_manifests, restored.damaged_blocks), (1, 0));
    assert_eq!(store.oldest_watermark(JOB), Some(10));
    store.write(&block(JOB, 0, 30)).await.unwrap();
    let (_, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 30), block(JOB, 1, 20), block("other/job", 0, 10)]);
    assert_eq!(restored.damaged_manifests, 0);
}

#[test]
async fn without_any_manifest_the_blocks_say_themselves_what_they_are() {
    let disk = two_generations().await;
    let (store, _) = open(&disk).await;
    store.remove_job("other/job").await.unwrap();
    for (path, _) in disk.files() {
        if path.starts_with("snapshot/manifest") {
            flip(&disk, &path, 3);
        }
    }
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 20), block(JOB, 1, 20)]);
    assert_eq!((restored.damaged_manifests, restored.damaged_blocks), (2, 0));
    assert_eq!(store.oldest_watermark(JOB), Some(10));
}

#[test]
async fn a_takeover_that_was_not_finished_has_not_happened_even_without_a_manifest() {
    let disk = two_generations().await;
    let takeover = [block(JOB, 0, 30), block(JOB, 1, 30)];
    let (store, _) = open(&disk).await;
    let before = disk.operations();
    disk.crash_at(before + 1);
    store.write_all(&takeover).await.unwrap_err();
    disk.restart();
    for (path, _) in disk.files() {
        if path.ends_with("/1.4") {
            disk.remove(&path).await.unwrap();
        } else if path.starts_with("snapshot/manifest") {
            flip(&disk, &path, 3);
        }
    }
    let (_, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 20), block(JOB, 1, 20), block("other/job", 0, 10)]);
}

#[test]
async fn a_full_disk_leaves_the_state_before_and_no_rubbish() {
    let disk = two_generations().await;
    let (store, _) = open(&disk).await;
    let used: usize = disk.files().iter().map(|(_, bytes)| bytes).sum();
    let one = disk.content(&newest(&disk, "snapshot/blocks/every")).unwrap().len();
    for room in [0, one + 10, 2 * one + 20] {
        disk.set_capacity(Some((used + room) as u64));
        let error = store.write_all(&[block(JOB, 0, 30), block(JOB, 1, 30)]).await.unwrap_err();
        assert!(matches!(error, SnapshotError::Disk(DiskError::Full { .. })), "{error}");
        assert_eq!(disk.files().iter().map(|(_, bytes)| bytes).sum::<usize>(), used);
        assert_eq!(store.oldest_watermark(JOB), Some(10));
        assert_eq!(open(&disk.copy()).await.1.blocks[0], block(JOB, 0, 20));
    }
    disk.set_capacity(None);
    store.write_all(&[block(JOB, 0, 30), block(JOB, 1, 30)]).await.unwrap();
    assert_eq!(open(&disk).await.1.blocks[0], block(JOB, 0, 30));
}

#[test]
async fn a_file_that_could_not_be_removed_is_removed_later() {
    let disk = two_generations().await;
    let (store, _) = open(&disk).await;
    let files = disk.files().len();
    disk.fail_next(Operation::Remove);
    disk.fail_next(Operation::Remove);
    store.write(&block(JOB, 0, 30)).await.unwrap();
    assert!(disk.files().len() > files);
    store.write(&block(JOB, 0, 40)).await.unwrap();
    assert_eq!(disk.files().len(), files);
}

#[test]
async fn a_removed_job_is_gone_and_may_come_back() {
    let disk = two_generations().await;
    let (store, _) = open(&disk).await;
    store.remove_job(JOB).await.unwrap();
    assert_eq!(store.oldest_watermark(JOB), None);
    let (store, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block("other/job", 0, 10)]);
    store.write(&block(JOB, 0, 30)).await.unwrap();
    let (_, restored) = open(&disk).await;
    assert_eq!(restored.blocks, [block(JOB, 0, 30), block("other/job", 0, 10)]);
}

#[test]
async fn blocks_and_manifests_of_a_newer_release_are_refused() {
    for start in ["snapshot/blocks/every", "snapshot/manifest"] {
        let disk = two_generations().await;
        let path = newest(&disk, start);
        let mut bytes = disk.content(&path).unwrap();
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&checksum);
        disk.put(&path, &bytes);
        let before = disk.files();
        let error = SnapshotStore::open(Rc::new(disk.clone())).await.unwrap_err();
        let SnapshotError::Newer(newer) = error else { panic!("{error}") };
        assert_eq!((newer.path, newer.found, newer.supported), (path, 2, 1));
        assert_eq!(disk.files(), before);
    }
}

#[test]
async fn a_block_with_a_state_too_few_is_refused() {
    let disk = Memory::new();
    let (store, _) = open(&disk).await;
    let mut block = block(JOB, 0, 10);
    block.models[1].states.pop();
    assert!(matches!(store.write(&block).await, Err(SnapshotError::Malformed { index: 0, .. })));
    assert!(open(&disk).await.1.blocks.is_empty());
}

#[test]
async fn configurations_are_kept_by_digest_until_nobody_needs_them() {
    let disk = Memory::new();
    let (store, _) = open(&disk).await;
    store.store_configuration(1, b"{}").await.unwrap();
    store.store_configuration(2, b"{\"a\":1}").await.unwrap();
    assert_eq!(store.configuration(2).await.unwrap().unwrap(), b"{\"a\":1}");
    store.retain_configurations(&HashSet::from([1])).await.unwrap();
    assert_eq!(store.configuration(2).await.unwrap(), None);
    let path = "snapshot/configurations/0000000000000001";
    flip(&disk, path, 20);
    let error = store.configuration(1).await.unwrap_err();
    assert!(error.to_string().contains(path), "{error}");
    store.store_configuration(1, b"{}").await.unwrap();
    assert_eq!(store.configuration(1).await.unwrap().unwrap(), b"{}");
}
