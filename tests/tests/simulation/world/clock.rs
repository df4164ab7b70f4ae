//! Time that passes only when nobody has anything to do.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use worker::environment::Clock;

#[derive(Clone)]
pub struct VirtualClock(Rc<RefCell<Inner>>);

struct Inner {
    unix: i64,
    start: i64,
    /// What the worker's own clock is ahead of the world's.
    ahead: i64,
    number: u64,
    timers: BTreeMap<(i64, u64), Waker>,
}

impl VirtualClock {
    pub fn new(unix: i64) -> Self {
        Self(Rc::new(RefCell::new(Inner { unix, start: unix, ahead: 0, number: 0, timers: BTreeMap::new() })))
    }

    pub fn unix(&self) -> i64 {
        self.0.borrow().unix
    }

    /// Moves to the next timer, but not beyond `limit`.
    pub fn advance_until(&self, limit: i64) {
        let next = self.0.borrow().timers.first_key_value().map(|((time, _), _)| *time);
        if next.is_some_and(|next| next <= limit) {
            self.advance();
        } else {
            self.0.borrow_mut().unix = limit;
        }
    }

    /// Moves to the next timer and wakes its task.
    pub fn advance(&self) -> bool {
        let next = self.0.borrow_mut().timers.pop_first();
        let Some(((time, _), waker)) = next else { return false };
        let mut inner = self.0.borrow_mut();
        inner.unix = inner.unix.max(time);
        drop(inner);
        waker.wake();
        true
    }

    /// The worker's own clock is set.
    pub fn set_ahead(&self, millis: i64) {
        self.0.borrow_mut().ahead = millis;
    }

    /// Time passes without a worker.
    pub fn wait_for(&self, millis: i64) {
        let mut inner = self.0.borrow_mut();
        inner.unix += millis;
        inner.timers.clear();
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> i64 {
        let inner = self.0.borrow();
        inner.unix + inner.ahead
    }

    fn monotonic(&self) -> Duration {
        let inner = self.0.borrow();
        Duration::from_millis((inner.unix - inner.start).unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        let at = self.unix() + i64::try_from(duration.as_millis()).expect("short sleeps").max(1);
        Sleep { clock: self.clone(), at, key: None }.await;
    }
}

struct Sleep {
    clock: VirtualClock,
    at: i64,
    key: Option<(i64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut inner = clock.0.borrow_mut();
        if inner.unix >= self.at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            inner.number += 1;
            (0, inner.number)
        });
        let key = (self.at, key.1);
        inner.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((_, number)) = self.key {
            self.clock.0.borrow_mut().timers.remove(&(self.at, number));
        }
    }
}
