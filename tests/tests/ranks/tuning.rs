//! Searches that depend on the machine.

use super::setting::{SECOND, Setting, assert_no_gap, first_written, have_equal_chains};

#[tokio::test]
async fn ranks_go_on_with_one_fit_though_each_of_them_is_cut_short_at_another_trial() {
    let mut setting = Setting::start().await;
    setting.model = "class: auto, tuned_class_name: mad_online, \
                     optimization_params: {anomaly_percentage: 0.1, n_trials: 1000000, timeout: 0.02}";
    let [mut first, mut second] = setting.ranks().await;
    let end = setting.first_fit + 12 * SECOND;
    first.wait_for_tick(end).await;
    let begin = first_written(&mut second, end).await;
    assert!(have_equal_chains(&[&first, &second], end).await);
    assert_no_gap(&first.sent(), setting.first_fit + SECOND, end);
    let (found, wanted) = (second.sent().within(begin, end), first.sent().within(begin, end));
    assert_eq!(found.difference(&wanted, 0.0), None);

    let mut cut = 0.0;
    for rank in [&first, &second] {
        let metrics = rank.worker.metrics().await.unwrap();
        cut += metrics.sum("vmanomaly_searches_cut_total", &[]).unwrap();
        assert_eq!(metrics.sum("vmanomaly_replica_divergences_total", &[]).unwrap_or(0.0), 0.0);
    }
    assert!(cut >= 10.0, "two fits of five series: {cut}");
}
