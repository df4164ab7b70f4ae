//! Releases of operator and workers that differ in the contract between them.

use std::time::Duration;

use config::contract::CONTRACT_VERSION;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use operator::operator::Settings;
use serde_json::json;
use tests::kubernetes::installation::{Installation, quick_settings};

use crate::fixtures::{declare_all, installation, wait_until_rolled_out};

const TOPOLOGY: &str = "anomaly-main-topology";

fn text(map: &ConfigMap) -> &str {
    &map.data.as_ref().unwrap()["topology.yaml"]
}

/// Waits for an event with this reason and these words.
async fn wait_for_event(installation: &Installation<'_>, reason: &str, words: &str) {
    let is_it = |event: &Event| {
        event.reason.as_deref() == Some(reason) && event.note.as_ref().is_some_and(|note| note.contains(words))
    };
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if installation.api::<Event>().list(&ListParams::default()).await.unwrap().iter().any(is_it) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no event {reason} with {words:?}");
}

#[tokio::test]
async fn an_older_operator_keeps_away_from_a_newer_contract_and_with_leave_goes_on_where_series_are() {
    let installation = installation().await;
    let operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 3).await;
    wait_until_rolled_out(&installation).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    drop(operator);
    let maps = installation.api::<ConfigMap>();
    let write = async |text: String| {
        let patch = Patch::Merge(json!({"data": {"topology.yaml": text}}));
        maps.patch(TOPOLOGY, &PatchParams::default(), &patch).await.unwrap()
    };
    // Series are on their way from two shards to three, in the words of the next release.
    let newer = CONTRACT_VERSION + 1;
    let core = "epoch: 7\nsettled_epoch: 6\nshards: 3\nranks: 1\nprevious_shards: [2]\n";
    let written = write(format!("contract_version: {newer}\n{core}flavour: {{something: new}}\n")).await;

    let operator = installation.operator(quick_settings()).await.unwrap();
    wait_for_event(&installation, "NewerOperator", &format!("the topology is of contract {newer}")).await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert_eq!(maps.get(TOPOLOGY).await.unwrap().resource_version(), written.resource_version());
    drop(operator);

    let leave = || Settings { allow_downgrade: true, ..quick_settings() };
    let operator = installation.operator(leave()).await.unwrap();
    let own = format!("contract_version: {CONTRACT_VERSION}\n");
    let map = installation.wait::<ConfigMap>(TOPOLOGY, |map| text(map).contains(&own)).await.unwrap();
    for line in ["epoch: 7\n", "settled_epoch: 6\n", "shards: 3\n", "previous_shards: [2]\n"] {
        assert!(text(&map).contains(line), "{}", text(&map));
    }
    wait_for_event(&installation, "ContractChanged", &format!("it was in contract {newer}")).await;
    let metrics = operator.operator.metrics.text().unwrap();
    assert!(metrics.contains("contract_changes_total{direction=\"lowered\"} 1\n"), "{metrics}");
    drop(operator);

    // What cannot be read at all is not written over, whatever leave there is.
    let written = write(format!("contract_version: {newer}\nlayers: [{{at: 7, of: 3}}]\n")).await;
    let _operator = installation.operator(leave()).await.unwrap();
    wait_for_event(&installation, "NewerOperator", "where series are cannot be read from it").await;
    installation.wait_until_silent(Duration::from_secs(1)).await.unwrap();
    assert_eq!(maps.get(TOPOLOGY).await.unwrap().resource_version(), written.resource_version());
}

#[cfg(feature = "next-contract")]
#[tokio::test]
async fn the_older_contract_is_written_as_long_as_any_worker_needs_it() {
    use crate::workers::Scripted;

    let installation = installation().await;
    let operator = installation.operator(quick_settings()).await.unwrap();
    declare_all(&installation, 2).await;
    wait_until_rolled_out(&installation).await;
    let first = Scripted::start(&installation, 0, 0).await;
    let second = Scripted::start(&installation, 0, 1).await;
    let written_in = async |version: u32, key: &str| {
        let line = format!("contract_version: {version}\n");
        let map = installation.wait::<ConfigMap>(TOPOLOGY, |map| text(map).contains(&line)).await.unwrap();
        assert!(text(&map).contains(&format!("\"{key}\":")), "{}", text(&map));
    };
    let (older, newer) = (CONTRACT_VERSION - 1, CONTRACT_VERSION);
    written_in(newer, "bind").await;
    first.say(|status| status.contract_version = older);
    written_in(older, "listen").await;
    second.say(|status| status.contract_version = older);
    first.follow(&installation).await;
    second.follow(&installation).await;
    first.say(|status| status.contract_version = newer);
    // Both operators agree, and nothing is written again and again.
    let _other = installation.operator(quick_settings()).await.unwrap();
    installation.wait_until_silent(Duration::from_secs(2)).await.unwrap();
    written_in(older, "listen").await;
    second.say(|status| status.contract_version = newer);
    written_in(newer, "bind").await;
    wait_for_event(&installation, "ContractChanged", &format!("contract {newer} from now on")).await;
    let metrics = operator.operator.metrics.text().unwrap();
    assert!(metrics.contains("contract_changes_total{direction=\"lowered\"} 1\n"), "{metrics}");
}
