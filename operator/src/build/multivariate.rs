//! Models that see several series together: their part of the worker's configuration, and whether their queries are
//! placed alike.

use std::collections::BTreeMap;

use config::load::Loaded;
use config::ownership::Spread;
use config::placement::placements;
use crds::model::AnomalyModelSpec;
use crds::status::Reason;
use serde_json::json;

use super::config::Section;
use super::models::holidays;
use crate::selection::{Rejection, Selection};

/// The class, and what only that takes.
pub(super) fn multivariate(common: Section, spec: &AnomalyModelSpec) -> Section {
    if let Some(own) = &spec.calibrated_multivariate {
        common
            .set("class", "calibrated_multivariate")
            .set("groupby", own.groupby.as_ref().map(|labels| json!(labels)))
            .set("max_channels", own.max_channels)
            .set("recommended_max_channels", own.recommended_max_channels)
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.temporal_envelope_multivariate {
        common
            .set("class", "temporal_envelope_multivariate")
            .set("groupby", own.groupby.as_ref().map(|labels| json!(labels)))
            .set("dependency_rank", own.dependency_rank)
            .set("score_aggregation", own.score_aggregation.map(|aggregation| json!(aggregation)))
            .set("max_channels", own.max_channels)
            .set("recommended_max_channels", own.recommended_max_channels)
            .set("random_state", own.random_state)
            .set("quantiles", own.quantiles.as_ref().map(|quantiles| json!(quantiles)))
            .set("iqr_threshold", own.iqr_threshold)
            .set("alpha", own.alpha)
            .set("loss_reactivity", own.loss_reactivity)
            .set("changepoint_window", own.changepoint_window)
            .set("seasonalities", own.seasonalities.as_ref().map(|profiles| json!(profiles)))
            .set("holidays", own.holidays.as_ref().map(holidays))
            .set("forecast_at", own.forecast_at.as_ref().map(|horizons| json!(horizons)))
            .set("min_n_samples_seen", own.min_n_samples_seen)
    } else if let Some(own) = &spec.isolation_forest_multivariate {
        let max_samples = own.max_samples.map(|number| json!(number));
        let args = Section::default()
            .set("n_estimators", own.n_estimators)
            .set("max_samples", max_samples.or(own.max_samples_share.map(|share| json!(share))))
            .set("max_features", own.max_features_share)
            .set("bootstrap", own.bootstrap)
            .set("random_state", own.random_state);
        common
            .set("class", "isolation_forest_multivariate")
            .set("groupby", own.groupby.as_ref().map(|labels| json!(labels)))
            .set("contamination", own.contamination)
            .set("seasonal_features", own.seasonal_features.as_ref().map(|features| json!(features)))
            .set("args", args.value())
    } else {
        common
    }
}

/// How the queries are spread, those that multivariate models join alike. Marks the models whose queries were asked to be
/// spread apart; `None` when there is one.
pub(super) fn place(
    selection: &mut Selection,
    loaded: &Loaded,
    asked: &BTreeMap<String, Spread>,
) -> Option<BTreeMap<String, Spread>> {
    let placed = placements(&loaded.config.models, asked);
    let mut found = false;
    for model in selection.models.iter_mut().filter(|model| model.rejection.is_none()) {
        if let Some(message) = placed.refused.get(&model.alias) {
            model.rejection = Some(Rejection { reason: Reason::InvalidValue, message: message.clone() });
            found = true;
        }
    }
    (!found).then_some(placed.spreads)
}
