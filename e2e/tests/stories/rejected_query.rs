use tests::http::HttpError;
use tests::signal::{now, this_second};

use crate::recording;
use crate::scene::{Scene, WITHIN, anomaly, eventually, gaps, import, manifests, model, outputs, query, scored_until};

const SERIES: usize = 4;

/// Nothing but the database can tell that this is wrong.
const WRONG: &str = "rate(recorded[1m]) + no_such_function(recorded)";

#[tokio::test]
async fn a_query_that_the_tsdb_rejects_shows_on_its_anomaly_query_in_the_tsdbs_words_while_others_go_on() {
    let scene = Scene::open("rejected-query").await;
    let tsdb = scene.tsdb().await;
    import(&tsdb, &recording::series(SERIES)).await;
    scene.apply(&manifests(&[model("mad", 6.0), query("load", recording::METRIC), anomaly("workers", 1)])).await;
    scene.ready("workers", 1).await;
    let from = this_second();
    scored_until(&tsdb, "workers", SERIES, from).await;

    scene.apply(&manifests(&[query("wrong", WRONG)])).await;
    let HttpError::Status { body, .. } = tsdb.query(WRONG, now()).await.unwrap_err() else {
        panic!("the database takes {WRONG}");
    };
    // `{"status":"error","errorType":"422","error":"...: unknown func ..."}`
    assert!(body.contains("no_such_function"), "{body}");
    let words = async || {
        let status = &scene.object("anomalyquery/wrong").await["status"];
        let binding = &status["bindings"][0]["conditions"][0];
        let told = binding["message"].as_str().is_some_and(|message| message.contains("no_such_function"));
        (told && binding["status"] == "False").then(|| binding.clone())
    };
    let binding = eventually("the words of the database on the AnomalyQuery", WITHIN, words).await;
    assert_eq!(binding["reason"], "QueryRejected", "{binding}");
    let other = scene.object("anomalyquery/load").await;
    assert_eq!(other["status"]["bindings"][0]["conditions"][0]["status"], "True", "{other}");

    let until = this_second() + 5 * recording::STEP;
    scored_until(&tsdb, "workers", SERIES, until).await;
    assert_eq!(gaps(&outputs(&tsdb, "workers").await, SERIES, from, until), Vec::<i64>::new());

    // Corrected, it is accepted and scored.
    scene.apply(&manifests(&[query("wrong", "recorded * 2")])).await;
    scene.ready("workers", 2).await;
    let corrected = async || {
        tsdb.force_flush().await.unwrap();
        let scores = tsdb.export("anomaly_score{for='wrong'}").await.unwrap();
        (scores.len() == SERIES).then_some(())
    };
    eventually("scores of the corrected query", WITHIN, corrected).await;
    scene.close().await;
}
