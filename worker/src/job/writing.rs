//! Logging a tick before it is learnt, and writing its scores until they are accepted or refused for good.

use std::time::Duration;

use bytes::Bytes;

use super::{Job, LONGEST_SLEEP, Wait, failover::WriteTurn};
use config::status::ErrorKind;

use crate::{
    context::{Environment, Storage, backoff},
    engine::{TickInput, TickScores},
    environment::{Clock, Tsdb, WriteError},
    input_log::{LogError, Record},
    metrics::WriteSize,
    output::split_lines,
};

/// Bodies that are made in parallel and then sent one after the other.
const BODIES_AT_ONCE: usize = 2;

impl<E: Environment> Job<E> {
    /// Makes a tick durable, after the configuration that it is learnt under.
    pub(super) async fn log_tick(&mut self, input: &TickInput) -> Wait {
        if self.log_plan(input.tick).await == Wait::Interrupted {
            return Wait::Interrupted;
        }
        self.log(&Record::Tick { job: self.view.key.clone(), input: input.clone() }).await
    }

    async fn log_plan(&mut self, from: i64) -> Wait {
        let digest = self.state.plan.digest();
        let context = self.context.clone();
        let Some(storage) = &context.storage else { return Wait::Over };
        if self.logged_plan == Some(digest) {
            return Wait::Over;
        }
        let canonical = self.state.plan.canonical();
        let mut pauses = backoff();
        while let Err(error) = storage.snapshots.store_configuration(digest, &canonical).await {
            self.stand_still(ErrorKind::Storage, &format!("the job's configuration cannot be stored: {error}"));
            if self.sleep(pauses.next().unwrap_or(LONGEST_SLEEP)).await == Wait::Interrupted {
                return Wait::Interrupted;
            }
        }
        let logged = self.log(&Record::Configuration { job: self.view.key.clone(), from, digest }).await;
        if logged == Wait::Over {
            self.logged_plan = Some(digest);
        }
        logged
    }

    /// Appends a record and returns when it is durable; stands still while the log cannot be written.
    pub(super) async fn log(&self, record: &Record) -> Wait {
        let Some(storage) = &self.context.storage else { return Wait::Over };
        let mut pauses = backoff();
        while let Err(error) = self.append_durably(storage, record).await {
            let metrics = &self.context.metrics;
            metrics.log_append_errors.with_label_values(&[metrics.preset()]).inc();
            self.stand_still(ErrorKind::Storage, &format!("the input log cannot be written: {error}"));
            // Only a stop ends this: the record may be in the log already, and another one of the same tick must
            // not follow it.
            self.sleep_through_mail(pauses.next().unwrap_or(LONGEST_SLEEP)).await;
            if self.view.stopping() {
                return Wait::Interrupted;
            }
        }
        let metrics = &self.context.metrics;
        let bytes = i64::try_from(storage.log.bytes()).unwrap_or(i64::MAX);
        metrics.log_bytes.with_label_values(&[metrics.preset()]).set(bytes);
        Wait::Over
    }

    async fn append_durably(&self, storage: &Storage<E::Disk>, record: &Record) -> Result<(), LogError> {
        let position = storage.log.append(record, &|slot| self.state.series.labels(slot)).await?;
        storage.log.durable(position).await
    }

    /// Renders and writes a tick's scores, some blocks at a time, unless they turn out to be another rank's to write.
    pub(super) async fn write_scores(&mut self, input: &TickInput, scores: &TickScores) -> WriteTurn {
        let largest = self.context.max_request_bytes.get();
        let outputs = self.state.models.iter().map(|model| model.plan.model.provide_series.len()).sum::<usize>();
        // The first block shows how long a block is.
        let (mut blocks_per_body, mut bodies, mut expected_bytes) = (1, 1, 0);
        let mut next = 0;
        while next < scores.blocks() && !self.view.stopping() {
            let until = (next + blocks_per_body * bodies).min(scores.blocks());
            let started = self.context.clock.monotonic();
            let rendered = self.state.render(input, scores, next..until, blocks_per_body, expected_bytes);
            let series = (scores.rows(next..until) * outputs) as u64;
            let url = self.context.urls.borrow().writer.clone();
            let duration = self.context.clock.monotonic().saturating_sub(started);
            self.context.metrics.body_made(&self.labels, &url, series, duration);
            let bytes = rendered.iter().map(Vec::len).sum::<usize>();
            let samples_per_byte = (series * input.grid.points as u64) as f64 / bytes.max(1) as f64;
            for body in rendered {
                for part in split_lines(&Bytes::from(body), largest) {
                    let turn = self.write_part(input.tick, part, &url, samples_per_byte).await;
                    if turn != WriteTurn::Own {
                        return turn;
                    }
                }
            }
            let bytes_per_block = (bytes / (until - next)).max(1);
            // Blocks differ a little in length: a body that is just too long would become two requests.
            blocks_per_body = (largest / 16 * 15 / bytes_per_block).max(1);
            bodies = BODIES_AT_ONCE;
            expected_bytes = largest.min(blocks_per_body * (bytes_per_block + bytes_per_block / 16));
            next = until;
        }
        WriteTurn::Own
    }

    async fn write_part(&mut self, tick: i64, part: Bytes, url: &str, samples_per_byte: f64) -> WriteTurn {
        let mut parts = vec![part];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let size = WriteSize {
                bytes: part.len() as u64,
                samples: (part.len() as f64 * samples_per_byte).round() as u64,
                series: 0,
            };
            match self.write_until_decided(tick, &part, url, size).await {
                Err(turn) => return turn,
                Ok(Some(WriteError::TooLarge { .. })) if halves(&part).is_some() => {
                    parts.extend(halves(&part).into_iter().flatten())
                }
                Ok(Some(error)) => {
                    let code = match &error {
                        WriteError::Refused { status, .. } => status.to_string(),
                        WriteError::TooLarge { .. } => "413".to_owned(),
                        WriteError::Unavailable { code, .. } => code.clone(),
                    };
                    tracing::error!(job = %self.view.key, samples = size.samples, %error, "scores refused for good are dropped");
                    self.view.note_error(ErrorKind::ScoresRefused, &error.to_string());
                    self.context.metrics.samples_dropped(&self.labels, &code, size.samples);
                }
                Ok(None) => {}
            }
        }
        WriteTurn::Own
    }

    /// Sends a part until it is accepted (`None`) or refused for good, or the worker stops. `Err` says that it is
    /// another rank's to send.
    async fn write_until_decided(
        &mut self,
        tick: i64,
        part: &Bytes,
        url: &str,
        size: WriteSize,
    ) -> Result<Option<WriteError>, WriteTurn> {
        let mut pauses = backoff();
        while !self.view.stopping() {
            match self.send_turn(tick).await {
                WriteTurn::Own => {}
                other => return Err(other),
            }
            let started = self.context.clock.monotonic();
            let outcome = self.context.tsdb().write(part.clone()).await;
            let duration = self.context.clock.monotonic().saturating_sub(started);
            self.context.metrics.write_finished(&self.labels, url, outcome.as_ref().copied(), size, duration);
            match outcome {
                Ok(()) => return Ok(None),
                Err(error @ WriteError::Unavailable { .. }) => {
                    self.stand_still(ErrorKind::TsdbUnavailable, &format!("scores cannot be written: {error}"));
                    self.sleep_through_mail(pauses.next().unwrap_or(LONGEST_SLEEP)).await;
                }
                Err(error) => return Ok(Some(error)),
            }
        }
        Ok(None)
    }

    /// Sleeps; only a stop ends it early. Mail is for the next tick boundary.
    pub(super) async fn sleep_through_mail(&self, duration: Duration) {
        let sleep = self.context.clock.sleep(duration);
        let stop = async {
            while !self.view.stopping() {
                self.view.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = sleep => {}
        }
    }
}

/// The two halves of a body, cut at a line's end; `None` if it is a single line.
fn halves(body: &Bytes) -> Option<[Bytes; 2]> {
    let middle = body.len() / 2;
    let end_of_line = |range: &[u8]| range.iter().position(|byte| *byte == b'\n');
    let cut = end_of_line(&body[middle..])
        .map(|offset| middle + offset + 1)
        .filter(|cut| *cut < body.len())
        .or_else(|| body[..middle].iter().rposition(|byte| *byte == b'\n').map(|offset| offset + 1))?;
    Some([body.slice(cut..), body.slice(..cut)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_halved_at_a_line_and_a_single_line_is_not_cut() {
        let whole = Bytes::from_static(b"aaaa\nb\nccccccccc\n");
        let [second, first] = halves(&whole).unwrap();
        assert_eq!([&first[..], &second[..]].concat(), whole);
        assert!(first.ends_with(b"\n") && second.ends_with(b"\n"));
        assert!(halves(&Bytes::from_static(b"one line\n")).is_none());
    }
}
