//! Ranks that come and go while the worker runs.

use config::contract::CONTRACT_VERSION;
use tests::signal::this_second;

use super::setting::{SECOND, SOON, Setting, assert_no_gap, have_equal_chains};

#[tokio::test]
async fn a_second_rank_waits_for_its_place_takes_over_the_state_and_waits_again_when_its_place_is_gone() {
    let setting = Setting::start().await;
    setting.write_topology(1);
    let (mut first, mut second) = (setting.rank(0).await, setting.rank(1).await);
    first.wait_for_tick(setting.first_fit + 2 * SECOND).await;
    let waits = |status: &serde_json::Value| {
        let reason = &status["not_ready"][0];
        let says = reason["message"].as_str()?.contains("rank 1, but the topology has 1 rank(s)");
        (reason["reason"] == "not_in_topology" && says && status["jobs"].as_array()?.is_empty()).then_some(())
    };
    second.worker.wait_for_status("its waiting", SOON, waits).await.unwrap();
    assert!(!second.worker.is_ready().await);
    let alone = first.worker.status().await.unwrap();
    assert!(alone["jobs"][0].get("chain").is_none() && alone["ranks"] == 1, "{alone}");

    for round in 0..2 {
        setting.write_topology(2);
        let together = this_second() + 4 * SECOND;
        first.wait_for_tick(together).await;
        second.wait_for_tick(together).await;
        assert!(second.worker.is_ready().await);
        assert!(have_equal_chains(&[&first, &second], together).await);
        let adopted = second.worker.process().output().matches("state taken over").count();
        assert_eq!(adopted, round + 1);
        let fitted = first.worker.metrics().await.unwrap().sum("vmanomaly_refits_unscheduled_total", &[]);
        assert_eq!(fitted, Some(0.0));

        setting.write_topology(1);
        second.worker.wait_for_status("its waiting", SOON, waits).await.unwrap();
        // What is stored outlives a restart without a place.
        second.worker.restart().await.unwrap();
        second.worker.wait_for_status("its waiting", SOON, waits).await.unwrap();
        let end = this_second() + 2 * SECOND;
        first.wait_for_tick(end).await;
    }
    assert!(second.worker.process().output().contains("state restored"));
    let end = this_second() - SECOND;
    let begin = setting.first_fit + SECOND;
    let (of_first, of_second) = (first.sent(), second.sent());
    assert_no_gap(&of_first, begin, end);
    assert_eq!(of_first.rewritten(), None);
    for time in of_second.within(begin, end).times("for", "load") {
        let at = |scores: &tests::scores::Scores| scores.within(time, time);
        assert_eq!(at(&of_second).difference(&at(&of_first), 0.0), None);
    }
    let output = first.worker.process().output();
    assert!(!output.contains("state taken over") && !output.contains("panicked"), "{output}");
}

#[tokio::test]
async fn a_rank_that_finds_a_topology_of_a_newer_contract_goes_on_with_the_one_it_knows_or_waits_and_says_why() {
    let setting = Setting::start().await;
    let [mut first, mut second] = setting.ranks().await;
    first.wait_for_tick(setting.first_fit + 2 * SECOND).await;
    second.wait_for_tick(setting.first_fit + 2 * SECOND).await;
    let newer = format!("contract_version: {}\nepoch: 1\nshards: [{{ranks: 2}}]\n", CONTRACT_VERSION + 1);
    setting.write_topology_text("topology.yaml", &newer);
    let words = format!("contract_version: `{}`: newer than this build understands", CONTRACT_VERSION + 1);
    let refuses = |status: &serde_json::Value| {
        let config = &status["config"];
        let says =
            config["last_error"].as_str()?.contains(&words) && config["last_error"].as_str()?.lines().count() == 1;
        (config["reload"] == "invalid" && says).then(|| status.clone())
    };
    // One that runs, one that starts again, and one that starts without what it knew.
    first.worker.wait_for_status("its refusal", SOON, refuses).await.unwrap();
    second.worker.restart().await.unwrap();
    let status = second.worker.wait_for_status("its refusal", SOON, refuses).await.unwrap();
    assert_eq!((&status["epoch"], &status["ranks"]), (&1.into(), &2.into()), "{status}");
    let together = this_second() + 3 * SECOND;
    first.wait_for_tick(together).await;
    second.wait_for_tick(together).await;
    assert!(second.worker.is_ready().await);
    assert!(have_equal_chains(&[&first, &second], together).await);

    second.worker.kill();
    std::fs::remove_dir_all(setting.state(1)).unwrap();
    second.worker.restart().await.unwrap();
    let waits = |status: &serde_json::Value| {
        let reason = &status["not_ready"][0];
        let says = reason["message"].as_str()?.contains(&words) && refuses(status).is_some();
        (reason["reason"] == "newer_contract" && says && status["jobs"].as_array()?.is_empty()).then_some(())
    };
    second.worker.wait_for_status("its waiting", SOON, waits).await.unwrap();
    assert!(!second.worker.is_ready().await);
    first.wait_for_tick(this_second() + 2 * SECOND).await;

    // The operator sees what they report, and writes what they understand.
    setting.write_topology(2);
    let end = this_second() + 4 * SECOND;
    first.wait_for_tick(end).await;
    second.wait_for_tick(end).await;
    assert!(second.worker.is_ready().await && have_equal_chains(&[&first, &second], end).await);
    assert!(second.worker.process().output().contains("state taken over"));
    assert_no_gap(&first.sent(), setting.first_fit + SECOND, end);
    setting.tsdb.everything_visible().await.unwrap();
    let stored = tests::scores::Scores::of(&setting.tsdb.export("{model_alias!=\"\"}").await.unwrap(), "default");
    assert_eq!(stored.rewritten(), None);
}
