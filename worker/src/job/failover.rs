//! Whether other ranks get on, how long they are waited for, and whose the scores are to write.

use std::{collections::HashMap, time::Duration};

use config::worker::WriterMode;

use super::{
    Job,
    following::{ASK_AGAIN_AFTER, ASKED_LATELY, Round},
};
use crate::{
    context::Environment,
    environment::Clock,
    peers::{Rule, Standing},
};

/// How many times as long as for writing a rank is waited for that is to read.
const PATIENCE: u32 = 3;
/// With `writer.mode: all`, what other ranks have written so many ticks ago is not written again by one that catches up.
const OLD_TICKS: i64 = 3;
/// For how many times as long a rank that did not get on is not waited for.
const PASSING: u32 = 10;

/// What a job has seen of how the other ranks get on.
#[derive(Default)]
pub(super) struct Failover {
    /// The releases of ranks that answer.
    releases: HashMap<u32, u64>,
    /// What the other ranks have come to, and when they did.
    progress: HashMap<u32, Progress>,
    /// Where this rank stands, and since when it waits there for another to go on.
    waits: Option<(Option<i64>, Duration)>,
    /// Until when ranks that did not get on are not waited for; kept until they do.
    passed_until: HashMap<u32, Duration>,
    /// Until when this rank writes without waiting for lower ones, which did not.
    writes_until: Option<Duration>,
    /// When a lower rank had last got on: it had read or written something, or was reading.
    lower_got_on_at: Option<Duration>,
    /// The newest tick that another rank says is written.
    confirmed: Option<i64>,
}

/// What a rank has come to, and when it did.
#[derive(Debug, Clone, Copy)]
struct Progress {
    position: i64,
    written: i64,
    working_on: Option<i64>,
    recording: bool,
    since: Duration,
}

impl Progress {
    /// Whether there is something that it says it is doing.
    fn has_work(&self) -> bool {
        self.working_on.is_some() || self.written < self.position
    }
}

/// Whose the scores of a logged tick are to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteTurn {
    /// This rank's.
    Own,
    /// Another rank has written them.
    Confirmed,
    /// Nobody's: they were written from another state.
    Elsewhere,
    /// Nobody's: another rank's state has taken the place of the one that they are of.
    Replaced,
}

impl Failover {
    /// A rank has answered.
    pub(super) fn runs(&mut self, rank: u32, release: u64) {
        self.releases.insert(rank, release);
    }

    /// A rank does not answer.
    pub(super) fn is_silent(&mut self, rank: u32) {
        self.releases.remove(&rank);
    }

    /// What others have written is not what this rank is to write any more.
    pub(super) fn forget_confirmed(&mut self) {
        self.confirmed = None;
    }

    /// A rank's state differs: how far it has come says nothing about the own one.
    pub(super) fn differs(&mut self, rank: u32) {
        self.progress.remove(&rank);
    }

    /// This rank, which has come to `position`, waits for another to go on, if it did not do so already.
    pub(super) fn waits_at(&mut self, position: Option<i64>, now: Duration) {
        if self.waits.is_none_or(|(at, _)| at != position) {
            self.waits = Some((position, now));
        }
    }
}

impl<E: Environment> Job<E> {
    /// Notes whether another rank, with the same state or none, gets on.
    pub(super) fn note_progress(&mut self, own: &Standing, theirs: &Standing) {
        let Standing { rank, position, written, working_on, recording, .. } = *theirs;
        let now = self.context.clock.monotonic();
        let failover = &mut self.following.failover;
        failover.confirmed = failover.confirmed.max(Some(written));
        let stands_still = failover.progress.get(&rank).is_some_and(|before| {
            (before.position, before.written, before.working_on, before.recording)
                == (position, written, working_on, recording)
        });
        if !stands_still {
            failover.progress.insert(rank, Progress { position, written, working_on, recording, since: now });
        }
        // One that only follows this rank does not get on by itself; one that is about to record has read.
        if position > own.position || (recording && !stands_still) {
            failover.passed_until.remove(&rank);
        }
        if rank < own.rank && theirs.writes && written >= own.written {
            failover.writes_until = None;
        }
        let is_ahead = position > own.position || written > own.written;
        if rank < own.rank && ((is_ahead && !stands_still) || (working_on.is_some() && !self.is_stuck(rank))) {
            self.following.failover.lower_got_on_at = Some(now);
        }
    }

    /// Whether a rank that answers has not got on for so long that it counts as absent, and for some time from then on:
    /// else every tick would wait for it so long. It may say what it is doing, or this rank may wait for it in vain:
    /// it may be waiting for a TSDB that it does not reach.
    pub(super) fn is_stuck(&mut self, rank: u32) -> bool {
        if !self.keeps(Rule::PassStuck) {
            return false;
        }
        let now = self.context.clock.monotonic();
        let failover_after = self.failover_after();
        let position = self.position;
        let failover = &mut self.following.failover;
        let Some(progress) = failover.progress.get(&rank).copied() else { return false };
        let waits_since = failover.waits.filter(|(at, _)| *at == position).map(|(_, since)| since.max(progress.since));
        let since = if progress.has_work() { Some(progress.since) } else { waits_since };
        // One that was passed and has not got on since then is only given the chance to.
        let longest =
            if failover.passed_until.contains_key(&rank) { failover_after } else { PATIENCE * failover_after };
        if since.is_some_and(|since| now.saturating_sub(since) >= longest) {
            failover.passed_until.insert(rank, now + PASSING * failover_after);
        }
        failover.passed_until.get(&rank).is_some_and(|until| now < *until)
    }

    /// Whether a rank is about to log a tick, or was when it was seen last and has not asked again since.
    pub(super) fn is_recording(&self, theirs: &Standing) -> bool {
        let now = self.context.clock.monotonic();
        let since = self.following.failover.progress.get(&theirs.rank).map(|progress| progress.since);
        theirs.recording && since.is_some_and(|since| now.saturating_sub(since) < 2 * ASKED_LATELY)
    }

    /// How long a rank waits for the one before it.
    fn failover_after(&self) -> Duration {
        self.context.failover_after(self.schedule.infer_every)
    }

    /// Ranks of different releases may score otherwise, so one writes, whatever is configured.
    fn writer_mode(&self) -> WriterMode {
        if !self.keeps(Rule::OneWriter) {
            return WriterMode::All;
        }
        let own = self.context.release.get();
        let all_equal = self.following.failover.releases.values().all(|release| *release == own);
        if all_equal { self.context.writing.get().mode } else { WriterMode::Failover }
    }

    /// Whose the scores of a logged tick are to write. With `writer.mode: failover` this returns when another rank has
    /// written them, or when none of the lower ones has got on for too long.
    pub(super) async fn write_turn(&mut self, tick: i64) -> WriteTurn {
        let rank = self.context.place.get().member.rank;
        while !self.view.stopping() {
            // After a pause, others may have another record of the tick, or may have written it.
            if !self.asked_lately()
                && let Err(turn) = self.round_in_flight().await
            {
                return turn;
            }
            if self.following.written_elsewhere >= Some(tick) {
                return WriteTurn::Elsewhere;
            }
            if self.alone() {
                break;
            }
            let failover_after = self.failover_after();
            let mode = self.writer_mode();
            let later = match mode {
                WriterMode::All => OLD_TICKS * self.schedule.infer_every,
                WriterMode::Failover => 0,
            };
            let failover = &mut self.following.failover;
            if failover.confirmed >= Some(tick.saturating_add(later)) {
                return WriteTurn::Confirmed;
            }
            if mode == WriterMode::All {
                break;
            }
            let now = self.context.clock.monotonic();
            let got_on_at = *failover.lower_got_on_at.get_or_insert(now);
            if rank == 0 || failover.writes_until.is_some_and(|until| now < until) {
                break;
            }
            if now >= got_on_at + rank * failover_after {
                failover.writes_until = Some(now + PASSING * failover_after);
                break;
            }
            self.sleep_through_mail(ASK_AGAIN_AFTER).await;
            match self.round_in_flight().await {
                Err(turn) => return turn,
                Ok(round) if round.overruled == rank => break,
                Ok(_) => {}
            }
        }
        WriteTurn::Own
    }

    /// Whose the scores are to write, directly before they are sent.
    pub(super) async fn send_turn(&mut self, tick: i64) -> WriteTurn {
        if self.asked_lately() {
            return WriteTurn::Own;
        }
        if let Err(turn) = self.round_in_flight().await {
            return turn;
        }
        let is_elsewhere = self.following.written_elsewhere >= Some(tick);
        let is_confirmed = self.following.failover.confirmed >= Some(tick);
        tracing::debug!(job = %self.view.key, is_elsewhere, is_confirmed, "asked again before writing");
        match self.writer_mode() {
            _ if is_elsewhere => WriteTurn::Elsewhere,
            WriterMode::Failover if is_confirmed => WriteTurn::Confirmed,
            _ => WriteTurn::Own,
        }
    }

    /// Asks all other ranks while a tick is logged and not written. Where another rank's state counts more, the tick is
    /// that one's to write, and is not over here before that state is: its rank may vanish with it. `Err` says why it is
    /// not this rank's to write any more.
    async fn round_in_flight(&mut self) -> Result<Round, WriteTurn> {
        loop {
            let round = self.round().await;
            if !round.outranked {
                return Ok(round);
            }
            if self.view.stopping() || !self.keeps(Rule::StayUntilReplaced) {
                return Err(WriteTurn::Elsewhere);
            }
            match round.outranking() {
                Some(rank) if self.adopt_from(rank).await => return Err(WriteTurn::Replaced),
                Some(_) => {}
                None => self.sleep_through_mail(ASK_AGAIN_AFTER).await,
            }
        }
    }
}
