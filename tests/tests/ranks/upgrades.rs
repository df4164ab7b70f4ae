//! Ranks of two releases that differ in their contract with the operator, as processes of two builds. The stories write
//! `topology.yaml` as the operator does.

use config::contract::{CONTRACT_VERSION, OLDEST_CONTRACT_VERSION};
use config::topology::Topology;
use serde_json::Value;
use tests::scores::Scores;
use tests::signal::this_second;

use super::setting::{FIT_EVERY, Rank, SECOND, SOON, Setting, assert_no_gap, have_equal_chains};

/// The program of the newer release; the feature of these tests builds it, see `make test-contracts`.
const NEWER: Option<&str> = Some("vmanomaly-next-contract");
const OLDER: Option<&str> = None;

impl Setting {
    fn write_in_contract(&self, contract_version: u32) {
        let topology = Topology { contract_version, ..self.topology_of(2, &self.token()) };
        self.write_topology_text("topology.yaml", &topology.text());
    }
}

/// Waits until `/status` shows that the newest file was taken, or refused with these words.
async fn reloaded(rank: &mut Rank, refused: Option<&str>) -> Value {
    let look = |status: &Value| {
        let config = &status["config"];
        let as_wanted = match refused {
            Some(words) => config["reload"] == "invalid" && config["last_error"].as_str()?.contains(words),
            None => config["reload"] == "applied" && config.get("last_error").is_none(),
        };
        as_wanted.then(|| status.clone())
    };
    rank.worker.wait_for_status("its reload", SOON, look).await.unwrap()
}

/// Lets the ranks run for some ticks, and returns the first and last of them at which all were there.
async fn some_ticks(ranks: [&mut Rank; 2]) -> (i64, i64) {
    let (begin, end) = (this_second() + 2 * SECOND, this_second() + 6 * SECOND);
    for rank in ranks {
        rank.wait_for_tick(end).await;
    }
    (begin, end)
}

/// Waits for a moment between two fits: one that is not stored yet is read again after a restart.
async fn between_fits(setting: &Setting, rank: &mut Rank) {
    let since = this_second() - setting.first_fit;
    let middle = (since / FIT_EVERY + 1) * FIT_EVERY + FIT_EVERY / 2;
    rank.wait_for_tick(setting.first_fit + middle).await;
}

/// Checks that the processes have learnt nothing anew, and answer each other.
async fn assert_undisturbed(ranks: [&Rank; 2]) {
    for rank in ranks {
        let metrics = rank.worker.metrics().await.unwrap();
        let refits = metrics.sum("vmanomaly_refits_unscheduled_total", &[]).unwrap_or(0.0);
        assert_eq!(refits, 0.0, "{}", rank.worker.process().output());
        assert_eq!(rank.asked("refused").await + rank.asked("garbage").await, 0.0);
    }
}

#[tokio::test]
async fn ranks_are_upgraded_one_by_one_and_back_with_no_tick_missing_and_one_writer_while_they_differ() {
    let setting = Setting::start().await;
    setting.write_in_contract(OLDEST_CONTRACT_VERSION);
    let (mut first, mut second) = (setting.rank(0).await, setting.rank(1).await);
    // Nothing happens to this one, and it writes the same series: a value that differs shows.
    let calm = setting.worker(Vec::new()).await;
    first.wait_for_tick(setting.first_fit + 2 * SECOND).await;
    let (begin, end) = some_ticks([&mut first, &mut second]).await;
    assert_no_gap(&first.sent(), begin, end);
    assert_no_gap(&second.sent(), begin, end);

    // The operator is new and still writes the older contract; the highest rank goes first.
    for (upgrade, from, to) in [(true, OLDER, NEWER), (false, NEWER, OLDER)] {
        assert_undisturbed([&first, &second]).await;
        between_fits(&setting, &mut second).await;
        second.worker.replace(to).await.unwrap();
        let (begin, end) = some_ticks([&mut first, &mut second]).await;
        assert_no_gap(&first.sent(), begin, end);
        assert!(second.sent().within(begin, end).is_empty(), "two releases write at a time: {from:?} and {to:?}");
        let status = second.worker.status().await.unwrap();
        assert_eq!(status["ready"], true, "{status}");
        let version = if upgrade { CONTRACT_VERSION } else { OLDEST_CONTRACT_VERSION };
        assert_eq!(status["contract_version"], version);
        assert_eq!(status["worker_version"].as_str().unwrap().ends_with("+next-contract"), upgrade);
        if !upgrade {
            // Workers go back first: the older release finds the newer contract, and goes on with what it knows.
            let words = format!("contract_version: `{CONTRACT_VERSION}`: newer than this build understands");
            reloaded(&mut second, Some(&words)).await;
            // That is what the operator looks for.
            setting.write_in_contract(OLDEST_CONTRACT_VERSION);
            reloaded(&mut second, None).await;
            reloaded(&mut first, None).await;
        }
        assert_undisturbed([&first, &second]).await;

        between_fits(&setting, &mut first).await;
        first.worker.replace(to).await.unwrap();
        let (begin, end) = some_ticks([&mut first, &mut second]).await;
        assert_no_gap(&first.sent(), begin, end);
        assert_no_gap(&second.sent(), begin, end);
        if upgrade {
            // The last one is new.
            setting.write_in_contract(CONTRACT_VERSION);
            reloaded(&mut first, None).await;
            reloaded(&mut second, None).await;
        }
        let (begin, end) = some_ticks([&mut first, &mut second]).await;
        assert_no_gap(&first.sent(), begin, end);
        assert_no_gap(&second.sent(), begin, end);
        assert!(have_equal_chains(&[&first, &second], end).await);
        assert_undisturbed([&first, &second]).await;
    }

    let (begin, end) = (setting.first_fit + SECOND, this_second() - 2 * SECOND);
    let sent = Scores::of(&[first.imported(), second.imported()].concat(), "default").within(begin, end);
    assert_no_gap(&sent, begin, end);
    assert_eq!(sent.rewritten(), None);
    assert_eq!(sent.difference(&calm.sent().within(begin, end), 0.0), None);
}
