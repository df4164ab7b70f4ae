//! The replay, the live table, and the verdict.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ::tests::http::{Endpoint, HttpError};
use ::tests::incident::observation::Observer;
use ::tests::incident::progress::Progress;
use ::tests::incident::replay::{INCIDENT, Replay, Timeline, now};
use ::tests::incident::screen::Screen;
use ::tests::incident::verdict::Outcome;
use e2e::cluster::Cluster;
use e2e::forward::Forward;
use e2e::members::Member;

use crate::Failure;
use crate::chaos::Chaos;
use crate::workers::{Report, missing_ticks};

/// How often the table is drawn on a terminal, and how often a line is printed elsewhere.
const FRAME: Duration = Duration::from_secs(1);
const LINE: Duration = Duration::from_secs(5);

/// How long TSDB and vmalert may be silent: pods may be replaced under the eyes of the user.
const SILENCE: Duration = Duration::from_secs(60);

/// After the replay, scores and the alert have to be there within this; then another moment for false alarms.
const COMPLETE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(5);

/// What there is to see, and where.
pub struct Show {
    pub observer: Observer,
    pub places: Vec<(String, String)>,
    pub workers: Vec<Member>,
    pub chaos: Option<Chaos>,
    pub _forwards: [Forward; 2],
}

impl Show {
    /// Replays the incident and shows what becomes of it: until it is judged with `once`, else for ever.
    pub async fn run(
        &mut self,
        cluster: &Cluster,
        once: bool,
        replay: &Replay,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let begin = Instant::now();
        let timeline = Timeline::begin(replay.pace);
        let over = Duration::from_millis(timeline.tick(replay.length).saturating_sub(now()).unsigned_abs());
        println!("{:6.1} s  replay           {} samples of each recording\n", progress.seconds(), replay.length);
        self.say_where(once);
        let mut screen = Screen::new("the node");
        let mut frames = tokio::time::interval(if std::io::stdout().is_terminal() { FRAME } else { LINE });
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut replayed, mut heard, mut complete_at, mut fired_at) = (0, Instant::now(), None, None);
        let mut missing = Missing::default();
        loop {
            frames.tick().await;
            let step = self.step(replay, timeline, &mut replayed).await;
            let (position, rows) = match step {
                Ok(seen) => seen,
                Err(_) if !once && heard.elapsed() < SILENCE => continue,
                Err(error) => return Err(error.into()),
            };
            heard = Instant::now();
            let report = Report::read(&self.workers).await;
            self.observer.shards = report.shards().or(self.observer.shards);
            // Before it the recordings have a gap themselves.
            missing.look(&self.observer.tsdb, timeline.start).await;
            let mut below = report.table();
            below.push(missing.told.clone());
            if let Some(chaos) = &mut self.chaos {
                let shards = self.observer.shards.map_or(0, NonZeroU32::get);
                if let Some(deed) = chaos.act(cluster, &report.pods(), shards).await? {
                    screen.note(&format!("chaos: {deed}; {}", missing.told));
                }
                below.extend(chaos.told().iter().map(|deed| format!("chaos: {deed}")));
            }
            screen.show(&position, &rows, &below);
            if fired_at.is_none() && rows.iter().any(|row| row.name == INCIDENT && row.fires()) {
                fired_at = Some(now());
            }
            if !once || replayed < replay.length {
                continue;
            }
            let outcome = Outcome::read(&self.observer).await?;
            if outcome.is_complete(replay, timeline) && outcome.has_fired() && complete_at.is_none() {
                complete_at = Some(Instant::now());
            }
            let is_over = match complete_at {
                Some(at) => at.elapsed() >= QUIET,
                None => begin.elapsed() >= over + COMPLETE,
            };
            if is_over {
                screen.summarize(&position, &rows, &below);
                progress.note("replay", begin.elapsed());
                return verdict(&outcome, replay, timeline, fired_at);
            }
        }
    }

    /// Brings in what is due, and looks.
    async fn step(
        &self,
        replay: &Replay,
        timeline: Timeline,
        replayed: &mut usize,
    ) -> Result<(String, Vec<::tests::incident::observation::Row>), HttpError> {
        let now = now();
        *replayed = replay.bring(&self.observer.tsdb, timeline, *replayed, now).await?;
        let rows = self.observer.observe(now).await?;
        let position = if now < timeline.start {
            format!("replay in {} s", (timeline.start - now) / 1000 + 1)
        } else {
            replay.position(now - timeline.start)
        };
        Ok((position, rows))
    }

    fn say_where(&self, once: bool) {
        if once {
            return;
        }
        println!("Where to look:");
        for (name, place) in &self.places {
            println!("  {name:<18} {place}");
        }
        println!("Ctrl-C takes all of it down. The incident is in {INCIDENT}.\n");
    }
}

/// The count of missing ticks.
#[derive(Debug, Default)]
struct Missing {
    looked_at: Option<Instant>,
    told: String,
}

impl Missing {
    /// Counts anew, now and then. A database that does not answer has no news.
    async fn look(&mut self, tsdb: &Endpoint, since: i64) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LINE) {
            return;
        }
        self.looked_at = Some(Instant::now());
        if let Ok((ticks, series)) = missing_ticks(tsdb, since).await {
            self.told = format!("missing ticks: {ticks} in {series} series");
        }
    }
}

/// `fired_at` is when the alert was seen here, unix ms.
fn verdict(outcome: &Outcome, replay: &Replay, timeline: Timeline, fired_at: Option<i64>) -> Result<(), Failure> {
    let reasons = outcome.reasons(replay, timeline);
    if !reasons.is_empty() {
        return Err(Failure::Verdict(reasons.join("; ")));
    }
    let delay = fired_at.unwrap_or_else(now).saturating_sub(timeline.tick(replay.incident)) / 1000;
    println!(
        "\nThe alert fired for the incident, {delay} seconds after it came, and for no control recording. It says:"
    );
    println!("{}", outcome.sentence.as_deref().unwrap_or_default());
    Ok(())
}
