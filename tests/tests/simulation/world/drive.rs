//! A disk in memory that may be slow, or full, for a while.

use std::{cell::Cell, rc::Rc, time::Duration};

use worker::{
    disk::memory::Memory,
    environment::{Clock, Disk, DiskError},
};

use super::{chance::Chance, clock::VirtualClock};

/// Clones are the same disk.
#[derive(Clone)]
pub struct Drive {
    memory: Memory,
    clock: VirtualClock,
    slow: Rc<Cell<Slow>>,
    full_until: Rc<Cell<i64>>,
}

/// Until `until` an operation takes at most `longest` ms.
#[derive(Debug, Clone, Copy, Default)]
struct Slow {
    until: i64,
    longest: i64,
    seed: u64,
}

impl Drive {
    pub fn new(clock: VirtualClock) -> Self {
        Self { memory: Memory::new(), clock, slow: Rc::default(), full_until: Rc::default() }
    }

    /// What is on it, and how it crashes.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Until then each operation takes up to `longest` ms.
    pub fn slow_down(&self, until: i64, longest: i64, seed: u64) {
        self.slow.set(Slow { until, longest, seed });
    }

    /// Until when operations take longer than they should.
    pub fn slow_until(&self) -> i64 {
        self.slow.get().until
    }

    /// Until then no more bytes fit on it.
    pub fn fill(&self, until: i64) {
        self.memory.fill();
        self.full_until.set(until);
    }

    /// How long an operation takes before something happens, and how long afterwards.
    fn latency(&self) -> (i64, i64) {
        let now = self.clock.unix();
        if self.full_until.get() != 0 && now >= self.full_until.get() {
            self.full_until.set(0);
            self.memory.set_capacity(None);
        }
        let Slow { until, longest, seed } = self.slow.get();
        if now >= until {
            return (0, 0);
        }
        let mut chance = Chance::of(seed, &[self.memory.operations(), now.cast_unsigned()]);
        let all = 1 + chance.millis_below(longest);
        let before = chance.millis_below(all + 1);
        (before, all - before)
    }

    async fn wait(&self, millis: i64) {
        if millis > 0 {
            self.clock.sleep(Duration::from_millis(millis.unsigned_abs())).await;
        }
    }

    async fn during<T>(&self, operation: impl Future<Output = T>) -> T {
        let (before, after) = self.latency();
        self.wait(before).await;
        let result = operation.await;
        self.wait(after).await;
        result
    }
}

impl Disk for Drive {
    async fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        self.during(self.memory.list(folder)).await
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, DiskError> {
        self.during(self.memory.read(path)).await
    }

    async fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.during(self.memory.append(path, bytes)).await
    }

    async fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        self.during(self.memory.truncate(path, length)).await
    }

    async fn sync(&self, path: &str) -> Result<(), DiskError> {
        self.during(self.memory.sync(path)).await
    }

    async fn write_atomic(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.during(self.memory.write_atomic(path, bytes)).await
    }

    async fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.during(self.memory.remove(path)).await
    }
}
